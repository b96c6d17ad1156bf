//! What is done beside the work: leases, deadlines, what is kept no longer, and decisions on held images.

use std::{
    collections::HashSet,
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use calotype::memory::trim_heap;
use calotype_publish::{self as review, Entry};
use calotype_queue::{Beat, Decision, Job, JobId, List, Queue, State, wall_clock};

use crate::{Error, Order, Result, shared::Shared};

/// How often leases are renewed and deadlines looked at.
const OFTEN: Duration = Duration::from_secs(2);
/// How often the allocator gives back what was freed.
const EACH_MINUTE: Duration = Duration::from_secs(60);
/// How often what is kept no longer is removed.
const RARELY: Duration = Duration::from_secs(600);
/// How many jobs are forgotten in one transaction.
const PRUNED: usize = 200;
/// Input images that no job refers to are kept so long.
const KEEP_INPUTS: Duration = Duration::from_secs(24 * 3600);

/// What is done again after a time.
struct Every {
    time: Duration,
    last: Instant,
}

impl Every {
    fn new(time: Duration) -> Self {
        Self { time, last: Instant::now() }
    }

    /// Whether the time is over; then it begins anew.
    fn is_due(&mut self) -> bool {
        let is_due = self.last.elapsed() >= self.time;
        if is_due {
            self.last = Instant::now();
        }
        is_due
    }
}

/// Keeps house until the engine ends.
pub(crate) fn keep(shared: &Shared) {
    let [mut often, mut each_minute, mut rarely] = [OFTEN, EACH_MINUTE, RARELY].map(Every::new);
    while !shared.is_draining() || !shared.live.leases().is_empty() {
        thread::sleep(Duration::from_millis(50));
        if often.is_due() {
            beat(shared);
            if let Err(error) = shared.queue.tend() {
                tracing::warn!(%error, "deadlines can't be looked at");
            }
            shared.tell_events();
        }
        if each_minute.is_due() {
            trim_heap();
        }
        if rarely.is_due()
            && let Err(error) = sweep(shared)
        {
            tracing::warn!(%error, "what is kept no longer can't be removed");
        }
    }
}

/// Says for each job that its worker is alive, and stops those that are to stop.
fn beat(shared: &Shared) {
    for (lease, cancel) in shared.live.leases() {
        match shared.queue.beat(lease) {
            Ok(Beat::Continue) => {}
            Ok(Beat::Stop(_)) | Err(calotype_queue::Error::Stale { .. }) => cancel.cancel(),
            Err(error) => tracing::warn!(job = %lease.job, %error, "a lease can't be renewed"),
        }
    }
}

/// Removes what is kept no longer: old jobs with their results, held images that nobody decided on, files without a job.
pub(crate) fn sweep(shared: &Shared) -> Result<()> {
    let now = wall_clock()();
    let before = |time: Duration| now.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    loop {
        let free = shared.queue.prune(before(shared.options.keep_results), PRUNED)?;
        for sha256 in &free {
            shared.results.remove(sha256)?;
        }
        if free.len() < PRUNED {
            break;
        }
    }
    let held = shared.queue.list(&List { state: Some(State::Held), limit: usize::MAX, ..List::default() })?;
    for job in held.iter().filter(|job| job.since < before(shared.options.keep_held)) {
        let why = "nobody decided in the time that held images are kept".to_owned();
        decide(shared, job.id, Decision { release: false, by: "retention".to_owned(), why })?;
    }
    remove_inputs(shared)
}

/// Removes files that a process left behind that was killed between a file and its row. For when nobody works.
pub(crate) fn remove_orphans(shared: &Shared) -> Result<()> {
    let held = shared.queue.list(&List { state: Some(State::Held), limit: usize::MAX, ..List::default() })?;
    let kept: HashSet<&str> = held
        .iter()
        .flat_map(|job| &job.results)
        .flat_map(|result| [Some(result.sha256.as_str()), result.about["blurred"].as_str()])
        .flatten()
        .collect();
    for sha256 in shared.held.all()?.iter().filter(|sha256| !kept.contains(sha256.as_str())) {
        shared.held.remove(sha256)?;
    }
    for sha256 in shared.results.all()? {
        if !shared.queue.has_result(&sha256)? {
            shared.results.remove(&sha256)?;
        }
    }
    Ok(())
}

/// Removes input images that no job refers to, but for new ones, whose jobs may come yet.
fn remove_inputs(shared: &Shared) -> Result<()> {
    let _nobody_submits = shared.submitting.write().unwrap_or_else(PoisonError::into_inner);
    let mut used = HashSet::new();
    for job in shared.queue.list(&List { limit: usize::MAX, ..List::default() })? {
        used.extend(Order::of_job(&job).map(|order| order.inputs()).unwrap_or_default());
    }
    for sha256 in shared.inputs.all()?.iter().filter(|sha256| !used.contains(*sha256)) {
        if shared.inputs.age(sha256)? > KEEP_INPUTS {
            shared.inputs.remove(sha256)?;
        }
    }
    Ok(())
}

/// Carries out what a person says of a held job: first its lines, then the files, then the row by which all is visible.
pub(crate) fn decide(shared: &Shared, id: JobId, decision: Decision) -> Result<Job> {
    let job = shared.queue.get(id)?.ok_or(Error::Queue(calotype_queue::Error::NotFound(id)))?;
    if job.state != State::Held {
        let done = "decided on";
        return Err(calotype_queue::Error::WrongState { id, state: job.state, done }.into());
    }
    let said =
        review::Decision { who: decision.by.clone(), reason: Some(decision.why.clone()).filter(|why| !why.is_empty()) };
    for result in &job.results {
        let Ok(entry) = serde_json::from_value::<Entry>(result.about["entry"].clone()) else { continue };
        match decision.release {
            true => {
                let original = shared.held.get(&result.sha256)?;
                shared.publisher.release(&entry, &said)?;
                shared.results.put(&original)?;
            }
            false => shared.publisher.reject(&entry, &said)?,
        }
    }
    let decided = shared.queue.decide(id, decision)?;
    for result in &job.results {
        if let Some(blurred) = result.about["blurred"].as_str() {
            shared.held.remove(blurred)?;
            shared.held.remove(&result.sha256)?;
        }
        if !shared.queue.has_result(&result.sha256)? {
            shared.results.remove(&result.sha256)?;
        }
    }
    shared.tell_events();
    Ok(decided)
}
