//! Generates an image in an asynchronous program: the run works on a thread for blocking work and sends its steps to a channel.
//! When nobody listens any more, it is cancelled.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example tokio
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use calotype::{Event, Model, Pipeline, PipelineOptions, Request};
use tokio::{sync::mpsc, task};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = Pipeline::load(Model::built_in()?, PipelineOptions::default())?;
    let (steps, mut listener) = mpsc::channel(1);
    let job = task::spawn_blocking(move || {
        let mut run = pipeline.generate(Request { num_inference_steps: 10, ..Request::new("an owl") })?;
        let cancel = run.cancel_token();
        for event in &mut run {
            if let Event::Step(step) = event?
                && steps.blocking_send(step.index + 1).is_err()
            {
                cancel.cancel();
            }
        }
        drop(steps);
        run.finish()
    });
    while let Some(step) = listener.recv().await {
        println!("step {step}");
    }
    let png = job.await??.images[0].to_png()?;
    println!("a PNG file of {} bytes", png.len());
    Ok(())
}
