//! Holds models in a map, runs jobs on threads, cancels one of them in the middle of a step, and tells a job that does not fit
//! into memory from one that failed.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example cancel
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use std::{collections::HashMap, thread, time::Duration};

use calotype::{Error, Model, Pipeline, PipelineOptions, Request};

fn main() -> calotype::Result<()> {
    let mut pipelines = HashMap::new();
    for name in ["one", "another"] {
        pipelines.insert(name, Pipeline::load(Model::built_in()?, PipelineOptions::default())?);
    }
    let mut jobs = Vec::new();
    for (name, prompt, batch_size, side) in
        [("one", "a fox", 1, 64), ("another", "a cat", 4, 64), ("one", "a tree", 1024, 4096)]
    {
        // All pipelines share one memory budget: jobs that don't fit into it together don't both start.
        let side = Some(side);
        match pipelines[name].generate(Request { batch_size, width: side, height: side, ..Request::new(prompt) }) {
            Ok(run) => jobs.push((prompt, run.cancel_token(), thread::spawn(move || run.finish()))),
            Err(error) if error.is_out_of_memory() => println!("{prompt}: {error}"),
            Err(error) => return Err(error),
        }
    }
    // A model can go while a job runs: the job holds what it needs.
    pipelines.remove("another");
    thread::sleep(Duration::from_millis(300));
    jobs[1].1.cancel();
    for (prompt, _, job) in jobs {
        match job.join().expect("the thread does not panic") {
            Ok(output) => println!("{prompt}: {} images", output.images.len()),
            Err(Error::Cancelled) => println!("{prompt}: cancelled"),
            Err(error) => println!("{prompt}: {error}"),
        }
    }
    Ok(())
}
