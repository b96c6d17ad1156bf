//! Addresses, of which only a few are allowed: TLS, or this machine if the hub itself is on it.

use std::{fmt, net::IpAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use ureq::http::Uri;

/// What stays as it is in a part of a path (RFC 3986, unreserved).
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The longest address that is followed.
const LONGEST: usize = 16 * 1024;

/// An address that may be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
}

impl Url {
    /// A hub: `https://host`, or `http://` on this machine, perhaps with a port and a path.
    ///
    /// # Errors
    /// What is wrong with it, and what is expected.
    pub fn endpoint(text: &str) -> Result<Self, String> {
        let url = Self::parse(text.trim_end_matches('/'))?;
        if url.uri.query().is_some() {
            return Err("expected an address without ?".to_owned());
        }
        if !url.is_https() && !url.is_local() {
            return Err("only a hub on this machine is asked without TLS: begin it with https://".to_owned());
        }
        Ok(url)
    }

    fn parse(text: &str) -> Result<Self, String> {
        const WRONG: &str = "expected an address as https://huggingface.co";
        let uri: Uri = if text.len() > LONGEST { None } else { text.parse().ok() }.ok_or(WRONG)?;
        let known = matches!(uri.scheme_str(), Some("https" | "http"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        match uri.authority() {
            Some(authority) if known && host && !authority.as_str().contains('@') => Ok(Self { uri }),
            Some(authority) if authority.as_str().contains('@') => {
                Err("expected an address without a password".to_owned())
            }
            _ => Err(WRONG.to_owned()),
        }
    }

    /// An address below this one; each part is escaped.
    pub(crate) fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>, query: &str) -> Result<Self, String> {
        let path: String =
            parts.into_iter().map(|part| format!("/{}", percent_encode(part.as_bytes(), PART))).collect();
        Self::parse(&format!("{}{path}{query}", self.to_string().trim_end_matches('/')))
    }

    /// Where a redirect leads. From TLS it leads only to TLS, and to plain HTTP only from and to this machine.
    pub(crate) fn redirect(&self, location: &str) -> Result<Self, String> {
        let origin = format!("{}://{}", self.scheme(), self.authority());
        let url = if location.starts_with("//") {
            Self::parse(&format!("{}:{location}", self.scheme()))
        } else if location.starts_with('/') {
            Self::parse(&format!("{origin}{location}"))
        } else {
            Self::parse(location)
        };
        let url = url.map_err(|_| "it redirects to what is no address".to_owned())?;
        let plain_is_fine = !self.is_https() && self.is_local() && url.is_local();
        if url.is_https() || plain_is_fine { Ok(url) } else { Err("it redirects to an address without TLS".to_owned()) }
    }

    /// Whether two addresses are of one server: scheme, host and port.
    pub(crate) fn same_server(&self, other: &Self) -> bool {
        let port = |url: &Self| url.uri.port_u16().unwrap_or(if url.is_https() { 443 } else { 80 });
        self.scheme() == other.scheme() && self.host().eq_ignore_ascii_case(other.host()) && port(self) == port(other)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme() == "https"
    }

    /// Whether the host is this machine, by a name or number that can mean nothing else.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The host and port, for messages: paths and queries may hold signatures.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or_default()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.uri.to_string();
        f.write_str(if self.uri.path() == "/" { text.trim_end_matches('/') } else { &text })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_redirect_leaves_tls(location in r"(https?:|ftp:)?(/{0,3})([a-z0-9.@:%\[\]#?/\x00-\x20-]{0,30})") {
            let hub = Url::endpoint("https://hub.example/mirror").unwrap();
            if let Ok(url) = hub.redirect(&location) {
                prop_assert!(url.is_https());
                prop_assert!(!url.authority().contains('@'));
            }
        }
    }

    #[test]
    fn parts_are_escaped() {
        let hub = Url::endpoint("https://hub.example/mirror/").unwrap();
        let url = hub.join(["a", "resolve", "refs/pr/1", "ü x?.txt"], "").unwrap();
        assert_eq!(url.to_string(), "https://hub.example/mirror/a/resolve/refs%2Fpr%2F1/%C3%BC%20x%3F.txt");
    }

    #[test]
    fn where_a_redirect_may_lead() {
        let hub = Url::endpoint("https://hub.example/mirror").unwrap();
        let to = |location| hub.redirect(location).map(|url| (url.to_string(), hub.same_server(&url)));
        assert_eq!(to("/a/b?c"), Ok(("https://hub.example/a/b?c".to_owned(), true)));
        assert_eq!(to("https://HUB.example:443/x"), Ok(("https://HUB.example:443/x".to_owned(), true)));
        assert!(!to("https://hub.example:444/x").unwrap().1);
        assert_eq!(to("https://cdn.example/x"), Ok(("https://cdn.example/x".to_owned(), false)));
        assert!(!to("//cdn.example/x").unwrap().1);
        for wrong in [
            "http://hub.example/x",
            "http://127.0.0.1/x",
            "ftp://cdn.example",
            "",
            "x",
            "https://u@cdn.example",
            "file:///etc/passwd",
        ] {
            assert!(to(wrong).is_err(), "{wrong}");
        }
        let local = Url::endpoint("http://127.0.0.1:9").unwrap();
        assert!(local.redirect("http://127.0.0.1:10/x").is_ok());
        assert!(local.redirect("http://cdn.example/x").is_err());
        assert!(local.redirect("https://cdn.example/x").is_ok());
    }
}
