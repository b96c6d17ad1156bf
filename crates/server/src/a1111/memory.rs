//! What is remembered of A1111's clients: the options of each key, their names of tasks, and hashes of models.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use calotype_queue::JobId;

use super::settings::Settings;

/// Tasks that are remembered; the oldest go.
const MAX_TASKS: usize = 10_000;

/// Gone with the process.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    settings: HashMap<String, Settings>,
    tasks: VecDeque<Task>,
    hashes: HashMap<String, String>,
}

/// A name that a client follows a job by.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) job: JobId,
}

impl Memory {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The options of a key.
    pub(super) fn settings(&self, key: &str) -> Settings {
        self.inner().settings.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn set_settings(&self, key: &str, settings: Settings) {
        self.inner().settings.insert(key.to_owned(), settings);
    }

    pub(super) fn add_task(&self, task: Task) {
        let mut inner = self.inner();
        inner.tasks.retain(|known| (&known.owner, &known.name) != (&task.owner, &task.name));
        if inner.tasks.len() >= MAX_TASKS {
            inner.tasks.pop_front();
        }
        inner.tasks.push_back(task);
    }

    /// The job of a key's task.
    pub(super) fn task(&self, owner: &str, name: &str) -> Option<JobId> {
        let inner = self.inner();
        inner.tasks.iter().rev().find(|task| task.owner == owner && task.name == name).map(|task| task.job)
    }

    /// The tasks of a key, the oldest first.
    pub(super) fn tasks(&self, owner: &str) -> Vec<Task> {
        self.inner().tasks.iter().filter(|task| task.owner == owner).cloned().collect()
    }

    pub(super) fn hash(&self, model: &str) -> Option<String> {
        self.inner().hashes.get(model).cloned()
    }

    pub(super) fn learn_hash(&self, model: &str, hash: &str) {
        self.inner().hashes.insert(model.to_owned(), hash.to_owned());
    }

    /// Models may have changed.
    pub(super) fn forget_hashes(&self) {
        self.inner().hashes.clear();
    }
}
