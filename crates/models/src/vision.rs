//! Transformers over the patches of images: CLIP's vision encoder (Radford et al. 2021) and ViT classifiers (Dosovitskiy et al. 2021).

use calotype_files::json;
use calotype_formats::Checkpoint;
use calotype_tensor::{Backend, Conv2d, Error as TensorError, ParamData, ParamKind, Result as Computed};
use serde_json::Value;

use crate::{
    Error, HiddenAct, Init, ParamSource, ParamSpec, Result, Scope,
    encoder_layer::{EncoderLayer, EncoderSizes},
    layers::{LayerNorm, Linear},
    names::vision::VisionNames,
    params::with_backend,
};

/// Colours of an image.
const COLOURS: usize = 3;
/// Width of a head where no config says their number.
const HEAD_WIDTH: usize = 64;
/// More layers than any model has.
const MOST_LAYERS: usize = 256;

/// A transformer over the patches of images, with a linear map of what it says of the whole: an embedding, or the logits of classes.
#[derive(Clone, Debug)]
pub struct VisionTransformer<P> {
    class_embedding: P,
    patch_embedding: P,
    /// ViT's; CLIP has none.
    patch_bias: Option<P>,
    position_embedding: P,
    /// CLIP's; ViT has none.
    pre_norm: Option<LayerNorm<P>>,
    layers: Vec<EncoderLayer<P>>,
    post_norm: LayerNorm<P>,
    head: Linear<P>,
    image_size: usize,
    patch_size: usize,
    outputs: usize,
}

/// What a `config.json` says that tensors don't tell: of transformers' `CLIPVisionConfig` (or a config that has one as
/// `vision_config`), or `ViTConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VisionConfig {
    /// Heads of an attention; as many as there are parts of 64 if it is not said.
    pub num_attention_heads: Option<usize>,
    /// The activation; CLIP's is the quick GELU, ViT's the exact one.
    pub hidden_act: Option<HiddenAct>,
    /// Added to the variance of norms; 1e-5 in CLIP, 1e-12 in ViT.
    pub layer_norm_eps: Option<f32>,
    /// The names of a classifier's classes, in their order.
    pub labels: Vec<String>,
}

impl VisionConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// It is not a JSON object, or a key has no value of its kind.
    pub fn from_json(text: &str) -> Result<Self> {
        let invalid = |problem: String| Error::Config { model: "vision transformer", problem };
        let value: Value = json::from_str(text).map_err(|e| invalid(format!("not valid JSON: {e}")))?;
        let of = value.get("vision_config").filter(|config| config.is_object()).unwrap_or(&value);
        if !of.is_object() {
            return Err(invalid("expected an object of keys and values".to_owned()));
        }
        let heads = match of.get("num_attention_heads") {
            None | Some(Value::Null) => None,
            Some(heads) => {
                let count = heads.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1024).contains(n));
                Some(count.ok_or_else(|| invalid("num_attention_heads: expected a number from 1 to 1024".to_owned()))?)
            }
        };
        let hidden_act = match of.get("hidden_act") {
            None | Some(Value::Null) => None,
            Some(act) => Some(serde_json::from_value(act.clone()).map_err(|e| invalid(format!("hidden_act: {e}")))?),
        };
        let eps = of.get("layer_norm_eps").and_then(Value::as_f64).map(|eps| eps as f32);
        let mut labels: Vec<(u64, String)> = Vec::new();
        for (id, label) in value.get("id2label").and_then(Value::as_object).into_iter().flatten() {
            let parsed = id.parse().ok().zip(label.as_str());
            let (id, label) = parsed.ok_or_else(|| invalid("id2label: expected texts by number".to_owned()))?;
            labels.push((id, label.to_owned()));
        }
        labels.sort();
        if labels.iter().zip(0..).any(|((id, _), n)| *id != n) {
            return Err(invalid("id2label: expected a text for each number from 0 on".to_owned()));
        }
        let labels = labels.into_iter().map(|(_, label)| label).collect();
        Ok(Self { num_attention_heads: heads, hidden_act, layer_norm_eps: eps, labels })
    }
}

