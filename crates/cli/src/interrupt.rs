//! Ctrl-C.

use std::{
    process::exit,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::failure::{Failure, INTERRUPTED, line};

/// Held while files are written: the program does not end before they are whole.
static WRITING: Mutex<()> = Mutex::new(());

/// Keeps the program from ending by Ctrl-C until it is dropped.
pub(crate) fn writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ctrl-C ends the program at once, in the midst of a step too, but not while a file is written.
pub(crate) fn exit_at_once() -> Result<(), Failure> {
    exit_saying("stopped by Ctrl-C")
}

/// The same with a message.
pub(crate) fn exit_saying(message: &'static str) -> Result<(), Failure> {
    handle(|| {
        let _files_are_whole = writing();
        line("interrupted", message);
        exit(i32::from(INTERRUPTED))
    })
}

/// Ctrl-C sets the flag it gives, and a second one ends the program at once.
pub(crate) fn stop_flag() -> Result<&'static AtomicBool, Failure> {
    static STOP: AtomicBool = AtomicBool::new(false);
    handle(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            exit(i32::from(INTERRUPTED));
        }
        line("stopping", "after this step; Ctrl-C again stops at once and loses the steps since the last checkpoint");
    })?;
    Ok(&STOP)
}

/// Ctrl-C sets the flag it gives: what is half done is put away before the program ends.
pub(crate) fn cancel_flag() -> Result<&'static AtomicBool, Failure> {
    static CANCEL: AtomicBool = AtomicBool::new(false);
    handle(|| CANCEL.store(true, Ordering::Relaxed))?;
    Ok(&CANCEL)
}

fn handle(handler: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(handler).map_err(|error| Failure::Failed(format!("Ctrl-C cannot be handled: {error}")))
}
