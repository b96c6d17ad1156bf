//! Classifier-free guidance (Ho & Salimans 2022): the UNet as samplers see it.

use std::sync::Arc;

use calotype_diffusion::{Latents, Predictor, compose};
use calotype_models::{Context, TimeEmbedding, UNet, UNetInputs};
use calotype_tensor::{Backend, op_shapes};

use crate::{
    Error, Result,
    sampling::{Conditioning, ContextRef, StepConditioning},
    tiles::{Canvas, Windows},
};

/// The most numbers in prepared texts that are kept for another step: 256 MiB.
const MAX_KEPT: usize = 64 << 20;

/// Whether a guidance scale asks for a second, unconditional prediction.
#[must_use]
pub fn guides(guidance_scale: f32) -> bool {
    guidance_scale != 1.0
}

/// A UNet, a batch of texts and a guidance scale. With guidance both predictions are made in one batch, the
/// unconditional ones first, if their texts are equally long; what else `AND` joins goes through two by two.
///
/// What does not depend on the latents is computed once: keys and values of the texts for the whole run, as long as they
/// don't take much memory, and what comes of a timestep for all the predictions in a row that are made at it.
pub struct CfgPredictor<B: Backend> {
    backend: B,
    unet: UNet<B::Param>,
    conditioning: Arc<Conditioning>,
    /// Keys and values of texts, those used last at the end.
    prepared: Vec<(Texts, Context<B::Tensor>)>,
    time: Times<B::Tensor>,
    /// How many predictions were made.
    evaluation: usize,
    guidance_scale: f32,
    /// `[B, h, w, C]` of the latents.
    shape: [usize; 4],
    extra_channels: Option<ExtraChannels<B::Tensor>>,
    windows: Option<Arc<Windows>>,
}

/// More input channels of the UNet.
enum ExtraChannels<T> {
    /// For one text and for two at once.
    Whole([T; 2]),
    /// `(B, h, w, E)` and `E`, of which windows see parts.
    InParts(Vec<f32>, usize),
}

/// Texts that go through the UNet at once.
#[derive(Clone, Debug, PartialEq)]
struct Texts {
    /// Of a region, or of the whole.
    region: Option<usize>,
    texts: Vec<ContextRef>,
    /// Each for so many windows of all pictures.
    windows: usize,
}

/// What goes through the UNet at once, apart from the texts: parts of all pictures.
struct Part<'a> {
    region: Option<usize>,
    /// Of how many windows.
    windows: usize,
    /// Height and width of each.
    size: [usize; 2],
    /// `(windows · B, h, w, C)`.
    x: &'a [f32],
    /// For each of them.
    timesteps: &'a [f32],
    /// `(windows · B, h, w, E)`, where it is not the whole.
    extra: Option<Vec<f32>>,
}

/// The last timesteps of the pictures, and what comes of them.
struct Times<T> {
    timesteps: Vec<f32>,
    /// For one text and for two at once.
    embeddings: [Option<TimeEmbedding<T>>; 2],
}

impl<T> Times<T> {
    fn new(timesteps: Vec<f32>) -> Self {
        Self { timesteps, embeddings: [None, None] }
    }
}

impl<B: Backend> CfgPredictor<B> {
    /// For latents of `shape`, `[B, h, w, C]`. `context` is the text encoder's, `(B, L, cross_attention_dim)`; with
    /// guidance it is `(2B, L, cross_attention_dim)`, the unconditional texts first.
    ///
    /// # Errors
    /// The context has another width than the UNet's.
    pub fn new(
        backend: B,
        unet: UNet<B::Param>,
        context: &B::Tensor,
        guidance_scale: f32,
        shape: [usize; 4],
    ) -> Result<Self> {
        let [_, length, width] = op_shapes::sequence("guidance", "the context", backend.shape(context))?;
        let mut rows = backend.to_f32(context)?;
        let cond = rows.split_off(if guides(guidance_scale) { rows.len() / 2 } else { 0 });
        let uncond = Some(rows).filter(|_| guides(guidance_scale));
        let conditioning = Conditioning::constant([length, width], uncond, cond);
        Self::with_conditioning(backend, unet, Arc::new(conditioning), guidance_scale, shape)
    }

