//! Random use of a queue beside a model that follows the rules in the plainest way: a list of jobs.

use std::collections::HashMap;

use calotype_queue::{
    Beat, Decision, Embedded, Error, Job, JobError, JobId, Lease, List, NewJob, Once, Outcome, Queue, ResultFile,
    State, Stop, Worker,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Random, Time, size};

/// A job as the model has it. Its name is the queue's.
#[derive(Clone, Debug)]
struct Plain {
    id: JobId,
    place: u64,
    owner: String,
    priority: i32,
    model: String,
    not_after: Option<u64>,
    max_running: Option<u64>,
    state: State,
    since: u64,
    attempt: u32,
    deaths: u32,
    passed_over: u32,
    until: u64,
    lease_ms: u64,
    is_local: bool,
    stop: Option<Stop>,
    results: usize,
}

impl Plain {
    fn enter(&mut self, state: State, now: u64) {
        (self.state, self.since) = (state, now);
        if !self.with_worker() {
            self.stop = None;
        }
    }

    fn with_worker(&self) -> bool {
        matches!(self.state, State::Leased | State::Running | State::Checking)
    }

    fn is_over(&self) -> bool {
        !self.with_worker() && !matches!(self.state, State::Queued | State::Held)
    }

    fn give_back(&mut self, now: u64) {
        let state = match self.stop {
            Some(Stop::Cancelled) => State::Cancelled,
            Some(Stop::Expired) => State::Expired,
            None => State::Queued,
        };
        self.enter(state, now);
    }

    fn die(&mut self, now: u64) {
        self.deaths += 1;
        if self.deaths == 3 && self.stop.is_none() {
            self.enter(State::Failed, now);
        } else {
            self.give_back(now);
        }
    }
}

#[derive(Default)]
struct Model {
    jobs: Vec<Plain>,
    served: HashMap<String, u64>,
    turns: u64,
    places: u64,
    /// By owner and key: the body, the job, and when it is forgotten.
    once: HashMap<(String, String), (u8, JobId, u64)>,
}

impl Model {
    fn find(&mut self, id: JobId) -> Option<&mut Plain> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// The job that a lease is for, if it counts.
    fn leased(&mut self, lease: Lease) -> Option<&mut Plain> {
        self.find(lease.job).filter(|job| job.with_worker() && job.attempt == lease.attempt)
    }

    fn claim(&mut self, worker: &Worker, now: u64) -> Option<JobId> {
        let mut owners: Vec<String> =
            self.jobs.iter().filter(|job| job.state == State::Queued).map(|job| job.owner.clone()).collect();
        owners.sort();
        owners.dedup();
        owners.sort_by_key(|owner| self.served.get(owner).copied().unwrap_or(0));
        for owner in owners {
            let running = self.jobs.iter().filter(|job| job.owner == owner && job.with_worker()).count() as u64;
            let mut waiting: Vec<Plain> =
                self.jobs.iter().filter(|job| job.owner == owner && job.state == State::Queued).cloned().collect();
            waiting.sort_by_key(|job| (i64::from(i32::MAX) - i64::from(job.priority), job.place));
            let loaded = |job: &Plain| worker.loaded.contains(&job.model);
            let able =
                |job: &Plain| worker.available.as_ref().is_none_or(|all| all.contains(&job.model)) || loaded(job);
            // All that stand before the first that the worker can do must let another run.
            let first = waiting.iter().position(&able);
            let looked_at = first.map_or(waiting.len(), |first| first + 1);
            if waiting[..looked_at].iter().any(|job| job.max_running.is_some_and(|most| running >= most)) {
                continue;
            }
            let Some(first) = first else { continue };
            let head = waiting[first].clone();
            let mut chosen = head.id;
            if !loaded(&head) && head.passed_over < 8 {
                let same = |job: &&Plain| job.priority == head.priority;
                if let Some(other) = waiting[first + 1..].iter().take(32).take_while(same).find(|job| loaded(job)) {
                    chosen = other.id;
                    self.find(head.id).unwrap().passed_over += 1;
                }
            }
            self.turns += 1;
            self.served.insert(owner, self.turns);
            let job = self.find(chosen).unwrap();
            job.attempt += 1;
            (job.lease_ms, job.until, job.is_local) = (worker.lease_ms, now + worker.lease_ms, worker.is_local);
            job.enter(State::Leased, now);
            return Some(chosen);
        }
        None
    }

