//! A run, one step after the other.

use calotype_diffusion::{self as diffusion, BatchNoise, Latents, ModelDenoiser};
use calotype_image::RgbImage;
use calotype_tensor::cpu::Cpu;

use super::Pass;
use crate::{
    AdapterMetadata, Error, Guided, Pipeline, Plan, Request, Result, Step, Warning,
    adapters::Active,
    masked::{Kept, Masked},
    prepare::Overlay,
};

/// The steps of one pass.
pub(super) type Steps<'a> = diffusion::Run<'a, Masked<ModelDenoiser<Guided<Cpu>>>, BatchNoise>;

/// A run under way. Each `next` takes one step of the sampler; dropping it ends the run, and its hold of the UNet.
pub struct Run<'a> {
    pub(super) pipeline: &'a Pipeline<'a>,
    pub(super) request: Request,
    pub(super) plan: Plan,
    pub(super) steps: Option<Steps<'a>>,
    pub(super) in_second_pass: bool,
    /// Those of the last step.
    pub(super) latents: Latents,
    /// What stays of a picture's latents.
    pub(super) kept: Option<Kept>,
    pub(super) overlay: Option<Overlay>,
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

    /// Takes the steps that are left and gives the final latents, diffusers' `output_type="latent"`.
    ///
    /// # Errors
    /// A step fails, or the latents are no longer finite.
    pub fn finish_latents(mut self) -> Result<Latents> {
        for step in &mut self {
            step?;
        }
        if let Some(kept) = &self.kept {
            kept.blend(&mut self.latents);
        }
        Ok(self.latents)
    }

    /// Takes the steps that are left and decodes the pictures.
    ///
    /// # Errors
    /// As [`Self::finish_latents`].
    pub fn finish(mut self) -> Result<Pictures> {
        let (pipeline, wrap, rounding) = (self.pipeline, self.request.tiling.wrap(), self.request.rounding());
        let overlay = self.overlay.take();
        let latents = self.finish_latents()?;
        let mut images = pipeline.decode_as(&latents, wrap, rounding)?;
        if let Some(overlay) = overlay {
            for image in &mut images {
                *image = overlay.over(image)?;
            }
        }
        Ok(Pictures { images, latents })
    }
}

impl Iterator for Run<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut step = self.steps.as_mut()?.next();
        if step.is_none() && !self.in_second_pass {
            if let Err(error) = self.begin_second_pass() {
                self.steps = None;
                return Some(Err(error));
            }
            step = self.steps.as_mut()?.next();
        }
        let step = step?.and_then(|mut step| {
            match (self.in_second_pass, &self.plan.hires) {
                (true, _) => {
                    step.index += self.plan.sampler.steps();
                    step.total += self.plan.sampler.steps();
                }
                (false, Some(hires)) => step.total += hires.sampler.steps(),
                (false, None) => {}
            }
            if step.latents.is_finite() { Ok(step) } else { Err(Error::NotFinite) }
        });
        if let Ok(step) = &step {
            self.latents.clone_from(&step.latents);
        }
        Some(step)
    }
}

impl Run<'_> {
    /// Begins the second pass, if there is one: its steps take the place of the first one's.
    fn begin_second_pass(&mut self) -> Result<()> {
        // The first pass's hold of the UNet ends, so that the decoder has its memory.
        self.steps = None;
        let Some(hires) = &self.plan.hires else { return Ok(()) };
        let (start, noise) = self.pipeline.enlarged(&self.request, hires, &self.latents)?;
        let of_pass = (&hires.sampler, hires.latents_shape, hires.arena);
        let timeline = self.request.second_timeline();
        let (conditioning, _) = self.pipeline.adapted_conditioning(&self.request, &self.adapters, timeline)?;
        let pass = Pass { request: &self.request, adapters: &self.adapters, conditioning };
        self.steps = Some(self.pipeline.pass(pass, of_pass, start, noise)?);
        self.in_second_pass = true;
        Ok(())
    }
}

/// What a run made.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The pictures, in the order of their seeds.
    pub images: Vec<RgbImage>,
    /// The latents they were decoded from.
    pub latents: Latents,
}
