//! VGG16 (Simonyan & Zisserman 2015, configuration D) up to its last convolution.

use calotype_formats::Checkpoint;
use calotype_tensor::{Activation, Backend, Conv2d, ParamKind, Result as Computed};

use super::{Affine, ByName, Loader};
use crate::Result;

/// Channels after each of the five blocks.
pub(super) const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];
/// The places of each block's convolutions in torchvision's `features`.
const PLACES: [&[usize]; 5] = [&[0, 2], &[5, 7], &[10, 12, 14], &[17, 19, 21], &[24, 26, 28]];
/// What LPIPS takes away from each channel of a picture in -1..1, and divides by (`ScalingLayer` of PyPI `lpips`).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

#[derive(Clone, Debug)]
pub(super) struct Vgg16<P> {
    input: Affine<P>,
    blocks: Vec<Vec<(P, P)>>,
}

impl<P> Vgg16<P> {
    pub(super) fn new<B: Backend<Param = P>>(b: &B, file: &Checkpoint) -> Result<Self> {
        let mut loader = Loader { b, source: &mut ByName(file) };
        let torchvision = file.get("features.0.weight").is_some();
        let mut inputs = 3;
        let mut blocks = Vec::new();
        for (block, (places, &width)) in PLACES.iter().zip(&WIDTHS).enumerate() {
            let mut convolutions = Vec::new();
            for place in *places {
                let name =
                    if torchvision { format!("features.{place}") } else { format!("net.slice{}.{place}", block + 1) };
                let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
                let shape = [width, inputs, 3, 3];
                let data = loader.read(&weight, &shape)?;
                let weight = loader.make(&weight, ParamKind::Conv, shape.into(), data)?;
                let data = loader.read(&bias, &[width])?;
                convolutions.push((weight, loader.make(&bias, ParamKind::Vector, [width].into(), data)?));
                inputs = width;
            }
            blocks.push(convolutions);
        }
        let [mut scale, mut shift] = [SCALE, SHIFT];
        for (scale, shift) in scale.iter_mut().zip(&mut shift) {
            *shift = -*shift / *scale;
            *scale = 1.0 / *scale;
        }
        Ok(Self { input: loader.affine("input", scale, shift)?, blocks })
    }

    /// Each block's last ReLU (`relu1_2`, `relu2_2`, `relu3_3`, `relu4_3`, `relu5_3`).
    pub(super) fn forward<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor) -> Computed<Vec<B::Tensor>> {
        let mut x = self.input.forward(b, pictures)?;
        let mut features = Vec::new();
        for (depth, block) in self.blocks.iter().enumerate() {
            if depth > 0 {
                x = b.max_pool_2x(&x)?;
            }
            for (weight, bias) in block {
                let options = Conv2d { activation: Activation::Relu, ..Conv2d::padded(1) };
                x = b.conv2d(&x, weight, Some(bias), None, options)?;
            }
            features.push(x.clone());
        }
        Ok(features)
    }
}
