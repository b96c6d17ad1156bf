//! Which model.

use calotype::{Model, ModelOptions};

use crate::{args::ModelArgs, builtin, failure::Failure};

/// The model that is asked for, or the one inside this program.
pub(crate) fn open(args: &ModelArgs) -> Result<Model, Failure> {
    let options = args.options.options();
    match &args.model {
        Some(path) => Ok(Model::open_with(path, &options)?),
        None if options != ModelOptions::default() => {
            Err(Failure::usage("the model inside this program has no options: give --model too"))
        }
        None => built_in(),
    }
}

/// The model inside this program.
pub(crate) fn built_in() -> Result<Model, Failure> {
    Ok(Model::from_embedded(builtin::NAME, builtin::FILES)?)
}
