//! How a server works: `calotype.toml`, and what the command line says beside it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use calotype_engine::Limits;
use serde::Deserialize;

use crate::{Error, Result};

/// A config file is far smaller.
const MAX_BYTES: u64 = 1 << 20;

/// Everything that can be set. All of it has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address. With port 0 the system chooses one.
    pub listen: SocketAddr,
    /// The folder of everything that the server keeps: keys, jobs, results, the audit log.
    pub data: PathBuf,
    /// Folders of models and adapters.
    pub models: Vec<PathBuf>,
    /// By which names the server is called (`Host`), where that is to be checked. On a machine of one's own, without a login, only
    /// names of this machine are taken.
    pub hosts: Vec<String>,
    /// Whether the address of a client is in `X-Forwarded-For`, since a proxy is in front.
    pub behind_proxy: bool,
    /// Threads that compute; all if 0.
    pub threads: usize,
    /// The number type: `f32`, `bf16`, `f16` or `int8`; the fastest if none is given.
    pub precision: Option<String>,
    /// What computes, as `--device` takes it: `auto`, `cpu`, `gpu` or `gpu:N`; `auto` if nothing is given.
    pub device: Option<String>,
    /// Seconds that a job and streams get to end after SIGTERM.
    pub drain_seconds: u64,
    /// At most so many jobs wait.
    pub max_queued: u64,
    /// MiB of the disk that are left free.
    pub disk_floor_mb: u64,
    /// Days that jobs and their images are kept.
    pub keep_days: u64,
    /// Days that held images wait for a person.
    pub keep_held_days: u64,
    /// The most that a request may ask for.
    pub limits: Limits,
    /// Limits of the connection.
    pub http: HttpLimits,
    /// What images go through on their way out.
    pub safety: SafetyConfig,
    /// Whether requests for any model name are met by the default one in the OpenAI API.
    pub openai_any_model: bool,
    /// Prompts that the page and A1111's clients can add by a name.
    pub styles: Vec<Style>,
    /// Where others are told of jobs that are over.
    pub webhooks: WebhookConfig,
    /// Whether prompts are in the log, at its level `debug`.
    pub log_prompts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7860),
            data: calotype::checkpoint::data_folder().join("server"),
            models: Vec::new(),
            hosts: Vec::new(),
            behind_proxy: false,
            threads: 0,
            precision: None,
            device: None,
            drain_seconds: 30,
            max_queued: 1000,
            disk_floor_mb: 512,
            keep_days: 30,
            keep_held_days: 30,
            limits: Limits::default(),
            http: HttpLimits::default(),
            safety: SafetyConfig::default(),
            openai_any_model: false,
            styles: Vec::new(),
            webhooks: WebhookConfig::default(),
            log_prompts: false,
        }
    }
}

/// `[http]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// MiB of a body.
    pub max_body_mb: usize,
    /// Seconds in which the head of a request must have come.
    pub header_seconds: u64,
    /// Seconds in which its body must have come.
    pub body_seconds: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// Streams of events of one key at once.
    pub max_streams_per_key: usize,
    /// Requests of one key in a minute.
    pub requests_per_minute: u32,
    /// Wrong keys from one address in a minute.
    pub wrong_keys_per_minute: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_body_mb: 64,
            header_seconds: 10,
            body_seconds: 60,
            max_connections: 1024,
            max_streams_per_key: 32,
            requests_per_minute: 3000,
            wrong_keys_per_minute: 30,
        }
    }
}

/// `[safety]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafetyConfig {
    /// `off`, `flag`, `blur`, `hold`, `block`, or a policy file.
    pub policy: Option<String>,
    /// The safety checker of such a word.
    pub checker: Option<PathBuf>,
    /// The file of prompt rules.
    pub rules: Option<PathBuf>,
    /// The audit log; `audit.jsonl` in the data folder if nothing is said.
    pub audit: Option<PathBuf>,
    /// Whether the log has hashes in place of prompts.
    pub hash_prompts: bool,
    /// Whether images say their scores.
    pub scores_in_metadata: bool,
    /// Whether images are without a watermark.
    pub no_watermark: bool,
    /// Whether files say nothing of how they were made.
    pub no_metadata: bool,
    /// The key that files are signed with, and its certificates.
    pub sign_key: Option<PathBuf>,
    /// The chain of certificates.
    pub sign_cert: Option<PathBuf>,
}

/// `[[styles]]`: words around a prompt. `{prompt}` is where the prompt goes; without it the words come after it.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Style {
    /// By which it is chosen.
    pub name: String,
    /// Words for the prompt.
    pub prompt: String,
    /// Words for the negative prompt.
    pub negative_prompt: String,
}

/// `[webhooks]`: off unless a host is named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Hosts that may be told, exactly as they are in addresses: `example.com`, `example.com:8443`.
    pub hosts: Vec<String>,
    /// The secret that messages are signed with: `whsec_` and base64.
    pub secret: String,
    /// Whether addresses of this machine without TLS are taken too, for trying out.
    pub allow_local: bool,
}

impl Config {
    /// Reads a config file. Paths in it start from its folder.
    ///
    /// # Errors
    /// It can't be read, or has a member that there is not; the message says the line.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = |problem: String| Error::Config(format!("{}: {problem}", path.display()));
        let text = calotype_files::read_text(path, MAX_BYTES).map_err(|error| failed(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            failed(format!("line {line}: {}", error.message()))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let safety = &mut config.safety;
        let files =
            [&mut safety.checker, &mut safety.rules, &mut safety.audit, &mut safety.sign_key, &mut safety.sign_cert];
        let paths = files.into_iter().flatten().chain([&mut config.data]).chain(&mut config.models);
        paths.for_each(|path| *path = folder.join(&path));
        if let Some(policy) = safety.policy.as_mut().filter(|policy| policy.ends_with(".toml")) {
            *policy = folder.join(&policy).display().to_string();
        }
        Ok(config)
    }
}
