//! What Prometheus reads.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use calotype_engine::Notice;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    Error, Result,
    app::App,
    auth::{Can, READ},
    hub::blocking,
    problem,
};

/// OpenTelemetry's, for requests.
const REQUEST_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Each twice the one before, for everything that computes.
const WORK_SECONDS: [f64; 18] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
    1310.72,
];

/// The recorder of the process: there is one, whatever many servers are in it.
pub(crate) fn handle() -> Result<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let name = |name: &str| Matcher::Full(name.to_owned());
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(name("http_server_request_duration_seconds"), &REQUEST_SECONDS)
            .and_then(|builder| builder.set_buckets(&WORK_SECONDS));
        builder.ok()?.install_recorder().ok()
    });
    handle.clone().ok_or_else(|| Error::Config("the metrics of this process have another recorder".to_owned()))
}

/// Counts what the engine tells.
pub(crate) fn count(notice: &Notice) {
    match notice {
        Notice::Event(event) if event.state.is_over() => {
            metrics::counter!("calotype_jobs_total", "state" => event.state.id()).increment(1);
        }
        Notice::Took { stage: "step", time } => {
            metrics::histogram!("calotype_step_seconds").record(time.as_secs_f64());
        }
        Notice::Took { stage: "wait", time } => {
            metrics::histogram!("calotype_queue_wait_seconds").record(time.as_secs_f64());
        }
        Notice::Took { stage, time } => {
            metrics::histogram!("calotype_stage_seconds", "stage" => *stage).record(time.as_secs_f64());
        }
        Notice::Images { count, pixel_steps } => {
            metrics::histogram!("calotype_batch_size").record(*count as f64);
            metrics::counter!("calotype_images_total").increment(*count as u64);
            metrics::counter!("calotype_pixel_steps_total").increment(*pixel_steps as u64);
        }
        Notice::Verdict { classifier, verdict } => {
            let labels = [("classifier", classifier.clone()), ("verdict", verdict.clone())];
            metrics::counter!("calotype_safety_verdicts_total", &labels).increment(1);
        }
        _ => {}
    }
}

/// `GET /metrics`, for keys with the scope `admin` or `read`; on a machine without keys for all.
pub(crate) async fn metrics(State(app): State<App>, Can(_caller): Can<READ>) -> problem::Result<Response> {
    let text = blocking(move || Ok(render(&app))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn render(app: &Arc<crate::app::Shared>) -> String {
    let engine = &app.engine;
    if let Ok(counts) = engine.counts() {
        metrics::gauge!("calotype_queue_depth").set(counts.queued as f64);
        metrics::gauge!("calotype_jobs_running").set(counts.with_workers as f64);
    }
    let held = calotype_queue::List { state: Some(calotype_queue::State::Held), limit: 10_000, ..Default::default() };
    if let Ok(held) = engine.list(&held) {
        metrics::gauge!("calotype_jobs_held").set(held.len() as f64);
        let oldest = held.iter().map(|job| job.since).min().unwrap_or_else(&*calotype_queue::wall_clock());
        let age = calotype_queue::wall_clock()().saturating_sub(oldest) as f64 / 1e3;
        metrics::gauge!("calotype_review_oldest_seconds").set(age);
    }
    let loaded = engine.loaded();
    for entry in engine.catalogue().all(calotype::checkpoint::ListedKind::Model) {
        let is_loaded = f64::from(u8::from(loaded.contains(&entry.id)));
        metrics::gauge!("calotype_model_loaded", "model" => entry.id).set(is_loaded);
    }
    if let Ok(Some(head)) = engine.publisher().audit_head() {
        metrics::gauge!("calotype_audit_lines").set(head.seq as f64);
    }
    metrics::gauge!("calotype_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!("process_uptime_seconds").set(app.started.elapsed().as_secs_f64());
    app.metrics.render()
}
