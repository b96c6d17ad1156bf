//! Weights between their places: random ones, a run's average, a network that infers, a folder.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_checkpoint::NetworkFiles;
use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_models::{Error as ModelError, ModelConfig, ParamSource, ParamSpec, Random};
use calotype_tensor::{Differentiable, ParamData, tape::Tape, to_file_layout};

use crate::{
    Error, Precision, Result,
    ema::Ema,
    folders::{network_config, write_json},
    random::fnv1a,
};

impl Precision {
    /// Its name in files.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }
}

/// Values by checkpoint path, in the layout of files.
pub(crate) struct Weights(BTreeMap<String, Vec<f32>>);

impl Weights {
    /// A run's averages now.
    pub(crate) fn averaged<B: Differentiable>(tape: &Tape<B>, ema: &Ema<B>) -> Result<Self> {
        let mut weights = BTreeMap::new();
        for (parameter, average) in tape.parameters().iter().zip(&ema.average) {
            let data = tape.inner().to_f32(average)?;
            let (_, data) = to_file_layout(parameter.kind(), parameter.shape(), data, tape.inner().threads())?;
            weights.insert(parameter.name().to_owned(), data);
        }
        Ok(Self(weights))
    }

    /// Every value of a network.
    pub(crate) fn read<C: ModelConfig>(config: &C, network: &NetworkFiles<C>) -> Result<Self> {
        let specs = config.specs()?;
        let mut source = network.stored_as(config)?;
        let read = |spec: &ParamSpec| Ok((spec.name.clone(), source.data(spec)?.to_vec()?));
        Ok(Self(specs.iter().map(read).collect::<Result<_>>()?))
    }

    /// Tells these values from others.
    pub(crate) fn hash(&self) -> u64 {
        let values = self.0.values().flatten();
        fnv1a(values.flat_map(|value| value.to_bits().to_le_bytes()))
    }

    /// Writes `config.json` and the weights of one network of the diffusers folder `model`.
    pub(crate) fn write<C: ModelConfig>(&self, model: &Path, config: &C, precision: Precision) -> Result<()> {
        let folder = &model.join(C::COMPONENT.id());
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))?;
        let dtype = precision.dtype();
        let mut tensors = Vec::new();
        for spec in config.specs()? {
            let data = encode_f32(self.get(&spec)?, dtype)?;
            tensors.push((spec.name, dtype, spec.shape, Cow::from(data)));
        }
        // transformers refuses a file that does not say so.
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let [(stem, ending), _] = C::COMPONENT.weight_files();
        write_safetensors(folder.join(format!("{stem}.{ending}")), tensors, &metadata)?;
        write_json(folder, "config.json", &network_config(config)?)
    }

    /// The values of a parameter.
    pub(crate) fn get(&self, spec: &ParamSpec) -> Result<&Vec<f32>, ModelError> {
        let missing = || ModelError::Missing {
            source_label: "the run's weights".into(),
            tensor: spec.name.clone(),
            others: 0,
            by_config: false,
        };
        self.0.get(&spec.name).ok_or_else(missing)
    }
}

impl ParamSource for &Weights {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>, ModelError> {
        Ok(Box::new(self.get(spec)?))
    }
}

/// Random values for a network: zeros where a residual branch ends, so that each starts as nothing
/// (`zero_module` in CompVis' `ldm/modules/diffusionmodules/openaimodel.py` and `ldm/modules/attention.py`).
pub(crate) struct RandomResidual(pub(crate) Random);

impl ParamSource for RandomResidual {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>, ModelError> {
        let ends_a_branch = ["conv2.weight", "proj_out.weight"].iter().any(|last| spec.name.ends_with(last));
        if ends_a_branch || spec.name == "conv_out.weight" {
            return Ok(Box::new(vec![0.0; spec.count()]));
        }
        self.0.data(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calotype_models::{UNetConfig, VaeConfig};

    #[test]
    fn only_the_ends_of_branches_start_at_zero() {
        let config = UNetConfig { block_out_channels: vec![32; 4], ..UNetConfig::default() };
        let mut source = RandomResidual(Random { seed: 1 });
        let specs = config.specs().unwrap();
        let zeros = specs.iter().filter(|spec| source.data(spec).unwrap().to_vec().unwrap().iter().all(|x| *x == 0.0));
        let weights = zeros.filter(|spec| spec.name.ends_with(".weight")).count();
        // One for each of 22 residual blocks and 16 transformers, and the last convolution.
        assert_eq!(weights, 22 + 16 + 1);
        let specs = VaeConfig { norm_num_groups: 4, ..VaeConfig::with_channels(&[4, 8]) }.specs().unwrap();
        let zeros = specs.iter().filter(|spec| source.data(spec).unwrap().to_vec().unwrap().iter().all(|x| *x == 0.0));
        let blocks = specs.iter().filter(|spec| spec.name.ends_with("conv1.weight")).count();
        assert_eq!(zeros.filter(|spec| spec.name.ends_with(".weight")).count(), blocks);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let config = VaeConfig { norm_num_groups: 4, ..VaeConfig::with_channels(&[4, 8]) };
        let specs = config.specs().unwrap();
        let values = |spec: &ParamSpec| (spec.name.clone(), Random { seed: 1 }.data(spec).unwrap().to_vec().unwrap());
        let weights = Weights(specs.iter().map(values).collect());
        let folder = tempfile::tempdir().unwrap();
        weights.write(folder.path(), &config, Precision::F32).unwrap();
        let network = NetworkFiles::<VaeConfig>::open(folder.path()).unwrap();
        assert_eq!(network.config(), &config);
        let again = Weights::read(&config, &network).unwrap();
        assert_eq!(again.0, weights.0);
        assert_eq!(again.hash(), weights.hash());
    }
}
