//! The engine in a file of its own, by `redb`: many readers, and one writer that commits what has come together.

mod changes;
mod record;
mod tables;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
};

use crate::{
    Beat, Clock, Counts, Decision, Error, Event, Job, JobId, Lease, List, NewJob, Outcome, Queue, Result, State,
    Submitted, Worker, wall_clock,
};
use tables::{
    BY_OWNER, BY_PLACE, EVENTS, EVENTS_BY_JOB, EVENTS_BY_OWNER, JOBS, META, OWNERS, QUEUED, READY, RESULTS, Tables,
    WITH_WORKERS,
};
use writer::Writer;

/// Memory for the pages of the store.
const CACHE_BYTES: usize = 16 << 20;

/// How an [`Embedded`] queue works.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// At most so many jobs wait: one more is refused.
    pub max_queued: u64,
    /// What tells the time.
    pub clock: Clock,
}

impl Default for EmbeddedOptions {
    /// A thousand jobs, by the system's clock.
    fn default() -> Self {
        Self { max_queued: 1000, clock: wall_clock() }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions").field("max_queued", &self.max_queued).finish_non_exhaustive()
    }
}

/// A queue in a file, of one program at a time.
///
/// Each change is in one transaction with all that follows from it. Changes that come while the disk is at work are committed together.
#[derive(Debug)]
pub struct Embedded {
    store: Arc<Store>,
    options: EmbeddedOptions,
    writer: Writer,
}

/// The open store; none while it is opened again after a failure of the disk.
struct Store {
    database: RwLock<Option<Database>>,
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
}

/// Why a change was not made.
enum Fault {
    /// It can't be: nothing was written.
    Refused(Error),
    /// The store failed: the transaction is given up.
    Broken(redb::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Broken(error) => storage(&error),
        }
    }
}

fn storage(error: &redb::Error) -> Error {
    Error::Storage(error.to_string())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens a store, or makes one. Jobs that workers of a program had which has ended are queued again, or have failed.
    ///
    /// # Errors
    /// Another program has it open, a newer version wrote it, or the disk fails.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self> {
        let named = path.display().to_string();
        let path = path.to_owned();
        let open = move || {
            if !path.exists() {
                make(&path)?;
            }
            builder().open(&path)
        };
        Self::new(Box::new(open), options).map_err(|error| match error {
            Error::Storage(problem) => Error::Storage(format!("{named}: {problem}")),
            other => other,
        })
    }

    /// The same over other storage than a file. `open` gives what was stored before each time that it is called: at the start, and after
    /// a failure.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn over<B: StorageBackend>(
        open: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        options: EmbeddedOptions,
    ) -> Result<Self> {
        let open = move || {
            let backend = open().map_err(|error| DatabaseError::Storage(error.into()))?;
            builder().create_with_backend(backend)
        };
        Self::new(Box::new(open), options)
    }

    fn new(
        open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
        options: EmbeddedOptions,
    ) -> Result<Self> {
        let store = Arc::new(Store { database: RwLock::new(None), open });
        store.reopen().map_err(|error| storage(&error))?;
        let writer = Writer::new(Arc::clone(&store))?;
        let queue = Self { store, options, writer };
        queue.change(|tables, now| {
            tables.check_form()?;
            tables.recover(now)
        })?;
        Ok(queue)
    }

    /// Makes a change at this time, and waits until it is on the disk.
    fn change<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>, u64) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R> {
        let now = (self.options.clock)();
        self.writer.change(move |tables| work(tables, now))
    }

    /// Reads what was committed last.
    fn read<R>(&self, work: impl FnOnce(&ReadTransaction) -> Result<R, Fault>) -> Result<R> {
        let database = self.store.database.read().unwrap_or_else(PoisonError::into_inner);
        let database =
            database.as_ref().ok_or_else(|| Error::Storage("it is opened again after a failure".to_owned()))?;
        let read = |database: &Database| work(&database.begin_read()?);
        Ok(read(database)?)
    }
}

