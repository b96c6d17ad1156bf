//! Fits the map from latents to colours that previews of a model use, and prints it as the `latent_rgb.json` of its folder.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example latent_rgb -- models/emoji prompts.txt > latent_rgb.json
//! ```
//!
//! The prompts, one on each line, are generated with eight steps; each latent pixel is held to the mean colour of its square
//! of the image.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use calotype::{Latents, Model, Pipeline, PipelineOptions, Request, latents::LatentRgb};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(prompts)) = (args.next(), args.next()) else {
        return Err("give the folder of a model, and a file of prompts".into());
    };
    let pipeline = Pipeline::load(Model::open(model)?, PipelineOptions::default())?;
    let (mut latents, mut colours) = (Vec::new(), Vec::new());
    for (seed, prompt) in std::fs::read_to_string(prompts)?.lines().enumerate() {
        let request = Request { num_inference_steps: 8, seed: seed as u64, ..Request::new(prompt) };
        let made = pipeline.generate(request)?.finish()?;
        let [_, h, w, _] = made.latents.shape();
        for image in &made.images {
            let (width, values) = (image.pixels.width() as usize, image.pixels.to_unit_f32());
            let side = width / w;
            for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                for colour in 0..3 {
                    let square = (0..side).flat_map(|dy| (0..side).map(move |dx| (y * side + dy, x * side + dx)));
                    let sum: f32 = square.map(|(y, x)| values[(y * width + x) * 3 + colour]).sum();
                    colours.push(sum / (side * side) as f32);
                }
            }
        }
        latents.push(made.latents);
    }
    let map = LatentRgb::fit(&Latents::concat(&latents)?, &colours)
        .ok_or("these images determine no map: give more prompts")?;
    println!("{}", serde_json::to_string_pretty(&map)?);
    Ok(())
}