/// The tensors of a file by the names of CLIP's vision encoder.
struct Source<'a> {
    file: &'a Checkpoint,
    names: &'a VisionNames,
}

impl Source<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(self.file.get(&self.names.of(name))?.shape.as_slice())
    }

    /// Dimension `n`, counted from the last, of a tensor that has to be there.
    fn dimension(&self, name: &str, from_last: usize) -> Result<usize> {
        let shape = self.shape(name).ok_or_else(|| self.missing(name))?;
        let size = shape.len().checked_sub(from_last + 1).and_then(|n| shape.get(n)).copied();
        size.filter(|&size| size > 0).ok_or_else(|| self.misshapen(name, "more dimensions".to_owned(), shape))
    }

    fn missing(&self, name: &str) -> Error {
        Error::Missing {
            source_label: self.file.label().to_owned(),
            tensor: self.names.of(name),
            others: 0,
            by_config: false,
        }
    }

    fn misshapen(&self, name: &str, expected: String, got: &[usize]) -> Error {
        Error::Misshapen {
            source_label: self.file.label().to_owned(),
            tensor: self.names.of(name),
            expected,
            got: format!("{got:?}"),
            by_config: false,
        }
    }
}

impl ParamSource for Source<'_> {
    /// ViT's tables of classes and positions have a dimension of 1 more: only the number of elements has to be right.
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let shape = self.shape(&spec.name).ok_or_else(|| self.missing(&spec.name))?;
        if shape.iter().product::<usize>() != spec.count() {
            return Err(self.misshapen(&spec.name, format!("{:?}", spec.shape), shape));
        }
        Ok(Box::new(self.file.read_f32(&self.names.of(&spec.name))?))
    }
}

