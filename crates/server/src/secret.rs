//! The server's own secret, by which it knows again what it has signed: logins of browsers, and links to images.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result, private_file};

const FILE: &str = "secret";
const BYTES: usize = 32;

/// 256 random bits, kept in the data folder.
pub(crate) struct Secret([u8; BYTES]);

impl Secret {
    /// That of a data folder, which is made at the first start.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let failed = |problem: String| Error::Config(format!("{}: {problem}", path.display()));
        if let Ok(found) = calotype_files::read(&path, BYTES as u64 + 1) {
            let secret = found.try_into().map_err(|_| failed("is not the server's secret: remove it".to_owned()))?;
            return Ok(Self(secret));
        }
        let mut secret = [0; BYTES];
        getrandom::fill(&mut secret).map_err(|error| failed(format!("no random numbers: {error}")))?;
        private_file::write(&path, &secret).map_err(|error| failed(error.to_string()))?;
        Ok(Self(secret))
    }

    /// A signature of a text that is used for something; what is signed for one use is not for another.
    pub(crate) fn sign(&self, used_for: &str, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(used_for, text).finalize().into_bytes())
    }

    /// Whether a signature is that of the text; compared in constant time.
    pub(crate) fn is_signed(&self, used_for: &str, text: &str, signature: &str) -> bool {
        let decoded = URL_SAFE_NO_PAD.decode(signature);
        decoded.is_ok_and(|signature| self.mac(used_for, text).verify_slice(&signature).is_ok())
    }

    fn mac(&self, used_for: &str, text: &str) -> Hmac<Sha256> {
        let mut mac = keyed(&self.0);
        mac.update(used_for.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        mac
    }
}

/// HMAC-SHA-256 with a key.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(never) => unreachable!("{never}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::open(folder.path()).unwrap();
        let signature = secret.sign("login", "k_1.99");
        assert!(Secret::open(folder.path()).unwrap().is_signed("login", "k_1.99", &signature));
        for (used_for, text, signature) in
            [("link", "k_1.99", signature.as_str()), ("login", "k_1.98", &signature), ("login", "k_1.99", "")]
        {
            assert!(!secret.is_signed(used_for, text, signature));
        }
        let other = tempfile::tempdir().unwrap();
        assert!(!Secret::open(other.path()).unwrap().is_signed("login", "k_1.99", &signature));
    }
}
