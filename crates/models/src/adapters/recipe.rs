//! Which tensors of an adapter's file change a parameter, and how: known, and checked, before any is read.

use std::collections::BTreeMap;

use calotype_formats::{Checkpoint, TensorInfo};

use super::{
    Algorithm,
    change::Change,
    matrix::{Factor, Matrix, expand, transposed},
};
use crate::{
    Error, Result,
    error::quote,
    names::adapter::{self as names, Part},
};

/// Far above what is trained; it bounds the memory of a layer's factors.
pub(super) const MAX_RANK: usize = 4096;

/// The extents of a parameter as a matrix: `(O, I · taps)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) taps: usize,
}

impl Extents {
    /// Of a weight's shape in a file; a vector is one column.
    pub(super) fn of(shape: &[usize]) -> Self {
        let at = |n: usize| shape.get(n).copied().unwrap_or(1);
        Self { outputs: at(0), inputs: at(1), taps: shape.iter().skip(2).product() }
    }

    pub(super) fn columns(self) -> usize {
        self.inputs * self.taps
    }
}

/// The tensors of one module, by part.
pub(super) type Parts = BTreeMap<Part, String>;

/// A change of one parameter, as the file has it.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) algorithm: Algorithm,
    method: Method,
    /// By which the change is multiplied: of LoRA alpha over rank.
    pub(super) scale: f32,
    /// DoRA's lengths, and whether they are of rows.
    pub(super) lengths: Option<(String, bool)>,
}

#[derive(Clone, Debug)]
enum Method {
    Product(Product),
    Hadamard([Product; 2]),
    /// And the rows of the second factor.
    Kronecker([FactorRecipe; 2], usize),
    Difference(String),
    Factors {
        name: String,
        on_input: bool,
    },
}

#[derive(Clone, Debug)]
enum FactorRecipe {
    Whole(String, usize),
    Product(Product),
}

/// `left (rows, rank) · right (rank, columns)`, perhaps with a core between them that has the taps.
#[derive(Clone, Debug)]
struct Product {
    left: String,
    /// Whether `left` is kept as `(rank, rows)`.
    left_transposed: bool,
    right: String,
    core: Option<String>,
    rank: usize,
    columns: usize,
    taps: usize,
}

/// What a module is to be made a change of.
pub(super) struct Site<'a> {
    pub(super) file: &'a Checkpoint,
    pub(super) module: &'a str,
    pub(super) parts: &'a Parts,
    pub(super) extents: Extents,
}

impl Recipe {
    /// What a module does to its weight. None if it has no part for a weight.
    ///
    /// # Errors
    /// A part is missing or misshapen.
    pub(super) fn of_weight(site: &Site<'_>) -> Result<Option<Self>> {
        let has = |part: Part| site.parts.contains_key(&part);
        let Extents { outputs, inputs, taps } = site.extents;
        let (algorithm, method, rank) = if has(Part::LoraUp) || has(Part::LoraDown) {
            let product = site.product([Part::LoraUp, Part::LoraDown, Part::LoraMid], false, outputs, inputs, taps)?;
            let rank = product.rank;
            (Algorithm::Lora, Method::Product(product), Some(rank))
        } else if has(Part::HadaW1A) {
            let cores = has(Part::HadaT1);
            let product = |parts| site.product(parts, cores, outputs, inputs, taps);
            let first = product([Part::HadaW1A, Part::HadaW1B, Part::HadaT1])?;
            let second = product([Part::HadaW2A, Part::HadaW2B, Part::HadaT2])?;
            let rank = first.rank;
            (Algorithm::LoHa, Method::Hadamard([first, second]), Some(rank))
        } else if has(Part::LokrW1) || has(Part::LokrW1A) {
            let (factors, rows, rank) = site.kronecker()?;
            (Algorithm::LoKr, Method::Kronecker(factors, rows), rank)
        } else if let Some(name) = site.parts.get(&Part::Diff).or(site.parts.get(&Part::WNorm)) {
            site.expect(name, outputs * inputs * taps)?;
            let algorithm = if has(Part::Diff) { Algorithm::Full } else { Algorithm::Norm };
            (algorithm, Method::Difference(name.clone()), None)
        } else if let (Some(name), Some(on_input)) = (site.parts.get(&Part::Ia3), site.parts.get(&Part::OnInput)) {
            let on_input = site.number(on_input)? != 0.0;
            site.expect(name, if on_input { inputs } else { outputs })?;
            (Algorithm::Ia3, Method::Factors { name: name.clone(), on_input }, None)
        } else {
            return Ok(None);
        };
        Ok(Some(Self { algorithm, method, scale: site.scale(rank)?, lengths: site.lengths()? }))
    }