    /// For latents of `shape`, `[B, h, w, C]`, and texts that may change on the way.
    ///
    /// # Errors
    /// The contexts have another width than the UNet's.
    pub fn with_conditioning(
        backend: B,
        unet: UNet<B::Param>,
        conditioning: Arc<Conditioning>,
        guidance_scale: f32,
        shape: [usize; 4],
    ) -> Result<Self> {
        let mut guided = Self {
            backend,
            unet,
            conditioning,
            prepared: Vec::new(),
            time: Times::new(Vec::new()),
            evaluation: 0,
            guidance_scale,
            shape,
            extra_channels: None,
            windows: None,
        };
        for texts in passes(&guided.conditioning.at(0)) {
            guided.prepare(&Texts { region: None, texts, windows: 1 })?;
        }
        Ok(guided)
    }

    /// The same for a UNet that takes more channels than the latents': `channels (B, h, w, E)`.
    ///
    /// # Errors
    /// It has not that many numbers.
    pub fn with_extra_channels(self, channels: Vec<f32>, count: usize) -> Result<Self> {
        let [batch, h, w, _] = self.shape;
        let extra = match self.windows {
            Some(_) => ExtraChannels::InParts(channels, count),
            None => ExtraChannels::Whole([
                self.backend.from_f32([batch, h, w, count].into(), channels.clone())?,
                self.backend.from_f32([2 * batch, h, w, count].into(), channels.repeat(2))?,
            ]),
        };
        Ok(Self { extra_channels: Some(extra), ..self })
    }

    /// The same for a UNet that sees parts of the latents, whose predictions are put together. Call it before
    /// [`Self::with_extra_channels`].
    pub(crate) fn with_windows(self, windows: Windows) -> Self {
        // What was prepared is of one window.
        Self { windows: Some(Arc::new(windows)), prepared: Vec::new(), ..self }
    }

    /// The texts of a region, or of the whole.
    fn texts_of(&self, region: Option<usize>) -> &Conditioning {
        region.and_then(|region| self.conditioning.regions.get(region)).unwrap_or(&self.conditioning)
    }

    /// Makes sure that the keys and values of `texts`, each for all pictures, are the last of [`Self::prepared`].
    fn prepare(&mut self, texts: &Texts) -> Result<()> {
        if let Some(at) = self.prepared.iter().position(|(of, _)| of == texts) {
            self.prepared[at..].rotate_left(1);
            return Ok(());
        }
        let [pictures, ..] = self.shape;
        let conditioning = self.texts_of(texts.region);
        let of_text = |&text: &ContextRef| conditioning.rows(text, pictures).repeat(texts.windows);
        let rows: Vec<f32> = texts.texts.iter().flat_map(of_text).collect();
        let length = texts.texts.first().map_or(0, |text| text.length);
        let shape = [texts.texts.len() * texts.windows * pictures, length, conditioning.width()];
        let context = self.unet.prepare(&self.backend, &self.backend.from_f32(shape.into(), rows)?)?;
        self.prepared.push((texts.clone(), context));
        // The oldest go, but never the one in use.
        let mut room = MAX_KEPT;
        let fitting = self.prepared.iter().rev().take_while(|(_, context)| {
            let numbers = context.tensors().map(|tensor| self.backend.shape(tensor).count()).sum();
            let fits = numbers <= room;
            room = room.saturating_sub(numbers);
            fits
        });
        let dropped = self.prepared.len() - fitting.count().max(1);
        self.prepared.drain(..dropped);
        Ok(())
    }

    /// The UNet's predictions of a part with each of `texts`, one after the other.
    fn forward(&mut self, texts: Vec<ContextRef>, part: &Part<'_>) -> Result<Vec<f32>> {
        let &Part { region, windows, size: [h, w], x, timesteps, ref extra } = part;
        let count = texts.len();
        self.prepare(&Texts { region, texts, windows })?;
        let [pictures, .., c] = self.shape;
        let seen = count * windows * pictures;
        if self.time.timesteps != timesteps {
            self.time = Times::new(timesteps.to_vec());
        }
        let [one, two] = &mut self.time.embeddings;
        let time = match if count == 1 { one } else { two } {
            Some(time) => time,
            none => none.insert(self.unet.time_embedding(&self.backend, &timesteps.repeat(count), None)?),
        };
        let latents = self.backend.from_f32([seen, h, w, c].into(), x.repeat(count))?;
        let of_part;
        let extra_channels = match (&self.extra_channels, extra) {
            (Some(ExtraChannels::Whole([one, two])), _) => Some(if count == 1 { one } else { two }),
            (&Some(ExtraChannels::InParts(_, channels)), Some(extra)) => {
                of_part = self.backend.from_f32([seen, h, w, channels].into(), extra.repeat(count))?;
                Some(&of_part)
            }
            _ => None,
        };
        let Some((_, context)) = self.prepared.last() else { return Ok(Vec::new()) };
        let inputs = UNetInputs { extra_channels, ..UNetInputs::new(&latents, time, context) };
        Ok(self.backend.to_f32(&self.unet.forward(&self.backend, &inputs)?)?)
    }

