//! To a diffusers folder.

use std::path::Path;

use calotype_diffusion::NoiseSchedule;
use calotype_files::json;
use calotype_formats::DType;
use calotype_models::ModelConfig;
use serde_json::{Value, json};

use super::{Progress, Source, auxiliary::Auxiliary, folder_layout, stage::Stage, tensors::Tensors};
use crate::{
    Error, Model, NetworkFiles, Result,
    model::{Conditioning, ModelTokenizer},
};

/// The version whose form the folder has.
const VERSION: &str = "0.21.0";
/// The scheduler of a model that came with none.
const SCHEDULER: &str = "DDIMScheduler";

pub(super) fn write(
    source: &Source<'_>,
    output: &Path,
    dtype: Option<DType>,
    progress: Progress<'_>,
) -> Result<Vec<String>> {
    let stage = Stage::beside(output)?;
    // A network alone has its files at the top.
    let alone = source.model.is_none();
    let mut files = Vec::new();
    files.extend(source.text_encoder.map(|network| file(network, alone, dtype, &stage)).transpose()?);
    files.extend(source.unet.map(|network| file(network, alone, dtype, &stage)).transpose()?);
    files.extend(source.vae.map(|network| file(network, alone, dtype, &stage)).transpose()?);
    let total = files.iter().map(|(_, tensors)| tensors.bytes()).sum();
    let mut done = 0;
    for (name, tensors) in files {
        tensors.write(&stage.path().join(name), &mut done, total, progress)?;
    }
    let mut left_out = Vec::new();
    if let Some(model) = source.model {
        beside_the_networks(model, &stage)?;
        left_out = Auxiliary::of(model)?.left_out(true);
    }
    stage.publish("", output).map(|()| left_out)
}

/// Writes a network's config, and gives the name and the tensors of its weights.
fn file<'a, C: ModelConfig>(
    network: &'a NetworkFiles<C>,
    alone: bool,
    dtype: Option<DType>,
    stage: &Stage,
) -> Result<(String, Tensors<'a>)> {
    let mut tensors = Tensors::new();
    tensors.add(network, &folder_layout::<C>(), dtype, |spec| spec.shape.clone())?;
    let folder = if alone { String::new() } else { format!("{}/", C::COMPONENT.id()) };
    let mut config: Value = serde_json::from_str(&network.config.to_json())
        .map_err(|e| Error::file(&network.label, format!("its config can't be written: {e}")))?;
    if C::COMPONENT.is_of_transformers() {
        config["architectures"] = json!(["CLIPTextModel"]);
        config["torch_dtype"] = json!(torch_dtype(dtype.or_else(|| tensors.dtype())));
    }
    stage.write(&format!("{folder}config.json"), format!("{config:#}\n"))?;
    let [(stem, ending), _] = C::COMPONENT.weight_files();
    Ok((format!("{folder}{stem}.{ending}"), tensors))
}

/// transformers' name of a number type.
fn torch_dtype(dtype: Option<DType>) -> &'static str {
    match dtype {
        Some(DType::F16) => "float16",
        Some(DType::BF16) => "bfloat16",
        _ => "float32",
    }
}

