//! A run, one step after the other.

use calotype_diffusion::{self as diffusion, BatchNoise, ModelDenoiser, nhwc_to_nchw};
use calotype_image::RgbImage;
use calotype_tensor::cpu::Cpu;

use crate::{AdapterMetadata, Error, Guided, Latents, Pipeline, Plan, Result, Step, Warning, adapters::Active};

/// A run under way. Each `next` takes one step of the sampler; dropping it ends the run, and its hold of the UNet.
pub struct Run<'a> {
    pub(super) pipeline: &'a Pipeline<'a>,
    pub(super) plan: Plan,
    pub(super) steps: diffusion::Run<'a, ModelDenoiser<Guided<Cpu>>, BatchNoise>,
    /// Those of the last step, `(B, h, w, C)`.
    pub(super) latents: Vec<f32>,
    pub(super) adapters: Active,
    pub(super) warnings: Vec<Warning>,
}

impl Run<'_> {
    /// The request as it is carried out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the caller should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The adapters in use: what [`Metadata::adapters`](crate::Metadata::adapters) is to be. Hashes their files at the first
    /// call for each.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn adapters(&self) -> Result<Vec<AdapterMetadata>> {
        AdapterMetadata::of(&self.adapters)
    }

    /// Takes the steps that are left and gives the final latents `(B, C, h, w)`, as diffusers' `output_type="latent"`.
    ///
    /// # Errors
    /// A step fails, or the latents are no longer finite.
    pub fn finish_latents(mut self) -> Result<Latents> {
        for step in &mut self {
            step?;
        }
        let shape = self.plan.latents_shape;
        Latents::new(shape, nhwc_to_nchw(&self.latents, shape)?)
    }

    /// Takes the steps that are left and decodes the pictures.
    ///
    /// # Errors
    /// As [`Self::finish_latents`].
    pub fn finish(self) -> Result<Pictures> {
        let pipeline = self.pipeline;
        let latents = self.finish_latents()?;
        Ok(Pictures { images: pipeline.decode(&latents)?, latents })
    }
}

impl Iterator for Run<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?.and_then(|step| {
            let finite = step.latents.iter().all(|x| x.is_finite());
            if finite { Ok(step) } else { Err(Error::NotFinite) }
        });
        if let Ok(step) = &step {
            self.latents.clone_from(&step.latents);
        }
        Some(step)
    }
}

/// What a run made.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The pictures, in the order of their seeds.
    pub images: Vec<RgbImage>,
    /// The latents they were decoded from, `(B, C, h, w)`.
    pub latents: Latents,
}
