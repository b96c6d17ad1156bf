//! What may become of a job: the rules of its states, without any storage. Each takes the time and leaves the job changed, or an
//! error and the job as it was.

use crate::{
    Decision, Error, Held, Job, JobError, Lease, MAX_ATTEMPTS, NewJob, Outcome, Result, Running, State, Stop, Worker,
};

impl Job {
    pub(crate) fn new(new: NewJob, seq: u64, now: u64) -> Result<Self> {
        let NewJob { owner, priority, model, request, not_after, max_running, .. } = new;
        Ok(Self {
            id: crate::JobId::new(now)?,
            seq,
            owner,
            priority,
            model,
            request,
            submitted: now,
            not_after,
            max_running,
            state: State::Queued,
            since: now,
            attempt: 0,
            deaths: 0,
            passed_over: 0,
            running: None,
            stop: None,
            results: Vec::new(),
            held: None,
            error: None,
        })
    }

    /// In another state: no worker has it unless it is one of theirs.
    fn enter(&mut self, state: State, now: u64) {
        self.state = state;
        self.since = now;
        if !state.is_with_worker() {
            self.running = None;
            self.stop = None;
        }
    }

    fn wrong<T>(&self, done: &'static str) -> Result<T> {
        Err(Error::WrongState { id: self.id, state: self.state, done })
    }

    pub(crate) fn lend(&mut self, worker: &Worker, now: u64) {
        self.attempt += 1;
        let Worker { name, is_local, lease_ms, .. } = worker.clone();
        self.running = Some(Running { worker: name, is_local, until: now.saturating_add(lease_ms), lease_ms });
        self.enter(State::Leased, now);
    }

    /// Whether `lease` is that of the attempt that counts.
    fn check_lease(&self, lease: Lease) -> Result<()> {
        let counts = self.state.is_with_worker() && self.attempt == lease.attempt;
        if counts { Ok(()) } else { Err(Error::Stale { id: self.id, attempt: lease.attempt }) }
    }

    /// The worker says that it is alive, and where it is.
    pub(crate) fn renew(&mut self, lease: Lease, state: Option<State>, now: u64) -> Result<()> {
        self.check_lease(lease)?;
        if let Some(running) = &mut self.running {
            running.until = now.saturating_add(running.lease_ms);
        }
        match state {
            Some(state) if state != self.state => self.enter(state, now),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, lease: Lease, outcome: Outcome, now: u64) -> Result<()> {
        self.check_lease(lease)?;
        match outcome {
            Outcome::Succeeded(results) => {
                self.results = results;
                self.enter(State::Succeeded, now);
            }
            Outcome::Held(results, reason) => {
                self.results = results;
                self.held = Some(Held { reason, by: None, why: None });
                self.enter(State::Held, now);
            }
            Outcome::Failed(error) => {
                self.error = Some(error);
                self.enter(State::Failed, now);
            }
            Outcome::Stopped => self.return_to_queue(now),
        }
        Ok(())
    }

    /// Back to its place, unless nobody wants it any more.
    fn return_to_queue(&mut self, now: u64) {
        match self.stop {
            Some(stop) => self.enter(stopped(stop), now),
            None => self.enter(State::Queued, now),
        }
    }

    /// Its worker has died.
    pub(crate) fn lose_worker(&mut self, now: u64) {
        self.deaths += 1;
        if self.stop.is_none() && self.deaths >= MAX_ATTEMPTS {
            let message = format!("its worker died {} times", self.deaths);
            self.error = Some(JobError { code: "crashed_repeatedly".to_owned(), message });
            self.enter(State::Failed, now);
        } else {
            self.return_to_queue(now);
        }
    }

    pub(crate) fn cancel(&mut self, now: u64) -> Result<()> {
        match self.state {
            State::Queued | State::Held => {
                self.results.clear();
                self.enter(State::Cancelled, now);
            }
            state if state.is_with_worker() => self.stop = Some(Stop::Cancelled),
            _ => return self.wrong("cancelled"),
        }
        Ok(())
    }

    /// Its time is over. What a person has to look at stays.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        match self.state {
            State::Queued => self.enter(State::Expired, now),
            state if state.is_with_worker() && self.stop.is_none() => self.stop = Some(Stop::Expired),
            _ => return false,
        }
        true
    }

    pub(crate) fn retry(&mut self, now: u64) -> Result<()> {
        if !matches!(self.state, State::Failed | State::Cancelled | State::Expired) {
            return self.wrong("tried again");
        }
        // Its deadline has done its work, and its attempts go on counting: an old worker stays fenced.
        self.not_after = self.not_after.filter(|&end| end > now);
        (self.deaths, self.passed_over) = (0, 0);
        (self.error, self.held) = (None, None);
        self.enter(State::Queued, now);
        Ok(())
    }

    pub(crate) fn prioritise(&mut self, priority: i32) -> Result<()> {
        if self.state != State::Queued {
            return self.wrong("moved");
        }
        self.priority = priority;
        Ok(())
    }

    pub(crate) fn check_over(&self) -> Result<()> {
        if self.state.is_over() { Ok(()) } else { self.wrong("forgotten") }
    }

    pub(crate) fn decide(&mut self, decision: Decision, now: u64) -> Result<()> {
        let State::Held = self.state else { return self.wrong("decided on") };
        let Decision { release, by, why } = decision;
        if let Some(held) = &mut self.held {
            (held.by, held.why) = (Some(by), Some(why));
        }
        if release {
            self.enter(State::Succeeded, now);
        } else {
            self.results.clear();
            self.enter(State::Rejected, now);
        }
        Ok(())
    }
}

const fn stopped(stop: Stop) -> State {
    match stop {
        Stop::Cancelled => State::Cancelled,
        Stop::Expired => State::Expired,
    }
}
