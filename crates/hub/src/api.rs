//! What the hub says of a model: `GET /api/models/<id>/revision/<revision>`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, License, ModelId, Result, Url, Watch,
    client::{Client, Subject},
    error::{json_problem, show},
    id::is_commit,
    retry::retrying,
};

/// The most bytes of an answer, and the most files of a model.
const MOST_BYTES: u64 = 16 << 20;
const MOST_FILES: usize = 20_000;

/// A model on the hub, at one commit.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// What was asked for.
    pub id: ModelId,
    /// The commit that the revision means now.
    pub commit: String,
    /// Its files. Their paths are the model's authors', unchecked.
    pub files: Vec<RemoteFile>,
    /// Its licence, as its card has it.
    pub license: License,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path, with `/`.
    pub path: String,
    /// Its bytes, if the hub says how many.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    tags: Value,
}

#[derive(Deserialize)]
struct Sibling {
    #[serde(rename = "rfilename")]
    path: String,
    #[serde(default)]
    size: Option<u64>,
}

/// Asks the hub.
pub(crate) fn model(client: &Client, id: &ModelId, backoff: Duration, watch: &mut dyn Watch) -> Result<ModelInfo> {
    let repository = id.repository();
    let parts = ["api", "models"].into_iter().chain(repository.split('/')).chain(["revision", id.revision()]);
    let url = client.hub.join(parts, "?blobs=true").map_err(Error::Request)?;
    let name = id.to_string();
    let subject = Subject { model: &name, repository, path: None };
    let body = retrying(backoff, watch, || client.get(&url, None, subject)?.into_body().read_all(MOST_BYTES))?;
    let Some(body) = body else {
        let problem = format!("more than {} MiB of it", MOST_BYTES >> 20);
        return Err(Error::answer(said_of(id, &client.hub), problem));
    };
    ModelInfo::from_json(&body, id, &client.hub)
}

/// What messages call an answer.
fn said_of(id: &ModelId, hub: &Url) -> String {
    format!("what {hub} says of {id}")
}

impl ModelInfo {
    /// Reads what `hub` says of the model `id`.
    ///
    /// # Errors
    /// It is not what a hub says, or more than one says.
    pub fn from_json(body: &[u8], id: &ModelId, hub: &Url) -> Result<Self> {
        let what = || said_of(id, hub);
        let answer: Answer = serde_json::from_slice(body).map_err(|error| {
            let problem = format!("not what a hub says: {}; check HF_ENDPOINT", json_problem(&error));
            Error::answer(what(), problem)
        })?;
        if !is_commit(&answer.sha) {
            return Err(Error::answer(what(), format!("{} is no commit; check HF_ENDPOINT", show(&answer.sha))));
        }
        if answer.siblings.len() > MOST_FILES {
            let problem = format!("{} files, and no model has more than {MOST_FILES}", answer.siblings.len());
            return Err(Error::answer(what(), problem));
        }
        let page = format!("{hub}/{}", id.repository());
        let license = License::new(&answer.card, &answer.tags, &page, &answer.sha);
        let files =
            answer.siblings.into_iter().map(|sibling| RemoteFile { path: sibling.path, size: sibling.size }).collect();
        Ok(Self { id: id.clone(), commit: answer.sha, files, license })
    }
}
