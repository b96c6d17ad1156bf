//! Which model.

use std::path::Path;

use calotype::Model;

use crate::{builtin, failure::Failure};

/// The model of a folder, or the one inside this program.
pub(crate) fn open(folder: Option<&Path>) -> Result<Model, Failure> {
    let model = match folder {
        Some(folder) => Model::open(folder)?,
        None => Model::from_embedded(builtin::NAME, builtin::FILES)?,
    };
    Ok(model)
}
