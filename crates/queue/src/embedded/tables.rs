//! The tables of the store, and how a job's rows follow from the job.

use redb::{ReadableTable, StorageError, Table, TableDefinition, WriteTransaction};

use super::{Fault, record};
use crate::{Error, Event, Job, JobId, Result, State};

pub(super) const JOBS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("jobs");
/// Jobs that wait: owner, priority (the highest is the least number), place.
pub(super) const READY: TableDefinition<'_, (&str, u32, u64), u128> = TableDefinition::new("ready");
/// When an owner was served last, how many of its jobs wait, and how many workers have.
pub(super) const OWNERS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("owners");
pub(super) const BY_OWNER: TableDefinition<'_, (&str, u64), u128> = TableDefinition::new("jobs_by_owner");
pub(super) const BY_PLACE: TableDefinition<'_, u64, u128> = TableDefinition::new("jobs_by_place");
/// When each worker is taken for dead.
pub(super) const LEASES: TableDefinition<'_, (u64, u128), ()> = TableDefinition::new("leases");
/// When nobody wants a job any more.
pub(super) const DEADLINES: TableDefinition<'_, (u64, u128), ()> = TableDefinition::new("deadlines");
/// When each job was over.
pub(super) const OVER: TableDefinition<'_, (u64, u128), ()> = TableDefinition::new("over");
/// Idempotency keys: the hash of the body, the job, when the key is forgotten.
pub(super) const ONCE: TableDefinition<'_, (&str, &str), ([u8; 32], u128, u64)> = TableDefinition::new("once");
pub(super) const ONCE_UNTIL: TableDefinition<'_, (u64, &str, &str), ()> = TableDefinition::new("once_until");
pub(super) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub(super) const EVENTS_BY_OWNER: TableDefinition<'_, (&str, u64), ()> = TableDefinition::new("events_by_owner");
pub(super) const EVENTS_BY_JOB: TableDefinition<'_, (u128, u64), ()> = TableDefinition::new("events_by_job");
/// How many jobs have a result of a SHA-256.
pub(super) const RESULTS: TableDefinition<'_, &str, u64> = TableDefinition::new("results");
/// `form` of the tables; `seq`, the last number that was given to a job, an event or a turn; the counts of jobs.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const SEQ: &str = "seq";
const FORM: &str = "form";
pub(super) const QUEUED: &str = "queued";
pub(super) const WITH_WORKERS: &str = "with_workers";