    /// The guided prediction of a part at an evaluation, and the unconditional one if there is guidance.
    fn guide_part(&mut self, part: &Part<'_>, evaluation: usize) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let holding = self.texts_of(part.region).at(evaluation);
        let mut predicted = Vec::new();
        for texts in passes(&holding) {
            predicted.extend(self.forward(texts, part)?);
        }
        if holding.uncond.is_none() {
            return Ok((predicted, None));
        }
        let mut predictions = predicted.chunks_exact(part.x.len().max(1));
        let uncond = predictions.next().unwrap_or_default();
        let scales = holding.parts.iter().map(|(_, weight)| weight * self.guidance_scale);
        let conds: Vec<(&[f32], f32)> = predictions.zip(scales).collect();
        Ok((compose(uncond, &conds)?, Some(uncond.to_vec())))
    }

    /// The guided prediction with each picture at its timestep, and the unconditional one if there is guidance.
    fn guide(&mut self, x: &Latents, timesteps: &[f32]) -> Result<(Latents, Option<Latents>)> {
        let evaluation = self.evaluation;
        self.evaluation += 1;
        let [pictures, h, w, channels] = self.shape;
        let Some(windows) = self.windows.clone() else {
            let whole = Part { region: None, windows: 1, size: [h, w], x: x.data(), timesteps, extra: None };
            let (guided, uncond) = self.guide_part(&whole, evaluation)?;
            return Ok((x.with_data(guided)?, uncond.map(|uncond| x.with_data(uncond)).transpose()?));
        };
        let mut guided = Canvas::new(&windows, pictures, channels);
        let mut uncond: Option<Canvas<'_>> = None;
        for batch in windows.batches() {
            let count = batch.corners.len();
            let crop = |values: &[f32]| windows.crop(batch, values, pictures);
            let part = Part {
                region: batch.region,
                windows: count,
                size: batch.size,
                x: &crop(x.data()),
                timesteps: &timesteps.repeat(count),
                extra: match &self.extra_channels {
                    Some(ExtraChannels::InParts(extra, _)) => Some(crop(extra)),
                    _ => None,
                },
            };
            let (of_part, without) = self.guide_part(&part, evaluation)?;
            guided.add(batch, &of_part);
            if let Some(without) = without {
                uncond.get_or_insert_with(|| Canvas::new(&windows, pictures, channels)).add(batch, &without);
            }
        }
        let uncond = uncond.map(|uncond| x.with_data(uncond.finish())).transpose()?;
        Ok((x.with_data(guided.finish())?, uncond))
    }
}

impl<B: Backend> Predictor for CfgPredictor<B> {
    type Error = Error;

    fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents> {
        Ok(self.guide(x, &vec![timestep as f32; self.shape[0]])?.0)
    }

    fn predict_with_uncond(&mut self, x: &Latents, timestep: f64) -> Result<[Latents; 2]> {
        let (guided, uncond) = self.guide(x, &vec![timestep as f32; self.shape[0]])?;
        let uncond = uncond.unwrap_or_else(|| guided.clone());
        Ok([guided, uncond])
    }

    fn predict_each(&mut self, x: &Latents, timesteps: &[f64]) -> Result<Latents> {
        let timesteps: Vec<f32> = timesteps.iter().map(|&timestep| timestep as f32).collect();
        Ok(self.guide(x, &timesteps)?.0)
    }
}

/// What goes through the UNet at once: at most two texts, of one length.
fn passes(holding: &StepConditioning) -> Vec<Vec<ContextRef>> {
    let mut passes: Vec<Vec<ContextRef>> = Vec::new();
    for text in holding.uncond.into_iter().chain(holding.parts.iter().map(|&(text, _)| text)) {
        match passes.last_mut().filter(|last| last.len() == 1 && last[0].length == text.length) {
            Some(last) => last.push(text),
            None => passes.push(vec![text]),
        }
    }
    passes
}
