use std::sync::Arc;

use calotype_tensor::{ParamData, Threads};

use super::{
    Adapter,
    change::{Changed, Lengths},
    recipe::{Extents, finite},
};
use crate::{Component, ParamSource, ParamSpec, Result};

/// An adapter, and how strongly it is applied.
#[derive(Clone)]
pub struct Applied {
    /// The adapter.
    pub adapter: Arc<Adapter>,
    /// What multiplies its changes of the UNet.
    pub unet: f32,
    /// What multiplies its changes of the text encoder.
    pub text_encoder: f32,
    /// How many ranks of its LoRAs are used, the first ones (DyLoRA's `dyn`); all if none is given.
    pub ranks: Option<usize>,
}

/// The parameters of another source, changed by adapters, one after the other.
pub struct Adapted<'a> {
    base: &'a mut dyn ParamSource,
    component: Component,
    adapters: &'a [Applied],
    threads: &'a Threads,
}

impl<'a> Adapted<'a> {
    /// The parameters of the network `component` from `base` with `adapters`, for a backend with these `threads`.
    pub fn new(
        base: &'a mut dyn ParamSource,
        component: Component,
        adapters: &'a [Applied],
        threads: &'a Threads,
    ) -> Self {
        Self { base, component, adapters, threads }
    }
}

impl ParamSource for Adapted<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let mut data = self.base.data(spec)?;
        let place = (self.component, spec.name.clone());
        for applied in self.adapters {
            let strength = match self.component {
                Component::TextEncoder | Component::TextEncoder2 => applied.text_encoder,
                Component::UNet | Component::Vae => applied.unet,
            };
            let Some(recipe) = applied.adapter.recipes.get(&place).filter(|_| strength != 0.0) else { continue };
            let file = &applied.adapter.file;
            let extents = Extents::of(&spec.shape);
            // DoRA's strength is of the whole, the lengths included.
            let scale = if recipe.lengths.is_some() { recipe.scale } else { recipe.scale * strength };
            let change = recipe.read(file, extents.taps, scale, applied.ranks)?;
            let (columns, taps) = (extents.columns(), extents.taps);
            let mut changed = Changed { base: data, change, lengths: None, columns, taps };
            if let Some((name, by_row)) = &recipe.lengths {
                let norms = norms(&changed, extents, *by_row, self.threads)?;
                let lengths = finite(file, name)?;
                // LyCORIS' guard against rows of zeros.
                let ratios = lengths.iter().zip(norms).map(|(m, norm)| m / (norm + f32::EPSILON)).collect();
                changed.lengths = Some(Lengths { ratios, by_row: *by_row, strength });
            }
            data = Box::new(changed);
        }
        Ok(data)
    }
}

/// The Euclidean norm of each row of a parameter, or of all that is of each input.
fn norms(data: &dyn ParamData, extents: Extents, by_row: bool, threads: &Threads) -> Result<Vec<f32>> {
    /// Rows whose sums one task makes: sums are added in the same order by any number of threads.
    const ROWS: usize = 64;
    let columns = extents.columns();
    let squares = |part: usize| -> Result<Vec<f64>> {
        let first = part * ROWS;
        let mut values = vec![0.0; columns];
        let mut sums = vec![0.0; if by_row { ROWS } else { extents.inputs }];
        for row in first..extents.outputs.min(first + ROWS) {
            data.read(row * columns, &mut values)?;
            let squares = values.iter().map(|&x| f64::from(x).powi(2));
            if by_row {
                sums[row - first] = squares.sum();
            } else {
                squares.enumerate().for_each(|(column, square)| sums[column / extents.taps] += square);
            }
        }
        Ok(sums)
    };
    let parts = threads.try_map(extents.outputs.div_ceil(ROWS), squares)?;
    let sums = if by_row {
        parts.concat()
    } else {
        parts.into_iter().fold(vec![0.0; extents.inputs], |mut sums, part| {
            sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            sums
        })
    };
    Ok(sums.into_iter().map(|sum| sum.sqrt() as f32).collect())
}
