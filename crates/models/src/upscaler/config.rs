//! Which network a file has, and of which sizes.

use calotype_formats::{Checkpoint, TensorInfo};
use calotype_tensor::Backend;

use super::{
    CompactConfig, HatConfig, Network, RrdbConfig, SpanConfig, SwinIrConfig, Upscaler, compact::Compact, hat, rrdb,
    span, swinir,
};
use crate::{
    Error, FileKind, Layout, ParamSource, ParamSpec, Random, Result, Stored, UpscalerKind,
    params::{list, stored, with_backend},
};

/// The sizes of an upscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpscalerConfig {
    /// RRDBNet.
    Rrdb(RrdbConfig),
    /// SRVGGNetCompact.
    Compact(CompactConfig),
    /// SPAN.
    Span(SpanConfig),
    /// SwinIR.
    SwinIr(SwinIrConfig),
    /// HAT.
    Hat(HatConfig),
}

impl UpscalerConfig {
    /// Which network it is.
    #[must_use]
    pub fn kind(&self) -> UpscalerKind {
        match self {
            Self::Rrdb(_) => UpscalerKind::Esrgan,
            Self::Compact(_) => UpscalerKind::Compact,
            Self::Span(_) => UpscalerKind::Span,
            Self::SwinIr(_) => UpscalerKind::SwinIr,
            Self::Hat(_) => UpscalerKind::Hat,
        }
    }

    /// How many times as wide and high the result is.
    #[must_use]
    pub fn scale(&self) -> usize {
        match self {
            Self::Rrdb(config) => config.scale(),
            Self::Compact(config) => config.scale,
            Self::Span(config) => config.scale,
            Self::SwinIr(config) => config.scale(),
            Self::Hat(config) => config.scale(),
        }
    }

    /// Channels of the picture it takes.
    #[must_use]
    pub fn colours(&self) -> usize {
        match self {
            Self::Rrdb(config) => config.colours(),
            Self::Compact(config) => config.colours,
            Self::Span(config) => config.colours,
            Self::SwinIr(config) => config.colours,
            Self::Hat(config) => config.colours,
        }
    }

