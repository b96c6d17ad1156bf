//! How often, and how much: by key, and by address for those who have none.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use calotype_engine::{Engine, Order};
use calotype_queue::{List, wall_clock};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use crate::{
    config::HttpLimits,
    keys::Key,
    problem::{Problem, Result},
};

/// Pixels times steps that a unit of the rate stands for: a million.
const UNIT: f64 = 1e6;
/// Keys and addresses whose state is kept; idle ones go when there are more.
const MAX_STATES: usize = 100_000;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Jobs of a day that are looked at for a quota.
const MAX_JOBS: usize = 100_000;

type Keyed<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

/// All limits of a server.
pub(crate) struct Limiter {
    requests: Keyed<String>,
    wrong_keys: Keyed<IpAddr>,
    /// By the quota, for keys have different ones.
    work: Mutex<Vec<(NonZeroU32, Keyed<String>)>>,
    /// Streams of events that are open, by key.
    streams: Arc<Mutex<HashMap<String, usize>>>,
    max_streams: usize,
}

/// An open stream of events; its place is free again when this is dropped.
pub(crate) struct Stream {
    open: Arc<Mutex<HashMap<String, usize>>>,
    key: String,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

impl Limiter {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        let per_minute = |n: u32| Quota::per_minute(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Self {
            requests: RateLimiter::keyed(per_minute(limits.requests_per_minute)),
            wrong_keys: RateLimiter::keyed(per_minute(limits.wrong_keys_per_minute)),
            work: Mutex::default(),
            streams: Arc::default(),
            max_streams: limits.max_streams_per_key,
        }
    }

    /// Opens a stream of events.
    pub(crate) fn stream(&self, key: &Key) -> Result<Stream> {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.id.clone()).or_default();
        if *count >= self.max_streams {
            let detail = format!("this key has {} streams of events open: close one", self.max_streams);
            return Err(Problem::too_many("too_many_streams", detail, 10));
        }
        *count += 1;
        Ok(Stream { open: Arc::clone(&self.streams), key: key.id.clone() })
    }

    /// Counts a request of a key.
    pub(crate) fn check_request(&self, key: &Key) -> Result<()> {
        forget_idle(&self.requests);
        self.requests.check_key(&key.id).map_err(|wait| {
            let seconds = seconds(wait.wait_time_from(DefaultClock::default().now()));
            Problem::too_many("rate_limit_exceeded", "this key sends requests too often", seconds)
        })
    }

    /// A wrong key came from an address: what is answered.
    pub(crate) fn wrong_key(&self, address: Option<IpAddr>, otherwise: Problem) -> Problem {
        forget_idle(&self.wrong_keys);
        let Some(address) = address.map(network) else { return otherwise };
        match self.wrong_keys.check_key(&address) {
            Ok(()) => otherwise,
            Err(wait) => {
                let seconds = seconds(wait.wait_time_from(DefaultClock::default().now()));
                Problem::too_many("rate_limit_exceeded", "too many wrong keys came from this address", seconds)
            }
        }
    }

    /// Counts a job of a key: its images, and pixels times steps.
    pub(crate) fn check_job(&self, engine: &Engine, key: &Key, images: u64, pixel_steps: f64) -> Result<()> {
        if let Some(most) = key.quotas.images_per_day {
            let (made, oldest) = images_of_a_day(engine, key)?;
            if made.saturating_add(images) > most {
                let wait = oldest.map_or(DAY_MS, |at| (at + DAY_MS).saturating_sub(wall_clock()()));
                let detail = format!("this key has made {made} of its {most} images in 24 hours");
                return Err(Problem::too_many("quota_images", detail, wait / 1000));
            }
        }
        let Some(per_hour) = key.quotas.mega_pixel_steps_per_hour.and_then(NonZeroU32::new) else { return Ok(()) };
        let cost = NonZeroU32::new((pixel_steps / UNIT).ceil() as u32).unwrap_or(NonZeroU32::MIN);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let at = work.iter().position(|(quota, _)| *quota == per_hour).unwrap_or_else(|| {
            work.push((per_hour, RateLimiter::keyed(Quota::per_hour(per_hour))));
            work.len() - 1
        });
        match work[at].1.check_key_n(&key.id, cost) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(wait)) => {
                let seconds = seconds(wait.wait_time_from(DefaultClock::default().now()));
                let detail =
                    format!("this key may take {per_hour} million pixel-steps in an hour; this job takes {cost}");
                Err(Problem::too_many("rate_limit_exceeded", detail, seconds))
            }
            Err(_) => {
                let detail =
                    format!("this job takes {cost} million pixel-steps, and the key has {per_hour} in an hour");
                Err(Problem::forbidden("quota_exceeded", detail).hint("make it smaller"))
            }
        }
    }
}

/// Images of a key's jobs of the last 24 hours, and when the first of them was sent.
fn images_of_a_day(engine: &Engine, key: &Key) -> Result<(u64, Option<u64>)> {
    let since = wall_clock()().saturating_sub(DAY_MS);
    let list = List { owner: Some(key.id.clone()), limit: MAX_JOBS, ..List::default() };
    let (mut images, mut oldest) = (0u64, None);
    for job in engine.list(&list)?.iter().take_while(|job| job.submitted >= since) {
        images += Order::of_job(job).map_or(1, |order| order.request.batch_size as u64);
        oldest = Some(job.submitted);
    }
    Ok((images, oldest))
}

fn forget_idle<K: std::hash::Hash + Eq + Clone>(limiter: &Keyed<K>) {
    if limiter.len() > MAX_STATES {
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
}

/// Addresses of IPv6 count by their network: one machine has many.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
