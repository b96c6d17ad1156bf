//! What each change does to the tables. All that can be refused is refused before anything is written.

use redb::{ReadableTable, StorageError};

use super::{
    Fault,
    tables::{QUEUED, Tables},
};
use crate::{
    Error, Job, JobId, Lease, NewJob, Once, Outcome, State, Submitted, Worker,
    queue::{LOOK_AHEAD, MAX_PASSED_OVER},
};

impl Tables<'_> {
    pub(super) fn submit(&mut self, new: NewJob, max_queued: u64, now: u64) -> Result<Submitted, Fault> {
        if let Some(job) = self.sent_before(&new, now)? {
            return Ok(Submitted { job, is_new: false });
        }
        self.check_room(&new.owner, new.max_queued, max_queued)?;
        let once = new.once.clone();
        let seq = self.next_seq()?;
        let job = Job::new(new, seq, now)?;
        self.put(None, &job, now)?;
        if let Some(Once { key, body, expires }) = once {
            let (owner, key) = (job.owner.as_str(), key.as_str());
            let before = self.once.insert((owner, key), (body, job.id.to_u128(), expires))?.map(|row| row.value().2);
            if let Some(before) = before {
                self.once_until.remove((before, owner, key))?;
            }
            self.once_until.insert((expires, owner, key), ())?;
        }
        Ok(Submitted { job, is_new: true })
    }

    /// The job that came with the same idempotency key.
    fn sent_before(&self, new: &NewJob, now: u64) -> Result<Option<Job>, Fault> {
        let Some(once) = &new.once else { return Ok(None) };
        let row = self.once.get((new.owner.as_str(), once.key.as_str()))?.map(|row| row.value());
        match row {
            Some((body, id, expires)) if expires > now => {
                if body != once.body {
                    return Err(Error::OtherRequest { key: once.key.clone() }.into());
                }
                // A job that was forgotten in the meantime is made anew.
                match self.job(JobId::from_u128(id)) {
                    Err(Fault::Refused(Error::NotFound(_))) => Ok(None),
                    found => found.map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    fn check_room(&self, owner: &str, of_owner: Option<u64>, of_all: u64) -> Result<(), Fault> {
        let all = self.meta.get(QUEUED)?.map_or(0, |count| count.value());
        let (_, queued, _) = self.owner(owner)?;
        match of_owner {
            Some(limit) if queued >= limit => Err(Error::Full { limit, of_owner: true }.into()),
            _ if all >= of_all => Err(Error::Full { limit: of_all, of_owner: false }.into()),
            _ => Ok(()),
        }
    }

    /// Changes a job by `change`, and gives it.
    pub(super) fn change(
        &mut self,
        id: JobId,
        now: u64,
        change: impl FnOnce(&mut Job) -> crate::Result<()>,
    ) -> Result<Job, Fault> {
        let before = self.job(id)?;
        let mut job = before.clone();
        change(&mut job)?;
        self.put(Some(&before), &job, now)?;
        Ok(job)
    }

    pub(super) fn retry(&mut self, id: JobId, max_queued: u64, now: u64) -> Result<Job, Fault> {
        let before = self.job(id)?;
        let mut job = before.clone();
        job.retry(now)?;
        self.check_room(&job.owner, None, max_queued)?;
        job.seq = self.next_seq()?;
        self.put(Some(&before), &job, now)?;
        Ok(job)
    }

    pub(super) fn claim(&mut self, worker: &Worker, now: u64) -> Result<Option<Job>, Fault> {
        for owner in self.waiting_owners()? {
            let Some((passed_over, chosen)) = self.choose(&owner, worker)? else { continue };
            if let Some(id) = passed_over {
                self.change(id, now, |job| {
                    job.passed_over += 1;
                    Ok(())
                })?;
            }
            let turn = self.next_seq()?;
            let (_, queued, with_workers) = self.owner(&owner)?;
            self.owners.insert(owner.as_str(), (turn, queued, with_workers))?;
            let job = self.change(chosen, now, |job| {
                job.lend(worker, now);
                Ok(())
            })?;
            return Ok(Some(job));
        }
        Ok(None)
    }

    /// Owners of jobs that wait, who was served longest ago first.
    fn waiting_owners(&self) -> Result<Vec<String>, StorageError> {
        let mut owners = Vec::new();
        let mut next = self.ready.range(("", 0, 0)..)?.next();
        while let Some(row) = next {
            let owner = row?.0.value().0.to_owned();
            // Past all of this owner's.
            let after = (owner.as_str(), u32::MAX, u64::MAX);
            next = self.ready.range(after..)?.find(|row| row.as_ref().map_or(true, |row| row.0.value() != after));
            owners.push((self.owner(&owner)?.0, owner));
        }
        owners.sort();
        Ok(owners.into_iter().map(|(_, owner)| owner).collect())
    }

    /// Which of an owner's jobs a worker gets, and before it the one that is passed over for it.
    fn choose(&self, owner: &str, worker: &Worker) -> Result<Option<(Option<JobId>, JobId)>, Fault> {
        let (_, _, with_workers) = self.owner(owner)?;
        let mut head: Option<Job> = None;
        let mut seen = 0;
        for row in self.ready.range((owner, 0, 0)..=(owner, u32::MAX, u64::MAX))? {
            let job = self.job(JobId::from_u128(row?.1.value()))?;
            let Some(first) = &head else {
                if job.max_running.is_some_and(|most| most <= with_workers) {
                    return Ok(None);
                }
                if worker.can_do(&job) {
                    if worker.has_loaded(&job) || worker.loaded.is_empty() || job.passed_over >= MAX_PASSED_OVER {
                        return Ok(Some((None, job.id)));
                    }
                    head = Some(job);
                }
                continue;
            };
            seen += 1;
            if seen > LOOK_AHEAD || job.priority != first.priority {
                break;
            }
            if worker.has_loaded(&job) {
                return Ok(Some((Some(first.id), job.id)));
            }
        }
        Ok(head.map(|head| (None, head.id)))
    }

    /// Jobs whose workers are silent since before `now`, and jobs whose time is over.
    pub(super) fn tend(&mut self, now: u64) -> Result<Vec<JobId>, Fault> {
        let until = |table: &redb::Table<'_, (u64, u128), ()>| -> Result<Vec<JobId>, StorageError> {
            table.range(..(now, 0))?.map(|row| Ok(JobId::from_u128(row?.0.value().1))).collect()
        };
        let (silent, late) = (until(&self.leases)?, until(&self.deadlines)?);
        for &id in &silent {
            self.change(id, now, |job| {
                job.lose_worker(now);
                Ok(())
            })?;
        }
        let mut changed = silent;
        for id in late {
            self.change(id, now, |job| {
                // Of a job that is held the deadline no longer counts.
                if !job.expire(now) {
                    job.not_after = None;
                }
                Ok(())
            })?;
            changed.push(id);
        }
        changed.sort();
        changed.dedup();
        Ok(changed)
    }

    /// Jobs that workers of this program had when it ended.
    pub(super) fn recover(&mut self, now: u64) -> Result<(), Fault> {
        let all: Vec<u128> =
            self.leases.iter()?.map(|row| Ok(row?.0.value().1)).collect::<Result<_, StorageError>>()?;
        for id in all.into_iter().map(JobId::from_u128) {
            if self.job(id)?.running.is_some_and(|running| running.is_local) {
                self.change(id, now, |job| {
                    job.lose_worker(now);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn prune(&mut self, over_before: u64, most: usize, now: u64) -> Result<Vec<String>, Fault> {
        let over: Vec<u128> = self
            .over
            .range(..(over_before, 0))?
            .take(most)
            .map(|row| Ok(row?.0.value().1))
            .collect::<Result<_, StorageError>>()?;
        let mut left = Vec::new();
        for id in over.into_iter().map(JobId::from_u128) {
            let job = self.job(id)?;
            debug_assert!(job.state.is_over(), "{job:?}");
            self.remove(&job)?;
            left.extend(job.results.into_iter().map(|result| result.sha256));
        }
        let stale: Vec<(u64, String, String)> = self
            .once_until
            .range(..(now, "", ""))?
            .map(|row| {
                let row = row?;
                let (until, owner, key) = row.0.value();
                Ok((until, owner.to_owned(), key.to_owned()))
            })
            .collect::<Result<_, StorageError>>()?;
        for (until, owner, key) in &stale {
            self.once_until.remove((*until, owner.as_str(), key.as_str()))?;
            self.once.remove((owner.as_str(), key.as_str()))?;
        }
        self.without_jobs(left)
    }

    pub(super) fn forget(&mut self, id: JobId) -> Result<Vec<String>, Fault> {
        let job = self.job(id)?;
        job.check_over()?;
        self.remove(&job)?;
        self.without_jobs(job.results.into_iter().map(|result| result.sha256).collect())
    }

    /// Those of these results that no job has.
    fn without_jobs(&self, mut results: Vec<String>) -> Result<Vec<String>, Fault> {
        results.sort();
        results.dedup();
        let mut free = Vec::new();
        for sha256 in results {
            if !self.has_result(&sha256)? {
                free.push(sha256);
            }
        }
        Ok(free)
    }

    pub(super) fn renew(&mut self, lease: Lease, state: Option<State>, now: u64) -> Result<Job, Fault> {
        self.leased(lease, now, |job| job.renew(lease, state, now))
    }

    pub(super) fn finish(&mut self, lease: Lease, outcome: Outcome, now: u64) -> Result<Job, Fault> {
        self.leased(lease, now, |job| job.finish(lease, outcome, now))
    }

    /// Changes a job that a worker speaks of. One that was forgotten is over.
    fn leased(
        &mut self,
        lease: Lease,
        now: u64,
        change: impl FnOnce(&mut Job) -> crate::Result<()>,
    ) -> Result<Job, Fault> {
        self.change(lease.job, now, change).map_err(|fault| match fault {
            Fault::Refused(Error::NotFound(id)) => Error::Stale { id, attempt: lease.attempt }.into(),
            other => other,
        })
    }
}
