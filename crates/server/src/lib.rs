//! Images over HTTP: three APIs over one queue, keys and limits, a web page, metrics. No model code: the engine makes the images.
//!
//! ```text
//! connection ──guard (host, origin, log)──▶ auth (key) ──▶ v1 │ a1111 │ openai ──▶ Order ──limits──▶ Engine::submit
//!                                                                   ▲                                    │
//!                                                                   └────── hub (events, progress) ◀─────┘
//! ```
//!
//! | to find | look in |
//! |---|---|
//! | a route of our own API | `v1/`, a file for each kind of thing; of the others: `a1111/`, `openai/` |
//! | how a body becomes a job | `job_body.rs`; how a job is shown: `job_view.rs` |
//! | who may do what | `auth.rs`, `keys/`, `limits.rs` |
//! | how a connection waits for a job | `attend.rs` |
//! | errors | `problem.rs`; in the words of other APIs `dialect.rs` |
//! | the page | `page.rs`, `../web/` |

mod a1111;
mod app;
mod attend;
mod auth;
mod config;
mod dialect;
mod error;
mod extract;
mod guard;
mod health;
mod hub;
mod job_body;
mod job_view;
mod keys;
mod limits;
mod metrics;
mod openai;
mod page;
mod private_file;
mod problem;
mod router;
mod secret;
mod serve;
mod v1;
mod webhooks;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use calotype::{CpuDevice, CpuDeviceOptions, Precision};
pub use calotype_engine::Card;
use calotype_engine::{Engine, EngineOptions};
use calotype_publish::{Options, Publisher, Rules, SigningOptions, policy};
use tokio::{net::TcpListener, runtime::Runtime};

pub use config::{Config, HttpLimits, SafetyConfig, Style, WebhookConfig};
pub use error::{Error, Result};
pub use keys::{Key, KeyStore, NewKey, Quotas, Scope};
pub use router::openapi;

use app::Shared;
use hub::Hub;
use limits::Limiter;
use secret::Secret;
use webhooks::Webhooks;

/// Threads for requests: they wait more than they work, and the cores are for images.
const THREADS: usize = 2;
/// Seconds in a day.
const DAY: u64 = 24 * 3600;

/// A server that listens.
pub struct Server {
    app: app::App,
    listener: TcpListener,
    runtime: Runtime,
}

impl Server {
    /// Opens everything that a server needs, and listens. What can't work is found out here.
    ///
    /// # Errors
    /// Another process uses the data folder, the address is taken or needs a key, or something in the config can't be used.
    pub fn open(config: Config) -> Result<Self> {
        Self::open_on(config, None)
    }

