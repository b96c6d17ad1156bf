//! Which model.

use std::path::{Path, PathBuf};

use calotype::{Model, ModelOptions};
use calotype_hub::ModelId;

use crate::{args::ModelArgs, failure::Failure};

/// The model that is asked for, a file, a folder or one of the hub's cache, or the one inside this program.
pub(crate) fn open(args: &ModelArgs) -> Result<Model, Failure> {
    open_with(args, args.options.options())
}

/// As [`open`], with these options in place of those of `args`.
pub(crate) fn open_with(args: &ModelArgs, options: ModelOptions) -> Result<Model, Failure> {
    let Some(given) = &args.model else {
        if options != ModelOptions::default() {
            return Err(Failure::usage("the model inside this program has no options: give --model too"));
        }
        return built_in();
    };
    let path = resolve(given)?;
    let model = Model::open_with(&path, &options)?;
    // The folder of a pulled model has its commit for a name.
    let pulled =
        given.to_str().filter(|_| path != *given && path.is_dir()).and_then(|name| name.parse::<ModelId>().ok());
    Ok(match pulled {
        Some(id) => model.named(id.repository().rsplit('/').next().unwrap_or_default()),
        None => model,
    })
}

/// The model inside this program.
pub(crate) fn built_in() -> Result<Model, Failure> {
    Ok(Model::built_in()?)
}

/// What is meant by a path: what is there, or else the pulled model of that name.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let name = path.to_str().filter(|name| !path.exists() && name.parse::<ModelId>().is_ok());
    let Some(name) = name else { return Ok(path.to_owned()) };
    match calotype_hub::find(name) {
        Some(pulled) => Ok(pulled),
        // Without a slash it is hardly the name of a model: whoever opens it says that it is not there.
        None if !name.contains('/') => Ok(path.to_owned()),
        None => Err(Failure::Usage {
            message: format!("{name}: there is no such file or folder, and no such model was pulled from the hub"),
            hint: Some(format!("calotype models pull {name}")),
        }),
    }
}