    /// Whose turn comes when, if any worker can do all and nobody's jobs are limited.
    fn waiting(&self) -> Vec<JobId> {
        let (mut served, mut order) = (self.served.clone(), Vec::new());
        let mut left: Vec<&Plain> = self.jobs.iter().filter(|job| job.state == State::Queued).collect();
        let mut turn = self.turns;
        while !left.is_empty() {
            let key = |job: &&Plain| {
                let of_owner = (served.get(&job.owner).copied().unwrap_or(0), job.owner.clone());
                (of_owner, i64::from(i32::MAX) - i64::from(job.priority), job.place)
            };
            let at = (0..left.len()).min_by_key(|&at| key(&left[at])).unwrap();
            let job = left.remove(at);
            turn += 1;
            served.insert(job.owner.clone(), turn);
            order.push(job.id);
        }
        order
    }

    fn tend(&mut self, now: u64) {
        let late: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|job| job.not_after.is_some_and(|end| end < now))
            .filter(|job| job.stop.is_none() && (job.with_worker() || matches!(job.state, State::Queued | State::Held)))
            .map(|job| job.id)
            .collect();
        for job in self.jobs.iter_mut().filter(|job| job.with_worker() && job.until < now) {
            job.die(now);
        }
        for id in late {
            let job = self.find(id).unwrap();
            if job.state == State::Queued {
                job.enter(State::Expired, now);
            } else if job.with_worker() && job.stop.is_none() {
                job.stop = Some(Stop::Expired);
            } else {
                job.not_after = None;
            }
        }
    }
}

/// What both must have in common.
fn compare(plain: &Plain, job: &Job) {
    let told = (plain.state, plain.since, plain.attempt, plain.deaths, plain.stop, plain.results, plain.passed_over);
    assert_eq!(
        told,
        (job.state, job.since, job.attempt, job.deaths, job.stop, job.results.len(), job.passed_over),
        "{job:?}"
    );
    assert_eq!((&plain.owner, plain.not_after), (&job.owner, job.not_after), "{job:?}");
}

