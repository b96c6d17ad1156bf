//! The two checksums of the hub, by which it also names the blobs of its cache.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::id::is_lower_hex;

/// What a file's content must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Of the content: files in large-file storage.
    Sha256(String),
    /// Of `blob <size>\0` and the content, as git names it: small files.
    GitBlob(String),
}

impl Checksum {
    /// The checksum that an `ETag` is: 64 or 40 hexadecimal digits, perhaps in quotes and marked as weak.
    pub(crate) fn from_etag(etag: &str) -> Option<Self> {
        let etag = etag.trim();
        let text = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        match text.len() {
            64 if is_lower_hex(text) => Some(Self::Sha256(text.to_owned())),
            40 if is_lower_hex(text) => Some(Self::GitBlob(text.to_owned())),
            _ => None,
        }
    }

    /// The digits, which are also the name of the blob.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    /// Begins to hash a file of `size` bytes.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::GitBlob(_) => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// What is wrong, if something is.
    pub(crate) fn problem(&self, hasher: Hasher) -> Option<String> {
        let (kind, found) = match hasher {
            Hasher::Sha256(hasher) => ("SHA-256", hex(&hasher.finalize())),
            Hasher::GitBlob(hasher) => ("git's SHA-1", hex(&hasher.finalize())),
        };
        let wanted = self.hex();
        (found != wanted).then(|| format!("{kind} is {}…, but the hub says {}…", &found[..12], &wanted[..12]))
    }
}

/// A checksum under way.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | git hash-object --stdin`, `printf hello | sha256sum`.
    #[test]
    fn as_git_and_sha256sum_compute_them() {
        let known = [
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ];
        for etag in known {
            for written in [etag.to_owned(), format!("\"{etag}\""), format!("W/\"{etag}\"")] {
                let checksum = Checksum::from_etag(&written).unwrap();
                assert_eq!(checksum.hex(), etag);
                let mut hasher = checksum.hasher(5);
                hasher.update(b"hel");
                hasher.update(b"lo");
                assert_eq!(checksum.problem(hasher), None);
                assert!(checksum.problem(checksum.hasher(5)).unwrap().contains(&etag[..12]));
            }
        }
        for wrong in [
            "",
            "\"\"",
            "abc",
            "../../x",
            &"g".repeat(40),
            &"A".repeat(64),
            "\"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0-1\"",
        ] {
            assert_eq!(Checksum::from_etag(wrong), None, "{wrong}");
        }
    }
}
