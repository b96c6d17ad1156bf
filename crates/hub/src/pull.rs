//! A pull, step by step.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use crate::{
    Cache, Disk, Environment, Error, ModelId, ModelInfo, Result, Selection, SystemDisk, Watch, api,
    client::{Answer, Client, Subject},
    digest::Checksum,
    download::Download,
    error::{show, show_path},
    license,
    retry::{Trouble, retrying},
};

/// What a program may choose beside the environment.
pub struct Options {
    /// The disk that the cache is on.
    pub disk: Box<dyn Disk>,
    /// The wait after a first failure; it doubles with each one after.
    pub backoff: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { disk: Box::new(SystemDisk), backoff: Duration::from_millis(500) }
    }
}

/// A hub and the cache of its models.
pub struct Hub {
    client: Client,
    cache: Cache,
    options: Options,
    offline: bool,
}

/// The files to have, their sizes and their checksums.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model.
    pub id: ModelId,
    /// The commit of which the files are.
    pub commit: String,
    /// The files.
    pub files: Vec<Planned>,
}

/// A file of a plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its path in the repository.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its checksum; none if the cache has the file.
    checksum: Option<Checksum>,
}

impl Planned {
    /// Whether the cache has the file already.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.checksum.is_none()
    }
}

impl Hub {
    /// The hub and the cache of an environment.
    ///
    /// # Errors
    /// There is no TLS for this processor, or its certificates can't be read.
    pub fn new(environment: &Environment, options: Options) -> Result<Self> {
        let client = Client::new(environment)?;
        Ok(Self { client, cache: Cache::new(&environment.cache), options, offline: environment.offline })
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Asks the hub what a model is.
    ///
    /// # Errors
    /// The hub can't be reached or is not to be used, or has no such model, or not for this token.
    pub fn model(&self, id: &ModelId, watch: &mut dyn Watch) -> Result<ModelInfo> {
        if self.offline {
            return Err(Error::Offline { id: id.to_string() });
        }
        api::model(&self.client, id, self.options.backoff, watch)
    }

    /// Whether the licence of a model was accepted before.
    #[must_use]
    pub fn is_accepted(&self, model: &ModelInfo) -> bool {
        license::is_accepted(&self.cache.repository(model.id.repository()).licenses(), &model.license)
    }

    /// Notes in the cache that the licence of a model is accepted.
    ///
    /// # Errors
    /// The cache can't be written.
    pub fn accept(&self, model: &ModelInfo) -> Result<()> {
        self.cache.create()?;
        let repository = self.cache.repository(model.id.repository());
        repository.create()?;
        license::accept(&repository.licenses(), &model.license, &model.commit)
    }

    /// Picks the files to have, and asks for the size and the checksum of those that the cache lacks.
    ///
    /// # Errors
    /// There is nothing to pick, a path is not one, or the hub fails.
    pub fn plan(&self, model: &ModelInfo, selection: &Selection, watch: &mut dyn Watch) -> Result<Plan> {
        let repository = self.cache.repository(model.id.repository());
        let sizes: HashMap<&str, Option<u64>> =
            model.files.iter().map(|file| (file.path.as_str(), file.size)).collect();
        let name = model.id.to_string();
        let mut files = Vec::new();
        for path in selection.paths(model)? {
            let size = sizes.get(path.as_str()).copied().flatten();
            // A link to a blob that is gone is no file.
            let file = match repository.pointer(&model.commit, &path).metadata() {
                Ok(metadata) => Planned { size: metadata.len(), checksum: None, path },
                Err(_) => self.ask(model, &name, path, size, watch)?,
            };
            files.push(file);
        }
        Ok(Plan { id: model.id.clone(), commit: model.commit.clone(), files })
    }

    /// The size and checksum of a file.
    fn ask(
        &self,
        model: &ModelInfo,
        name: &str,
        path: String,
        size: Option<u64>,
        watch: &mut dyn Watch,
    ) -> Result<Planned> {
        let subject = Subject { model: name, repository: model.id.repository(), path: Some(&path) };
        let url = self.url(&model.id, &model.commit, &path)?;
        let what = || format!("{}: what {} says of {}", model.id, self.client.hub, show(&path));
        let says_enough: fn(&Answer) -> bool = |answer| answer.header("x-linked-etag").is_some();
        let (checksum, said) = retrying(self.options.backoff, watch, || {
            let answer = self.client.head(&url, subject, says_enough)?;
            let wrong = |problem: &str| Trouble::Lasting(Error::answer(what(), problem));
            if answer.header("x-repo-commit") != Some(model.commit.as_str()) {
                return Err(wrong("it is not of the commit that was asked for; check HF_ENDPOINT"));
            }
            let linked = answer.header("x-linked-etag");
            let checksum = linked.or_else(|| answer.header("etag")).and_then(Checksum::from_etag);
            let checksum = checksum.ok_or_else(|| wrong("its ETag is no checksum; check HF_ENDPOINT"))?;
            let said = match answer.header("x-linked-size") {
                Some(size) => size.trim().parse().ok(),
                // Of a redirect it would be the length of the redirect.
                None => answer.content_length().filter(|_| answer.status == 200),
            };
            Ok((checksum, said))
        })?;
        let size = said.or(size).ok_or_else(|| Error::answer(what(), "no size; check HF_ENDPOINT"))?;
        Ok(Planned { path, size, checksum: Some(checksum) })
    }

    /// Downloads what the cache lacks, and says where the model is: a folder, or a file.
    ///
    /// # Errors
    /// The network, the hub or the disk fails, or what comes is not what the hub announced, or the watch stops it.
    /// What is downloaded stays, and the next download goes on from there.
    pub fn download(&self, plan: &Plan, watch: &mut dyn Watch) -> Result<PathBuf> {
        let repository = self.cache.repository(plan.id.repository());
        self.cache.create()?;
        repository.create()?;
        self.check_room(plan)?;
        let name = plan.id.to_string();
        for file in &plan.files {
            if let Some(checksum) = &file.checksum {
                let blob = repository.blob(checksum.hex());
                let lock = repository.lock(checksum.hex(), &file.path, watch)?;
                if !blob.exists() {
                    let download = Download {
                        client: &self.client,
                        disk: self.options.disk.as_ref(),
                        backoff: self.options.backoff,
                        url: self.url(&plan.id, &plan.commit, &file.path)?,
                        subject: Subject { model: &name, repository: plan.id.repository(), path: Some(&file.path) },
                        path: &file.path,
                        size: file.size,
                        checksum,
                    };
                    download.run(&repository.incomplete(checksum.hex()), &blob, watch)?;
                }
                repository.link(checksum.hex(), &plan.commit, &file.path)?;
                drop(lock);
            }
            if watch.event(crate::Event::Done { path: &file.path }).is_break() {
                return Err(Error::Stopped);
            }
        }
        // Last, so that a revision is never found before it is whole.
        repository.set_reference(plan.id.revision(), &plan.commit)?;
        Ok(repository.model(&plan.commit))
    }

    /// Whether the disk has room for what is missing.
    fn check_room(&self, plan: &Plan) -> Result<()> {
        let repository = self.cache.repository(plan.id.repository());
        let missing = |file: &Planned| {
            let Some(checksum) = &file.checksum else { return 0 };
            let length = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
            let there = length(repository.blob(checksum.hex())).max(length(repository.incomplete(checksum.hex())));
            file.size.saturating_sub(there)
        };
        let needed = plan.files.iter().map(missing).fold(0, u64::saturating_add);
        let Some(available) = self.options.disk.available(self.cache.root()) else { return Ok(()) };
        if needed <= available {
            return Ok(());
        }
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let problem = format!(
            "{} needs {} and there are {}: make room, or set HF_HOME to another disk",
            plan.id,
            megabytes(needed),
            megabytes(available)
        );
        Err(Error::DiskFull { folder: show_path(self.cache.root()), problem })
    }

    fn url(&self, id: &ModelId, commit: &str, path: &str) -> Result<crate::url::Url> {
        let parts = id.repository().split('/').chain(["resolve", commit]).chain(path.split('/'));
        self.client.hub.join(parts, "").map_err(Error::Request)
    }
}