impl Store {
    /// Closes the store and opens it as the disk has it.
    fn reopen(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // First of all the lock on the file goes.
        *database = None;
        *database = Some((self.open)()?);
        Ok(())
    }
}

/// How stores are opened: every page is checked first, so that damage is told and not met with later.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Makes an empty store, whole or not at all: one whose making was cut off could not be opened.
fn make(path: &Path) -> Result<(), DatabaseError> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let failed = |error: io::Error| DatabaseError::Storage(error.into());
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    drop(Database::create(&new)?);
    fs::rename(&new, path).map_err(failed)
}

/// The job of a row.
fn job(jobs: &ReadOnlyTable<u128, &'static [u8]>, id: u128) -> Result<Job, Fault> {
    let id = JobId::from_u128(id);
    let row = jobs.get(id.to_u128())?.ok_or(Error::NotFound(id))?;
    Ok(record::decode(row.value(), || format!("job {id}"))?)
}

impl Queue for Embedded {
    fn submit(&self, job: NewJob) -> Result<Submitted> {
        let max_queued = self.options.max_queued;
        self.change(move |tables, now| tables.submit(job, max_queued, now))
    }

    fn get(&self, id: JobId) -> Result<Option<Job>> {
        match self.read(|transaction| job(&transaction.open_table(JOBS)?, id.to_u128())) {
            Ok(job) => Ok(Some(job)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, list: &List) -> Result<Vec<Job>> {
        self.read(|transaction| {
            let before = list.before.unwrap_or(u64::MAX);
            let in_state = |job: &Result<Job, Fault>| {
                job.as_ref().map_or(true, |job| list.state.is_none_or(|state| state == job.state))
            };
            let jobs = transaction.open_table(JOBS)?;
            match &list.owner {
                Some(owner) => {
                    let table = transaction.open_table(BY_OWNER)?;
                    let rows = table.range((owner.as_str(), 0)..(owner.as_str(), before))?.rev();
                    rows.map(|row| job(&jobs, row?.1.value())).filter(in_state).take(list.limit).collect()
                }
                None => {
                    let table = transaction.open_table(BY_PLACE)?;
                    let rows = table.range(..before)?.rev();
                    rows.map(|row| job(&jobs, row?.1.value())).filter(in_state).take(list.limit).collect()
                }
            }
        })
    }

    fn counts(&self) -> Result<Counts> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let count = |name| Ok::<_, Fault>(meta.get(name)?.map_or(0, |count| count.value()));
            Ok(Counts { queued: count(QUEUED)?, with_workers: count(WITH_WORKERS)? })
        })
    }

    fn claim(&self, worker: &Worker) -> Result<Option<Job>> {
        // Nothing is written where nothing waits.
        if self.counts()?.queued == 0 {
            return Ok(None);
        }
        let worker = worker.clone();
        self.change(move |tables, now| tables.claim(&worker, now))
    }

    fn start(&self, lease: Lease) -> Result<()> {
        self.change(move |tables, now| tables.renew(lease, Some(State::Running), now)).map(drop)
    }

    fn check(&self, lease: Lease) -> Result<()> {
        self.change(move |tables, now| tables.renew(lease, Some(State::Checking), now)).map(drop)
    }

    fn beat(&self, lease: Lease) -> Result<Beat> {
        let job = self.change(move |tables, now| tables.renew(lease, None, now))?;
        Ok(job.stop.map_or(Beat::Continue, Beat::Stop))
    }

    fn finish(&self, lease: Lease, outcome: Outcome) -> Result<Job> {
        self.change(move |tables, now| tables.finish(lease, outcome, now))
    }

    fn cancel(&self, id: JobId) -> Result<Job> {
        self.change(move |tables, now| tables.change(id, now, |job| job.cancel(now)))
    }

    fn retry(&self, id: JobId) -> Result<Job> {
        let max_queued = self.options.max_queued;
        self.change(move |tables, now| tables.retry(id, max_queued, now))
    }

    fn prioritise(&self, id: JobId, priority: i32) -> Result<Job> {
        self.change(move |tables, now| tables.change(id, now, |job| job.prioritise(priority)))
    }

    fn waiting(&self) -> Result<Vec<JobId>> {
        self.read(|transaction| {
            let (ready, owners) = (transaction.open_table(READY)?, transaction.open_table(OWNERS)?);
            // Of each owner the jobs in their order, and when it was served.
            let mut queues: BTreeMap<String, (u64, VecDeque<JobId>)> = BTreeMap::new();
            for row in ready.iter()? {
                let (key, id) = row?;
                let owner = key.value().0;
                if !queues.contains_key(owner) {
                    let served = owners.get(owner)?.map_or(0, |owner| owner.value().0);
                    queues.insert(owner.to_owned(), (served, VecDeque::new()));
                }
                if let Some((_, jobs)) = queues.get_mut(owner) {
                    jobs.push_back(JobId::from_u128(id.value()));
                }
            }
            let mut turns: BTreeSet<(u64, String)> =
                queues.iter().map(|(owner, (served, _))| (*served, owner.clone())).collect();
            let mut order = Vec::new();
            while let Some((served, owner)) = turns.pop_first() {
                let Some((_, jobs)) = queues.get_mut(&owner) else { continue };
                order.extend(jobs.pop_front());
                if !jobs.is_empty() {
                    // Behind everybody who was served before now.
                    let last = turns.last().map_or(served, |(last, _)| *last);
                    turns.insert((last + 1, owner));
                }
            }
            Ok(order)
        })
    }

    fn decide(&self, id: JobId, decision: Decision) -> Result<Job> {
        self.change(move |tables, now| tables.change(id, now, |job| job.decide(decision, now)))
    }

    fn tend(&self) -> Result<Vec<JobId>> {
        self.change(move |tables, now| tables.tend(now))
    }

    fn prune(&self, over_before: u64, most: usize) -> Result<Vec<String>> {
        self.change(move |tables, now| tables.prune(over_before, most, now))
    }

    fn forget(&self, id: JobId) -> Result<Vec<String>> {
        self.change(move |tables, _| tables.forget(id))
    }

    fn has_result(&self, sha256: &str) -> Result<bool> {
        self.read(|transaction| Ok(transaction.open_table(RESULTS)?.get(sha256)?.is_some()))
    }

    fn events(&self, of: Option<&str>, job: Option<JobId>, after: u64, most: usize) -> Result<Vec<Event>> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        self.read(|transaction| {
            let events = transaction.open_table(EVENTS)?;
            let event = |seq: u64| -> Result<Event, Fault> {
                let damaged = || Error::record(format!("event {seq}"), "it is gone");
                let row = events.get(seq)?.ok_or_else(damaged)?;
                Ok(record::decode(row.value(), || format!("event {seq}"))?)
            };
            let of_owner = |event: &Result<Event, Fault>| {
                event.as_ref().map_or(true, |event| of.is_none_or(|owner| event.owner == owner))
            };
            match (of, job) {
                (_, Some(id)) => {
                    let (table, id) = (transaction.open_table(EVENTS_BY_JOB)?, id.to_u128());
                    let rows = table.range((id, first)..=(id, u64::MAX))?;
                    rows.map(|row| event(row?.0.value().1)).filter(of_owner).take(most).collect()
                }
                (Some(owner), None) => {
                    let table = transaction.open_table(EVENTS_BY_OWNER)?;
                    let rows = table.range((owner, first)..=(owner, u64::MAX))?;
                    rows.map(|row| event(row?.0.value().1)).take(most).collect()
                }
                (None, None) => {
                    let rows = events.range(first..)?;
                    rows.map(|row| event(row?.0.value())).take(most).collect()
                }
            }
        })
    }
}
