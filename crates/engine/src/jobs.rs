//! Reading and moving jobs, their results, and the images that they begin with.

use calotype_image::{Limits as ImageLimits, decode_rgba};
use calotype_queue::{Counts, Decision, Event, Job, JobId, List, Queue, ResultFile, State};

use crate::{Engine, Error, Preview, Progress, Result, housekeeping};

/// An input image that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// By which orders refer to it.
    pub sha256: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

impl Engine {
    /// A job.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.shared.queue.get(id)?)
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn list(&self, list: &List) -> Result<Vec<Job>> {
        Ok(self.shared.queue.list(list)?)
    }

    /// How many jobs there are.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn counts(&self) -> Result<Counts> {
        Ok(self.shared.queue.counts()?)
    }

    /// The jobs that wait, in the order of their turns.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn waiting(&self) -> Result<Vec<JobId>> {
        Ok(self.shared.queue.waiting()?)
    }

    /// Changes after event `after`.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn events(&self, of: Option<&str>, job: Option<JobId>, after: u64, most: usize) -> Result<Vec<Event>> {
        Ok(self.shared.queue.events(of, job, after, most)?)
    }

    /// Ends a job, at once if it is worked on.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn cancel(&self, id: JobId) -> Result<Job> {
        let job = self.shared.queue.cancel(id)?;
        self.shared.live.cancel(id);
        self.shared.tell_events();
        Ok(job)
    }

    /// Queues a job once more that failed, was cancelled or expired.
    ///
    /// # Errors
    /// There is no such job, it is in another state, or too many wait.
    pub fn retry(&self, id: JobId) -> Result<Job> {
        let job = self.shared.queue.retry(id)?;
        self.shared.tell_events();
        self.shared.wake();
        Ok(job)
    }

    /// Moves a job that waits.
    ///
    /// # Errors
    /// There is no such job, or it does not wait.
    pub fn prioritise(&self, id: JobId, priority: i32) -> Result<Job> {
        Ok(self.shared.queue.prioritise(id, priority)?)
    }

    /// Forgets a job that is over, and removes its results.
    ///
    /// # Errors
    /// There is no such job, or it is not over.
    pub fn forget(&self, id: JobId) -> Result<()> {
        for sha256 in self.shared.queue.forget(id)? {
            self.shared.results.remove(&sha256)?;
        }
        Ok(())
    }

    /// What a person says of a job that is held. The lines of the audit log come first.
    ///
    /// # Errors
    /// There is no such job, it is not held, or what was decided can't be written down.
    pub fn decide(&self, id: JobId, decision: Decision) -> Result<Job> {
        housekeeping::decide(&self.shared, id, decision)
    }

    /// How far a job is, if it is worked on.
    #[must_use]
    pub fn progress(&self, id: JobId) -> Option<Progress> {
        self.shared.live.progress(id)
    }

    /// Where a job is going, if it is worked on.
    #[must_use]
    pub fn preview(&self, id: JobId) -> Option<Preview> {
        self.shared.live.preview(id)
    }

    /// Keeps an image that orders may then refer to.
    ///
    /// # Errors
    /// It is no image, or too large, or the disk is full.
    pub fn put_input(&self, bytes: &[u8]) -> Result<Input> {
        self.shared.check_disk()?;
        let image = decode_rgba(bytes, &ImageLimits::default()).map_err(calotype::Error::from)?;
        let sha256 = self.shared.inputs.put(bytes)?;
        Ok(Input { sha256, width: image.width(), height: image.height() })
    }

    /// The bytes of an input image.
    ///
    /// # Errors
    /// It is not there.
    pub fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        self.shared.input(sha256)
    }

    /// A result of a job that has succeeded.
    ///
    /// # Errors
    /// There is none of this number, or its file is gone or was changed.
    pub fn result(&self, job: &Job, number: usize) -> Result<(ResultFile, Vec<u8>)> {
        let found = job.results.iter().find(|result| result.about["n"] == number);
        let found = found.filter(|_| job.state == State::Succeeded).ok_or(Error::NoResult { job: job.id, number })?;
        Ok((found.clone(), self.shared.results.get(&found.sha256)?))
    }

    /// A result of a job that is held, for who decides: blurred, or as it is.
    ///
    /// # Errors
    /// The job is not held, or there is none of this number.
    pub fn held(&self, job: &Job, number: usize, is_blurred: bool) -> Result<(ResultFile, Vec<u8>)> {
        let none = || Error::NoResult { job: job.id, number };
        let found = job.results.iter().find(|result| result.about["n"] == number);
        let found = found.filter(|_| job.state == State::Held).ok_or_else(none)?;
        let blurred = found.about["blurred"].as_str();
        match (is_blurred, blurred) {
            (true, Some(sha256)) => {
                let media_type = "image/jpeg".to_owned();
                Ok((ResultFile { media_type, ..found.clone() }, self.shared.held.get(sha256)?))
            }
            _ => Ok((found.clone(), self.shared.held_original(found)?)),
        }
    }
}
