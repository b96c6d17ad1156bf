//! Every variable of the environment that this crate reads. The names are those of `huggingface_hub`:
//! <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Result, error::show_path, url::Url};

const ENDPOINT: &str = "HF_ENDPOINT";
const TIMEOUT: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
const CERTIFICATES: &str = "SSL_CERT_FILE";

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a file with a token.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// What the environment says of the hub.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME`, else in `huggingface` in `XDG_CACHE_HOME`,
    /// else in `~/.cache/huggingface`.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`: the hub, <https://huggingface.co> if unset.
    pub endpoint: Url,
    /// `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else what is in the file `HF_TOKEN_PATH`, else in `token` in `HF_HOME`;
    /// none where `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`): use no network.
    pub offline: bool,
    /// Whether `HF_HUB_DISABLE_PROGRESS_BARS` is unset.
    pub progress_bars: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: how long a server may say nothing; 10 s if unset.
    pub timeout: Duration,
    /// `SSL_CERT_FILE`: certificates to trust in place of Mozilla's, in PEM.
    pub certificates: Option<PathBuf>,
}

/// A secret that is sent to the hub. It is never shown.
#[derive(Clone)]
pub struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Environment {
    /// The environment of this process.
    ///
    /// # Errors
    /// A variable can't be what it says.
    pub fn read() -> Result<Self> {
        Self::from_variables(|name| env::var_os(name))
    }

    /// An environment in which `variable` gives the values. One that is empty counts as unset.
    ///
    /// # Errors
    /// A variable can't be what it says.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &'static str| match raw(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(setting(name, "is not text: set it anew")),
        };
        let set = |name| raw(name).is_some_and(|value| is_true(&value.to_string_lossy()));
        let user = raw("HOME").or_else(|| raw("USERPROFILE")).map(PathBuf::from);
        let path = |name| raw(name).map(|value| expand(PathBuf::from(value), user.as_deref()));

        let caches = || path("XDG_CACHE_HOME").or_else(|| user.as_ref().map(|user| user.join(".cache")));
        let home = path("HF_HOME").or_else(|| caches().map(|caches| caches.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| home.as_ref().map(|home| home.join("hub")));
        let cache =
            cache.ok_or_else(|| setting("HF_HOME", "is unset, and so is HOME: say where the cache is to be"))?;

        let endpoint = text(ENDPOINT)?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint = Url::endpoint(&endpoint).map_err(|problem| setting(ENDPOINT, &problem))?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| home.as_ref().map(|home| home.join("token")));
        let token = if set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else if let Some(token) = text("HF_TOKEN")?.or(text("HUGGING_FACE_HUB_TOKEN")?) {
            token_of(&token, "HF_TOKEN")?
        } else {
            token_file.and_then(|file| read_token(&file)).map_or(Ok(None), |token| token_of(&token, "HF_TOKEN_PATH"))?
        };
        let timeout = match text(TIMEOUT)? {
            None => DEFAULT_TIMEOUT,
            Some(text) => {
                let seconds = text.trim().parse().ok().filter(|seconds: &f64| (0.001..=86_400.0).contains(seconds));
                Duration::from_secs_f64(seconds.ok_or_else(|| setting(TIMEOUT, "expected seconds, as 10 or 0.5"))?)
            }
        };
        Ok(Self {
            cache,
            endpoint,
            token,
            offline: set("HF_HUB_OFFLINE") || set("TRANSFORMERS_OFFLINE"),
            progress_bars: !set("HF_HUB_DISABLE_PROGRESS_BARS"),
            timeout,
            certificates: path(CERTIFICATES),
        })
    }

    /// The variable that names the file with certificates.
    pub(crate) fn certificates_problem(file: &Path, problem: &str) -> Error {
        setting(CERTIFICATES, &format!("{}: {problem}", show_path(file)))
    }
}

fn setting(name: &'static str, problem: &str) -> Error {
    Error::Setting { name, problem: problem.to_owned() }
}

/// As `huggingface_hub` reads its switches.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

