//! LoRA (Hu et al. 2021): what is trained beside the weights of a model that stays as it is.

mod file;
mod modules;

use std::{cell::Cell, rc::Rc, sync::Arc};

use calotype_formats::Checkpoint;
use calotype_models::{
    Init, ParamSource, ParamSpec,
    adapters::{Adapter, Applied},
};
use calotype_tensor::{
    Backend, Differentiable, ParamKind, Shape,
    tape::{LowRank, Parameter, Tape},
};

use crate::{LoraOptions, Result, random::uniform, weights::Weights};

pub(crate) use file::{About, Files, Form};
pub(crate) use modules::{Module, chosen};

/// Names of the two factors of a module.
pub(crate) const DOWN: &str = "lora_down.weight";
pub(crate) const UP: &str = "lora_up.weight";

/// The changes of a model that a run trains.
pub(crate) struct Lora {
    pub(crate) modules: Vec<Module>,
    /// Parameters of the networks, by which a file is matched.
    specs: [Vec<ParamSpec>; 2],
    /// What the zeros of dropout follow from in this batch.
    batch: Rc<Cell<u64>>,
    has_dropout: bool,
}

impl Lora {
    /// Makes the changes of `modules` on `tape` with values from `source`, beside weights that are there already.
    pub(crate) fn attach<B: Differentiable>(
        tape: &Tape<B>,
        modules: Vec<Module>,
        specs: [Vec<ParamSpec>; 2],
        options: &LoraOptions,
        source: &mut dyn ParamSource,
    ) -> Result<Self> {
        let batch = Rc::new(Cell::new(0));
        for (place, module) in modules.iter().enumerate() {
            let [down, up] = module.factors();
            let mut parameter = |spec: &ParamSpec| -> Result<Parameter<B>> {
                let data = source.data(spec)?;
                Ok(tape.param(&spec.name, spec.kind, Shape::new(&spec.shape)?, &*data)?)
            };
            let change = LowRank {
                down: parameter(&down)?,
                up: parameter(&up)?,
                scale: module.scale(),
                dropout: (options.dropout > 0.0).then(|| mask(options.dropout, batch.clone(), place as u64)),
            };
            tape.adapt(&module.weight, change);
        }
        Ok(Self { modules, specs, batch, has_dropout: options.dropout > 0.0 })
    }

    /// Says which batch comes, by a random number.
    pub(crate) fn begin_batch(&self, number: impl FnOnce() -> u64) {
        if self.has_dropout {
            self.batch.set(number());
        }
    }

    /// The changes as what is applied when pictures are made.
    pub(crate) fn applied(&self, weights: &Weights) -> Result<Applied> {
        let bytes = file::to_bytes(&self.modules, weights, Form::Kohya, calotype_formats::DType::F32)?;
        let checkpoint = Checkpoint::from_bytes("the run's LoRA", bytes)?;
        let [unet, text] = &self.specs;
        let adapter = Arc::new(Adapter::new(checkpoint, unet, text)?);
        Ok(Applied { adapter, unet: 1.0, text_encoder: 1.0, ranks: None })
    }
}

/// Dropout of a module's input: the same zeros whenever a batch is run again.
fn mask(share: f64, batch: Rc<Cell<u64>>, place: u64) -> Rc<dyn Fn(Shape) -> Vec<f32>> {
    let kept = (1.0 / (1.0 - share)) as f32;
    Rc::new(move |shape| {
        let seed = batch.get();
        (0..shape.count() as u64).map(|n| if uniform([seed, place, n]) < share { 0.0 } else { kept }).collect()
    })
}

impl Module {
    /// The two factors: the first as a layer of PyTorch starts, the second 0.
    pub(crate) fn factors(&self) -> [ParamSpec; 2] {
        let [outputs, inputs, kernel @ ..] = self.shape.as_slice() else {
            return [DOWN, UP].map(|part| self.factor(part, Vec::new(), ParamKind::Linear, Init::Zeros));
        };
        let kind = if kernel.is_empty() { ParamKind::Linear } else { ParamKind::Conv };
        let fan_in = (inputs * kernel.iter().product::<usize>()) as f32;
        let down = [&[self.rank, *inputs], kernel].concat();
        let up = [&[*outputs, self.rank], vec![1; kernel.len()].as_slice()].concat();
        [self.factor(DOWN, down, kind, Init::Uniform(fan_in.sqrt().recip())), self.factor(UP, up, kind, Init::Zeros)]
    }

    fn factor(&self, part: &str, shape: Vec<usize>, kind: ParamKind, init: Init) -> ParamSpec {
        ParamSpec { name: format!("{}.{part}", self.name()), kind, shape, init, quantise: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_its_share_and_repeats() {
        let batch = Rc::new(Cell::new(7));
        let mask = mask(0.25, batch.clone(), 3);
        let first = mask(Shape::from([100, 100]));
        assert_eq!(first, mask(Shape::from([100, 100])));
        let zeros = first.iter().filter(|x| **x == 0.0).count();
        assert!((2300..2700).contains(&zeros), "{zeros}");
        assert!(first.iter().all(|x| *x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
        batch.set(8);
        assert_ne!(first, mask(Shape::from([100, 100])));
    }
}