    /// What a module does to its bias.
    ///
    /// # Errors
    /// A part is misshapen.
    pub(super) fn of_bias(site: &Site<'_>) -> Result<Option<Self>> {
        let Some(name) = site.parts.get(&Part::DiffB).or(site.parts.get(&Part::BNorm)) else { return Ok(None) };
        site.expect(name, site.extents.outputs)?;
        let algorithm = if site.parts.contains_key(&Part::DiffB) { Algorithm::Full } else { Algorithm::Norm };
        Ok(Some(Self { algorithm, method: Method::Difference(name.clone()), scale: 1.0, lengths: None }))
    }

    /// The rank of its products, the greatest.
    pub(super) fn rank(&self) -> Option<usize> {
        let of = |factor: &FactorRecipe| match factor {
            FactorRecipe::Whole(..) => None,
            FactorRecipe::Product(product) => Some(product.rank),
        };
        match &self.method {
            Method::Product(product) => Some(product.rank),
            Method::Hadamard(products) => products.iter().map(|product| product.rank).max(),
            Method::Kronecker(factors, _) => factors.iter().filter_map(of).max(),
            Method::Difference(_) | Method::Factors { .. } => None,
        }
    }

    /// Reads the factors. `scale` multiplies the change; `ranks` are used of a LoRA, if not all.
    ///
    /// # Errors
    /// The file can't be read, or has what is no finite number.
    pub(super) fn read<'a>(
        &self,
        file: &'a Checkpoint,
        taps: usize,
        scale: f32,
        ranks: Option<usize>,
    ) -> Result<Change<'a>> {
        let factor = |recipe: &FactorRecipe| match recipe {
            FactorRecipe::Whole(name, columns) => {
                Ok(Factor::Whole(Matrix { values: finite(file, name)?, columns: *columns }))
            }
            FactorRecipe::Product(product) => product.read(file, None),
        };
        Ok(match &self.method {
            Method::Product(product) => Change::Product { factor: product.read(file, ranks)?, scale },
            Method::Hadamard([a, b]) => Change::Hadamard { factors: [a.read(file, None)?, b.read(file, None)?], scale },
            Method::Kronecker([a, b], rows) => {
                Change::Kronecker { factors: [factor(a)?, factor(b)?], rows: *rows, scale }
            }
            Method::Difference(name) => Change::Difference { values: file.floats(name)?, scale },
            Method::Factors { name, on_input } => {
                Change::Factors { values: finite(file, name)?, taps, on_input: *on_input, scale }
            }
        })
    }
}

impl Product {
    fn read(&self, file: &Checkpoint, ranks: Option<usize>) -> Result<Factor> {
        let left = finite(file, &self.left)?;
        let left = match self.left_transposed {
            true => transposed(&Matrix { columns: left.len() / self.rank, values: left }),
            false => Matrix { values: left, columns: self.rank },
        };
        let right = finite(file, &self.right)?;
        let mut right = match &self.core {
            Some(core) => {
                let inputs = Matrix { values: right, columns: self.columns / self.taps };
                expand(&finite(file, core)?, &inputs, self.rank, self.taps)
            }
            None => Matrix { values: right, columns: self.columns },
        };
        if let Some(ranks) = ranks {
            right.values.truncate(ranks * right.columns);
        }
        Ok(Factor::Product { left, right })
    }
}