#[test]
fn random_use_is_as_the_rules_say() {
    let (folder, time) = (TempDir::new().unwrap(), Time::default());
    time.pass(1000);
    let path = folder.path().join("queue.redb");
    let open = || Embedded::open(&path, time.options()).unwrap();
    let (mut queue, mut model, mut random) = (open(), Model::default(), Random(size("CALOTYPE_QUEUE_SEED", 1)));
    let mut leases: Vec<Lease> = Vec::new();
    let mut last_event = 0;
    for step in 0..size("CALOTYPE_QUEUE_STEPS", 3000) {
        time.pass(random.below(4));
        let now = time.now();
        let some_id = |random: &mut Random, model: &Model| match model.jobs.len() {
            0 => JobId::from_u128(1),
            n => model.jobs[random.below(n as u64) as usize].id,
        };
        match random.below(100) {
            0..25 => {
                let owner = ["a", "b", "ab", ""][random.below(4) as usize].to_owned();
                let key = random.one_in(4).then(|| (format!("k{}", random.below(5)), random.below(2) as u8));
                let new = NewJob {
                    owner: owner.clone(),
                    priority: random.below(3) as i32 - 1,
                    model: format!("m{}", random.below(3)),
                    request: Value::from(step),
                    not_after: random.one_in(5).then(|| now + random.below(60)),
                    max_queued: random.one_in(3).then_some(6),
                    max_running: random.one_in(6).then_some(2),
                    once: key.clone().map(|(key, body)| Once { key, body: [body; 32], expires: now + 50 }),
                };
                let before = key.as_ref().and_then(|(key, _)| model.once.get(&(owner.clone(), key.clone()))).copied();
                let before = before.filter(|&(_, id, until)| until > now && model.find(id).is_some());
                let waiting =
                    model.jobs.iter().filter(|job| job.owner == owner && job.state == State::Queued).count() as u64;
                match (queue.submit(new.clone()), before) {
                    (Ok(found), Some((body, id, _))) => {
                        assert_eq!((found.is_new, found.job.id), (false, id));
                        assert_eq!(key.unwrap().1, body);
                    }
                    (Err(Error::OtherRequest { .. }), Some((body, ..))) => assert_ne!(key.unwrap().1, body),
                    (Err(Error::Full { limit: 6, of_owner: true }), None) => {
                        assert!(waiting >= 6 && new.max_queued == Some(6));
                    }
                    (Ok(found), None) => {
                        assert!(found.is_new && (new.max_queued.is_none() || waiting < 6));
                        model.places += 1;
                        model.jobs.push(Plain {
                            id: found.job.id,
                            place: model.places,
                            owner: owner.clone(),
                            priority: new.priority,
                            model: new.model,
                            not_after: new.not_after,
                            max_running: new.max_running,
                            state: State::Queued,
                            since: now,
                            attempt: 0,
                            deaths: 0,
                            passed_over: 0,
                            until: 0,
                            lease_ms: 0,
                            is_local: false,
                            stop: None,
                            results: 0,
                        });
                        if let Some((key, body)) = key {
                            model.once.insert((owner, key), (body, found.job.id, now + 50));
                        }
                    }
                    (other, before) => panic!("{other:?}, {before:?}"),
                }
            }
            25..45 => {
                let models =
                    |random: &mut Random| (0..3).filter(|_| random.one_in(2)).map(|n| format!("m{n}")).collect();
                let worker = Worker {
                    name: "w".to_owned(),
                    is_local: random.one_in(2),
                    loaded: models(&mut random),
                    available: random.one_in(3).then(|| models(&mut random)),
                    lease_ms: 5 + random.below(40),
                };
                let claimed = queue.claim(&worker).unwrap();
                let expected = model.claim(&worker, now);
                assert_eq!(claimed.as_ref().map(|job| job.id), expected, "{worker:?}");
                leases.extend(claimed.map(|job| job.lease()));
            }
            45..70 if !leases.is_empty() => {
                let at = random.below(leases.len() as u64) as usize;
                let lease = leases[at];
                let plain = model.leased(lease);
                let stale = Error::Stale { id: lease.job, attempt: lease.attempt };
                let what = random.below(8);
                if what < 3 {
                    let result = match what {
                        0 => queue.start(lease),
                        1 => queue.check(lease),
                        _ => queue.beat(lease).map(|beat| {
                            let stop = plain.as_ref().unwrap().stop;
                            assert_eq!(beat, stop.map_or(Beat::Continue, Beat::Stop));
                        }),
                    };
                    let Some(plain) = plain else {
                        assert_eq!(result, Err(stale));
                        leases.swap_remove(at);
                        continue;
                    };
                    result.unwrap();
                    plain.until = now + plain.lease_ms;
                    let state = [State::Running, State::Checking, plain.state][what as usize];
                    if plain.state != state {
                        plain.enter(state, now);
                    }
                    continue;
                }
                leases.swap_remove(at);
                let result = |n: u64| ResultFile {
                    sha256: format!("{n}"),
                    bytes: 1,
                    media_type: "image/png".to_owned(),
                    about: Value::Null,
                };
                let results: Vec<_> = (0..random.below(3)).map(|_| result(random.below(9))).collect();
                let outcome = match what {
                    3 | 4 => Outcome::Succeeded(results.clone()),
                    5 => Outcome::Held(results.clone(), Value::Null),
                    6 => Outcome::Failed(JobError { code: "x".to_owned(), message: String::new() }),
                    _ => Outcome::Stopped,
                };
                let finished = queue.finish(lease, outcome);
                let Some(plain) = plain else {
                    assert_eq!(finished, Err(stale));
                    continue;
                };
                match what {
                    3 | 4 => plain.enter(State::Succeeded, now),
                    5 => plain.enter(State::Held, now),
                    6 => plain.enter(State::Failed, now),
                    _ => plain.give_back(now),
                }
                if what <= 5 {
                    plain.results = results.len();
                }
                compare(plain, &finished.unwrap());
            }
            70..78 => {
                let id = some_id(&mut random, &model);
                let cancelled = queue.cancel(id);
                match model.find(id) {
                    None => assert_eq!(cancelled, Err(Error::NotFound(id))),
                    Some(plain) if matches!(plain.state, State::Queued | State::Held) => {
                        plain.results = 0;
                        plain.enter(State::Cancelled, now);
                        compare(plain, &cancelled.unwrap());
                    }
                    Some(plain) if plain.with_worker() => {
                        plain.stop = Some(Stop::Cancelled);
                        compare(plain, &cancelled.unwrap());
                    }
                    Some(_) => assert!(matches!(cancelled, Err(Error::WrongState { .. }))),
                }
            }
            78..83 => {
                let id = some_id(&mut random, &model);
                let retried = queue.retry(id);
                let place = model.places + 1;
                match model.find(id) {
                    None => assert_eq!(retried, Err(Error::NotFound(id))),
                    Some(plain) if matches!(plain.state, State::Failed | State::Cancelled | State::Expired) => {
                        (plain.place, plain.deaths, plain.passed_over) = (place, 0, 0);
                        plain.not_after = plain.not_after.filter(|&end| end > now);
                        plain.enter(State::Queued, now);
                        compare(plain, &retried.unwrap());
                        model.places = place;
                    }
                    Some(_) => assert!(matches!(retried, Err(Error::WrongState { .. }))),
                }
            }
            83..88 => {
                let id = some_id(&mut random, &model);
                let release = random.one_in(2);
                let decided = queue.decide(id, Decision { release, by: "p".to_owned(), why: String::new() });
                match model.find(id) {
                    None => assert_eq!(decided, Err(Error::NotFound(id))),
                    Some(plain) if plain.state == State::Held => {
                        if !release {
                            plain.results = 0;
                        }
                        plain.enter(if release { State::Succeeded } else { State::Rejected }, now);
                        compare(plain, &decided.unwrap());
                    }
                    Some(_) => assert!(matches!(decided, Err(Error::WrongState { .. }))),
                }
            }
            88..96 => {
                queue.tend().unwrap();
                model.tend(now);
            }
            96 => {
                let (id, priority) = (some_id(&mut random, &model), random.below(3) as i32 - 1);
                let moved = queue.prioritise(id, priority);
                match model.find(id) {
                    None => assert_eq!(moved, Err(Error::NotFound(id))),
                    Some(plain) if plain.state == State::Queued => {
                        plain.priority = priority;
                        compare(plain, &moved.unwrap());
                    }
                    Some(_) => assert!(matches!(moved, Err(Error::WrongState { .. }))),
                }
            }
            97 => {
                let id = some_id(&mut random, &model);
                let forgotten = queue.forget(id);
                match model.find(id) {
                    None => assert_eq!(forgotten, Err(Error::NotFound(id))),
                    Some(plain) if plain.is_over() => {
                        forgotten.unwrap();
                        model.jobs.retain(|job| job.id != id);
                    }
                    Some(_) => assert!(matches!(forgotten, Err(Error::WrongState { .. }))),
                }
            }
            98 => {
                let before = now.saturating_sub(100);
                queue.prune(before, usize::MAX).unwrap();
                model.jobs.retain(|job| !(job.is_over() && job.since < before));
            }
            _ => {
                drop(queue);
                queue = open();
                for job in model.jobs.iter_mut().filter(|job| job.with_worker() && job.is_local) {
                    job.die(now);
                }
            }
        }
        if step % 50 == 0 {
            let mut all = queue.list(&List { limit: usize::MAX, ..List::default() }).unwrap();
            assert_eq!(all.len(), model.jobs.len());
            all.reverse();
            model.jobs.sort_by_key(|job| job.place);
            for (job, plain) in all.iter().zip(&model.jobs) {
                assert_eq!(job.id, plain.id);
                compare(plain, job);
            }
            let counts = queue.counts().unwrap();
            let count = |is: &dyn Fn(&Plain) -> bool| model.jobs.iter().filter(|job| is(job)).count() as u64;
            assert_eq!(counts.queued, count(&|job| job.state == State::Queued));
            assert_eq!(counts.with_workers, count(&Plain::with_worker));
            let waiting = queue.waiting().unwrap();
            assert_eq!(waiting, model.waiting());
            for n in 0..9 {
                let sha256 = n.to_string();
                let has = all.iter().any(|job| job.results.iter().any(|result| result.sha256 == sha256));
                assert_eq!(queue.has_result(&sha256).unwrap(), has);
            }
            // The last event of each job is what it is.
            let events = queue.events(None, None, 0, usize::MAX).unwrap();
            assert!(events.is_sorted_by_key(|event| event.seq));
            last_event = last_event.max(events.last().map_or(0, |event| event.seq));
            for job in &all {
                let last = events.iter().rfind(|event| event.job == job.id).unwrap();
                assert_eq!((last.state, last.attempt, last.stop), (job.state, job.attempt, job.stop));
            }
        }
    }
    assert!(last_event > 0);
}
