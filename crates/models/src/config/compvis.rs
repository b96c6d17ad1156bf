//! CompVis' model config (`v1-inference.yaml`): what the tensors' shapes leave open.

use calotype_formats::parse_yaml;
use serde_json::Value;

use crate::Result;

/// What a CompVis config says of a model; what it does not say, or there is none, is as the family has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompVisConfig {
    /// Heads of every attention in the UNet.
    pub num_heads: Option<usize>,
    /// Width of a head in the UNet, which goes before their number.
    pub num_head_channels: Option<usize>,
    /// Channels of the UNet's input.
    pub in_channels: Option<usize>,
    /// Channels of the UNet's first block.
    pub model_channels: Option<usize>,
    /// Width of the context.
    pub context_dim: Option<usize>,
    /// Height and width of the latents it was trained on.
    pub image_size: Option<usize>,
    /// What latents are multiplied by before diffusion.
    pub scale_factor: Option<f32>,
    /// The first beta.
    pub linear_start: Option<f64>,
    /// The last beta.
    pub linear_end: Option<f64>,
    /// Timesteps of the training.
    pub timesteps: Option<usize>,
    /// How betas are spaced, in CompVis' names: `linear` is diffusers' `scaled_linear`.
    pub beta_schedule: Option<String>,
    /// What the UNet predicts: `eps` or `v`.
    pub parameterization: Option<String>,
    /// Whether an OpenCLIP text encoder's last layer is used.
    pub last_layer: bool,
    /// Whether the training kept a moving average of the weights, which configs of training say.
    pub use_ema: bool,
}

impl CompVisConfig {
    /// Reads a config; `label` is what messages call it.
    ///
    /// # Errors
    /// It is not YAML, or not that of a latent diffusion model (there is no `model.params`), or a value of it is of
    /// another type.
    pub fn from_yaml(text: &str, label: &str) -> Result<Self> {
        let config = parse_yaml(text, label)?;
        let wrong = |problem: String| calotype_formats::Error::File { file: label.to_owned(), problem };
        let Some(params) = config.pointer("/model/params").filter(|params| params.is_object()) else {
            let problem = "there is no model.params, so it is no config of a latent diffusion model: give one as v1-inference.yaml";
            return Err(wrong(problem.to_owned()).into());
        };
        let number = |path: &str| match params.pointer(path) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(format!("model.params{} is no number", path.replace('/', ".")))),
            },
        };
        let count = |path: &str| match number(path)? {
            // CompVis writes -1 for "not given".
            None | Some(-1.0) => Ok(None),
            Some(n) if n >= 1.0 && n.fract() == 0.0 && n <= f64::from(u32::MAX) => Ok(Some(n as usize)),
            Some(n) => Err(wrong(format!("model.params{} = {n}, expected a whole number", path.replace('/', ".")))),
        };
        let word = |path: &str| params.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let unet = |key: &str| format!("/unet_config/params/{key}");
        Ok(Self {
            num_heads: count(&unet("num_heads"))?,
            num_head_channels: count(&unet("num_head_channels"))?,
            in_channels: count(&unet("in_channels"))?,
            model_channels: count(&unet("model_channels"))?,
            context_dim: count(&unet("context_dim"))?,
            image_size: count("/image_size")?,
            scale_factor: number("/scale_factor")?.map(|factor| factor as f32),
            linear_start: number("/linear_start")?,
            linear_end: number("/linear_end")?,
            timesteps: count("/timesteps")?,
            beta_schedule: word("/beta_schedule"),
            parameterization: word("/parameterization"),
            use_ema: params.pointer("/use_ema") == Some(&Value::Bool(true)),
            last_layer: word("/cond_stage_config/params/layer").as_deref() == Some("last"),
        })
    }
}