/// All tables, open in one transaction.
pub(super) struct Tables<'t> {
    pub(super) jobs: Table<'t, u128, &'static [u8]>,
    pub(super) ready: Table<'t, (&'static str, u32, u64), u128>,
    pub(super) owners: Table<'t, &'static str, (u64, u64, u64)>,
    by_owner: Table<'t, (&'static str, u64), u128>,
    by_place: Table<'t, u64, u128>,
    pub(super) leases: Table<'t, (u64, u128), ()>,
    pub(super) deadlines: Table<'t, (u64, u128), ()>,
    pub(super) over: Table<'t, (u64, u128), ()>,
    pub(super) once: Table<'t, (&'static str, &'static str), ([u8; 32], u128, u64)>,
    pub(super) once_until: Table<'t, (u64, &'static str, &'static str), ()>,
    events: Table<'t, u64, &'static [u8]>,
    events_by_owner: Table<'t, (&'static str, u64), ()>,
    events_by_job: Table<'t, (u128, u64), ()>,
    results: Table<'t, &'static str, u64>,
    pub(super) meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            jobs: transaction.open_table(JOBS)?,
            ready: transaction.open_table(READY)?,
            owners: transaction.open_table(OWNERS)?,
            by_owner: transaction.open_table(BY_OWNER)?,
            by_place: transaction.open_table(BY_PLACE)?,
            leases: transaction.open_table(LEASES)?,
            deadlines: transaction.open_table(DEADLINES)?,
            over: transaction.open_table(OVER)?,
            once: transaction.open_table(ONCE)?,
            once_until: transaction.open_table(ONCE_UNTIL)?,
            events: transaction.open_table(EVENTS)?,
            events_by_owner: transaction.open_table(EVENTS_BY_OWNER)?,
            events_by_job: transaction.open_table(EVENTS_BY_JOB)?,
            results: transaction.open_table(RESULTS)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// Makes the tables of an empty store; refuses those of a newer version.
    pub(super) fn check_form(&mut self) -> Result<(), Fault> {
        let form = self.meta.get(FORM)?.map(|form| form.value());
        match form {
            None => drop(self.meta.insert(FORM, u64::from(record::FORM))?),
            Some(form) if form <= u64::from(record::FORM) => {}
            Some(form) => {
                let known = record::FORM;
                let problem = format!(
                    "a newer version of Calotype wrote it (form {form}, this one knows {known}): use that version"
                );
                return Err(Error::record("the queue", problem).into());
            }
        }
        Ok(())
    }

    /// A number that was never given before.
    pub(super) fn next_seq(&mut self) -> Result<u64, StorageError> {
        let seq = self.meta.get(SEQ)?.map_or(0, |seq| seq.value()) + 1;
        self.meta.insert(SEQ, seq)?;
        Ok(seq)
    }

    /// A job that must be there.
    pub(super) fn job(&self, id: JobId) -> Result<Job, Fault> {
        let bytes = self.jobs.get(id.to_u128())?.ok_or(Error::NotFound(id))?;
        Ok(record::decode(bytes.value(), || format!("job {id}"))?)
    }

    /// The count of an owner's, and of all jobs, that wait and that workers have.
    pub(super) fn owner(&self, owner: &str) -> Result<(u64, u64, u64), StorageError> {
        Ok(self.owners.get(owner)?.map_or((0, 0, 0), |owner| owner.value()))
    }

    /// Writes a job, the rows that follow from it in the place of those that followed from what it was, and what happened.
    pub(super) fn put(&mut self, before: Option<&Job>, job: &Job, at: u64) -> Result<(), Fault> {
        if let Some(before) = before {
            self.remove_rows(before)?;
        }
        self.insert_rows(job)?;
        self.jobs.insert(job.id.to_u128(), record::encode(job, "a job")?.as_slice())?;
        let told = |job: &Job| (job.state, job.attempt, job.stop);
        if before.map(told) == Some(told(job)) {
            return Ok(());
        }
        let Job { id, ref owner, state, attempt, stop, .. } = *job;
        let event = Event { seq: self.next_seq()?, at, job: id, owner: owner.clone(), state, attempt, stop };
        self.events.insert(event.seq, record::encode(&event, "an event")?.as_slice())?;
        self.events_by_owner.insert((owner.as_str(), event.seq), ())?;
        self.events_by_job.insert((id.to_u128(), event.seq), ())?;
        Ok(())
    }

    fn insert_rows(&mut self, job: &Job) -> Result<(), StorageError> {
        let (id, owner) = (job.id.to_u128(), job.owner.as_str());
        self.by_owner.insert((owner, job.seq), id)?;
        self.by_place.insert(job.seq, id)?;
        if job.state == State::Queued {
            self.ready.insert((owner, rank(job.priority), job.seq), id)?;
        }
        if let Some(running) = &job.running {
            self.leases.insert((running.until, id), ())?;
        }
        if job.state.is_over() {
            self.over.insert((job.since, id), ())?;
        } else if let Some(end) = job.not_after.filter(|_| job.stop.is_none()) {
            self.deadlines.insert((end, id), ())?;
        }
        self.count(job, 1)?;
        for result in &job.results {
            let count = self.results.get(result.sha256.as_str())?.map_or(0, |count| count.value());
            self.results.insert(result.sha256.as_str(), count + 1)?;
        }
        Ok(())
    }

    fn remove_rows(&mut self, job: &Job) -> Result<(), StorageError> {
        let (id, owner) = (job.id.to_u128(), job.owner.as_str());
        self.by_owner.remove((owner, job.seq))?;
        self.by_place.remove(job.seq)?;
        self.ready.remove((owner, rank(job.priority), job.seq))?;
        if let Some(running) = &job.running {
            self.leases.remove((running.until, id))?;
        }
        self.over.remove((job.since, id))?;
        if let Some(end) = job.not_after {
            self.deadlines.remove((end, id))?;
        }
        self.count(job, -1)?;
        for result in &job.results {
            let count = self.results.get(result.sha256.as_str())?.map_or(0, |count| count.value());
            match count {
                0 | 1 => drop(self.results.remove(result.sha256.as_str())?),
                _ => drop(self.results.insert(result.sha256.as_str(), count - 1)?),
            }
        }
        Ok(())
    }

    /// Adds a job to the counts, or takes it away.
    fn count(&mut self, job: &Job, by: i64) -> Result<(), StorageError> {
        let (served, mut queued, mut with_workers) = self.owner(&job.owner)?;
        let name = match job.state {
            State::Queued => {
                queued = queued.saturating_add_signed(by);
                QUEUED
            }
            state if state.is_with_worker() => {
                with_workers = with_workers.saturating_add_signed(by);
                WITH_WORKERS
            }
            _ => return Ok(()),
        };
        self.owners.insert(job.owner.as_str(), (served, queued, with_workers))?;
        let all = self.meta.get(name)?.map_or(0, |count| count.value()).saturating_add_signed(by);
        self.meta.insert(name, all)?;
        Ok(())
    }

    /// Removes a job and what happened to it.
    pub(super) fn remove(&mut self, job: &Job) -> Result<(), StorageError> {
        self.remove_rows(job)?;
        let id = job.id.to_u128();
        self.jobs.remove(id)?;
        let events: Vec<u64> = self
            .events_by_job
            .range((id, 0)..=(id, u64::MAX))?
            .map(|row| Ok(row?.0.value().1))
            .collect::<Result<_, StorageError>>()?;
        for seq in events {
            self.events.remove(seq)?;
            self.events_by_owner.remove((job.owner.as_str(), seq))?;
            self.events_by_job.remove((id, seq))?;
        }
        Ok(())
    }

    /// Whether a result has a job.
    pub(super) fn has_result(&self, sha256: &str) -> Result<bool, StorageError> {
        Ok(self.results.get(sha256)?.is_some())
    }
}

/// A priority as a number that is less for what comes first.
pub(super) const fn rank(priority: i32) -> u32 {
    u32::MAX - priority.wrapping_sub(i32::MIN).cast_unsigned()
}
