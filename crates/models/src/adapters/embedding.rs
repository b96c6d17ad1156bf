use calotype_formats::Checkpoint;
use calotype_tensor::{Error as TensorError, ParamData, ParamKind, Result as Read};

use crate::{Error, ParamSource, ParamSpec, Result, TextConfig, error::quote, names::adapter as names};

/// Far more than fit into a prompt.
const MAX_VECTORS: usize = 1024;

/// A textual inversion embedding (Gal et al. 2022): vectors that stand in a prompt where tokens' would.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The token that the file names, such as `<cat-toy>`: those of diffusers' scripts do.
    pub token: Option<String>,
    /// The vectors, one after the other.
    vectors: Vec<f32>,
    width: usize,
    label: String,
}

impl Embedding {
    /// Reads a file of A1111, kohya's sd-scripts or diffusers, told by its keys: `string_to_param`, `emb_params`, `clip_l`, or
    /// one tensor whose key is the token.
    ///
    /// # Errors
    /// The file is none of these, can't be read, or has what is no finite number.
    pub fn read(file: &Checkpoint) -> Result<Self> {
        let label = file.label().to_owned();
        let refuse = |problem: String| Err(Error::Adapter { source_label: label.clone(), problem });
        let all: Vec<_> = file.tensors().filter(|tensor| !names::beside_an_embedding(&tensor.name)).collect();
        let [tensor] = *all.as_slice() else {
            return refuse(format!(
                "{} tensors, expected the one of a textual inversion embedding for Stable Diffusion 1 or 2",
                all.len()
            ));
        };
        let token = (!names::is_embedding(&tensor.name)).then(|| tensor.name.clone());
        Self::of_tensor(file, &tensor.name, token)
    }

    /// That of the tensor `name` of a file.
    pub(super) fn of_tensor(file: &Checkpoint, name: &str, token: Option<String>) -> Result<Self> {
        let label = file.label().to_owned();
        let shape = file.get(name).map_or(&[][..], |tensor| &tensor.shape);
        let (count, width) = match *shape {
            [width] => (1, width),
            [count, width] => (count, width),
            _ => (0, 0),
        };
        if !(1..=MAX_VECTORS).contains(&count) || width == 0 || width > 1 << 16 {
            let (name, dims) = (quote(name), shape.len());
            let extents = if dims > 2 { format!("{dims}-dimensional") } else { format!("{shape:?}") };
            let problem = format!(
                "tensor {name} is {extents}, expected 1 to {MAX_VECTORS} vectors: this is no textual inversion embedding"
            );
            return Err(Error::Adapter { source_label: label, problem });
        }
        let vectors = super::recipe::finite(file, name)?;
        Ok(Self { token, vectors, width, label })
    }

    /// How many vectors it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.vectors.len() / self.width
    }

    /// How wide they are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Checks that a text encoder takes it.
    ///
    /// # Errors
    /// Its tokens' vectors have another width.
    pub fn check(&self, config: &TextConfig) -> Result<()> {
        if self.width == config.hidden_size {
            return Ok(());
        }
        let problem = format!(
            "vectors of {} numbers, but the model's text encoder has {}: use an embedding of a model of its family",
            self.width, config.hidden_size
        );
        Err(Error::Adapter { source_label: self.label.clone(), problem })
    }
}

/// The parameters of a text encoder with more tokens than its own: the vectors of embeddings stand in its table after them.
/// Made for its config with so many more `vocab_size`.
pub struct WithEmbeddings<'a> {
    base: &'a mut dyn ParamSource,
    vectors: Vec<f32>,
}

impl<'a> WithEmbeddings<'a> {
    /// The parameters of `base` and the vectors of `embeddings`, in their order.
    pub fn new<'e>(base: &'a mut dyn ParamSource, embeddings: impl IntoIterator<Item = &'e Embedding>) -> Self {
        Self { base, vectors: embeddings.into_iter().flat_map(|e| &e.vectors).copied().collect() }
    }
}

impl ParamSource for WithEmbeddings<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        match *spec.shape.as_slice() {
            [rows, width] if spec.kind == ParamKind::Table && names::is_token_table(&spec.name) => {
                let more = self.vectors.len() / width.max(1);
                let own = ParamSpec { shape: vec![rows.saturating_sub(more), width], ..spec.clone() };
                Ok(Box::new(Extended { base: self.base.data(&own)?, more: &self.vectors }))
            }
            _ => self.base.data(spec),
        }
    }
}

/// Values, and more after them.
struct Extended<'a> {
    base: Box<dyn ParamData + 'a>,
    more: &'a [f32],
}

impl ParamData for Extended<'_> {
    fn count(&self) -> usize {
        self.base.count() + self.more.len()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Read<()> {
        let own = self.base.count();
        let (first, rest) = to.split_at_mut(own.saturating_sub(start).min(to.len()));
        if !first.is_empty() {
            self.base.read(start, first)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let from = (start + first.len()).checked_sub(own).and_then(|from| self.more.get(from..)?.get(..rest.len()));
        let from = from.ok_or_else(|| TensorError::Invalid {
            op: "param",
            message: format!("{} elements from {start} on were asked for", first.len() + rest.len()),
        })?;
        rest.copy_from_slice(from);
        Ok(())
    }
}
