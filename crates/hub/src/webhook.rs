//! Messages to addresses that others name: only to hosts that are allowed, and never to a machine of one's own network.

use std::{net::IpAddr, time::Duration};

use ureq::{
    Agent,
    config::Config,
    http::{Request, Uri},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use crate::{Environment, Result, error::show, tls, url::Url};

/// How long a host may take for each part of an exchange.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An address that may be told something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook(Url);

impl Webhook {
    /// An address of TLS on one of `hosts`, each as it stands in an address: `example.com` or `example.com:8443`. With `allows_local`
    /// also without TLS on this machine, for trying out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(address: &str, hosts: &[String], allows_local: bool) -> Result<Self, String> {
        let url = Url::endpoint(address)?;
        if !url.is_https() && !allows_local {
            return Err("expected an address that begins with https://".to_owned());
        }
        if !hosts.iter().any(|host| host.eq_ignore_ascii_case(url.authority())) {
            return Err(format!("the host {} is not among those that may be told", show(url.authority())));
        }
        Ok(Self(url))
    }
}

/// Tells webhooks.
pub struct Messenger {
    agent: Agent,
}

impl Messenger {
    /// With the machine's TLS. `allows_local` as in [`Webhook::new`].
    ///
    /// # Errors
    /// There is no TLS for this processor, or its certificates can't be read.
    pub fn new(allows_local: bool) -> Result<Self> {
        let environment = Environment::read()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect could lead anywhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("calotype/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(TIMEOUT * 3))
            .timeout_resolve(Some(TIMEOUT))
            .timeout_connect(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT));
        match tls::config(environment.certificates.as_deref()) {
            Ok(tls) => config = config.tls_config(tls),
            Err(error) if !allows_local => return Err(error),
            Err(_) => {}
        }
        let resolver = Public { inner: DefaultResolver::default(), allows_local };
        Ok(Self { agent: Agent::with_parts(config.build(), DefaultConnector::default(), resolver) })
    }

    /// Sends a message of JSON.
    ///
    /// # Errors
    /// It was not taken: why, in words without the body of the answer.
    pub fn send(&self, to: &Webhook, headers: &[(&str, &str)], body: &[u8]) -> Result<(), String> {
        let mut request = Request::post(to.0.uri()).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| show(&error.to_string()))?;
        let answer = self.agent.run(request).map_err(|error| show(&error.to_string()))?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }
}

/// Names become addresses once, and those of one's own network are none: whoever is connected to is who was checked.
#[derive(Debug)]
struct Public {
    inner: DefaultResolver,
    allows_local: bool,
}

impl Resolver for Public {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = self.inner.resolve(uri, config, timeout)?;
        let mut public = self.empty();
        for address in all.iter() {
            if is_public(address.ip()) || (self.allows_local && address.ip().is_loopback()) {
                public.push(*address);
            }
        }
        if public.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(public) }
    }
}

/// Whether an address is one of the whole internet's (IANA's registries of special-purpose addresses).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_special = match a {
                0 | 10 | 127 | 224.. => true,
                100 => (64..128).contains(&b),
                169 => b == 254,
                172 => (16..32).contains(&b),
                192 => (b == 0 && matches!(c, 0 | 2)) || (b == 88 && c == 99) || b == 168,
                198 => matches!(b, 18 | 19) || (b == 51 && c == 100),
                203 => b == 0 && c == 113,
                _ => false,
            };
            !is_special
        }
        // What stands for an address of IPv4 is that address.
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, ..] | [0x2002, ..] => false,
            [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
            [first, ..] => (0x2000..0x4000).contains(&first),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ones_own_network_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    /// In all spellings: what is not the very host in the list is refused before any name is looked up.
    #[test]
    fn only_allowed_hosts_are_told() {
        let hosts = ["hooks.example.com".to_owned(), "hooks.example.com:8443".to_owned()];
        for good in ["https://hooks.example.com/x", "https://HOOKS.example.com/a/b", "https://hooks.example.com:8443/"]
        {
            assert!(Webhook::new(good, &hosts, false).is_ok(), "{good}");
        }
        let inside = [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0",
            "0.0.0.0",
            "10.0.0.1",
            "169.254.169.254",
            "192.168.0.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "metadata.google.internal",
            "hooks.example.com.evil.example",
            "evil-hooks.example.com",
            "hooks.example.com.",
            "hooks.example.com%00.evil",
            "xn--hooks-example-com",
            "hooks.example.com@127.0.0.1",
            "127.0.0.1#@hooks.example.com",
            "127.0.0.1?hooks.example.com",
            "127.0.0.1\\@hooks.example.com",
            "hooks.example.com:80",
            "hooks.example.com:0",
            "hooks.example.com:99999",
            "ⓗooks.example.com",
            "hooks。example。com",
        ];
        let schemes = [
            "https://",
            "http://",
            "HTTPS://",
            "ftp://",
            "file://",
            "gopher://",
            "//",
            "https:",
            "https:///",
            " https://",
        ];
        let mut payloads = 0;
        for scheme in schemes {
            for host in inside {
                for path in ["", "/", "/latest/meta-data/"] {
                    payloads += 1;
                    let address = format!("{scheme}{host}{path}");
                    assert!(Webhook::new(&address, &hosts, false).is_err(), "{address}");
                }
            }
        }
        assert!(payloads >= 300);
        assert!(Webhook::new("http://hooks.example.com/", &hosts, false).is_err());
        assert!(Webhook::new("http://127.0.0.1:9/", &["127.0.0.1:9".to_owned()], true).is_ok());
    }

    /// A name in the list may lead to one's own network: then nobody is told.
    #[test]
    fn an_allowed_name_that_leads_inside_is_not_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let webhook = Webhook::new(&format!("http://{address}/"), &[address], true).unwrap();
        let refused = Messenger::new(false).map(|messenger| messenger.send(&webhook, &[], b"{}"));
        // Where there is no TLS there is no messenger.
        assert!(refused.is_err() || refused.is_ok_and(|sent| sent.is_err()));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }
}
