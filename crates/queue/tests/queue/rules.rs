//! The rules, against the trait: each test takes any engine.

use calotype_queue::{
    Beat, Decision, Embedded, EmbeddedOptions, Error, JobError, List, MAX_ATTEMPTS, NewJob, Once, Outcome, Queue,
    ResultFile, State, Stop, Worker,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Time;

/// Runs a test on every engine.
fn on_every_engine(test: impl Fn(&dyn Queue, &Time)) {
    let (folder, time) = (TempDir::new().unwrap(), Time::default());
    time.pass(1_000_000);
    let options = EmbeddedOptions { max_queued: 50, ..time.options() };
    test(&Embedded::open(&folder.path().join("queue.redb"), options).unwrap(), &time);
}

fn job(owner: &str) -> NewJob {
    NewJob::new(owner, json!({"prompt": "a fox"}))
}

fn result(sha256: &str) -> ResultFile {
    ResultFile { sha256: sha256.to_owned(), bytes: 3, media_type: "image/png".to_owned(), about: Value::Null }
}

fn failure() -> Outcome {
    Outcome::Failed(JobError { code: "out_of_memory".to_owned(), message: "no room".to_owned() })
}

#[test]
fn a_job_goes_its_way() {
    on_every_engine(|queue, time| {
        let submitted = queue.submit(NewJob { priority: 3, model: "m".to_owned(), ..job("a") }).unwrap();
        assert!(submitted.is_new);
        let id = submitted.job.id;
        assert_eq!(queue.get(id).unwrap(), Some(submitted.job));
        assert_eq!((queue.counts().unwrap().queued, queue.counts().unwrap().with_workers), (1, 0));

        let leased = queue.claim(&Worker::new("w")).unwrap().unwrap();
        assert_eq!((leased.id, leased.state, leased.attempt), (id, State::Leased, 1));
        assert_eq!(queue.claim(&Worker::new("w")).unwrap(), None);
        assert_eq!((queue.counts().unwrap().queued, queue.counts().unwrap().with_workers), (0, 1));
        queue.start(leased.lease()).unwrap();
        time.pass(5);
        assert_eq!(queue.beat(leased.lease()).unwrap(), Beat::Continue);
        queue.check(leased.lease()).unwrap();
        let done = queue.finish(leased.lease(), Outcome::Succeeded(vec![result("aa")])).unwrap();
        assert_eq!((done.state, done.since, done.results.len()), (State::Succeeded, time.now(), 1));
        assert_eq!(queue.get(id).unwrap(), Some(done));
        assert!(queue.has_result("aa").unwrap() && !queue.has_result("bb").unwrap());

        let states: Vec<State> =
            queue.events(Some("a"), None, 0, 100).unwrap().iter().map(|event| event.state).collect();
        let way = [State::Queued, State::Leased, State::Running, State::Checking, State::Succeeded];
        assert_eq!(states, way);
        let last = queue.events(None, Some(id), 0, 100).unwrap().pop().unwrap();
        assert_eq!(queue.events(Some("a"), Some(id), last.seq - 1, 100).unwrap(), [last]);
        assert!(queue.events(Some("b"), None, 0, 100).unwrap().is_empty());
    });
}

#[test]
fn what_comes_too_late_is_not_taken() {
    on_every_engine(|queue, time| {
        let id = queue.submit(job("a")).unwrap().job.id;
        let worker = Worker { lease_ms: 10, ..Worker::new("w") };
        let first = queue.claim(&worker).unwrap().unwrap().lease();
        time.pass(11);
        assert_eq!(queue.tend().unwrap(), [id]);
        let second = queue.claim(&worker).unwrap().unwrap().lease();
        assert_eq!((first.attempt, second.attempt), (1, 2));
        for late in [
            queue.start(first),
            queue.beat(first).map(drop),
            queue.finish(first, Outcome::Succeeded(vec![result("aa")])).map(drop),
        ] {
            assert_eq!(late, Err(Error::Stale { id, attempt: 1 }));
        }
        queue.finish(second, Outcome::Succeeded(vec![result("bb")])).unwrap();
        assert_eq!(queue.finish(second, failure()).err(), Some(Error::Stale { id, attempt: 2 }));
        assert_eq!(queue.get(id).unwrap().unwrap().results, [result("bb")]);
        assert!(!queue.has_result("aa").unwrap());
    });
}

#[test]
fn beats_keep_a_lease() {
    on_every_engine(|queue, time| {
        queue.submit(job("a")).unwrap();
        let lease = queue.claim(&Worker { lease_ms: 10, ..Worker::new("w") }).unwrap().unwrap().lease();
        for _ in 0..5 {
            time.pass(9);
            assert!(queue.tend().unwrap().is_empty());
            queue.beat(lease).unwrap();
        }
    });
}

#[test]
fn the_third_death_is_the_last() {
    on_every_engine(|queue, time| {
        let id = queue.submit(job("a")).unwrap().job.id;
        for attempt in 1..=MAX_ATTEMPTS {
            let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
            assert_eq!(lease.attempt, attempt);
            time.pass(40_000);
            queue.tend().unwrap();
        }
        let failed = queue.get(id).unwrap().unwrap();
        assert_eq!((failed.state, failed.error.unwrap().code.as_str()), (State::Failed, "crashed_repeatedly"));
        // A person may want it once more; the numbers of attempts go on.
        queue.retry(id).unwrap();
        assert_eq!(queue.claim(&Worker::new("w")).unwrap().unwrap().attempt, 4);
    });
}

#[test]
fn who_was_served_longest_ago_is_next_then_priority_then_age() {
    on_every_engine(|queue, _| {
        let submit = |owner: &str, priority| queue.submit(NewJob { priority, ..job(owner) }).unwrap().job.id;
        let (a1, a2, a3) = (submit("a", 0), submit("a", 5), submit("a", 0));
        let (b1, b2) = (submit("b", -7), submit("b", i32::MIN));
        let c1 = submit("c", i32::MAX);
        let order: Vec<_> = std::iter::from_fn(|| queue.claim(&Worker::new("w")).unwrap()).map(|job| job.id).collect();
        assert_eq!(order, [a2, b1, c1, a1, b2, a3]);
        // Who comes new is before those that were served.
        let (a4, d1) = (submit("a", 9), submit("d", 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.claim(&Worker::new("w")).unwrap()).map(|job| job.id).collect();
        assert_eq!(order, [d1, a4]);
    });
}

#[test]
fn loaded_models_come_first_but_not_for_ever() {
    on_every_engine(|queue, _| {
        let submit = |model: &str| queue.submit(NewJob { model: model.to_owned(), ..job("a") }).unwrap().job.id;
        let old = submit("cold");
        let warm: Vec<_> = (0..12).map(|_| submit("warm")).collect();
        let worker = Worker { loaded: vec!["warm".to_owned()], ..Worker::new("w") };
        let order: Vec<_> = (0..9).map(|_| queue.claim(&worker).unwrap().unwrap().id).collect();
        assert_eq!(order[..8], warm[..8]);
        assert_eq!(order[8], old);
        // What a worker can't load is for others.
        let worker = Worker { available: Some(vec!["hot".to_owned()]), ..Worker::new("w") };
        assert_eq!(queue.claim(&worker).unwrap(), None);
        let hot = submit("hot");
        assert_eq!(queue.claim(&worker).unwrap().unwrap().id, hot);
    });
}

#[test]
fn an_owner_has_so_many_at_once() {
    on_every_engine(|queue, _| {
        let limited = || NewJob { max_running: Some(2), max_queued: Some(3), ..job("a") };
        let ids: Vec<_> = (0..3).map(|_| queue.submit(limited()).unwrap().job.id).collect();
        assert_eq!(queue.submit(limited()).err(), Some(Error::Full { limit: 3, of_owner: true }));
        let worker = Worker::new("w");
        let first = queue.claim(&worker).unwrap().unwrap();
        queue.claim(&worker).unwrap().unwrap();
        assert_eq!(queue.claim(&worker).unwrap(), None);
        queue.submit(job("b")).unwrap();
        assert_eq!(queue.claim(&worker).unwrap().unwrap().owner, "b");
        queue.finish(first.lease(), failure()).unwrap();
        assert_eq!(queue.claim(&worker).unwrap().unwrap().id, ids[2]);
    });
}

#[test]
fn a_full_queue_takes_no_more() {
    on_every_engine(|queue, _| {
        (0..50).for_each(|n| drop(queue.submit(job(&format!("{}", n % 7))).unwrap()));
        let error = queue.submit(job("a")).unwrap_err();
        assert_eq!(error.to_string(), "50 jobs are waiting: try again later");
        queue.claim(&Worker::new("w")).unwrap();
        queue.submit(job("a")).unwrap();
    });
}

#[test]
fn the_same_key_is_the_same_job() {
    on_every_engine(|queue, time| {
        let once = |body: u8, ms: u64| Some(Once { key: "k".to_owned(), body: [body; 32], expires: time.now() + ms });
        let first = queue.submit(NewJob { once: once(1, 100), ..job("a") }).unwrap();
        let again = queue.submit(NewJob { once: once(1, 100), ..job("a") }).unwrap();
        assert_eq!((again.is_new, again.job.id), (false, first.job.id));
        let other = queue.submit(NewJob { once: once(2, 100), ..job("a") }).unwrap_err();
        assert_eq!(other, Error::OtherRequest { key: "k".to_owned() });
        assert!(queue.submit(NewJob { once: once(2, 100), ..job("b") }).unwrap().is_new);
        time.pass(100);
        assert!(queue.submit(NewJob { once: once(2, 50), ..job("a") }).unwrap().is_new);
        // The old time of the key doesn't end the new one.
        queue.prune(0, 10).unwrap();
        assert!(!queue.submit(NewJob { once: once(2, 50), ..job("a") }).unwrap().is_new);
    });
}

#[test]
fn many_at_once_with_one_key_are_one_job() {
    on_every_engine(|queue, _| {
        let once = Once { key: "k".to_owned(), body: [7; 32], expires: u64::MAX };
        let new = || queue.submit(NewJob { once: Some(once.clone()), ..job("a") }).unwrap();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(new)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().filter(|submitted| submitted.is_new).count(), 1);
        assert!(all.iter().all(|submitted| submitted.job.id == all[0].job.id));
        assert_eq!(queue.counts().unwrap().queued, 1);
    });
}

#[test]
fn cancelling_asks_the_worker_to_stop() {
    on_every_engine(|queue, _| {
        let waiting = queue.submit(job("a")).unwrap().job.id;
        assert_eq!(queue.cancel(waiting).unwrap().state, State::Cancelled);
        let error = queue.cancel(waiting).unwrap_err();
        assert_eq!(error.to_string(), format!("job {waiting} is cancelled: it can't be cancelled"));

        let id = queue.submit(job("a")).unwrap().job.id;
        let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
        assert_eq!(queue.cancel(id).unwrap().state, State::Leased);
        assert_eq!(queue.beat(lease).unwrap(), Beat::Stop(Stop::Cancelled));
        assert_eq!(queue.finish(lease, Outcome::Stopped).unwrap().state, State::Cancelled);
        assert_eq!(queue.retry(id).unwrap().state, State::Queued);
        // A worker that goes gives its job back, at no cost.
        let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
        let back = queue.finish(lease, Outcome::Stopped).unwrap();
        assert_eq!((back.state, back.deaths), (State::Queued, 0));
        // What was done before the worker heard of it is done.
        let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
        queue.cancel(id).unwrap();
        assert_eq!(queue.finish(lease, Outcome::Succeeded(Vec::new())).unwrap().state, State::Succeeded);
        // One that dies with a cancelled job leaves it so.
        let id = queue.submit(job("a")).unwrap().job.id;
        assert!(queue.retry(id).is_err());
    });
}

#[test]
fn time_runs_out() {
    on_every_engine(|queue, time| {
        let late = |ms| NewJob { not_after: Some(time.now() + ms), ..job("a") };
        let running = queue.submit(late(10)).unwrap().job.id;
        let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
        let waiting = queue.submit(late(10)).unwrap().job.id;
        time.pass(11);
        let mut both = [running, waiting];
        both.sort();
        assert_eq!(queue.tend().unwrap(), both);
        assert_eq!(queue.get(waiting).unwrap().unwrap().state, State::Expired);
        assert_eq!(queue.beat(lease).unwrap(), Beat::Stop(Stop::Expired));
        assert!(queue.tend().unwrap().is_empty());
        assert_eq!(queue.finish(lease, Outcome::Stopped).unwrap().state, State::Expired);
    });
}

#[test]
fn held_results_wait_for_a_person() {
    on_every_engine(|queue, time| {
        let decision = |release| Decision { release, by: "eve".to_owned(), why: "a statue".to_owned() };
        let hold = || {
            let id = queue.submit(NewJob { not_after: Some(time.now() + 5), ..job("a") }).unwrap().job.id;
            let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
            queue.finish(lease, Outcome::Held(vec![result("aa")], json!({"nudity": 0.8}))).unwrap();
            id
        };
        let id = hold();
        // However long that takes.
        time.pass(1000);
        queue.tend().unwrap();
        assert!(queue.tend().unwrap().is_empty());
        let released = queue.decide(id, decision(true)).unwrap();
        assert_eq!((released.state, released.results.len()), (State::Succeeded, 1));
        let held = released.held.unwrap();
        assert_eq!((held.by.as_deref(), held.why.as_deref()), (Some("eve"), Some("a statue")));
        assert!(queue.decide(id, decision(false)).is_err());
        let rejected = queue.decide(hold(), decision(false)).unwrap();
        assert_eq!((rejected.state, rejected.results.len()), (State::Rejected, 0));
        assert!(queue.has_result("aa").unwrap());
    });
}

#[test]
fn lists_begin_with_the_newest() {
    on_every_engine(|queue, _| {
        let ids: Vec<_> = (0..6).map(|n| queue.submit(job(["a", "b"][n % 2])).unwrap().job.id).collect();
        queue.cancel(ids[4]).unwrap();
        let list = |list: List| queue.list(&List { limit: 10, ..list }).unwrap();
        let names = |jobs: Vec<calotype_queue::Job>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
        assert_eq!(names(list(List::default())), ids.iter().rev().copied().collect::<Vec<_>>());
        let of_a = list(List { owner: Some("a".to_owned()), ..List::default() });
        assert_eq!(names(of_a.clone()), [ids[4], ids[2], ids[0]]);
        let older = list(List { owner: Some("a".to_owned()), before: Some(of_a[0].seq), ..List::default() });
        assert_eq!(names(older), [ids[2], ids[0]]);
        assert_eq!(names(list(List { state: Some(State::Cancelled), ..List::default() })), [ids[4]]);
        assert_eq!(queue.list(&List { limit: 2, ..List::default() }).unwrap().len(), 2);
    });
}

#[test]
fn what_is_over_is_forgotten_in_the_end() {
    on_every_engine(|queue, time| {
        let finish = |sha256: &str| {
            let id = queue.submit(job("a")).unwrap().job.id;
            let lease = queue.claim(&Worker::new("w")).unwrap().unwrap().lease();
            queue.finish(lease, Outcome::Succeeded(vec![result(sha256)])).unwrap();
            id
        };
        let (first, second) = (finish("aa"), finish("bb"));
        time.pass(10);
        let third = finish("aa");
        let waiting = queue.submit(job("a")).unwrap().job.id;
        // "aa" is the third one's too.
        assert_eq!(queue.prune(time.now(), 10).unwrap(), ["bb"]);
        assert_eq!((queue.get(first).unwrap(), queue.get(second).unwrap()), (None, None));
        assert!(queue.events(None, Some(first), 0, 9).unwrap().is_empty());
        assert!(queue.get(third).unwrap().is_some() && queue.get(waiting).unwrap().is_some());
        assert_eq!(queue.prune(time.now() + 1, 10).unwrap(), ["aa"]);
        assert_eq!(queue.cancel(third).err(), Some(Error::NotFound(third)));
        assert_eq!(queue.events(None, None, 0, 99).unwrap().len(), 1);
    });
}
