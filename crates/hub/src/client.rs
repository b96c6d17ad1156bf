//! Requests to the hub, and to where it redirects. Only the hub itself ever sees the token.

use std::{
    io::{self, Read},
    time::{Duration, SystemTime},
};

use ureq::{
    Agent,
    http::{HeaderMap, Method, Request},
};

use crate::{Environment, Error, Result, environment::Token, error::show, retry::Trouble, tls, url::Url};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 6;

/// The longest that the head of an answer may take, in times that a server may say nothing.
const HEAD_TIMEOUTS: u32 = 3;

pub(crate) struct Client {
    agent: Agent,
    pub(crate) hub: Url,
    token: Option<Token>,
}

/// An answer: 2xx, or 416, or the redirect that was asked to be kept.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: ureq::Body,
    host: String,
}

/// What is asked for, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The model, with its revision.
    pub(crate) model: &'a str,
    /// `org/name` alone.
    pub(crate) repository: &'a str,
    /// The file, if it is one.
    pub(crate) path: Option<&'a str>,
}

impl Client {
    pub(crate) fn new(environment: &Environment) -> Result<Self> {
        let hub = environment.endpoint.clone();
        let timeout = Some(environment.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("calotype/", env!("CARGO_PKG_VERSION")))
            // The bytes themselves: their number and their checksum are known.
            .accept_encoding("identity")
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout)
            .timeout_recv_response(Some(environment.timeout * HEAD_TIMEOUTS));
        if hub.is_local() {
            config = config.proxy(None);
        }
        // A hub on this machine redirects to itself, or to TLS; then this is needed too, and without it that fails.
        match tls::config(environment.certificates.as_deref()) {
            Ok(tls) => config = config.tls_config(tls),
            Err(error) if hub.is_https() => return Err(error),
            Err(_) => {}
        }
        Ok(Self { agent: config.build().new_agent(), hub, token: environment.token.clone() })
    }

    /// What the hub says of a file without sending it. `keep` tells a redirect that says enough from one to follow.
    pub(crate) fn head(&self, url: &Url, subject: Subject<'_>, keep: fn(&Answer) -> bool) -> Result<Answer, Trouble> {
        self.request(&Method::HEAD, url, None, subject, keep)
    }

    /// The content, from byte `from` on if the server likes.
    pub(crate) fn get(&self, url: &Url, from: Option<u64>, subject: Subject<'_>) -> Result<Answer, Trouble> {
        self.request(&Method::GET, url, from, subject, |_| false)
    }

    fn request(
        &self,
        method: &Method,
        start: &Url,
        from: Option<u64>,
        subject: Subject<'_>,
        keep: fn(&Answer) -> bool,
    ) -> Result<Answer, Trouble> {
        let mut url = start.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.exchange(method, &url, from)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                self.check(&answer, &url, subject)?;
                return Ok(answer);
            }
            if keep(&answer) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            url = url.redirect(location).map_err(|problem| Error::answer(&answer.host, problem))?;
        }
        Err(Error::answer(start.authority(), "it redirects for ever").into())
    }

    /// One request and its answer, whatever that is.
    fn exchange(&self, method: &Method, url: &Url, from: Option<u64>) -> Result<Answer, Trouble> {
        let mut request = Request::builder().method(method).uri(url.uri());
        if let Some(token) = self.token.as_ref().filter(|_| url.same_server(&self.hub)) {
            request = request.header("authorization", format!("Bearer {}", token.0));
        }
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|error| Error::answer(url.authority(), show(&error.to_string())))?;
        let response = self.agent.run(request).map_err(|error| trouble(url.authority(), error))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, host: url.authority().to_owned() })
    }

    /// Whether a status means that it worked, and what to do if not.
    fn check(&self, answer: &Answer, url: &Url, subject: Subject<'_>) -> Result<(), Trouble> {
        let status = answer.status;
        let passing =
            |problem: String| Trouble::Passing { host: answer.host.clone(), problem, after: answer.asks_to_wait() };
        let from_hub = url.same_server(&self.hub);
        let code = answer.header("x-error-code").unwrap_or_default();
        let Subject { model, repository, path } = subject;
        let page = format!("{}/{repository}", self.hub);
        let lasting = match status {
            200..=299 | 416 => return Ok(()),
            429 => return Err(passing("too many requests (429)".to_owned())),
            408 | 500..=599 => return Err(passing(format!("it fails with {status}"))),
            // The address that the hub signed is no longer good: the next attempt gets a new one.
            401 | 403 if !from_hub => return Err(passing(format!("it refuses with {status}"))),
            401 | 403 if code == "GatedRepo" || (status == 403 && code.is_empty()) => {
                let problem = if self.token.is_some() {
                    format!(
                        "accept its conditions on {page} with the account that HF_TOKEN is of, and give the token leave \
                             to read gated models"
                    )
                } else {
                    format!(
                        "accept its conditions on {page}, and set HF_TOKEN to a token from {}/settings/tokens",
                        self.hub
                    )
                };
                Error::Gated { id: model.to_owned(), problem }
            }
            401 | 404 if code == "RepoNotFound" || (status == 401) => {
                let token = if self.token.is_some() {
                    "or the token of HF_TOKEN does not show it"
                } else {
                    "or it is private: then set HF_TOKEN"
                };
                Error::NotFound(format!("{repository}: {} has no such model, {token} ({status})", self.hub))
            }
            404 if code == "RevisionNotFound" => Error::NotFound(format!(
                "{model}: the model has no such revision: give a branch, a tag or a commit after the @"
            )),
            404 if path.is_none() => {
                Error::NotFound(format!("{repository}: {} has no such model, check its name ({status})", self.hub))
            }
            404 => Error::NotFound(format!(
                "{model}: the hub lists {} but does not have it (404)",
                show(path.unwrap_or_default())
            )),
            _ => {
                let said = answer.header("x-error-message").map(show).map_or(String::new(), |said| format!(": {said}"));
                let problem = format!("it refuses with {status}{said}; check HF_ENDPOINT and HF_TOKEN");
                Error::answer(&answer.host, problem)
            }
        };
        Err(lasting.into())
    }
}

