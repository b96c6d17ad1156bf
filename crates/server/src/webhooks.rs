//! Tells others of jobs that are over or held (Standard Webhooks): signed, at least once, again for a day if they do not answer.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_engine::{Engine, Notice, Order};
use calotype_hub::{Messenger, Webhook};
use calotype_queue::{JobId, State, wall_clock};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Error,
    app::App,
    config::{Config, WebhookConfig},
    hub::{blocking, gone},
    job_view::{JobView, Waiting},
    private_file,
    problem::{Problem, Result},
    secret::keyed,
};

/// What is still to be told.
const FILE: &str = "webhooks.json";
const PREFIX: &str = "whsec_";
/// The shortest secret, in bytes.
const MIN_SECRET: usize = 24;
/// How long after each try the next one comes; after the last none.
const WAITS: [u64; 8] = [0, 5, 60, 300, 1800, 7200, 18_000, 50_400];
/// How often it is looked whether a try is due.
const OFTEN: Duration = Duration::from_secs(2);

/// What is to be told, and by what; nothing where no host is named in the config.
pub(crate) struct Webhooks {
    config: WebhookConfig,
    secret: Vec<u8>,
    messenger: Option<Messenger>,
    file: PathBuf,
    state: Mutex<Kept>,
}

/// What outlives the process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The last event that was looked at.
    seen: u64,
    /// By the event.
    pending: BTreeMap<u64, Pending>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    job: JobId,
    state: State,
    at: u64,
    url: String,
    tries: usize,
    /// When the next try is due, in milliseconds since 1970.
    due: u64,
}

impl Webhooks {
    pub(crate) fn open(config: &Config, engine: &Engine) -> crate::Result<Self> {
        let webhooks = config.webhooks.clone();
        let failed = |problem: String| Error::Config(format!("webhooks: {problem}"));
        let file = config.data.join(FILE);
        if webhooks.hosts.is_empty() {
            let state = Mutex::default();
            return Ok(Self { config: webhooks, secret: Vec::new(), messenger: None, file, state });
        }
        let secret = webhooks.secret.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let secret = secret.filter(|secret| secret.len() >= MIN_SECRET);
        let secret =
            secret.ok_or_else(|| failed("secret: expected whsec_ and at least 24 bytes in base64".to_owned()))?;
        let messenger = Messenger::new(webhooks.allow_local).map_err(|error| failed(error.to_string()))?;
        let state = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(format!("{FILE}: {error}")))?,
            // What was before there were webhooks is not told.
            Err(_) => Kept { seen: engine.last_event(), ..Kept::default() },
        };
        Ok(Self { config: webhooks, secret, messenger: Some(messenger), file, state: Mutex::new(state) })
    }

    /// Refuses addresses that may not be told.
    pub(crate) fn check(&self, url: &str) -> Result<()> {
        self.webhook(url).map(drop).map_err(|problem| Problem::invalid("webhook", format!("webhook: {problem}")))
    }

    fn webhook(&self, url: &str) -> Result<Webhook, String> {
        if self.messenger.is_none() {
            return Err("this server tells nobody: name hosts in its config".to_owned());
        }
        Webhook::new(url, &self.config.hosts, self.config.allow_local)
    }

    /// Takes up what has happened since it was looked at last, and what is due is told.
    fn work(&self, engine: &Engine) -> Result<()> {
        const EVENTS: usize = 1000;
        let Some(messenger) = &self.messenger else { return Ok(()) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let events = engine.events(None, None, state.seen, EVENTS)?;
        let now = wall_clock()();
        let mut is_changed = false;
        for event in events {
            state.seen = event.seq;
            is_changed = true;
            if !(event.state.is_over() || event.state == State::Held) {
                continue;
            }
            let order = engine.job(event.job)?.and_then(|job| Order::of_job(&job).ok());
            if let Some(url) = order.and_then(|order| order.webhook) {
                let pending = Pending { job: event.job, state: event.state, at: event.at, url, tries: 0, due: now };
                state.pending.insert(event.seq, pending);
            }
        }
        if is_changed {
            self.save(&state);
        }
        let due: Vec<(u64, Pending)> =
            state.pending.iter().filter(|(_, pending)| pending.due <= now).map(|(seq, p)| (*seq, p.clone())).collect();
        // The lock is not held while others are slow to answer: only this thread changes what is pending.
        drop(state);
        for (seq, mut pending) in due {
            let told = self.send(messenger, engine, seq, &pending);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match told {
                Ok(()) => drop(state.pending.remove(&seq)),
                Err(problem) => {
                    tracing::info!(job = %pending.job, problem, tries = pending.tries + 1, "a webhook was not told");
                    pending.tries += 1;
                    match WAITS.get(pending.tries) {
                        Some(wait) => {
                            pending.due = wall_clock()().saturating_add(wait * 1000);
                            state.pending.insert(seq, pending);
                        }
                        None => drop(state.pending.remove(&seq)),
                    }
                }
            }
            self.save(&state);
        }
        Ok(())
    }

    fn save(&self, state: &Kept) {
        let written = serde_json::to_vec(state).map_err(|error| error.to_string());
        let written =
            written.and_then(|json| private_file::write(&self.file, &json).map_err(|error| error.to_string()));
        if let Err(error) = written {
            // What was told may be told again after a crash.
            tracing::warn!(error, "what webhooks are still to be told can't be written");
        }
    }

    fn send(&self, messenger: &Messenger, engine: &Engine, seq: u64, pending: &Pending) -> Result<(), String> {
        let webhook = self.webhook(&pending.url)?;
        let job = engine.job(pending.job).ok().flatten();
        let view = job.map(|job| {
            let waiting = Waiting::of(engine, &[]).map_err(|problem| problem.detail)?;
            serde_json::to_value(JobView::new(engine, &job, &waiting)).map_err(|error| error.to_string())
        });
        let body = json!({
            "type": format!("job.{}", pending.state),
            "timestamp": pending.at,
            // A job that was forgotten since has its id alone.
            "data": view.transpose()?.unwrap_or_else(|| json!({"id": pending.job})),
        });
        let body = body.to_string();
        let (id, timestamp) = (format!("msg_{seq}"), (wall_clock()() / 1000).to_string());
        let signature = self.sign(&format!("{id}.{timestamp}.{body}"));
        let headers =
            [("webhook-id", id.as_str()), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)];
        messenger.send(&webhook, &headers, body.as_bytes())
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = keyed(&self.secret);
        mac.update(text.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Tells webhooks until the server goes.
pub(crate) async fn tell(app: App) {
    if app.webhooks.messenger.is_none() {
        return;
    }
    let (mut notices, mut going) = (app.hub.listen(), app.hub.going());
    loop {
        let working = Arc::clone(&app);
        if let Err(problem) = blocking(move || working.webhooks.work(&working.engine)).await {
            tracing::warn!(problem = problem.detail, "webhooks can't be told");
        }
        let wait = tokio::time::sleep(OFTEN);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                () = gone(&mut going) => return,
                notice = notices.recv() => match notice.as_deref() {
                    Ok(Notice::Event(event)) if event.state.is_over() || event.state == State::Held => break,
                    _ => {}
                },
            }
        }
    }
}
