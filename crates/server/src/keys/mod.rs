//! Keys of people and programs: shown once, kept as hashes.

mod store;

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

pub use store::{KeyStore, NewKey};

use crate::{Error, Result};

/// What every key begins with, so that it is known where it is found.
const PREFIX: &str = "calo_";
/// Bytes of a key that are random.
const RANDOM_BYTES: usize = 32;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Making images.
    Generate,
    /// Looking at one's jobs, and at what the server has.
    Read,
    /// Deciding on images that are held.
    Review,
    /// Reading the audit log.
    Audit,
    /// Keys, and everybody's jobs.
    Admin,
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Generate, Self::Read, Self::Review, Self::Audit, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Read => "read",
            Self::Review => "review",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|scope| scope.id() == text).ok_or_else(|| {
            Error::Key(format!("there is no scope {text:?}: use generate, read, review, audit or admin"))
        })
    }
}

/// What a key may use. What is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Images in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_day: Option<u64>,
    /// Millions of pixels times steps in an hour: an image of 512 × 512 in 20 steps has 5.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mega_pixel_steps_per_hour: Option<u32>,
    /// Jobs that are worked on at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u64>,
    /// Jobs that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u64>,
}

/// A key, without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// By which it is named: `k_1f2e3d4c`.
    pub id: String,
    /// Whose it is, or what for.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
    /// What it may use.
    #[serde(default)]
    pub quotas: Quotas,
    /// SHA-256 of the key, in hexadecimal.
    pub(crate) sha256: String,
}

impl Key {
    /// Whether it counts at a time.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }

    /// Whether it is for something. An administrator may do everything.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whoever uses a server on a machine of their own, without keys.
    pub(crate) fn local() -> Self {
        Self {
            id: "local".to_owned(),
            name: "this machine".to_owned(),
            scopes: Scope::ALL.to_vec(),
            created: 0,
            expires: None,
            revoked: None,
            quotas: Quotas::default(),
            sha256: String::new(),
        }
    }
}

/// A new secret: 256 random bits.
pub(crate) fn new_secret() -> Result<String> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| Error::Key(format!("no random numbers: {error}")))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The hash that a secret is kept as. It is random enough that no slow hash is needed.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
