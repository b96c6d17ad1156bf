//! Applies a LoRA, by its file, and prints how much of the model it changes.
//!
//! ```sh
//! cargo run --release -p calotype --example lora -- path/to/sd15 ink.safetensors fox.png
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use calotype::{
    Model, Pipeline, PipelineOptions, Request,
    adapters::{AdapterFile, AdapterOptions, LoraOptions},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, lora, output] = args.as_slice() else {
        return Err("give a model, the file of a LoRA, and the PNG file to write".into());
    };
    let file = AdapterFile::Path(lora.into());
    let loras = vec![LoraOptions { file, unet: 0.8, text_encoder: 0.8, ranks: None }];
    let adapters = AdapterOptions { loras, ..AdapterOptions::default() };
    let pipeline = Pipeline::load(Model::open(model)?, PipelineOptions::default())?;
    let run = pipeline.generate(Request { adapters, ..Request::new("a fox, ink drawing") })?;
    for warning in run.warnings() {
        println!("warning: {warning}");
    }
    // The metadata name the LoRA by its hash.
    run.finish()?.images[0].save_png(output)?;
    Ok(())
}