/// The `model_index.json` of a diffusers folder with the pipeline `class`.
#[must_use]
pub fn model_index(class: &str) -> Value {
    json!({
        "_class_name": class,
        "_diffusers_version": VERSION,
        "feature_extractor": [null, null],
        "requires_safety_checker": false,
        "safety_checker": [null, null],
        "scheduler": ["diffusers", SCHEDULER],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// Writes the tokenizer, the scheduler and the index.
fn beside_the_networks(model: &Model, stage: &Stage) -> Result<()> {
    let class = match model.conditioning() {
        Conditioning::Text => "StableDiffusionPipeline",
        Conditioning::Inpainting => "StableDiffusionInpaintPipeline",
        Conditioning::InstructPix2Pix => "StableDiffusionInstructPix2PixPipeline",
        Conditioning::Depth => "StableDiffusionDepth2ImgPipeline",
    };
    let mut index = model_index(class);
    if model.vae_config().tiny.is_some() {
        index["vae"][1] = json!("AutoencoderTiny");
    }
    let scheduler_config = model.scheduler_config()?;
    if let Some(class) = scheduler_config.get("_class_name") {
        index["scheduler"][1] = class.clone();
    }
    stage.write("scheduler/scheduler_config.json", format!("{}\n", json::to_string_pretty(&scheduler_config)))?;
    let tokenizer = model.tokenizer_files()?;
    for (name, bytes) in tokenizer {
        stage.write(&format!("tokenizer/{name}"), bytes)?;
    }
    stage.write("model_index.json", format!("{index:#}\n"))
}

impl Model {
    /// What the `scheduler_config.json` of a diffusers folder of this model says: its noise and what its UNet predicts, and beside
    /// them all that was saved of its sampler.
    ///
    /// # Errors
    /// No betas make its noise.
    pub fn scheduler_config(&self) -> Result<Value> {
        let scheduler = &self.scheduler;
        let mut scheduler_config = match self.saved_scheduler() {
            // All that it says of the sampler, and what is not known here, as it was saved.
            Some(saved) => saved.config().clone(),
            None => json!({
                "_class_name": SCHEDULER,
                "_diffusers_version": VERSION,
                "clip_sample": false,
                "set_alpha_to_one": false,
                "steps_offset": 1,
            }),
        };
        scheduler_config["beta_end"] = json!(scheduler.beta_end);
        scheduler_config["beta_schedule"] = json!(scheduler.beta_schedule);
        scheduler_config["beta_start"] = json!(scheduler.beta_start);
        scheduler_config["num_train_timesteps"] = json!(scheduler.num_train_timesteps);
        scheduler_config["prediction_type"] = json!(scheduler.prediction_type);
        if let Some(betas) = trained_betas(self)? {
            scheduler_config["num_train_timesteps"] = json!(betas.len());
            scheduler_config["trained_betas"] = json!(betas);
        }
        if scheduler.rescale_betas_zero_snr {
            scheduler_config["rescale_betas_zero_snr"] = json!(true);
        }
        Ok(scheduler_config)
    }

    /// `(name, contents)` of the files in the `tokenizer` of a diffusers folder of this model.
    ///
    /// # Errors
    /// They can't be read.
    pub fn tokenizer_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(match &self.tokenizer {
            ModelTokenizer::Own(_, files) => files.read_tokenizer()?,
            ModelTokenizer::BuiltIn(_) => calotype_text::clip_files()
                .map(|(name, text)| (name, padded(name, text, self.text_config().is_open_clip()).into_bytes()))
                .into(),
        })
    }
}

/// The betas of a table of noise, if the model has one.
fn trained_betas(model: &Model) -> Result<Option<Vec<f32>>> {
    /// The share by which the sigmas that the betas make may differ.
    const TOLERANCE: f32 = 1e-4;
    let Some(table) = &model.scheduler.alphas_cumprod else { return Ok(model.scheduler.trained_betas.clone()) };
    let before = [1.0].iter().chain(table);
    let beta = |(before, alpha): (&f32, &f32)| (1.0 - f64::from(*alpha) / f64::from(*before)) as f32;
    let betas: Vec<f32> = before.zip(table).map(beta).collect();
    let (expected, said) =
        (NoiseSchedule::from_alphas_cumprod(table.clone()), NoiseSchedule::from_trained_betas(&betas));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * a;
    match (expected, said) {
        (Ok(expected), Ok(said)) if expected.sigmas().iter().zip(said.sigmas()).all(near) => Ok(Some(betas)),
        _ => {
            let problem = "its table of noise is so uneven that no betas say it, which a diffusers folder needs: convert to compvis";
            Err(Error::file(&model.unet.label, problem))
        }
    }
}

/// A file of CLIP's tokenizer, its pad token as the text encoder was trained with.
fn padded(name: &str, text: String, open_clip: bool) -> String {
    let open_clip = open_clip && matches!(name, "special_tokens_map.json" | "tokenizer_config.json");
    match serde_json::from_str::<Value>(&text) {
        Ok(mut config) if open_clip => {
            config["pad_token"] = json!("!");
            format!("{config:#}\n")
        }
        _ => text,
    }
}
