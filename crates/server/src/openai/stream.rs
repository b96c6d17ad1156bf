//! An image as a stream of events: previews on the way, then the image.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::request::Upscaler;
use calotype_engine::Notice;
use calotype_image::{Limits as ImageLimits, decode, encode};
use calotype_queue::{Job, JobId};
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    body::Wanted,
    images::{Route, now, size_of, usage},
};
use crate::{
    app::App,
    attend::{self, Attendance},
    auth::Caller,
    dialect::openai_body,
    hub::blocking,
    limits::Stream,
    problem::{Problem, Result, warn_header},
};

/// Messages that a slow client may be behind.
const BEHIND: usize = 8;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream of one image.
struct Telling {
    app: App,
    route: Route,
    wanted: Wanted,
    /// Of the image in pixels.
    size: [usize; 2],
    /// So many previews.
    partial: usize,
    send: mpsc::Sender<Result<Message, Infallible>>,
    _permit: Stream,
}

/// Answers with a stream that ends with the job.
pub(super) fn respond(
    app: App,
    caller: &Caller,
    attendance: Attendance,
    route: Route,
    wanted: Wanted,
    size: [usize; 2],
    partial: usize,
) -> Result<Response> {
    let permit = app.limiter.stream(&caller.key)?;
    let (send, receive) = mpsc::channel(BEHIND);
    let sse = Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let unbuffered = [
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let mut response = (unbuffered, sse).into_response();
    wanted.warnings.iter().for_each(|warning| warn_header(response.headers_mut(), warning));
    let telling = Telling { app, route, wanted, size, partial, send, _permit: permit };
    tokio::spawn(telling.tell(attendance));
    Ok(response)
}

impl Telling {
    /// Tells the client what it waits for, until it goes or has it.
    async fn tell(self, attendance: Attendance) {
        let id = attendance.job.id;
        let mut notices = self.app.hub.listen();
        let (mut sent, mut last) = (0, None);
        let wait = attendance.wait();
        tokio::pin!(wait);
        let job = loop {
            tokio::select! {
                // What is waited for is dropped then, and with it the job.
                () = self.send.closed() => return,
                job = &mut wait => break job,
                notice = notices.recv() => {
                    let told = match notice.as_deref() {
                        Ok(Notice::Progress { job, progress, .. }) if *job == id => Some(progress),
                        Err(RecvError::Closed) => return,
                        _ => None,
                    };
                    let due = |fraction: f64| fraction * (self.partial + 1) as f64 >= sent as f64;
                    let Some(progress) = told.filter(|progress| sent < self.partial && due(progress.fraction)) else { continue };
                    if progress.preview.is_none() || progress.preview == last {
                        continue;
                    }
                    last = progress.preview;
                    if let Some(image) = self.preview(id).await {
                        let data = json!({"b64_json": image, "partial_image_index": sent});
                        self.say(self.event("partial_image", &data)).await;
                        sent += 1;
                    }
                }
            }
        };
        let message = match self.completed(job).await {
            Ok(data) => self.event("completed", &data),
            Err(problem) => Message::default().event("error").data(openai_body(&problem).to_string()),
        };
        self.say(message).await;
    }

    async fn say(&self, message: Message) {
        // Who has gone is found out by the loop.
        let _ = self.send.send(Ok(message)).await;
    }

    async fn completed(&self, job: Result<Job>) -> Result<Value> {
        let images = attend::images(&self.app.engine, job?).await?;
        let image = images.first().ok_or_else(Problem::internal)?;
        let (data, about) = (STANDARD.encode(&image.bytes), &image.result.about);
        Ok(json!({"b64_json": data, "usage": usage(), "seed": about["seed"], "size": size_of(image)}))
    }

    /// An event of this kind, with what all have.
    fn event(&self, kind: &str, data: &Value) -> Message {
        let of = match self.route {
            Route::Generations => "image_generation",
            Route::Edits | Route::Variations => "image_edit",
        };
        let name = format!("{of}.{kind}");
        let [width, height] = self.size;
        let mut all = json!({
            "type": name,
            "created_at": now(),
            "size": format!("{width}x{height}"),
            "quality": self.wanted.quality,
            "background": "opaque",
            "output_format": self.wanted.format,
        });
        for (name, value) in data.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        Message::default().event(name).data(all.to_string())
    }

    /// Where the job is going, as large as the image and in its format.
    async fn preview(&self, id: JobId) -> Option<String> {
        let (app, [width, height]) = (Arc::clone(&self.app), self.size);
        let (format, quality) = (self.wanted.format.file_format(), self.wanted.jpeg_quality);
        let made = blocking(move || {
            let large = || {
                let small = decode(&app.engine.preview(id)?.jpeg, &ImageLimits::default()).ok()?;
                let [width, height] = [width, height].map(u32::try_from);
                let large = Upscaler::Lanczos.enlarge(&small, width.ok()?, height.ok()?).ok()?;
                Some(STANDARD.encode(encode(&large, format, quality, &[]).ok()?))
            };
            Ok(large())
        });
        made.await.ok().flatten()
    }
}
