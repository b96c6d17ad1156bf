//! Futures of wgpu, which on these backends are ready when they are made.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// What a future gives at once; none if it would have to be waited for.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