    /// Channels of the picture it gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self {
            Self::Rrdb(config) => config.outputs,
            Self::Compact(config) => config.outputs,
            Self::Span(config) => config.outputs,
            Self::SwinIr(config) => config.colours,
            Self::Hat(config) => config.colours,
        }
    }

    /// What the sides are a multiple of that the network computes.
    #[must_use]
    pub fn multiple(&self) -> usize {
        match self {
            Self::Rrdb(config) => config.unshuffle,
            Self::Compact(_) | Self::Span(_) => 1,
            Self::SwinIr(config) => config.window,
            Self::Hat(config) => config.window,
        }
    }

    /// Beyond so many pixels around it, a pixel sees nothing.
    #[must_use]
    pub fn reach(&self) -> usize {
        match self {
            // Fifteen convolutions of 3×3 in each block.
            Self::Rrdb(config) => (15 * config.blocks + 4) * config.unshuffle,
            Self::Compact(config) => config.convolutions + 2,
            Self::Span(_) => 22,
            // The means over the picture are of all of it, but are nearly those of a part.
            Self::Hat(config) => config.window * config.groups.iter().map(|[blocks, _]| blocks + 2).sum::<usize>(),
            // A window in each direction for every block.
            Self::SwinIr(config) => config.window * config.groups.iter().map(|[blocks, _]| blocks + 1).sum::<usize>(),
        }
    }

    /// In words: `ESRGAN ×4, 64 channels, 23 blocks`.
    #[must_use]
    pub fn describe(&self) -> String {
        let (name, scale) = (self.kind().name(), self.scale());
        match self {
            Self::Rrdb(config) => {
                let name = if config.plus { "ESRGAN+" } else { name };
                format!("{name} ×{scale}, {} channels, {} blocks", config.channels, config.blocks)
            }
            Self::Compact(config) => {
                format!("{name} ×{scale}, {} channels, {} convolutions", config.channels, config.convolutions)
            }
            Self::Span(config) => format!("{name} ×{scale}, {} channels", config.channels),
            Self::SwinIr(SwinIrConfig { groups, channels, window, .. })
            | Self::Hat(HatConfig { groups, channels, window, .. }) => {
                let blocks: usize = groups.iter().map(|[blocks, _]| blocks).sum();
                format!("{name} ×{scale}, {channels} channels, {blocks} blocks, windows of {window}")
            }
        }
    }

    /// Every parameter of the network.
    ///
    /// # Errors
    /// A size is none that a network has.
    pub fn specs(&self) -> Result<Vec<ParamSpec>> {
        match self {
            Self::Rrdb(config) => list(|scope| rrdb::RrdbNet::new(config, scope)),
            Self::Compact(config) => list(|scope| Compact::new(config, scope, ())),
            Self::Span(config) => list(|scope| span::Span::new(config, scope, None)),
            Self::SwinIr(config) => list(|scope| swinir::SwinIr::new(config, scope, [[(); 2]; 2])),
            Self::Hat(config) => list(|scope| hat::Hat::new(config, scope, [[(); 2]; 2])),
        }
    }

    /// Makes the network on `backend` with parameters from `source`, which has them as [`Self::specs`] lists them.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn init<B: Backend>(&self, backend: &B, source: &mut dyn ParamSource) -> Result<Upscaler<B::Param>> {
        let network = match self {
            Self::Rrdb(config) => Network::Rrdb(with_backend(backend, &mut rrdb::Weighed(source), |scope| {
                rrdb::RrdbNet::new(config, scope)
            })?),
            Self::Compact(config) => {
                let spread = config.spread(backend)?;
                Network::Compact(with_backend(backend, source, |scope| Compact::new(config, scope, spread))?)
            }
            Self::Span(config) => {
                let centre = config.centre(backend)?;
                Network::Span(with_backend(backend, source, |scope| span::Span::new(config, scope, centre))?)
            }
            Self::SwinIr(config) => {
                let centre = config.centre(backend)?;
                Network::SwinIr(with_backend(backend, source, |scope| swinir::SwinIr::new(config, scope, centre))?)
            }
            Self::Hat(config) => {
                let centre = config.centre(backend)?;
                Network::Hat(with_backend(backend, source, |scope| hat::Hat::new(config, scope, centre))?)
            }
        };
        Ok(Upscaler { config: self.clone(), network })
    }

    /// Makes it with weights that mean nothing, to find out what it takes.
    ///
    /// # Errors
    /// A size is none that a network has.
    pub fn init_random<B: Backend>(&self, backend: &B) -> Result<Upscaler<B::Param>> {
        self.init(backend, &mut Random { seed: 0 })
    }
}

/// An upscaler in a file.
#[derive(Clone, Debug)]
pub struct UpscalerFile {
    config: UpscalerConfig,
    layout: Layout,
}

impl UpscalerFile {
    /// Tells what `file` has, by its keys and shapes.
    ///
    /// # Errors
    /// It has no upscaler that is run here, or one whose tensors don't fit each other.
    pub fn of(file: &Checkpoint) -> Result<Self> {
        let Some((kind, layout)) = Layout::of_upscaler(file) else {
            let what = match FileKind::of(file) {
                FileKind::Other(name) => format!("this is {name}"),
                FileKind::Networks(_) => "this is a model that generates images".to_owned(),
                _ => "its tensors are of no upscaler that is known".to_owned(),
            };
            let known = UpscalerKind::ALL.map(UpscalerKind::name).join(", ");
            return Err(Error::Upscaler {
                source_label: file.label().to_owned(),
                problem: format!("{what}: give one of {known}"),
            });
        };
        let shapes = Shapes { file, layout: &layout };
        let config = match kind {
            UpscalerKind::Esrgan => UpscalerConfig::Rrdb(RrdbConfig::infer(&shapes)?),
            UpscalerKind::Compact => UpscalerConfig::Compact(CompactConfig::infer(&shapes)?),
            UpscalerKind::Span => UpscalerConfig::Span(SpanConfig::infer(&shapes)?),
            UpscalerKind::SwinIr => UpscalerConfig::SwinIr(SwinIrConfig::infer(&shapes)?),
            UpscalerKind::Hat => UpscalerConfig::Hat(HatConfig::infer(&shapes)?),
        };
        let file_of_it = Self { config, layout };
        // All of it must be there before anything is read.
        file_of_it.stored(file)?;
        Ok(file_of_it)
    }

