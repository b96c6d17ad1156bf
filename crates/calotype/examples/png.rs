//! Generates an image with the built-in model and writes it as a PNG file.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example png -- fox.png
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use calotype::{Event, Model, Pipeline, PipelineOptions, Request};

fn main() -> calotype::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "fox.png".to_owned());
    let pipeline = Pipeline::load(Model::built_in()?, PipelineOptions::default())?;
    let mut run =
        pipeline.generate(Request { num_inference_steps: 25, ..Request::new("a fox on a blue background") })?;
    for event in &mut run {
        match event? {
            Event::Stage(stage) => eprintln!("{stage}"),
            Event::Step(step) => eprintln!("step {} of {}, sigma {:.2}", step.index + 1, step.total, step.sigma),
            _ => {}
        }
    }
    // The file says how the image was made: the request, the model's hash, the adapters.
    run.finish()?.images[0].save_png(path)
}
