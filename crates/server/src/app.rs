//! What every request can reach.

use std::{sync::Arc, time::Instant};

use calotype_engine::{Engine, Preparation, Submission};
use calotype_queue::{Job, JobId, Submitted};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    a1111,
    attend::Attended,
    auth::Caller,
    config::Config,
    hub::{Hub, blocking},
    keys::KeyStore,
    limits::Limiter,
    openai,
    problem::{Problem, Result},
    secret::Secret,
    webhooks::Webhooks,
};

/// Cloning shares it.
pub(crate) type App = Arc<Shared>;

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) keys: KeyStore,
    pub(crate) hub: Hub,
    pub(crate) limiter: Limiter,
    pub(crate) attended: Attended,
    pub(crate) a1111: a1111::Memory,
    pub(crate) openai: openai::Running,
    pub(crate) secret: Secret,
    pub(crate) webhooks: Webhooks,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) started: Instant,
    /// Whether requests need a key.
    pub(crate) needs_key: bool,
}

impl Shared {
    /// Takes a job in for a caller, within the limits of its key; also what it comes to.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        caller: &Caller,
        submission: Submission,
    ) -> Result<(Submitted, Preparation)> {
        let (app, key) = (Arc::clone(self), Arc::clone(&caller.key));
        blocking(move || {
            if let Some(webhook) = &submission.order.webhook {
                app.webhooks.check(webhook)?;
            }
            let Submission { order, .. } = &submission;
            if app.config.log_prompts {
                tracing::debug!(key = %key.id, prompt = order.request.prompt, "a job comes");
            }
            let (images, api) = (order.request.batch_size as u64, order.asked.api.clone());
            let quotas = key.quotas;
            let submission = Submission {
                max_queued: quotas.max_queued,
                max_running: quotas.max_running,
                owner: key.id.clone(),
                ..submission
            };
            let admit = |prepared: &Preparation| app.limiter.check_job(&app.engine, &key, images, prepared.pixel_steps);
            let (submitted, prepared) = app.engine.submit(submission, admit).inspect_err(|problem: &Problem| {
                let reason = problem.code.to_string();
                metrics::counter!("calotype_jobs_rejected_total", "reason" => reason).increment(1);
            })?;
            if submitted.is_new {
                metrics::counter!("calotype_jobs_submitted_total", "api" => api).increment(1);
            }
            Ok((submitted, prepared))
        })
        .await
    }

    /// A caller's job. That of another key is as if there were none.
    pub(crate) async fn job(self: &Arc<Self>, caller: &Caller, id: &str) -> Result<Job> {
        let none = || Problem::not_found("job");
        let id: JobId = id.parse().map_err(|()| none())?;
        let engine = self.engine.clone();
        let job = blocking(move || Ok(engine.job(id)?)).await?.ok_or_else(none)?;
        if caller.may_see(&job.owner) { Ok(job) } else { Err(none()) }
    }
}
