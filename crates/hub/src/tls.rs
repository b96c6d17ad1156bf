//! Which TLS.
//!
//! rustls with [graviola](https://github.com/ctz/graviola) for the arithmetic: it builds with the Rust compiler alone,
//! where *ring* and aws-lc-rs need a C compiler. It exists for x86-64 (with AES, AVX2, BMI and ADX) and for ARM64 (with AES
//! and SHA-2); on other processors only a hub on this machine can be asked, and the message says so. The certificates
//! trusted are Mozilla's, or those of the file `SSL_CERT_FILE`.

use std::{path::Path, sync::Arc};

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::{Environment, Error, Result};

/// The TLS of a client, or why there is none on this processor.
pub(crate) fn config(certificates: Option<&Path>) -> Result<TlsConfig> {
    let provider = provider().ok_or_else(|| Error::Network {
        host: "TLS".to_owned(),
        problem:
            "there is none for this processor: it needs x86-64 with AES, AVX2, BMI and ADX, or ARM64 with AES and \
                  SHA-2; download the files in another way, and give their folder with --model"
                .to_owned(),
    })?;
    let roots = certificates.map_or(Ok(RootCerts::WebPki), read)?;
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(Arc::new(provider)).build())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn provider() -> Option<rustls::crypto::CryptoProvider> {
    // graviola panics on processors that lack what it needs.
    graviola::util::is_cpu_supported().then(rustls_graviola::default_provider)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn provider() -> Option<rustls::crypto::CryptoProvider> {
    None
}

/// The largest file of certificates: a system's has some hundreds of kilobytes.
const MOST_BYTES: u64 = 16 << 20;

/// The certificates of a file.
fn read(file: &Path) -> Result<RootCerts> {
    let problem = |problem: &str| Environment::certificates_problem(file, problem);
    let bytes = calotype_files::read(file, MOST_BYTES).map_err(|error| problem(&format!("cannot be read: {error}")))?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(problem("has no certificate in it: expected PEM"));
    }
    Ok(RootCerts::from(certificates))
}
