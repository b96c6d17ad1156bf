//! Reading a manifest.

use std::io::Cursor;

use c2pa::{Context, Reader, ValidationState};
use serde_json::{Value, json};

use super::mime_of;

/// What a file's manifest says, and whether that can be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whether the file is as it was signed.
    pub is_valid: bool,
    /// Whether the signer's certificate comes from a root that was given.
    pub is_trusted: bool,
    /// Who signed, as the certificate has it.
    pub signer: Option<String>,
    /// What is wrong, in C2PA's codes. `signingCredential.untrusted` is there if no root was given.
    pub problems: Vec<String>,
    /// All that c2pa-rs reports of the manifest and those in it.
    pub json: Value,
}

/// The manifest of a file, if it has one; damage of it is in the report. `root` are certificates to trust (PEM). Nothing is fetched.
#[must_use]
pub fn read(file: &[u8], root: Option<&str>) -> Option<Report> {
    let context = match root {
        Some(root) => Context::new().with_settings(json!({ "trust": { "user_anchors": root } })).ok()?,
        None => Context::new(),
    };
    let reader = match Reader::from_context(context).with_stream(mime_of(file), Cursor::new(file)) {
        Ok(reader) => reader,
        Err(c2pa::Error::JumbfNotFound | c2pa::Error::UnsupportedType) => return None,
        Err(error) => {
            let problems = vec![error.to_string()];
            return Some(Report { is_valid: false, is_trusted: false, signer: None, problems, json: Value::Null });
        }
    };
    let state = reader.validation_state();
    let signature = reader.active_manifest().and_then(|manifest| manifest.signature_info());
    let problems = reader.validation_status().unwrap_or_default();
    Some(Report {
        is_valid: matches!(state, ValidationState::Valid | ValidationState::Trusted),
        is_trusted: state == ValidationState::Trusted,
        signer: signature.and_then(|signature| signature.common_name.clone().or_else(|| signature.issuer.clone())),
        problems: problems.iter().map(|problem| problem.code().to_owned()).collect(),
        json: serde_json::from_str(&reader.json()).unwrap_or_default(),
    })
}