impl<P> VisionTransformer<P> {
    /// Reads it from a file of CLIP's vision encoder with its projection, of Stable Diffusion's safety checker, or of a ViT
    /// classifier, by transformers' names; sizes are those of the tensors.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn open<B: Backend<Param = P>>(b: &B, file: &Checkpoint, config: &VisionConfig) -> Result<Self> {
        let Some(names) = VisionNames::detect(file) else {
            let problem =
                "it has no patch_embedding of CLIP's vision encoder and no patch_embeddings of a ViT".to_owned();
            return Err(Error::Config { model: "vision transformer", problem });
        };
        let mut source = Source { file, names: &names };
        let width = source.dimension("class_embedding", 0)?;
        let patch_size = source.dimension("patch_embedding.weight", 0)?;
        let positions = source.dimension("position_embedding.weight", 1)?;
        let side = (positions.saturating_sub(1) as f64).sqrt().round() as usize;
        if side * side + 1 != positions {
            let shape = source.shape("position_embedding.weight").unwrap_or_default();
            return Err(source.misshapen(
                "position_embedding.weight",
                "one more than a square of positions".to_owned(),
                shape,
            ));
        }
        let layers =
            (0..MOST_LAYERS).take_while(|n| source.shape(&format!("layers.{n}.layer_norm1.weight")).is_some()).count();
        let is_vit = names.is_vit();
        let sizes = EncoderSizes {
            hidden_size: width,
            intermediate_size: source.dimension("layers.0.mlp.fc1.weight", 1)?,
            num_hidden_layers: layers,
            num_attention_heads: config.num_attention_heads.unwrap_or((width / HEAD_WIDTH).max(1)),
            layer_norm_eps: config.layer_norm_eps.unwrap_or(if is_vit { 1e-12 } else { 1e-5 }),
            hidden_act: config.hidden_act.unwrap_or(if is_vit { HiddenAct::Gelu } else { HiddenAct::QuickGelu }),
            causal: false,
        };
        if !width.is_multiple_of(sizes.num_attention_heads) {
            let problem =
                format!("num_attention_heads = {} does not divide its width {width}", sizes.num_attention_heads);
            return Err(Error::Config { model: "vision transformer", problem });
        }
        let outputs = source.dimension("head.weight", 1)?;
        let image_size = side * patch_size;
        with_backend(b, &mut source, |scope| {
            let mut table =
                |name: &str, rows: usize| scope.param(name, ParamKind::Table, &[rows, width], Init::Normal(1.0));
            let class_embedding = table("class_embedding", 1)?;
            let position_embedding = table("position_embedding.weight", positions)?;
            let kernel = [width, COLOURS, patch_size, patch_size];
            let new_norm = |scope: Scope<'_, P>| LayerNorm::new(scope, width, sizes.layer_norm_eps);
            Ok(Self {
                class_embedding,
                patch_embedding: scope.param("patch_embedding.weight", ParamKind::Conv, &kernel, Init::Zeros)?,
                patch_bias: match is_vit {
                    true => Some(scope.param("patch_embedding.bias", ParamKind::Vector, &[width], Init::Zeros)?),
                    false => None,
                },
                position_embedding,
                pre_norm: if is_vit { None } else { Some(new_norm(scope.sub("pre_layrnorm"))?) },
                layers: (0..layers)
                    .map(|n| EncoderLayer::new(scope.sub(format_args!("layers.{n}")), &sizes))
                    .collect::<Result<_>>()?,
                post_norm: new_norm(scope.sub("post_layernorm"))?,
                head: match is_vit {
                    true => Linear::new(scope.sub("head"), width, outputs)?,
                    false => Linear::unbiased(scope.sub("head"), width, outputs)?,
                },
                image_size,
                patch_size,
                outputs,
            })
        })
    }

    /// The side of the images it takes, in pixels.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// How many numbers it gives for an image.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Images `(B, H, W, 3)`, normalised as it was trained, of [`image_size`](Self::image_size): their embeddings or logits
    /// `(B, outputs)`, of the class token after the last norm.
    ///
    /// # Errors
    /// The images have another size.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, images: &B::Tensor) -> Computed<B::Tensor> {
        let [batch, height, width_of_image, _] =
            calotype_tensor::op_shapes::picture("vision", "images", b.shape(images))?;
        if [height, width_of_image] != [self.image_size; 2] {
            let side = self.image_size;
            let message = format!("images of {width_of_image} x {height} were given, expected {side} x {side}");
            return Err(TensorError::Invalid { op: "vision", message });
        }
        let options = Conv2d { stride: self.patch_size, ..Conv2d::padded(0) };
        let patches = b.conv2d(images, &self.patch_embedding, self.patch_bias.as_ref(), None, options)?;
        let width = b.shape(&patches).last();
        let count = (self.image_size / self.patch_size).pow(2);
        let class = b.embedding(&self.class_embedding, &vec![0; batch], batch)?;
        // One row for each image, so that side by side is one after the other.
        let joined =
            b.concat(&b.reshape(&class, [batch, width].into())?, &b.reshape(&patches, [batch, count * width].into())?)?;
        let h = b.reshape(&joined, [batch, count + 1, width].into())?;
        let positions: Vec<u32> = (0..batch).flat_map(|_| 0..=count as u32).collect();
        let mut h = b.add(&h, &b.embedding(&self.position_embedding, &positions, batch)?)?;
        if let Some(norm) = &self.pre_norm {
            h = norm.forward(b, &h)?;
        }
        for layer in &self.layers {
            h = layer.forward(b, &h, None)?;
        }
        let rows = b.reshape(&h, [batch, (count + 1) * width].into())?;
        let class = match batch {
            1 => b.narrow(&rows, 0, width)?,
            _ => {
                let first = |n: usize| b.narrow(&rows, n * (count + 1) * width, width);
                let mut all = first(0)?;
                for n in 1..batch {
                    all = b.concat(&all, &first(n)?)?;
                }
                all
            }
        };
        self.head.forward(b, &self.post_norm.forward(b, &b.reshape(&class, [batch, width].into())?)?)
    }
}