impl Site<'_> {
    /// What is wrong with a tensor, or with the module.
    fn refuse<T>(&self, problem: String) -> Result<T> {
        let problem = format!("{problem}: this adapter is for another model, or damaged");
        Err(Error::Adapter { source_label: self.file.label().to_owned(), problem })
    }

    fn tensor(&self, part: Part) -> Result<&TensorInfo> {
        match self.parts.get(&part).and_then(|name| self.file.get(name)) {
            Some(tensor) => Ok(tensor),
            None => {
                let other = self.parts.values().next().map_or("", String::as_str);
                let ending = names::ending_like(other, part).unwrap_or_default();
                let key = format!("{}{ending}", self.module);
                self.refuse(format!("it has {}, but no {}", quote(other), quote(&key)))
            }
        }
    }

    /// Checks the number of a tensor's elements.
    fn expect(&self, name: &str, count: usize) -> Result<()> {
        match self.file.get(name) {
            Some(tensor) if tensor.element_count() == count => Ok(()),
            tensor => {
                let Extents { outputs, inputs, taps } = self.extents;
                let shape = tensor.map_or(String::new(), |tensor| show(&tensor.shape));
                self.refuse(format!(
                    "tensor {} is {shape}, expected {count} numbers, for the layer is {outputs} x {inputs} x {taps}",
                    quote(name)
                ))
            }
        }
    }

    /// `left · right` of `rows` rows and `inputs · taps` columns, with a core if there is one. With `transposed`, and a core,
    /// `left` is `(rank, rows)`.
    fn product(
        &self,
        [left, right, core]: [Part; 3],
        transposed: bool,
        rows: usize,
        inputs: usize,
        taps: usize,
    ) -> Result<Product> {
        let (left, right) = (self.tensor(left)?, self.tensor(right)?);
        let core = if self.parts.contains_key(&core) { Some(self.tensor(core)?) } else { None };
        let first = |tensor: &TensorInfo| tensor.shape.first().copied().unwrap_or(0);
        let inner = first(right);
        let rank = core.map_or(inner, first);
        if !(1..=MAX_RANK).contains(&rank.max(inner)) || rank.min(inner) == 0 {
            let name = quote(&right.name);
            return self.refuse(format!("tensor {name} has rank {}, expected 1 to {MAX_RANK}", rank.max(inner)));
        }
        self.expect(&left.name, rows * rank)?;
        match core {
            None => self.expect(&right.name, inner * inputs * taps)?,
            Some(core) => {
                self.expect(&right.name, inner * inputs)?;
                self.expect(&core.name, rank * inner * taps)?;
            }
        }
        let left_transposed = transposed && core.is_some();
        if first(left) != if left_transposed { rank } else { rows } {
            let (name, shape) = (quote(&left.name), show(&left.shape));
            return self.refuse(format!("tensor {name} is {shape}, expected {rows} x {rank}"));
        }
        let [left, right] = [left, right].map(|tensor| tensor.name.clone());
        let core = core.map(|core| core.name.clone());
        Ok(Product { left, left_transposed, right, core, rank, columns: inputs * taps, taps })
    }

    /// Both factors, the rows of the second, and the rank that the scale is of.
    fn kronecker(&self) -> Result<([FactorRecipe; 2], usize, Option<usize>)> {
        let has = |part: Part| self.parts.contains_key(&part);
        let extent =
            |part: Part, n: usize| -> Result<usize> { Ok(self.tensor(part)?.shape.get(n).copied().unwrap_or(0)) };
        let Extents { outputs, inputs, taps } = self.extents;
        let [a_rows, a_columns] = match has(Part::LokrW1) {
            true => [extent(Part::LokrW1, 0)?, extent(Part::LokrW1, 1)?],
            false => [extent(Part::LokrW1A, 0)?, extent(Part::LokrW1B, 1)?],
        };
        if a_rows == 0 || a_columns == 0 || !outputs.is_multiple_of(a_rows) || !inputs.is_multiple_of(a_columns) {
            return self.refuse(format!(
                "module {} has a factor of {a_rows} x {a_columns}, which does not divide a layer of {outputs} x {inputs}",
                quote(self.module)
            ));
        }
        let (rows, inputs) = (outputs / a_rows, inputs / a_columns);
        let first = match has(Part::LokrW1) {
            true => {
                let name = &self.tensor(Part::LokrW1)?.name;
                self.expect(name, a_rows * a_columns)?;
                FactorRecipe::Whole(name.clone(), a_columns)
            }
            // Never with a core.
            false => FactorRecipe::Product(self.product(
                [Part::LokrW1A, Part::LokrW1B, Part::LokrW1],
                false,
                a_rows,
                a_columns,
                1,
            )?),
        };
        let second = match self.parts.get(&Part::LokrW2) {
            Some(name) => {
                self.expect(name, rows * inputs * taps)?;
                FactorRecipe::Whole(name.clone(), inputs * taps)
            }
            None => FactorRecipe::Product(self.product(
                [Part::LokrW2A, Part::LokrW2B, Part::LokrT2],
                true,
                rows,
                inputs,
                taps,
            )?),
        };
        let rank = |factor: &FactorRecipe| match factor {
            FactorRecipe::Whole(..) => None,
            FactorRecipe::Product(product) => Some(product.rank),
        };
        let of_scale = rank(&second).or(rank(&first));
        Ok(([first, second], rows, of_scale))
    }

    /// As A1111: the scale if it is given, else alpha over the rank, else 1.
    fn scale(&self, rank: Option<usize>) -> Result<f32> {
        if let Some(name) = self.parts.get(&Part::Scale) {
            return self.number(name);
        }
        match (self.parts.get(&Part::Alpha), rank) {
            (Some(name), Some(rank)) => Ok(self.number(name)? / rank as f32),
            _ => Ok(1.0),
        }
    }

    fn lengths(&self) -> Result<Option<(String, bool)>> {
        let Extents { outputs, inputs, .. } = self.extents;
        if let Some(name) = self.parts.get(&Part::Magnitude) {
            self.expect(name, outputs)?;
            return Ok(Some((name.clone(), true)));
        }
        let Some(name) = self.parts.get(&Part::DoraScale) else { return Ok(None) };
        // `(O, 1, ...)`, or `(1, I, ...)`.
        let shape = self.tensor(Part::DoraScale)?.shape.as_slice();
        let by_row = !matches!(shape, [1, n, ..] if *n == inputs);
        self.expect(name, if by_row { outputs } else { inputs })?;
        Ok(Some((name.clone(), by_row)))
    }

    /// The one number of a tensor.
    fn number(&self, name: &str) -> Result<f32> {
        self.expect(name, 1)?;
        Ok(finite(self.file, name)?.first().copied().unwrap_or(1.0))
    }
}

/// A tensor's numbers.
pub(super) fn finite(file: &Checkpoint, name: &str) -> Result<Vec<f32>> {
    let values = file.read_f32(name)?;
    match values.iter().find(|x| !x.is_finite()) {
        None => Ok(values),
        Some(got) => Err(Error::Adapter {
            source_label: file.label().to_owned(),
            problem: format!(
                "tensor {} has the value {got}, expected finite numbers: the adapter is damaged",
                quote(name)
            ),
        }),
    }
}

/// A shape for a message: not long.
fn show(shape: &[usize]) -> String {
    const MOST: usize = 8;
    format!("{:?}{}", &shape[..shape.len().min(MOST)], if shape.len() > MOST { "…" } else { "" })
}
