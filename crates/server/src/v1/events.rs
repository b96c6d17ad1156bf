//! Events as they happen (server-sent events), from where a client had stopped.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
};
use calotype_engine::Notice;
use calotype_queue::{Event, JobId};
use serde_json::json;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    app::App,
    auth::{Caller, Can, READ},
    hub::{blocking, gone},
    job_view::progress_view,
    keys::Key,
    limits::Stream,
    problem::Result,
};

/// Events that are sent again to a client that comes back; one that missed more loads everything anew.
const REPLAYED: usize = 1000;
/// Messages that a slow client may be behind.
const BEHIND: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(2);
/// How soon a key that was revoked or has ended hears no more.
const KEY_CHECK: Duration = Duration::from_secs(5);

/// Whose events a stream has, and for which key.
#[derive(Clone)]
struct Of {
    key: Arc<Key>,
    owner: String,
    job: Option<JobId>,
}

impl Of {
    fn has(&self, owner: &str, job: JobId) -> bool {
        match self.job {
            Some(only) => only == job,
            None => self.owner == owner,
        }
    }
}

/// All jobs of the key.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(("Last-Event-ID" = Option<String>, Header, description = "Goes on after this event")),
    responses((status = 200, description = "Events `state`, `progress`, `resync` and `bye`", content_type = "text/event-stream", body = String)))]
pub(crate) async fn of_key(State(app): State<App>, Can(caller): Can<READ>, headers: HeaderMap) -> Result<Response> {
    let of = Of { key: Arc::clone(&caller.key), owner: caller.key.id.clone(), job: None };
    stream(app, &caller, of, &headers).await
}

/// One job; ends with it.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "events", params(("id" = String, Path, description = "The job"), ("Last-Event-ID" = Option<String>, Header, description = "Goes on after this event")),
    responses((status = 200, description = "Events `state`, `progress` and `bye`", content_type = "text/event-stream", body = String)))]
pub(crate) async fn of_job(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let job = app.job(&caller, &id).await?;
    let of = Of { key: Arc::clone(&caller.key), owner: job.owner, job: Some(job.id) };
    stream(app, &caller, of, &headers).await
}

async fn stream(app: App, caller: &Caller, of: Of, headers: &HeaderMap) -> Result<Response> {
    let permit = app.limiter.stream(&caller.key)?;
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Before the answer begins, so that nothing of what is done after it is missed.
    let notices = app.hub.listen();
    let after = match after.or(of.job.map(|_| 0)) {
        Some(after) => after,
        // A stream of a job begins with all of it.
        None => newest(&app).await?,
    };
    let (send, receive) = mpsc::channel(BEHIND);
    tokio::spawn(async move { tell(&app, &of, after, notices, &send, permit).await });
    let sse = Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies must not wait for more.
    let unbuffered = [
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((unbuffered, sse).into_response())
}

type Sender = mpsc::Sender<Result<Message, Infallible>>;

/// Tells a client what happens until it goes, the server goes, or the job is over.
async fn tell(
    app: &App,
    of: &Of,
    mut last: u64,
    mut notices: Receiver<Arc<Notice>>,
    send: &Sender,
    _permit: Stream,
) -> Option<()> {
    let mut going = app.hub.going();
    let send = async |message: Message| send.send(Ok(message)).await.ok();
    send(Message::default().retry(RETRY).comment("events of jobs")).await?;
    loop {
        let missed = missed(app, of, last).await.ok()?;
        let is_all = missed.len() < REPLAYED;
        for event in missed {
            last = event.seq;
            send(state(&event)).await?;
            if of.job.is_some() && event.state.is_over() && is_last(app, &event).await {
                return Some(());
            }
        }
        if is_all {
            break;
        }
        send(Message::default().event("resync").data("{}")).await?;
        last = newest(app).await.unwrap_or(last);
    }
    let mut checks = tokio::time::interval(KEY_CHECK);
    loop {
        let bye = || Message::default().event("bye").data("{}");
        let notice = tokio::select! {
            () = gone(&mut going) => return send(bye()).await,
            _ = checks.tick() => {
                if app.needs_key && !matches!(app.keys.by_id(&of.key.id), Ok(Some(_))) {
                    return send(bye()).await;
                }
                continue;
            }
            notice = notices.recv() => notice,
        };
        match notice.as_deref() {
            Ok(Notice::Event(event)) if event.seq > last && of.has(&event.owner, event.job) => {
                last = event.seq;
                send(state(event)).await?;
                if of.job.is_some() && event.state.is_over() {
                    return Some(());
                }
            }
            Ok(Notice::Progress { job, owner, progress }) if of.has(owner, *job) => {
                let data = json!({"job": job, "progress": progress_view(*job, progress)});
                send(Message::default().event("progress").data(data.to_string())).await?;
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {
                for event in missed(app, of, last).await.ok()? {
                    last = event.seq;
                    send(state(&event)).await?;
                }
                send(Message::default().event("resync").data("{}")).await?;
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

fn state(event: &Event) -> Message {
    let Event { seq, at, job, state, attempt, .. } = event;
    let data = json!({"job": job, "state": state, "attempt": attempt, "seq": seq, "at": at});
    Message::default().event("state").id(seq.to_string()).data(data.to_string())
}

async fn missed(app: &App, of: &Of, after: u64) -> Result<Vec<Event>> {
    let (app, of) = (Arc::clone(app), of.clone());
    blocking(move || Ok(app.engine.events(Some(&of.owner), of.job, after, REPLAYED)?)).await
}

/// Whether a job is still as an event left it: it may have been tried again since.
async fn is_last(app: &App, event: &Event) -> bool {
    let (app, id, attempt) = (Arc::clone(app), event.job, event.attempt);
    let job = blocking(move || Ok(app.engine.job(id)?)).await;
    job.is_ok_and(|job| job.is_none_or(|job| job.state.is_over() && job.attempt == attempt))
}

/// The number of the newest event.
async fn newest(app: &App) -> Result<u64> {
    let app = Arc::clone(app);
    blocking(move || Ok(app.engine.last_event())).await
}
