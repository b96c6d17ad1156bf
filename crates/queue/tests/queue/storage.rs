//! Storage that fails, loses its power, or has a bit turned over.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex},
};

use calotype_queue::{Embedded, Error, JobId, List, NewJob, Once, Outcome, Queue, State, StorageBackend, Worker};
use serde_json::json;
use tempfile::TempDir;

use crate::{Random, Time, size};

/// What a disk with a cache holds.
#[derive(Default)]
struct Disk {
    /// What was synced.
    durable: Vec<u8>,
    /// What a read gives.
    cached: Vec<u8>,
    /// Writes since the last sync, which a power cut may lose: where, and what; none sets the length.
    pending: Vec<(usize, Option<Vec<u8>>)>,
    /// Writes, syncs and changes of length so far.
    changes: u64,
    /// The change that fails, and whether it is the last.
    fails_at: Option<(u64, bool)>,
    is_dead: bool,
}

impl Disk {
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        match self.fails_at {
            _ if self.is_dead => Err(io::Error::other("no power")),
            Some((at, is_last)) if at == self.changes => {
                self.is_dead = is_last;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }

    fn apply(bytes: &mut Vec<u8>, at: usize, data: Option<&[u8]>) {
        match data {
            None => bytes.resize(at, 0),
            Some(data) => {
                // A write past an end that a lost change of length should have moved.
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
    }

    /// The power goes: of what was not synced any part is there, a write down to sectors.
    fn cut(&mut self, random: &mut Random) {
        const SECTOR: usize = 512;
        for (at, data) in std::mem::take(&mut self.pending) {
            match data {
                None if random.one_in(2) => Self::apply(&mut self.durable, at, None),
                None => {}
                Some(data) => {
                    let whole = random.below(3);
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if whole == 0 || (whole == 1 && random.one_in(2)) {
                            Self::apply(&mut self.durable, at + n * SECTOR, Some(sector));
                        }
                    }
                }
            }
        }
        self.cached = self.durable.clone();
        (self.is_dead, self.fails_at) = (false, None);
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Disk>>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a disk")
    }
}

impl StorageBackend for Shared {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let disk = self.0.lock().unwrap();
        let from = disk.cached.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        Disk::apply(&mut disk.cached, len as usize, None);
        disk.pending.push((len as usize, None));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        disk.durable = disk.cached.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        Disk::apply(&mut disk.cached, offset as usize, Some(data));
        disk.pending.push((offset as usize, Some(data.to_vec())));
        Ok(())
    }
}

impl Shared {
    fn queue(&self, time: &Time) -> calotype_queue::Result<Embedded> {
        let disk = self.clone();
        let open = move || match disk.0.lock().unwrap().is_dead {
            true => Err(io::Error::other("no power")),
            false => Ok(disk.clone()),
        };
        Embedded::over(open, time.options())
    }

    fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }
}

/// A worker elsewhere, which a restart does not end.
fn far() -> Worker {
    Worker { is_local: false, lease_ms: u64::MAX / 2, ..Worker::new("far") }
}

#[test]
fn what_was_answered_outlives_a_power_cut() {
    for seed in 0..size("CALOTYPE_QUEUE_CUTS", 300) {
        let (disk, time, mut random) = (Shared::default(), Time::default(), Random(seed));
        time.pass(1000);
        let mut known: HashMap<JobId, State> = HashMap::new();
        let mut open = disk.queue(&time).ok();
        // Twice over, so that what a repair left behind is cut too.
        for _ in 0..2 {
            let last = disk.changes() + 1 + random.below(120);
            disk.0.lock().unwrap().fails_at = Some((last, true));
            // What was under way when the power went: it may have happened or not.
            let mut open_end: Option<(JobId, State)> = None;
            let mut submits_lost = 0;
            while let Some(queue) = &open {
                let with_worker: Vec<JobId> =
                    known.iter().filter(|(_, state)| **state == State::Leased).map(|(id, _)| *id).collect();
                let step = random.below(3);
                if step == 0 || known.is_empty() {
                    match queue.submit(NewJob::new("a", json!({"n": known.len()}))) {
                        Ok(submitted) => drop(known.insert(submitted.job.id, State::Queued)),
                        Err(_) => {
                            submits_lost = 1;
                            break;
                        }
                    }
                } else if step == 1 {
                    match queue.claim(&far()) {
                        Ok(None) => {}
                        Ok(Some(job)) => drop(known.insert(job.id, State::Leased)),
                        // Whichever was next.
                        Err(_) => break,
                    }
                } else if let Some(&id) = with_worker.first() {
                    let lease = queue.get(id).unwrap().unwrap().lease();
                    match queue.finish(lease, Outcome::Succeeded(Vec::new())) {
                        Ok(_) => drop(known.insert(id, State::Succeeded)),
                        Err(_) => {
                            open_end = Some((id, State::Succeeded));
                            break;
                        }
                    }
                }
            }
            drop(open.take());
            disk.0.lock().unwrap().cut(&mut random);
            let queue = disk.queue(&time).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let found = queue.list(&List { limit: usize::MAX, ..List::default() }).unwrap();
            assert!(found.len() <= known.len() + submits_lost, "seed {seed}");
            for (id, state) in &mut known {
                let job = queue.get(*id).unwrap().unwrap_or_else(|| panic!("seed {seed}: job {id} is lost"));
                let was_claimed = *state == State::Queued && job.state == State::Leased;
                let has_ended = open_end == Some((*id, job.state));
                assert!(job.state == *state || was_claimed || has_ended, "seed {seed}: {job:?} was {state}");
                *state = job.state;
            }
            known.extend(found.iter().map(|job| (job.id, job.state)));
            open = Some(queue);
        }
    }
}

