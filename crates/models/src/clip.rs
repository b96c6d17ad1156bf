use calotype_tensor::{Backend, Error, ParamKind, Result as Computed, op_shapes};

use crate::{
    Init, Result, Scope, TextConfig,
    encoder_layer::{EncoderLayer, EncoderSizes},
    layers::{LayerNorm, run},
    padding_mask::PaddingMask,
};

/// The standard deviation that embeddings start with (Radford et al. 2021).
const EMBEDDING_DEVIATION: f32 = 0.02;

/// CLIP's text encoder (Radford et al. 2021; transformers `CLIPTextModel`): a causal transformer with norms before its parts.
#[derive(Clone, Debug)]
pub struct ClipTextEncoder<P> {
    /// Whether each layer goes through [`Backend::checkpoint`].
    pub checkpointing: bool,
    token_embedding: P,
    position_embedding: P,
    layers: Vec<EncoderLayer<P>>,
    final_layer_norm: LayerNorm<P>,
    max_position_embeddings: usize,
    /// The id that ends a text, where what follows it is not attended to.
    masked_after: Option<u32>,
}

impl<P> ClipTextEncoder<P> {
    /// Makes it at `scope`, the root of a text encoder's names.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn new(config: &TextConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let mut scope = scope.sub("text_model");
        let width = config.hidden_size;
        let sizes = EncoderSizes {
            hidden_size: width,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            layer_norm_eps: config.layer_norm_eps,
            hidden_act: config.hidden_act,
            causal: true,
        };
        let mut table = |name: &str, rows: usize| {
            scope.sub("embeddings").sub(name).param(
                "weight",
                ParamKind::Table,
                &[rows, width],
                Init::Normal(EMBEDDING_DEVIATION),
            )
        };
        Ok(Self {
            checkpointing: false,
            token_embedding: table("token_embedding", config.vocab_size)?,
            position_embedding: table("position_embedding", config.max_position_embeddings)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| EncoderLayer::new(scope.sub(format_args!("encoder.layers.{i}")), &sizes))
                .collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::new(scope.sub("final_layer_norm"), width, config.layer_norm_eps)?,
            max_position_embeddings: config.max_position_embeddings,
            masked_after: config.use_attention_mask.then(|| config.end_of_text()),
        })
    }

    /// The context of `batch` sequences of equal length L, one after the other in `ids`: `(B, L, C)`, after the final norm.
    /// Padding is attended to like any token, as Stable Diffusion does, unless the config asks for a mask.
    ///
    /// # Errors
    /// `ids` can't be divided into `batch` sequences, is too long, or has an id that is not in the vocabulary.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, ids: &[u32], batch: usize) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        self.forward_skipping(b, ids, batch, 0)
    }

    /// As [`forward`](Self::forward), but without the last `skipped` layers; the final norm stays. A1111's "Clip skip"
    /// is one more, diffusers' `clip_skip` is this number.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), or there are fewer layers.
    pub fn forward_skipping<B: Backend<Param = P>>(
        &self,
        b: &B,
        ids: &[u32],
        batch: usize,
        skipped: usize,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let Some(layers) = self.layers.len().checked_sub(skipped).and_then(|kept| self.layers.get(..kept)) else {
            let message = format!("{skipped} layers were to be skipped, there are {}", self.layers.len());
            return Err(Error::Invalid { op: "text encoder", message });
        };
        let tokens = b.embedding(&self.token_embedding, ids, batch)?;
        let length = ids.len() / batch.max(1);
        if length > self.max_position_embeddings {
            let message =
                format!("{length} tokens were given, at most {} have a position", self.max_position_embeddings);
            return Err(Error::Invalid { op: "text encoder", message });
        }
        let positions: Vec<u32> = (0..batch).flat_map(|_| 0..length as u32).collect();
        let mut h = b.add(&tokens, &b.embedding(&self.position_embedding, &positions, batch)?)?;
        let mask = self.masked_after.map(|end| PaddingMask::new(ids, length, end));
        for layer in layers {
            let (layer, mask) = (layer.clone(), mask.clone());
            h = run(b, self.checkpointing, &[h], move |b, inputs| layer.forward(b, &inputs[0], mask.as_ref()))?;
        }
        self.final_layer_norm.forward(b, &h)
    }

    /// The features of `batch` texts: rows without the last `skipped` layers, and the pooled vector of each, which is that of
    /// all layers at the first of the largest ids (OpenAI's CLIP: the end of the text, whose id is the last of the vocabulary).
    ///
    /// # Errors
    /// As [`forward_skipping`](Self::forward_skipping).
    pub fn features<B: Backend<Param = P>>(
        &self,
        b: &B,
        ids: &[u32],
        batch: usize,
        skipped: usize,
    ) -> Computed<TextFeatures<B::Tensor>>
    where
        P: Clone + 'static,
    {
        let rows = self.forward_skipping(b, ids, batch, skipped)?;
        let last = if skipped == 0 { rows.clone() } else { self.forward(b, ids, batch)? };
        let [_, length, width] = op_shapes::sequence("text encoder", "the output", b.shape(&last))?;
        let flat = b.reshape(&last, [1, batch * length * width].into())?;
        let mut pooled: Option<B::Tensor> = None;
        for (n, text) in ids.chunks_exact(length.max(1)).enumerate() {
            let greatest = text.iter().max();
            let end = text.iter().position(|id| Some(id) == greatest).unwrap_or(0);
            let row = b.narrow(&flat, (n * length + end) * width, width)?;
            pooled = Some(match pooled {
                Some(before) => b.concat(&before, &row)?,
                None => row,
            });
        }
        let pooled = match pooled {
            Some(pooled) => b.reshape(&pooled, [batch, width].into())?,
            None => return Err(Error::Invalid { op: "text encoder", message: "no texts were given".to_owned() }),
        };
        Ok(TextFeatures { rows, pooled })
    }
}

/// What a text encoder makes of a batch of B texts.
#[derive(Clone, Debug)]
pub struct TextFeatures<T> {
    /// A vector for each token, `(B, L, C)`: what a UNet attends to.
    pub rows: T,
    /// A vector for each text, `(B, C)`: what models with an added embedding take.
    pub pooled: T,
}
