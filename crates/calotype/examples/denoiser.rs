//! Puts a denoiser of one's own around the model's: here one that keeps the prediction within a range in each channel, after
//! the dynamic thresholding of Imagen (Saharia et al. 2022, section 2.3).
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example denoiser -- apple.png
//! ```

use std::sync::Arc;

use calotype::{
    Error, Latents, Model, Pipeline, PipelineOptions, Request, RunOptions,
    sampling::{BoxDenoiser, NoiseLevel},
};

/// Scales predictions whose greatest values are larger than `most`.
struct Limited {
    inner: BoxDenoiser,
    most: f32,
}

impl calotype::sampling::Denoiser for Limited {
    type Error = Error;

    fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Error> {
        let predicted = self.inner.denoise(x, level)?;
        let mut sizes: Vec<f32> = predicted.data().iter().map(|x| x.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let large = sizes[sizes.len() * 995 / 1000];
        let factor = if large > self.most { self.most / large } else { 1.0 };
        Ok(predicted.map(|x| x * factor))
    }
}

fn main() -> calotype::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "apple.png".to_owned());
    let pipeline = Pipeline::load(Model::built_in()?, PipelineOptions::default())?;
    let plan = pipeline.plan(Request { guidance_scale: 15.0, ..Request::new("an apple on a blue background") })?;
    let options = RunOptions {
        wrap_denoiser: Some(Arc::new(|inner| Box::new(Limited { inner, most: 3.0 }))),
        ..RunOptions::default()
    };
    pipeline.run_with(plan, options)?.finish()?.images[0].save_png(path)
}