impl Answer {
    /// A header's text, if it has one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long to wait before the next request: as `Retry-After` says, or the seconds of the hub's
    /// `RateLimit: "api";r=0;t=55`.
    fn asks_to_wait(&self) -> Option<Duration> {
        let limit = || self.header("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t="));
        let after = self.header("retry-after").and_then(|text| retry_after(text.trim(), self.header("date")));
        let seconds = || limit()?.trim().parse().ok().filter(|_| self.status == 429);
        after.or_else(|| seconds().map(Duration::from_secs))
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The body, to be read piece by piece.
    pub(crate) fn into_body(self) -> Body {
        Body { reader: Box::new(self.body.into_reader()), host: self.host }
    }
}

/// The body of an answer.
pub(crate) struct Body {
    reader: Box<dyn Read>,
    pub(crate) host: String,
}

impl Body {
    /// Reads some bytes; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        self.reader.read(buffer).map_err(|error| trouble(&self.host, ureq::Error::from(error)))
    }

    /// The whole body; `None` if it has more than `most` bytes.
    pub(crate) fn read_all(self, most: u64) -> Result<Option<Vec<u8>>, Trouble> {
        let Self { reader, host } = self;
        let mut bytes = Vec::new();
        let read = reader.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| trouble(&host, ureq::Error::from(error)))?;
        Ok((bytes.len() as u64 <= most).then_some(bytes))
    }
}

/// The wait of a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which is held to the server's own `Date` if it has
/// one. None if it is neither.
fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let end = httpdate::parse_http_date(text).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    // In the past: at once.
    Some(end.duration_since(now).unwrap_or_default())
}

/// Whether what the network did may be better next time.
fn trouble(host: &str, error: ureq::Error) -> Trouble {
    let passing = |problem: String| Trouble::Passing { host: host.to_owned(), problem, after: None };
    let lasting = |problem: String| Trouble::Lasting(Error::Network { host: host.to_owned(), problem });
    match error {
        ureq::Error::Timeout(_) => passing("it says nothing for longer than HF_HUB_DOWNLOAD_TIMEOUT".to_owned()),
        ureq::Error::HostNotFound => passing("there is no such host, or no network".to_owned()),
        ureq::Error::ConnectionFailed => passing("the connection failed".to_owned()),
        ureq::Error::Io(error) => match error.kind() {
            // So rustls says that a certificate is not to be trusted.
            io::ErrorKind::InvalidData => lasting(show(&error.to_string())),
            io::ErrorKind::UnexpectedEof => passing("the connection was cut".to_owned()),
            _ => passing(show(&error.to_string())),
        },
        ureq::Error::Rustls(error) => lasting(show(&error.to_string())),
        ureq::Error::Tls(problem) => lasting(problem.to_owned()),
        ureq::Error::InvalidProxyUrl => lasting("the proxy of the environment is no address".to_owned()),
        error => passing(show(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = |text, date| retry_after(text, date).map(|wait| wait.as_secs());
        assert_eq!(seconds("120", date), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", date), Some(120));
        // The two older forms.
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT", date), Some(60));
        assert_eq!(seconds("Sun Nov  6 08:49:40 1994", date), Some(3));
        // In the past; by this machine's clock; nothing that is known.
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT", date), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", Some("x")), Some(0));
        assert!(seconds("Tue, 31 Dec 2999 23:59:59 GMT", None) > Some(86_400));
        for text in ["", "soon", "-5", "1.5", "Sun, 99 Nov 1994 08:51:37 GMT"] {
            assert_eq!(retry_after(text, date), None, "{text}");
        }
    }
}
