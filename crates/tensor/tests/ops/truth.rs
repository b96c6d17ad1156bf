//! The reference in double precision, and what it makes of every case.

use std::sync::LazyLock;

use calotype_tensor::{
    Result,
    cases::{self, Case, Input, Role, Value, Values},
    reference::{Array, Param, Reference},
};

pub(crate) const TRUTH: Reference<f64> = Reference::new();

pub(crate) fn widen(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| x.into()).collect()
}

/// Exact inputs; `from_f32` would round them.
pub(crate) fn upload(case: &Case, data: &[Vec<f64>]) -> Result<Vec<Value<Reference<f64>>>> {
    let upload = |(input, data): (&Input, &Vec<f64>)| {
        let array = Array::new(input.shape, data.clone())?;
        Ok(match input.role {
            Role::Tensor => Value::Tensor(array),
            Role::Param(kind) => Value::Param { kind, packed: Param::new(kind, array.clone())?, value: array },
        })
    };
    case.inputs.iter().zip(data).map(upload).collect()
}

/// One result of a case: `y`, or the gradient of an input.
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) value: Array<f64>,
    /// The error that arithmetic in `f32` may make, relative to the largest element.
    arithmetic: f64,
    /// How much larger the error is than the rounding of the inputs that it comes from.
    sensitivity: f64,
}

impl Expected {
    /// How far a backend may be from it, relative to its largest element, when it rounds inputs and results by `rounding` and
    /// its arithmetic is `looser` times less exact than sums in any order are.
    pub(crate) fn tolerance(&self, rounding: f64, looser: f64) -> f64 {
        looser * self.arithmetic
            + 4.0 * rounding * self.sensitivity
            + if rounding > ROUNDING { 2.0 * rounding } else { 0.0 }
    }
}

/// A case and what the reference makes of it.
pub(crate) struct Truth {
    pub(crate) case: Case,
    pub(crate) inputs: Vec<Vec<f32>>,
    pub(crate) dy: Vec<f32>,
    /// `y`, then the gradient of each input.
    pub(crate) results: Vec<Expected>,
}

/// The truth of the whole table.
pub(crate) static TRUTHS: LazyLock<Vec<Truth>> = LazyLock::new(|| {
    cases::table().into_iter().map(|case| truth(&case).unwrap_or_else(|error| panic!("{case}: {error}"))).collect()
});

/// Half a unit in the last place of an `f32` near 1.
pub(crate) const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

fn truth(case: &Case) -> Result<Truth> {
    let inputs = case.inputs(1);
    let exact: Vec<Vec<f64>> = inputs.iter().map(|data| widen(data)).collect();
    let y = case.forward(&TRUTH, &upload(case, &exact)?)?;
    // Not around 0, so that the sums over it are no differences of large sums.
    let dy = Values::Uniform { low: -1.0, high: 2.0 }.draw(2, 0, y.shape().count());
    let values = run(case, &exact, widen(&dy))?;

    // What a rounding of every input does to the results.
    let moved: Vec<Vec<f64>> = exact.iter().zip(10..).map(|(data, stream)| rounded(data, stream)).collect();
    let moved = run(case, &moved, rounded(&widen(&dy), 3))?;

    let names = std::iter::once("y".to_owned()).chain(case.inputs.iter().map(|input| format!("d{}", input.name)));
    let results = names
        .zip(values.into_iter().zip(moved))
        .map(|(name, (value, moved))| {
            let sensitivity = distance(moved.data(), value.data()) / ROUNDING;
            Expected { name, value, arithmetic: base_tolerance(case), sensitivity }
        })
        .collect();
    Ok(Truth { case: case.clone(), inputs, dy, results })
}

/// `y` and the gradients.
fn run(case: &Case, inputs: &[Vec<f64>], dy: Vec<f64>) -> Result<Vec<Array<f64>>> {
    let inputs = upload(case, inputs)?;
    let y = case.forward(&TRUTH, &inputs)?;
    let gradients = case.backward(&TRUTH, &inputs, &Array::new(y.shape(), dy)?)?;
    assert_eq!(gradients.len(), case.inputs.len(), "{case}");
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
pub(crate) fn distance(got: &[f64], truth: &[f64]) -> f64 {
    let greatest = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
    let difference = greatest(&mut got.iter().zip(truth).map(|(got, truth)| (got - truth).abs()));
    if difference == 0.0 { 0.0 } else { difference / greatest(&mut truth.iter().map(|x| x.abs())) }
}
