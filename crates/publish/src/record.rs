//! The lines of the audit log.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use calotype::{Request, adapters::AdapterMetadata, metadata::Metadata};
use calotype_safety::{
    Error as SafetyError,
    audit::{Entry, Head, Kind, Log, Prompt, Query, Score},
    policy::{JudgedScore, Verdict},
};

use crate::{Note, Publisher, Result};

/// Whom a line is about, as far as it is known and to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who asks: a person, or the user of this machine.
    pub who: Option<String>,
    /// The id of the key that is asked with, never the key.
    pub key_id: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// The job that it became.
    pub job_id: Option<String>,
}

/// A file as it is given out, and what is known of its image.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// What [`Publisher::file`] left.
    pub metadata: &'a Metadata,
    /// The file's bytes.
    pub file: &'a [u8],
}

impl Made<'_> {
    /// The entry with the hash of the file's pixels, as they are read back from it, and with the id in its mark.
    pub(crate) fn in_entry(self, entry: Entry) -> Entry {
        let pixels_sha256 = match Query::image(self.file) {
            Query::Image { pixels_sha256, .. } => pixels_sha256,
            Query::Watermark(_) => None,
        };
        Entry { pixels_sha256, watermark_id: watermark_id(self.metadata), ..entry }
    }
}

/// The audit log, if there is one.
pub(crate) struct Record {
    log: Option<(PathBuf, Mutex<Log>)>,
    mended: Option<Note>,
    hash_prompts: bool,
    rules_sha256: Option<String>,
}

impl Publisher {
    /// Where the audit log is, if there is one.
    #[must_use]
    pub fn audit(&self) -> Option<&Path> {
        self.record.log.as_ref().map(|(path, _)| path.as_path())
    }

    /// What was done to the log when it was opened, because a crash had cut its last line.
    #[must_use]
    pub fn mended(&self) -> Option<&Note> {
        self.record.mended.as_ref()
    }

    /// The last line of the log, if there is one, for whoever keeps it elsewhere.
    ///
    /// # Errors
    /// A thread failed while it wrote a line.
    pub fn audit_head(&self) -> Result<Option<Head>> {
        self.record.with_log(|log| Ok(log.head().clone()))
    }

    /// Writes the head of the log to a file elsewhere ([`Log::anchor`]), if there is a log.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn anchor(&self, file: &Path) -> Result<()> {
        self.record.with_log(|log| log.anchor(file)).map(drop)
    }

    /// Writes the line of an image whose file is about to be seen at `place`: a path, of which the log has the name, or an id. After an
    /// error it must not be seen.
    ///
    /// # Errors
    /// What the log gives.
    pub fn record(&self, made: Made<'_>, verdict: Option<&Verdict>, place: &Path, origin: &Origin) -> Result<()> {
        // Reading the pixels back takes time.
        if self.record.log.is_none() {
            return Ok(());
        }
        let entry = self.record.of_image(Kind::Made, made.metadata, verdict, origin);
        self.record.append(&made.in_entry(entry).of_file(place, made.file))
    }

    /// Writes the line that a model's licence was accepted.
    ///
    /// # Errors
    /// What the log gives.
    pub fn record_license(&self, model: &str, license: &str, origin: &Origin) -> Result<()> {
        let reason = Some(format!("{license} of the model {model}"));
        self.record.append(&Entry { reason, ..of_origin(Kind::Accepted, origin) })
    }
}

impl Record {
    pub(crate) fn open(path: Option<PathBuf>, hash_prompts: bool, rules_sha256: Option<String>) -> Result<Self> {
        let log = path.as_deref().map(Log::open).transpose()?;
        let mended = log.as_ref().and_then(Log::mended);
        let mended = mended.map(|mended| Note::MendedLog { cut_bytes: mended.cut_bytes });
        Ok(Self { log: path.zip(log.map(Mutex::new)), mended, hash_prompts, rules_sha256 })
    }

    pub(crate) fn append(&self, entry: &Entry) -> Result<()> {
        self.with_log(|log| log.append(entry)).map(drop)
    }

    fn with_log<T>(&self, work: impl FnOnce(&mut Log) -> Result<T, SafetyError>) -> Result<Option<T>> {
        let Some((path, log)) = &self.log else { return Ok(None) };
        let lost = |_| {
            // What is on the disk may not be what the log has in mind.
            let problem = "a thread failed while it wrote a line: start this program again".to_owned();
            SafetyError::Audit { path: path.clone(), problem }
        };
        Ok(Some(work(&mut *log.lock().map_err(lost)?)?))
    }

    pub(crate) fn of_image(
        &self,
        kind: Kind,
        metadata: &Metadata,
        verdict: Option<&Verdict>,
        origin: &Origin,
    ) -> Entry {
        let adapter = |adapter: &AdapterMetadata| format!("{} {}", adapter.name, adapter.sha256);
        let entry = Entry {
            model_sha256: Some(metadata.model_hash.clone()),
            adapters: metadata.adapters.iter().map(adapter).collect(),
            rules_sha256: self.rules_sha256.clone(),
            watermark_id: watermark_id(metadata),
            ..self.of_request(kind, &metadata.request, origin)
        };
        judged(entry, verdict)
    }

    pub(crate) fn of_request(&self, kind: Kind, request: &Request, origin: &Origin) -> Entry {
        let prompt = |text: &str| match self.hash_prompts {
            true => Prompt::hashed(text),
            false => Prompt::Text(text.to_owned()),
        };
        let negative = Some(&request.negative_prompt).filter(|text| !text.is_empty());
        Entry {
            prompt: Some(prompt(&request.prompt)),
            negative_prompt: negative.map(|text| prompt(text)),
            seed: Some(request.seed),
            ..of_origin(kind, origin)
        }
    }
}

fn of_origin(kind: Kind, origin: &Origin) -> Entry {
    let Origin { who, key_id, request_id, job_id } = origin.clone();
    Entry { who, key_id, request_id, job_id, ..Entry::new(kind) }
}

/// The id in an image's mark.
fn watermark_id(metadata: &Metadata) -> Option<String> {
    metadata.watermark.as_ref()?.id.clone()
}

/// An entry with what the classifiers said.
pub(crate) fn judged(entry: Entry, verdict: Option<&Verdict>) -> Entry {
    let Some(verdict) = verdict else { return entry };
    let score = |score: &JudgedScore| Score {
        classifier: format!("{} {}", score.classifier, score.version),
        name: score.score.clone(),
        value: score.value,
        threshold: score.block.or(score.flag),
    };
    Entry { scores: verdict.scores.iter().map(score).collect(), verdict: Some(verdict.action.id().to_owned()), ..entry }
}
