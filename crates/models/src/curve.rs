use std::f32::consts::FRAC_1_PI;

use calotype_tensor::{Backend, Result, Threads};

/// Activation functions of single elements that backends have no operation for: those that A1111 lets hypernetworks have, by its own names, and those of
/// PyTorch's classes in small letters, with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    Relu,
    Relu6,
    LeakyRelu,
    /// In training its slope is random; this is their mean.
    RRelu,
    /// And CELU, which at PyTorch's `alpha = 1` is the same.
    Elu,
    Selu,
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))` (Hendrycks & Gimpel 2016).
    GeluTanh,
    Silu,
    Mish,
    Hardswish,
    Hardsigmoid,
    Hardtanh,
    Hardshrink,
    Softshrink,
    Softplus,
    Softsign,
    Sigmoid,
    LogSigmoid,
    Tanh,
    Tanhshrink,
}

impl Curve {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "relu" => Self::Relu,
            "relu6" => Self::Relu6,
            "leakyrelu" => Self::LeakyRelu,
            "rrelu" => Self::RRelu,
            "elu" | "celu" => Self::Elu,
            "selu" => Self::Selu,
            "gelu" => Self::Gelu,
            "silu" => Self::Silu,
            "mish" => Self::Mish,
            "swish" | "hardswish" => Self::Hardswish,
            "hardsigmoid" => Self::Hardsigmoid,
            "hardtanh" => Self::Hardtanh,
            "hardshrink" => Self::Hardshrink,
            "softshrink" => Self::Softshrink,
            "softplus" => Self::Softplus,
            "softsign" => Self::Softsign,
            "sigmoid" => Self::Sigmoid,
            "logsigmoid" => Self::LogSigmoid,
            "tanh" => Self::Tanh,
            "tanhshrink" => Self::Tanhshrink,
            _ => return None,
        })
    }

    /// That of a tensor. It is computed outside the backend: no gradient comes through it.
    pub(crate) fn forward<B: Backend>(self, b: &B, x: &B::Tensor) -> Result<B::Tensor> {
        let mut values = b.to_f32(x)?;
        self.apply(&mut values, b.threads());
        b.from_f32(b.shape(x), values)
    }

    /// Each value's, on all threads.
    fn apply(self, values: &mut [f32], threads: &Threads) {
        const PIECE: usize = 1 << 14;
        threads.chunks(values, PIECE, |_, values| values.iter_mut().for_each(|x| *x = self.of(*x)));
    }

    fn of(self, x: f32) -> f32 {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        // ln(1 + e^x), which is x where that overflows.
        let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let hardsigmoid = |x: f32| (x / 6.0 + 0.5).clamp(0.0, 1.0);
        match self {
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => x.max(0.01 * x),
            Self::RRelu => x.max((1.0 / 8.0 + 1.0 / 3.0) / 2.0 * x),
            Self::Elu => x.max(0.0) + x.min(0.0).exp_m1(),
            Self::Selu => 1.050_701 * (x.max(0.0) + 1.673_263_2 * x.min(0.0).exp_m1()),
            Self::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => 0.5 * x * (1.0 + ((2.0 * FRAC_1_PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
            Self::Silu => x * sigmoid(x),
            Self::Mish => x * softplus(x).tanh(),
            Self::Hardswish => x * hardsigmoid(x),
            Self::Hardsigmoid => hardsigmoid(x),
            Self::Hardtanh => x.clamp(-1.0, 1.0),
            Self::Hardshrink => {
                if x.abs() > 0.5 {
                    x
                } else {
                    0.0
                }
            }
            Self::Softshrink => x - x.clamp(-0.5, 0.5),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Sigmoid => sigmoid(x),
            Self::LogSigmoid => -softplus(-x),
            Self::Tanh => x.tanh(),
            Self::Tanhshrink => x - x.tanh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_those_of_pytorch() {
        let path = format!("{}/tests/goldens/adapters.json", env!("CARGO_MANIFEST_DIR"));
        let goldens: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let curves = goldens["curves"].as_object().unwrap();
        assert_eq!(curves.len(), 21);
        for (name, expected) in curves {
            let mut values: Vec<f32> = (-18..=18).map(|n| n as f32 / 2.0).collect();
            Curve::named(name).unwrap().apply(&mut values, Threads::CALLER);
            for (got, expected) in values.iter().zip(expected.as_array().unwrap()) {
                let expected = expected.as_f64().unwrap() as f32;
                assert!((got - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{name}: {got}, {expected}");
            }
        }
        // torch 2.15: gelu(x, approximate="tanh").
        let mut values = [-2.0, -0.5, 0.25, 1.0, 3.0];
        Curve::GeluTanh.apply(&mut values, &Threads::new(1).unwrap());
        for (got, expected) in
            values.iter().zip([-0.045_402_288, -0.154_285_99, 0.149_675_35, 0.841_191_95, 2.996_362_4])
        {
            assert!((got - expected as f32).abs() <= 1e-6, "{got}, {expected}");
        }
        assert_eq!((Curve::named("Swish"), Curve::named("softmax")), (Some(Curve::Hardswish), None));
    }
}
