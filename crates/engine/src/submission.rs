//! Taking jobs in.

use std::{sync::PoisonError, time::Duration};

use calotype::{Keep, PipelineOptions, Plan, Request};
use calotype_queue::{NewJob, Once, Queue, Submitted, wall_clock};

use crate::{Engine, Error, Order, Result, loaded::Key, order::open_images, shared::Shared};

/// How long an idempotency key is known.
const ONCE: Duration = Duration::from_secs(24 * 3600);

/// A job that is to be taken in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is to be made.
    pub order: Order,
    /// Whose it is: the id of a key.
    pub owner: String,
    /// Of an owner's jobs those with more come first.
    pub priority: i32,
    /// After how long nobody wants it any more.
    pub expires: Option<Duration>,
    /// At most so many of the owner's jobs wait.
    pub max_queued: Option<u64>,
    /// At most so many of the owner's jobs are worked on at once.
    pub max_running: Option<u64>,
    /// An idempotency key, and the SHA-256 of the body that it came with.
    pub once: Option<(String, [u8; 32])>,
}

impl Submission {
    /// One of an owner without anything special.
    #[must_use]
    pub fn new(order: Order, owner: impl Into<String>) -> Self {
        let owner = owner.into();
        Self { order, owner, priority: 0, expires: None, max_queued: None, max_running: None, once: None }
    }

    fn into_job(self) -> Result<NewJob> {
        let Self { order, owner, priority, expires, max_queued, max_running, once } = self;
        let now = wall_clock()();
        let after = |time: Duration| now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Ok(NewJob {
            owner,
            priority,
            model: order.model.clone(),
            request: order.to_json()?,
            not_after: expires.map(after),
            max_queued,
            max_running,
            once: once.map(|(key, body)| Once { key, body, expires: after(ONCE) }),
        })
    }
}

/// What an order comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preparation {
    /// Width and height of the images.
    pub size: [usize; 2],
    /// Pixels times steps of all images.
    pub pixel_steps: f64,
    /// Seconds that it will take, if that is known.
    pub estimate_s: Option<f64>,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Runs of the text encoder that the prompts take.
    pub chunks: usize,
}

/// Refuses a second pass that a network is to enlarge, of which there are none here.
fn check_network(request: &Request) -> Result<()> {
    let Some(name) = request.hires.as_ref().and_then(|hires| hires.network.as_ref()) else { return Ok(()) };
    let message = format!(
        "there are no networks for super-resolution here, such as {:?}: leave out hires.network, and choose hires.upscaler",
        calotype::checkpoint::brief(name)
    );
    Err(calotype::Error::UnknownName { kind: "network", name: name.clone(), message }.into())
}

impl Engine {
    /// Checks what an order asks for, as far as it can be known before it is made.
    ///
    /// # Errors
    /// The request can't be met by the model, is larger than the limits, is refused by a rule, or its images are not there.
    pub fn prepare(&self, order: &Order) -> Result<Preparation> {
        let Shared { catalogue, loaded, publisher, options, rates, .. } = &*self.shared;
        options.limits.check_numbers(&order.request)?;
        check_network(&order.request)?;
        let mut request = order.request.clone();
        catalogue.place_adapters(&mut request)?;
        open_images(&mut request, |sha256| self.shared.input(sha256))?;
        let key = Key { model: order.model.clone(), vae: order.vae.clone() };
        let model = loaded.model(catalogue, &key)?;
        publisher.check_prompts(&request, &order.asked.origin(None))?;
        let plan = Plan::new(&model, request.clone(), loaded.options())?;
        let size = plan.final_size();
        publisher.check_size(size)?;
        let (tokens, chunks) = plan.prompt_length(&model)?;
        options.limits.check(&request, size)?;
        // What does not fit into the memory of an idle machine never will.
        if loaded.is_alone(&key) && self.shared.live.leases().is_empty() {
            let options = PipelineOptions { keep: Keep::Nothing, ..loaded.options().clone() };
            loaded.make(model, options).plan(request)?;
        }
        let pixel_steps = order.pixel_steps(size);
        let estimate_s = rates.estimate(&order.model, pixel_steps);
        Ok(Preparation { size, pixel_steps, estimate_s, tokens, chunks })
    }

    /// Seconds that an order will take, if one of its model was done before.
    #[must_use]
    pub fn estimate(&self, order: &Order) -> Option<f64> {
        let Request { width, height, .. } = order.request;
        let default = || self.model(&order.model, None).map_or([0; 2], |model| model.default_size().into());
        let [wide, high] = match (width, height) {
            (Some(width), Some(height)) => [width, height],
            _ => default(),
        };
        let size = [width.unwrap_or(wide), height.unwrap_or(high)];
        self.shared.rates.estimate(&order.model, order.pixel_steps(size))
    }

    /// Takes a job in, if `admit` agrees to what it comes to: it is on the disk when this returns.
    ///
    /// # Errors
    /// As [`Self::prepare`], or what `admit` says; or the queue or the disk is full, or the engine is going.
    pub fn submit<E: From<Error>>(
        &self,
        submission: Submission,
        admit: impl FnOnce(&Preparation) -> Result<(), E>,
    ) -> Result<(Submitted, Preparation), E> {
        let shared = &*self.shared;
        self.check_room(&submission)?;
        let _inputs_stay = shared.submitting.read().unwrap_or_else(PoisonError::into_inner);
        let preparation = self.prepare(&submission.order)?;
        admit(&preparation)?;
        let submitted = shared.queue.submit(submission.into_job()?).map_err(Error::from)?;
        shared.tell_events();
        shared.wake();
        Ok((submitted, preparation))
    }

    /// Refuses what can't be taken in now, before anything is worked out.
    fn check_room(&self, submission: &Submission) -> Result<()> {
        if self.shared.is_draining() {
            return Err(Error::Draining);
        }
        self.shared.check_disk()?;
        let limit = self.shared.options.max_queued;
        // What was sent before has its place all the same.
        if submission.once.is_none() && self.shared.queue.counts()?.queued >= limit {
            return Err(calotype_queue::Error::Full { limit, of_owner: false }.into());
        }
        Ok(())
    }
}
