//! What a line of the log says.

use serde::{Deserialize, Serialize};

use crate::digest::sha256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An image was made and given out.
    Made,
    /// A request was refused, by a rule or a classifier.
    Refused,
    /// An image was made and is held for a person to look at.
    Held,
    /// A held image was given out.
    Released,
    /// A held image was taken away.
    Rejected,
    /// A licence was accepted.
    Accepted,
    /// The log's last line had been cut by a crash, and was taken away.
    Mended,
}

/// A prompt, as the policy wants it kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// As it was written.
    Text(String),
    /// Its SHA-256, in hexadecimal. A short prompt can be found by trying.
    Sha256(String),
}

impl Prompt {
    /// The hash of a prompt.
    #[must_use]
    pub fn hashed(text: &str) -> Self {
        Self::Sha256(sha256(text.as_bytes()))
    }
}

/// What a classifier said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The classifier, with its version.
    pub classifier: String,
    /// The name of the score.
    pub name: String,
    /// The score.
    pub value: f32,
    /// The threshold that it was held against, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
}

/// A line of the log, but for its number, time and hashes. What is not known is left out of the line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub kind: Kind,
    /// The request that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The job that it belongs to, where requests become jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The id of the key that was asked with, never the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Who asked, or decided: the id of a key or a person, never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// The negative prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<Prompt>,
    /// The seed of the noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The model's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// The adapters, each with its hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<String>,
    /// The hash of the file of prompt rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_sha256: Option<String>,
    /// The ids of the rules that refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// What the classifiers said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Score>,
    /// What the policy made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why, in a person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id in the image's watermark, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_id: Option<String>,
    /// SHA-256 of the image's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_sha256: Option<String>,
    /// SHA-256 of the image's RGB values, rows from the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels_sha256: Option<String>,
    /// The name of the image's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The id of a held image, of the lines that it was held, released or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_id: Option<String>,
    /// SHA-256 of the file that is held, of which `file` is a blurred copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_sha256: Option<String>,
    /// Of a mended log, how many bytes of a line were taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_bytes: Option<u64>,
}

impl Entry {
    /// A line that says nothing but what happened.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            request_id: None,
            job_id: None,
            key_id: None,
            who: None,
            prompt: None,
            negative_prompt: None,
            seed: None,
            model_sha256: None,
            adapters: Vec::new(),
            rules_sha256: None,
            rules: Vec::new(),
            scores: Vec::new(),
            verdict: None,
            reason: None,
            watermark_id: None,
            file_sha256: None,
            pixels_sha256: None,
            file: None,
            held_id: None,
            original_sha256: None,
            cut_bytes: None,
        }
    }
}
