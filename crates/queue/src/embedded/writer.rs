//! The thread that writes: one transaction for all changes that wait.

use std::{
    sync::{
        Arc, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
};

use super::{Fault, Store, storage, tables::Tables};
use crate::{Error, Result};

/// Changes that are committed together at most: with more the first would wait too long.
const MOST: usize = 256;

#[derive(Debug)]
pub(super) struct Writer {
    /// None once the writer ends.
    changes: Option<Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
}

/// A change that somebody waits for.
trait Change: Send {
    /// Makes it, and keeps what came of it until the commit.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;
    /// Tells who waits.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Waiting<R, F> {
    work: Option<F>,
    result: Option<Result<R>>,
    to: SyncSender<Result<R>>,
}

impl<R: Send, F: FnOnce(&mut Tables<'_>) -> Result<R, Fault> + Send> Change for Waiting<R, F> {
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        self.result = match self.work.take().map(|work| work(tables)) {
            Some(Ok(result)) => Some(Ok(result)),
            Some(Err(Fault::Refused(error))) => Some(Err(error)),
            Some(Err(Fault::Broken(error))) => return Err(error),
            None => None,
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let Self { result, to, .. } = *self;
        // Who no longer waits needs no answer.
        let _ = to.send(committed.and_then(|()| result.unwrap_or(Err(Error::Closed))));
    }
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Result<Self> {
        let (changes, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("queue".to_owned()).spawn(move || write(&store, &waiting));
        let thread = thread.map_err(|error| Error::Storage(format!("no thread for the writer: {error}")))?;
        Ok(Self { changes: Some(changes), thread: Some(thread) })
    }

    pub(super) fn change<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R> {
        let (to, answer) = mpsc::sync_channel(1);
        let change = Box::new(Waiting { work: Some(work), result: None, to });
        let changes = self.changes.as_ref().ok_or(Error::Closed)?;
        changes.send(change).map_err(|_| Error::Closed)?;
        answer.recv().map_err(|_| Error::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(store: &Store, waiting: &Receiver<Box<dyn Change>>) {
    while let Ok(first) = waiting.recv() {
        let mut changes = vec![first];
        changes.extend(waiting.try_iter().take(MOST - 1));
        let committed = commit(store, &mut changes).map_err(|error| {
            tracing::error!(%error, changes = changes.len(), "the queue's storage failed");
            // Redb takes nothing more after a failure. Who asks next may find the disk well again.
            if let Err(error) = store.reopen() {
                tracing::error!(%error, "the queue can't be opened again");
            }
            storage(&error)
        });
        changes.into_iter().for_each(|change| change.answer(committed.clone()));
    }
}

/// Makes changes and commits them with one write to the disk.
fn commit(store: &Store, changes: &mut [Box<dyn Change>]) -> Result<(), redb::Error> {
    if store.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
        store.reopen()?;
    }
    let database = store.database.read().unwrap_or_else(PoisonError::into_inner);
    let Some(database) = database.as_ref() else { return Err(redb::Error::DatabaseClosed) };
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        changes.iter_mut().try_for_each(|change| change.apply(&mut tables))?;
    }
    Ok(transaction.commit()?)
}
