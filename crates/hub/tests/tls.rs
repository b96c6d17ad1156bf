//! TLS, by the certificates in `tls/`: a root, and `localhost` under it, from 2020 to 2120.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use calotype_hub::{Environment, Hub, ModelInfo, Options, Result, Silent};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

const COMMIT: &str = "1234567890abcdef1234567890abcdef12345678";

/// A server that says to all who ask over TLS of this version that a model has no files, and its port.
fn server(version: &'static rustls::SupportedProtocolVersion) -> u16 {
    let certificates =
        CertificateDer::pem_slice_iter(include_bytes!("tls/localhost.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/localhost.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut tls = Stream::new(&mut connection, &mut stream);
            let body = format!("{{\"sha\": \"{COMMIT}\"}}");
            // A client that does not trust the certificate hangs up.
            let _ = tls.read(&mut [0; 4096]).and_then(|_| {
                write!(tls, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
                tls.conn.send_close_notify();
                tls.flush()
            });
        }
    });
    port
}

fn ask(host: &str, port: u16, certificates: Option<&Path>) -> Result<ModelInfo> {
    let home = tempfile::tempdir().unwrap();
    let get = |name: &str| match name {
        "HF_HOME" => Some(home.path().as_os_str().to_owned()),
        "HF_ENDPOINT" => Some(OsString::from(format!("https://{host}:{port}"))),
        "SSL_CERT_FILE" => certificates.map(|file| file.as_os_str().to_owned()),
        _ => None,
    };
    let options = Options { backoff: Duration::from_millis(1), ..Options::default() };
    let hub = Hub::new(&Environment::from_variables(get)?, options)?;
    hub.model(&"org/name".parse()?, &mut Silent)
}

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

#[test]
fn a_trusted_server_is_asked() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let model = ask("localhost", server(version), Some(&file("root.pem"))).unwrap();
        assert_eq!(model.commit, COMMIT);
    }
}

#[test]
fn another_certificate_is_refused_at_once() {
    let port = server(&rustls::version::TLS13);
    // Mozilla's roots do not know it.
    let error = ask("localhost", port, None).unwrap_err().to_string();
    assert_eq!(error, format!("localhost:{port}: invalid peer certificate: UnknownIssuer"));
    // It is of another name.
    let error = ask("127.0.0.1", port, Some(&file("root.pem"))).unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate: certificate not valid for name"), "{error}");
}

#[test]
fn files_without_certificates() {
    let key = file("localhost.key");
    let error = ask("localhost", 1, Some(&key)).unwrap_err().to_string();
    assert_eq!(error, format!("SSL_CERT_FILE: {}: has no certificate in it: expected PEM", key.display()));
    let error = ask("localhost", 1, Some(Path::new("/no/such/file"))).unwrap_err().to_string();
    assert!(error.starts_with("SSL_CERT_FILE: /no/such/file: cannot be read: "), "{error}");
}
