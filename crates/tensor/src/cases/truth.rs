//! What the reference in double precision makes of a case, and how far from it another backend may be.

use super::{Case, Input, Role, Value, Values};
use crate::{
    Result,
    reference::{Array, Param, Reference},
};

/// The reference in double precision.
pub const TRUTH: Reference<f64> = Reference::new();

/// Half a unit in the last place of an `f32` near 1.
pub const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// The same numbers in double precision.
#[must_use]
pub fn widen(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| x.into()).collect()
}

/// One result of a case: `y`, or the gradient of an input.
pub struct Expected {
    /// What it is called in messages.
    pub name: String,
    /// What it should be.
    pub value: Array<f64>,
    /// The error that arithmetic in `f32` may make, relative to the largest element.
    arithmetic: f64,
    /// How much larger the error is than the rounding of the inputs that it comes from.
    sensitivity: f64,
}

impl Expected {
    /// How far a backend may be from it, relative to its largest element, when it rounds inputs and results by `rounding` and
    /// its arithmetic is `looser` times less exact than sums in any order are.
    #[must_use]
    pub fn tolerance(&self, rounding: f64, looser: f64) -> f64 {
        looser * self.arithmetic
            + 4.0 * rounding * self.sensitivity
            + if rounding > ROUNDING { 2.0 * rounding } else { 0.0 }
    }

    /// What is wrong with a result that has the right shape, if anything is.
    #[must_use]
    pub fn fault(&self, got: &[f32], rounding: f64, looser: f64) -> Option<String> {
        let Self { name, value, .. } = self;
        let got = widen(got);
        if let Some((got, truth)) = got.iter().zip(value.data()).find(|(got, _)| !got.is_finite()) {
            return Some(format!("{name}: an element is {got}, expected {truth}"));
        }
        let (error, tolerance) = (distance(&got, value.data()), self.tolerance(rounding, looser));
        (error > tolerance).then(|| format!("{name}: error {error:.1e}, at most {tolerance:.1e}"))
    }
}

/// A case and what the reference makes of it.
pub struct Truth {
    /// The case.
    pub case: Case,
    /// The elements of its inputs.
    pub inputs: Vec<Vec<f32>>,
    /// The gradient of its result.
    pub dy: Vec<f32>,
    /// `y`, then, if they were asked for, the gradient of each input.
    pub results: Vec<Expected>,
}

impl Truth {
    /// That of a case, with gradients or without.
    ///
    /// # Errors
    /// The case fails on the reference.
    pub fn new(case: &Case, gradients: bool) -> Result<Self> {
        let inputs = case.inputs(1);
        let exact: Vec<Vec<f64>> = inputs.iter().map(|data| widen(data)).collect();
        let count = case.forward(&TRUTH, &upload(case, &exact)?)?.shape().count();
        // Not around 0, so that the sums over it are no differences of large sums.
        let dy = Values::Uniform { low: -1.0, high: 2.0 }.draw(2, 0, count);
        let of_result = |dy: Vec<f64>| gradients.then_some(dy);
        let values = run(case, &exact, of_result(widen(&dy)))?;

        // What a rounding of every input does to the results.
        let moved: Vec<Vec<f64>> = exact.iter().zip(10..).map(|(data, stream)| rounded(data, stream)).collect();
        let moved = run(case, &moved, of_result(rounded(&widen(&dy), 3)))?;

        let names = std::iter::once("y".to_owned()).chain(case.inputs.iter().map(|input| format!("d{}", input.name)));
        let results = names
            .zip(values.into_iter().zip(moved))
            .map(|(name, (value, moved))| {
                let sensitivity = distance(moved.data(), value.data()) / ROUNDING;
                Expected { name, value, arithmetic: base_tolerance(case), sensitivity }
            })
            .collect();
        Ok(Self { case: case.clone(), inputs, dy, results })
    }
}

/// Exact inputs; `from_f32` would round them.
///
/// # Errors
/// `data` does not fit the case.
pub fn upload(case: &Case, data: &[Vec<f64>]) -> Result<Vec<Value<Reference<f64>>>> {
    let upload = |(input, data): (&Input, &Vec<f64>)| {
        let array = Array::new(input.shape, data.clone())?;
        Ok(match input.role {
            Role::Tensor => Value::Tensor(array),
            Role::Param(kind) => Value::Param { kind, packed: Param::new(kind, array.clone())?, value: array },
        })
    };
    case.inputs.iter().zip(data).map(upload).collect()
}

/// `y`, and the gradients for a `dy`.
fn run(case: &Case, inputs: &[Vec<f64>], dy: Option<Vec<f64>>) -> Result<Vec<Array<f64>>> {
    let inputs = upload(case, inputs)?;
    let y = case.forward(&TRUTH, &inputs)?;
    let gradients = match dy {
        Some(dy) => case.backward(&TRUTH, &inputs, &Array::new(y.shape(), dy)?)?,
        None => Vec::new(),
    };
    Ok([y].into_iter().chain(gradients).collect())
}

/// Every element a rounding larger or smaller.
fn rounded(data: &[f64], stream: u64) -> Vec<f64> {
    let signs = Values::Grid { step: 2.0, limit: 1 }.draw(4, stream, data.len());
    data.iter().zip(signs).map(|(x, sign)| x * (1.0 + f64::from(sign) * ROUNDING)).collect()
}

/// The error that arithmetic in `f32` may make on exact inputs; how it is carried on is measured on the case.
///
/// The error of a sum of `n` rounded products grows like `√n` roundings when they are random (Higham 2002, section
/// 2.8); the constant has room for those before and after the sum, and for an `exp` good to a few units.
fn base_tolerance(case: &Case) -> f64 {
    (16.0 + 2.0 * (case.longest_sum() as f64).sqrt()) * ROUNDING
}

/// The greatest difference divided by the greatest element of `truth`.
#[must_use]
pub fn distance(got: &[f64], truth: &[f64]) -> f64 {
    let greatest = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
    let difference = greatest(&mut got.iter().zip(truth).map(|(got, truth)| (got - truth).abs()));
    if difference == 0.0 { 0.0 } else { difference / greatest(&mut truth.iter().map(|x| x.abs())) }
}
