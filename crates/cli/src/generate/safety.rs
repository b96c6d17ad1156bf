//! What is done with images by what they show.

use std::path::{Path, PathBuf};

use calotype::{Request, RgbImage};
use calotype_safety::policy::{Action, Guard, Policy, Verdict, blurred};
use calotype_tensor::Device;

use crate::{
    args::SafetyArgs,
    failure::{Failure, line},
};

/// The folder of the safety checker in that of a diffusers model.
const CHECKER: &str = "safety_checker";

/// A policy that is held to, with its classifiers in memory.
pub(crate) struct Safety {
    guard: Guard,
    /// Whether it blurs or blocks.
    hides_images: bool,
}

impl Safety {
    /// That of the command line, for a model; none if it is off.
    pub(crate) fn open(args: &SafetyArgs, model: Option<&Path>, device: &impl Device) -> Result<Option<Self>, Failure> {
        let Some(asked) = args.safety.as_deref().filter(|asked| *asked != "off") else { return Ok(None) };
        let action = match asked {
            "flag" => Some(Action::Label),
            "blur" => Some(Action::Blur),
            "block" => Some(Action::Block),
            _ => None,
        };
        let policy = match action {
            Some(action) => Policy::of_checker(&checker(args, model)?, action),
            None if Path::new(asked).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) => {
                if args.safety_checker.is_some() {
                    let problem =
                        "--safety-checker is for --safety flag, blur or block: a policy file names its classifiers";
                    return Err(Failure::usage(problem));
                }
                Policy::load(Path::new(asked))?
            }
            None => {
                let problem =
                    format!("--safety {asked}: expected off, flag, blur, block, or a policy file that ends in .toml");
                return Err(Failure::usage(problem));
            }
        };
        Ok(Some(Self { guard: policy.open(device)?, hides_images: policy.hides_images() }))
    }

    /// Whether what is blurred or blocked must not be written in another form.
    pub(crate) fn hides_images(&self) -> bool {
        self.hides_images
    }

    /// Refuses images to start from that the policy does not let through.
    pub(crate) fn check_init(&self, request: &Request) -> Result<(), Failure> {
        let Some(init) = &request.init else { return Ok(()) };
        let verdict = self.guard.judge(&init.picture.rgb()?)?;
        let file = &init.picture.reference().file;
        match verdict.action {
            Action::Allow => Ok(()),
            Action::Label => {
                line("warning", &format!("{file}: flagged by --safety: {}", verdict.reasons()));
                Ok(())
            }
            _ => Err(Failure::Failed(format!("{file}: not taken, by --safety: {}", verdict.reasons()))),
        }
    }

    /// What is written of an image, if it is, and the verdict; says so on stderr where that is not the image as it is.
    pub(crate) fn apply(&self, image: RgbImage, seed: u64) -> Result<(Option<RgbImage>, Verdict), Failure> {
        let verdict = self.guard.judge(&image)?;
        let said = match verdict.action {
            Action::Allow => return Ok((Some(image), verdict)),
            Action::Label => "flagged",
            Action::Blur => "blurred",
            _ => "blocked",
        };
        line("warning", &format!("the image of seed {seed} is {said} by --safety: {}", verdict.reasons()));
        let shown = match verdict.action {
            Action::Allow | Action::Label => Some(image),
            Action::Blur => Some(blurred(&image)),
            _ => None,
        };
        Ok((shown, verdict))
    }
}

/// Where the safety checker is.
fn checker(args: &SafetyArgs, model: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.safety_checker {
        return Ok(path.clone());
    }
    let beside = model.map(|model| model.join(CHECKER)).filter(|folder| folder.is_dir());
    beside.ok_or_else(|| {
        Failure::Usage {
            message: "--safety needs a safety checker, and the model has none".to_owned(),
            hint: Some(format!(
                "give --safety-checker PATH: the folder {CHECKER} of a Stable Diffusion 1 model in diffusers' layout, or a copy of CompVis/stable-diffusion-safety-checker"
            )),
        }
    })
}
