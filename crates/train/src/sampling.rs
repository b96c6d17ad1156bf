//! Pictures for fixed prompts while a model trains.

use calotype::sampling::{CfgPredictor, guides};
use calotype_diffusion::{
    BatchNoise, Latents, ModelDenoiser, NoiseSchedule, PredictionType, SampleOptions, Sampler, SamplerKind,
    ScheduleKind,
};
use calotype_image::RgbImage;
use calotype_models::{AutoencoderKl, ClipTextEncoder, UNet};
use calotype_tensor::Backend;
use calotype_text::Tokenizer;

use crate::{
    ReportConfig, Result,
    random::{Stream, generator},
};

/// Prompts that go through the networks at once, to bound memory.
const BATCH: usize = 8;

/// The networks of a latent diffusion model.
pub(crate) struct Networks<'a, B: Backend> {
    pub(crate) inner: &'a B,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) text: &'a ClipTextEncoder<B::Param>,
    pub(crate) unet: &'a UNet<B::Param>,
    pub(crate) vae: &'a AutoencoderKl<B::Param>,
    pub(crate) scaling_factor: f32,
    pub(crate) prediction: PredictionType,
}

impl<B: Backend + Clone> Networks<'_, B> {
    /// A picture for each of the report's prompts, the same noise every time: DPM-Solver++(2M), which needs few steps.
    /// `shape` is that of a picture's latents, `[h, w, c]`.
    pub(crate) fn sample(
        &self,
        report: &ReportConfig,
        schedule: &NoiseSchedule,
        shape: [usize; 3],
        seed: u64,
    ) -> Result<Vec<RgbImage>> {
        let options = SampleOptions::new(report.sample_steps);
        let sampler = Sampler::new(SamplerKind::Dpmpp2m, ScheduleKind::Default, schedule, options)?;
        let mut pictures = Vec::with_capacity(report.prompts.len());
        for (batch, prompts) in report.prompts.chunks(BATCH).enumerate() {
            let seeds = (0..prompts.len()).map(|i| generator(seed, Stream::Samples, (batch * BATCH + i) as u64));
            let mut noise = BatchNoise::from_generators(seeds.collect(), shape);
            let start = noise.randn();
            let predictor = self.guided(prompts, report.guidance_scale, shape)?;
            let denoiser = ModelDenoiser::new(predictor, self.prediction);
            let mut latents = start.clone();
            for step in sampler.run(denoiser, &start, noise) {
                latents = step?.latents;
            }
            pictures.extend(self.decode(latents)?);
        }
        Ok(pictures)
    }

    fn guided(&self, prompts: &[String], scale: f32, [h, w, c]: [usize; 3]) -> Result<CfgPredictor<B>> {
        let mut texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        if guides(scale) {
            texts.splice(0..0, vec![""; prompts.len()]);
        }
        let ids: Vec<u32> = texts.iter().flat_map(|text| self.tokenizer.encode(text).ids).collect();
        let context = self.text.forward(self.inner, &ids, texts.len())?;
        let shape = [prompts.len(), h, w, c];
        Ok(CfgPredictor::new(self.inner.clone(), self.unet.clone(), &context, scale, shape)?)
    }

    /// Latents, scaled, to pictures.
    fn decode(&self, latents: Latents) -> Result<Vec<RgbImage>> {
        let shape = latents.shape().into();
        let latents = latents.map(|x| x / self.scaling_factor).into_data();
        let decoded = self.vae.decode(self.inner, &self.inner.from_f32(shape, latents)?)?;
        let [_, h, w, _] = calotype_tensor::op_shapes::picture("decode", "the picture", self.inner.shape(&decoded))?;
        let values = self.inner.to_f32(&decoded)?;
        let picture = |values: &[f32]| Ok(RgbImage::from_unit_f32(values, w as u32, h as u32)?);
        values.chunks_exact((h * w * 3).max(1)).map(picture).collect()
    }
}