    /// [`Self::open`], with the images made on a graphics card if one is given.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(config: Config, card: Option<Card>) -> Result<Self> {
        let keys = KeyStore::open(&config.data)?;
        let needs_key = !keys.all()?.is_empty();
        if !needs_key && !config.listen.ip().is_loopback() {
            return Err(Error::NoKey(config.listen));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .map_err(|source| Error::System { what: "threads can't be started", source })?;
        let listener = runtime
            .block_on(TcpListener::bind(config.listen))
            .map_err(|source| Error::Listen { address: config.listen, source })?;
        let metrics = metrics::handle()?;
        let hub = Hub::new();
        let told = hub.clone();
        let engine = Engine::open(EngineOptions { card, ..engine_options(&config)? }, move |notice| {
            metrics::count(notice);
            told.tell(notice);
        })?;
        engine.start()?;
        let webhooks = Webhooks::open(&config, &engine)?;
        let app = Shared {
            webhooks,
            limiter: Limiter::new(&config.http),
            attended: Default::default(),
            a1111: Default::default(),
            openai: Default::default(),
            secret: Secret::open(&config.data)?,
            started: Instant::now(),
            engine,
            config,
            keys,
            hub,
            metrics,
            needs_key,
        };
        Ok(Self { app: Arc::new(app), listener, runtime })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|source| Error::System { what: "the address is not known", source })
    }

    /// Whether requests need a key.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.app.needs_key
    }

    /// Serves until the process is told to end (SIGTERM, Ctrl-C); `second` is then called if it is told so again. Whether everything
    /// had ended within the limit.
    ///
    /// # Errors
    /// Signals can't be watched.
    pub fn run(self, second: impl FnOnce() + Send + 'static) -> Result<bool> {
        let (told, stop) = tokio::sync::oneshot::channel::<()>();
        let mut signals = {
            let _inside = self.runtime.enter();
            Signals::new().map_err(|source| Error::System { what: "signals can't be watched", source })?
        };
        self.runtime.spawn(async move {
            signals.next().await;
            let _ = told.send(());
            signals.next().await;
            second();
        });
        Ok(self.run_until(async move { drop(stop.await) }))
    }

    /// Serves until `stop` is done. Whether everything had ended within the limit.
    pub fn run_until(self, stop: impl Future<Output = ()>) -> bool {
        let Self { app, listener, runtime } = self;
        let router = router::router(&app);
        let has_ended = runtime.block_on(async {
            tokio::spawn(notify_service(Arc::clone(&app)));
            tokio::spawn(webhooks::tell(Arc::clone(&app)));
            serve::serve(app, listener, router, stop).await
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        has_ended
    }
}

/// Tells systemd that the server is up, and from time to time that it is alive.
async fn notify_service(app: app::App) {
    use sd_notify::NotifyState;
    // Outside of systemd nobody listens.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let Some(every) = sd_notify::watchdog_enabled() else { return };
    let mut going = app.hub.going();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every / 3) => {}
            () = hub::gone(&mut going) => {
                let _ = sd_notify::notify(&[NotifyState::Stopping]);
                return;
            }
        }
        if app.engine.is_alive() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    }
}

fn engine_options(config: &Config) -> Result<EngineOptions> {
    let precision = match &config.precision {
        Some(id) => {
            let found = Precision::ALL.into_iter().find(|precision| precision.id() == id);
            let unknown = || Error::Config(format!("precision {id:?}: use f32, bf16, f16 or int8"));
            Some(found.ok_or_else(unknown)?)
        }
        None => None,
    };
    let days = |days: u64| Duration::from_secs(days.saturating_mul(DAY));
    Ok(EngineOptions {
        models: config.models.clone(),
        limits: config.limits,
        max_queued: config.max_queued,
        disk_floor: config.disk_floor_mb << 20,
        keep_results: days(config.keep_days),
        keep_held: days(config.keep_held_days),
        threads: config.threads,
        precision,
        ..EngineOptions::new(config.data.clone(), publisher(config)?)
    })
}

/// What every image goes through.
fn publisher(config: &Config) -> Result<Publisher> {
    let safety = &config.safety;
    let failed = |error: calotype_publish::Error| Error::Config(error.to_string());
    let asked = safety.policy.as_deref().unwrap_or("off");
    let policy = policy(asked, safety.checker.as_deref(), config.models.first().map(|path| &**path)).map_err(failed)?;
    let rules = safety.rules.as_deref().map(Rules::open).transpose();
    let signing = match (&safety.sign_key, &safety.sign_cert) {
        (Some(key), Some(chain)) => Some(SigningOptions { key: key.clone(), chain: chain.clone() }),
        (None, None) => None,
        _ => return Err(Error::Config("sign_key and sign_cert go together: give both".to_owned())),
    };
    let options = Options {
        policy,
        rules: rules.map_err(|error| Error::Config(error.to_string()))?,
        audit: Some(safety.audit.clone().unwrap_or_else(|| config.data.join("audit.jsonl"))),
        hash_prompts: safety.hash_prompts,
        says_scores: safety.scores_in_metadata,
        watermark: if safety.no_watermark { None } else { Options::default().watermark },
        has_metadata: !safety.no_metadata,
        signing,
        ..Options::default()
    };
    let device = CpuDevice::new(CpuDeviceOptions { threads: config.threads, ..CpuDeviceOptions::default() });
    let device = device.map_err(|error| Error::Config(error.to_string()))?;
    Publisher::open(options, &device).map_err(failed)
}