/// The life of a job, each step again until it is known to have happened.
fn live(queue: &Embedded, failures: &mut u32) -> JobId {
    let mut insist = |step: &mut dyn FnMut() -> calotype_queue::Result<()>| {
        for _ in 0..3 {
            match step() {
                Err(Error::Storage(problem)) => {
                    assert!(!problem.contains('\n'), "{problem}");
                    *failures += 1;
                }
                // It had happened before the failure.
                Ok(()) | Err(Error::Stale { .. }) => return,
                Err(other) => panic!("{other}"),
            }
        }
        panic!("it goes on failing");
    };
    let once = Once { key: "k".to_owned(), body: [0; 32], expires: u64::MAX };
    let (mut id, mut lease) = (None, None);
    insist(&mut || {
        id = Some(queue.submit(NewJob { once: Some(once.clone()), ..NewJob::new("a", json!({})) })?.job.id);
        Ok(())
    });
    insist(&mut || {
        // One that was claimed though the answer was a failure is queued again when its worker is silent.
        lease = queue.claim(&far())?.map(|job| job.lease()).or(lease);
        Ok(())
    });
    let lease = lease.unwrap_or_else(|| queue.get(id.unwrap()).unwrap().unwrap().lease());
    insist(&mut || queue.start(lease));
    insist(&mut || queue.finish(lease, Outcome::Succeeded(Vec::new())).map(drop));
    id.unwrap()
}

#[test]
fn every_write_may_fail_once() {
    let time = Time::default();
    time.pass(1000);
    let whole = Shared::default();
    let first = { live(&whole.queue(&time).unwrap(), &mut 0) };
    assert!(whole.queue(&time).unwrap().get(first).unwrap().is_some());
    let mut failures = 0;
    for at in 1..=whole.changes() {
        let disk = Shared::default();
        disk.0.lock().unwrap().fails_at = Some((at, false));
        let queue = match disk.queue(&time) {
            Ok(queue) => queue,
            // One whose making was cut off is made anew, as `open` does with a file.
            Err(Error::Storage(_)) => disk.queue(&time).unwrap_or_else(|_| {
                *disk.0.lock().unwrap() = Disk::default();
                disk.queue(&time).unwrap()
            }),
            Err(other) => panic!("{other}"),
        };
        let id = live(&queue, &mut failures);
        assert_eq!(queue.get(id).unwrap().unwrap().state, State::Succeeded, "write {at}");
        drop(queue);
        disk.0.lock().unwrap().fails_at = None;
        let again = disk.queue(&time).unwrap();
        assert_eq!(again.get(id).unwrap().unwrap().state, State::Succeeded, "write {at}");
        assert_eq!(again.list(&List { limit: 9, ..List::default() }).unwrap().len(), 1, "write {at}");
    }
    assert!(failures > 0);
}

/// An error or the truth, never another job's data, nor a job less.
#[test]
fn a_turned_bit_is_told_or_does_no_harm() {
    let (disk, time) = (Shared::default(), Time::default());
    time.pass(1000);
    let mut jobs = Vec::new();
    {
        let queue = disk.queue(&time).unwrap();
        for n in 0..40 {
            jobs.push(queue.submit(NewJob::new("a", json!({"n": n}))).unwrap().job);
        }
    }
    let bytes = disk.0.lock().unwrap().durable.clone();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut random, mut told) = (Random(7), 0);
    for _ in 0..size("CALOTYPE_QUEUE_FLIPS", 300) {
        let (damaged, at) = (Shared::default(), random.below(8 * used as u64) as usize);
        {
            let mut disk = damaged.0.lock().unwrap();
            disk.durable = bytes.clone();
            disk.durable[at / 8] ^= 1 << (at % 8);
            disk.cached = disk.durable.clone();
        }
        let outcome = std::panic::catch_unwind(|| {
            let Ok(queue) = damaged.queue(&time) else { return 1 };
            let mut told = 0;
            for job in &jobs {
                match queue.get(job.id) {
                    Ok(Some(found)) => assert_eq!(found.request, job.request, "bit {at}"),
                    Ok(None) => panic!("bit {at}: job {} is gone", job.id),
                    Err(_) => told = 1,
                }
            }
            told
        });
        told += outcome.unwrap_or_else(|_| panic!("bit {at}"));
    }
    println!("{told} were told");
}

#[test]
fn a_newer_store_is_refused() {
    let (folder, time) = (TempDir::new().unwrap(), Time::default());
    let path = folder.path().join("queue.redb");
    drop(Embedded::open(&path, time.options()).unwrap());
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<'_, &str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("form", 99).unwrap();
        transaction.commit().unwrap();
    }
    let error = Embedded::open(&path, time.options()).unwrap_err().to_string();
    assert!(error.contains("a newer version of Calotype wrote it (form 99, this one knows 1)"), "{error}");
}

#[test]
fn one_program_has_it_at_a_time() {
    let (folder, time) = (TempDir::new().unwrap(), Time::default());
    let path = folder.path().join("queue.redb");
    let first = Embedded::open(&path, time.options()).unwrap();
    let error = Embedded::open(&path, time.options()).unwrap_err().to_string();
    assert!(error.contains("queue.redb: ") && error.contains("already open"), "{error}");
    drop(first);
    Embedded::open(&path, time.options()).unwrap();
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_anew() {
    let (folder, time) = (TempDir::new().unwrap(), Time::default());
    let path = folder.path().join("queue.redb");
    std::fs::write(folder.path().join("queue.redb.new"), "cut off").unwrap();
    Embedded::open(&path, time.options()).unwrap().submit(NewJob::new("a", json!({}))).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // What is no store is not overwritten.
    std::fs::write(&path, "somebody's text").unwrap();
    assert!(Embedded::open(&path, time.options()).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's text");
}
