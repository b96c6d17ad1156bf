//! Writes a small preview after each step: the model's prediction through a linear map from latents to colours.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example preview -- previews
//! ```

use std::path::PathBuf;

use calotype::{Event, Model, Pipeline, PipelineOptions, Request};
use calotype_image::encode_png;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "previews".to_owned()));
    std::fs::create_dir_all(&folder)?;
    let pipeline = Pipeline::load(Model::built_in()?, PipelineOptions::default())?;
    let mut run = pipeline.generate(Request { num_inference_steps: 8, ..Request::new("a red apple") })?;
    while let Some(event) = run.next() {
        if let Event::Step(step) = event? {
            for preview in run.preview() {
                std::fs::write(folder.join(format!("{:02}.png", step.index)), encode_png(&preview, &[])?)?;
            }
        }
    }
    run.finish()?.images[0].save_png(folder.join("image.png"))?;
    Ok(())
}
