//! Connections: taken, watched over, and ended in good order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{app::App, hub::gone};

/// How long taking connections rests when the system has none to give.
const REST: Duration = Duration::from_millis(50);

/// Serves until `stop` is done and the engine has ended: probes are answered until then, and whoever waits for a job that still ends is
/// told. Then streams say goodbye and what is under way is finished. Whether everything has ended within the limit of the config.
pub(crate) async fn serve(app: App, listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> bool {
    let http = app.config.http;
    let places = Arc::new(Semaphore::new(http.max_connections));
    let mut connections = JoinSet::new();
    let limit = Duration::from_secs(app.config.drain_seconds);
    let ended = async {
        stop.await;
        tracing::info!("ending: no more jobs are taken");
        let (engine, begin) = (app.engine.clone(), Instant::now());
        let worker = tokio::task::spawn_blocking(move || engine.drain(limit));
        (worker.await.unwrap_or(false), begin)
    };
    tokio::pin!(ended);
    let (has_ended, begin) = loop {
        let accepted = tokio::select! {
            ended = &mut ended => break ended,
            accepted = take(&listener, &places) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Some((stream, address, place)) = accepted else {
            sleep(REST).await;
            continue;
        };
        let router = router.clone().layer(Extension(ConnectInfo(address)));
        let (going, header_time) = (app.hub.going(), Duration::from_secs(http.header_seconds));
        connections.spawn(async move {
            connection(stream, router, going, header_time).await;
            drop(place);
        });
    };
    drop(listener);
    app.hub.go();
    // Whoever is slow to go gets a moment even when the worker took all of the time.
    let left = limit.saturating_sub(begin.elapsed()).max(Duration::from_secs(1));
    let all = async { while connections.join_next().await.is_some() {} };
    let are_gone = timeout(left, all).await.is_ok();
    connections.abort_all();
    has_ended && are_gone
}

/// The next connection, as soon as there is a place for it.
async fn take(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection can't be taken");
            None
        }
    }
}

/// Serves a connection until its client goes, or the server does and no request is under way.
async fn connection(
    stream: TcpStream,
    router: Router,
    mut going: tokio::sync::watch::Receiver<bool>,
    header_time: Duration,
) {
    // Events are small and must not wait.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = gone(&mut going) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