    /// The sizes.
    #[must_use]
    pub fn config(&self) -> &UpscalerConfig {
        &self.config
    }

    /// The parameters as the file has them.
    fn stored<'a>(&self, file: &'a Checkpoint) -> Result<Stored<'a>> {
        Stored::in_layout(file, &self.layout, &self.file_specs()?)
    }

    fn file_specs(&self) -> Result<Vec<ParamSpec>> {
        match &self.config {
            UpscalerConfig::Span(config) => Ok(config.stored_specs(&self.config.specs()?)),
            _ => self.config.specs(),
        }
    }

    /// The names of the tensors of `file` that make the network, and of those beside them by which it is told: the canonical one, and
    /// that in the file.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn names(&self, file: &Checkpoint) -> Result<Vec<(String, String)>> {
        let mut names: Vec<(String, String)> =
            self.file_specs()?.into_iter().map(|spec| (spec.name.clone(), self.layout.key(&spec.name))).collect();
        if matches!(self.config, UpscalerConfig::Span(_) | UpscalerConfig::SwinIr(_) | UpscalerConfig::Hat(_)) {
            let own = file.tensors().filter_map(|tensor| Some((self.layout.own_name(&tensor.name)?, &tensor.name)));
            let beside = own.filter(|(name, _)| names.iter().all(|(known, _)| known != name));
            let beside: Vec<_> = beside.map(|(name, key)| (name.to_owned(), key.clone())).collect();
            names.extend(beside);
        }
        Ok(names)
    }

    /// Makes the network on `backend` with the weights of `file`.
    ///
    /// # Errors
    /// A tensor is missing, misshapen or can't be read.
    pub fn load<B: Backend>(&self, backend: &B, file: &Checkpoint) -> Result<Upscaler<B::Param>> {
        let mut stored = self.stored(file)?;
        match &self.config {
            UpscalerConfig::Span(config) => self.config.init(backend, &mut span::Merged { stored, config }),
            _ => self.config.init(backend, &mut stored),
        }
    }
}

/// The shapes of a file's tensors by canonical names.
pub(super) struct Shapes<'a> {
    pub(super) file: &'a Checkpoint,
    layout: &'a Layout,
}

impl Shapes<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        stored::shape(self.file, self.layout, name).is_some()
    }

    /// The tensor that a file has beside a network's own.
    pub(super) fn mark(&self, name: &str) -> Option<&TensorInfo> {
        self.file.get(&self.layout.key(name))
    }

    /// One extent of a tensor.
    pub(super) fn extent(&self, name: &str, dimension: usize) -> Result<usize> {
        let shape = stored::shape(self.file, self.layout, name);
        shape.and_then(|shape| shape.get(dimension).copied()).ok_or_else(|| Error::Missing {
            source_label: self.file.label().to_owned(),
            tensor: self.layout.key(name),
            others: 0,
            by_config: false,
        })
    }

    /// How many of the names that `name` makes of 0, 1, … are there.
    pub(super) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..MOST_LAYERS).find(|&n| !self.has(&name(n))).unwrap_or(MOST_LAYERS)
    }

    pub(super) fn refuse<T>(&self, problem: String) -> Result<T> {
        Err(Error::Upscaler { source_label: self.file.label().to_owned(), problem })
    }

    /// The scale and the channels of a picture that `channels` before a pixel shuffle become, as `spandrel` guesses them: first as
    /// many channels as the input has.
    pub(super) fn shuffled(&self, channels: usize, colours: usize) -> Result<(usize, usize)> {
        let root = |area: usize| (1..=MOST_SCALE).find(|root| root * root == area);
        let found = [colours, 3, 4, 1].into_iter().find_map(|outputs| {
            let area = channels.checked_div(outputs).filter(|area| area * outputs == channels)?;
            Some((root(area)?, outputs))
        });
        found.map_or_else(|| self.refuse(format!("{channels} channels are no picture of {colours} enlarged")), Ok)
    }
}

/// More than any network has.
const MOST_LAYERS: usize = 512;
/// More than any network enlarges by.
const MOST_SCALE: usize = 32;