/// A path in which `~` is the user's folder.
fn expand(path: PathBuf, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path,
    }
}

/// The text of the token's file, if there is one.
fn read_token(file: &Path) -> Option<String> {
    calotype_files::read_text(file, LONGEST_TOKEN).ok()
}

fn token_of(text: &str, name: &'static str) -> Result<Option<Token>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // It becomes a header.
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(setting(name, "has characters that no token has: copy it again"));
    }
    Ok(Some(Token(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Environment> {
        let get = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
        Environment::from_variables(get)
    }

    #[test]
    fn where_the_cache_is() {
        let cache = |variables: &[(&str, &str)]| environment(variables).unwrap().cache;
        let home = ("HOME", "/home/u");
        assert_eq!(cache(&[home]), Path::new("/home/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]), Path::new("/home/u/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")]), Path::new("/new"));
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "")]), Path::new("/home/u/.cache/huggingface/hub"));
        assert_eq!(
            environment(&[]).unwrap_err().to_string(),
            "HF_HOME: is unset, and so is HOME: say where the cache is to be"
        );
    }

    #[test]
    fn switches_and_numbers() {
        let home = ("HOME", "/home/u");
        let plain = environment(&[home]).unwrap();
        assert!(!plain.offline && plain.progress_bars && plain.token.is_none());
        assert_eq!((plain.timeout.as_secs(), plain.endpoint.to_string().as_str()), (10, "https://huggingface.co"));
        for yes in ["1", "on", "Yes", "TRUE"] {
            assert!(environment(&[home, ("HF_HUB_OFFLINE", yes)]).unwrap().offline);
            assert!(!environment(&[home, ("HF_HUB_DISABLE_PROGRESS_BARS", yes)]).unwrap().progress_bars);
        }
        assert!(!environment(&[home, ("HF_HUB_OFFLINE", "0")]).unwrap().offline);
        assert_eq!(
            environment(&[home, ("HF_HUB_DOWNLOAD_TIMEOUT", "0.25")]).unwrap().timeout,
            Duration::from_millis(250)
        );
        for wrong in ["x", "-1", "0", "inf", "nan", "1e300"] {
            assert!(environment(&[home, ("HF_HUB_DOWNLOAD_TIMEOUT", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_endpoint_is_tls_or_this_machine() {
        let endpoint = |url: &str| environment(&[("HOME", "/"), ("HF_ENDPOINT", url)]);
        for right in [
            "https://hub.example",
            "https://hub.example:8443/mirror/",
            "http://localhost:9",
            "http://127.0.0.1:9/",
            "http://[::1]:9",
        ] {
            assert!(endpoint(right).is_ok(), "{right}: {:?}", endpoint(right).err());
        }
        let wrong = [
            "http://hub.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "ftp://localhost",
            "hub.example",
            "https://",
            "https://u:p@hub.example",
            "http://localhost@hub.example",
            "https://hub.example/?x",
            "https://hub.example\nx",
            "http://1270.0.0.1",
        ];
        for url in wrong {
            let error = endpoint(url).unwrap_err().to_string();
            assert!(error.starts_with("HF_ENDPOINT: ") && !error.contains("u:p"), "{url}: {error}");
        }
    }

    #[test]
    fn where_the_token_is_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "hf_file\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        let token = |variables: &[(&str, &str)]| environment(variables).unwrap().token.map(|token| token.0);
        assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_HOME", "/no"), ("HF_TOKEN_PATH", file.to_str().unwrap())]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[home, ("HF_TOKEN", " hf_variable ")]).as_deref(), Some("hf_variable"));
        assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "x")]), None);
        assert_eq!(token(&[("HF_HOME", "/no")]), None);
        let error = environment(&[home, ("HF_TOKEN", "a\r\nHost: b")]).unwrap_err();
        assert_eq!(error.to_string(), "HF_TOKEN: has characters that no token has: copy it again");
        assert_eq!(format!("{:?}", environment(&[home]).unwrap().token), "Some(Token)");
    }
}
