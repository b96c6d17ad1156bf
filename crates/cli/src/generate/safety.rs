//! What is refused, what is done with images by what they show, and the record of both.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use calotype::{Request, RgbImage, adapters::AdapterFile, metadata::Metadata};
use calotype_safety::{
    audit::{Entry, Kind, Log, Prompt, Query, Score},
    policy::{Action, Guard, Policy, Verdict, blurred},
    rules::{Rules, Subject},
};
use calotype_tensor::Device;

use crate::{
    args::SafetyArgs,
    failure::{Failure, line},
};

/// The folder of the safety checker in that of a diffusers model.
const CHECKER: &str = "safety_checker";

/// What a run is held to; nothing, if nothing was asked for.
pub(crate) struct Safety {
    guard: Option<Guard>,
    /// Whether the policy blurs or blocks.
    hides_images: bool,
    rules: Option<Rules>,
    log: Option<RefCell<Log>>,
    hash_prompts: bool,
}

impl Safety {
    /// That of the command line, for a model.
    pub(crate) fn open(args: &SafetyArgs, model: Option<&Path>, device: &impl Device) -> Result<Self, Failure> {
        let policy = policy(args, model)?;
        let log = args.audit.as_deref().map(Log::open).transpose()?;
        if let Some(mended) = log.as_ref().and_then(Log::mended) {
            let cut = mended.cut_bytes;
            line("warning", &format!("the audit log ended in half a line, of which {cut} bytes were taken away"));
        }
        Ok(Self {
            hides_images: policy.as_ref().is_some_and(Policy::hides_images),
            guard: policy.map(|policy| policy.open(device)).transpose()?,
            rules: args.rules.as_deref().map(Rules::open).transpose()?,
            log: log.map(RefCell::new),
            hash_prompts: args.audit_hash_prompts,
        })
    }

    /// Whether what is blurred or blocked must not be written in another form.
    pub(crate) fn hides_images(&self) -> bool {
        self.hides_images
    }

    /// Refuses prompts and names that the rules don't let through.
    pub(crate) fn check_prompts(&self, request: &Request) -> Result<(), Failure> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let names = names(request);
        let subject = Subject {
            prompts: vec![&request.prompt],
            negative_prompts: vec![&request.negative_prompt],
            names: names.iter().map(String::as_str).collect(),
            steps: request.num_inference_steps,
        };
        let hits = rules.check(&subject);
        let Some(first) = hits.first() else { return Ok(()) };
        let entry = Entry {
            rules_sha256: Some(rules.hash().to_owned()),
            rules: hits.iter().map(|hit| hit.id.clone()).collect(),
            ..self.of_request(Kind::Refused, request)
        };
        self.append(&entry)?;
        let reason = first.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        Err(Failure::Failed(format!("the prompt is refused by the rule {:?}{reason}", first.id)))
    }

    /// Refuses images to start from that the policy does not let through.
    pub(crate) fn check_init(&self, request: &Request) -> Result<(), Failure> {
        let (Some(guard), Some(init)) = (&self.guard, &request.init) else { return Ok(()) };
        let verdict = guard.judge(&init.picture.rgb()?)?;
        let file = &init.picture.reference().file;
        match verdict.action {
            Action::Allow => Ok(()),
            Action::Label => {
                line("warning", &format!("{file}: flagged by --safety: {}", verdict.reasons()));
                Ok(())
            }
            _ => {
                let entry = Entry {
                    reason: Some("the image to start from".to_owned()),
                    file_sha256: Some(init.picture.reference().sha256.clone()),
                    ..judged(self.of_request(Kind::Refused, request), Some(&verdict))
                };
                self.append(&entry)?;
                Err(Failure::Failed(format!("{file}: not taken, by --safety: {}", verdict.reasons())))
            }
        }
    }

    /// What is written of an image, if it is, and the verdict; says so on stderr where that is not the image as it is.
    pub(crate) fn apply(
        &self,
        image: RgbImage,
        metadata: &Metadata,
    ) -> Result<(Option<RgbImage>, Option<Verdict>), Failure> {
        let Some(guard) = &self.guard else { return Ok((Some(image), None)) };
        let verdict = guard.judge(&image)?;
        let (shown, said) = match verdict.action {
            Action::Allow => return Ok((Some(image), Some(verdict))),
            Action::Label => (Some(image), "flagged"),
            Action::Blur => (Some(blurred(&image)), "blurred"),
            Action::Block => (None, "blocked"),
        };
        let seed = metadata.request.seed;
        line("warning", &format!("the image of seed {seed} is {said} by --safety: {}", verdict.reasons()));
        if shown.is_none() {
            self.append(&self.of_image(Kind::Refused, metadata, Some(&verdict)))?;
        }
        Ok((shown, Some(verdict)))
    }

    /// Writes the line of an image whose file is about to be at `path`.
    pub(crate) fn record(
        &self,
        metadata: &Metadata,
        verdict: Option<&Verdict>,
        bytes: &[u8],
        path: &Path,
    ) -> Result<(), Failure> {
        if self.log.is_none() {
            return Ok(());
        }
        let pixels_sha256 = match Query::image(bytes) {
            Query::Image { pixels_sha256, .. } => pixels_sha256,
            Query::Watermark(_) => None,
        };
        let entry = self.of_image(Kind::Made, metadata, verdict);
        self.append(&Entry { pixels_sha256, ..entry }.of_file(path, bytes))
    }

    fn of_image(&self, kind: Kind, metadata: &Metadata, verdict: Option<&Verdict>) -> Entry {
        let adapter = |adapter: &calotype::adapters::AdapterMetadata| format!("{} {}", adapter.name, adapter.sha256);
        let entry = Entry {
            model_sha256: Some(metadata.model_hash.clone()),
            adapters: metadata.adapters.iter().map(adapter).collect(),
            rules_sha256: self.rules.as_ref().map(|rules| rules.hash().to_owned()),
            ..self.of_request(kind, &metadata.request)
        };
        judged(entry, verdict)
    }

    fn of_request(&self, kind: Kind, request: &Request) -> Entry {
        let prompt = |text: &str| match self.hash_prompts {
            true => Prompt::hashed(text),
            false => Prompt::Text(text.to_owned()),
        };
        let negative = Some(&request.negative_prompt).filter(|text| !text.is_empty());
        Entry {
            prompt: Some(prompt(&request.prompt)),
            negative_prompt: negative.map(|text| prompt(text)),
            seed: Some(request.seed),
            ..Entry::new(kind)
        }
    }

    fn append(&self, entry: &Entry) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            log.borrow_mut().append(entry)?;
        }
        Ok(())
    }
}

/// What the adapters of a request are called, beside those in its prompts.
fn names(request: &Request) -> Vec<String> {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let of_file = |file: &AdapterFile| match file {
        AdapterFile::Path(path) => stem(path),
        AdapterFile::Name(name) | AdapterFile::Memory { name, .. } => Some(name.clone()),
    };
    let adapters = &request.adapters;
    let loras = adapters.loras.iter().filter_map(|lora| of_file(&lora.file));
    let hypernetworks = adapters.hypernetworks.iter().filter_map(|network| of_file(&network.file));
    let embeddings = adapters.embeddings.iter().flat_map(|e| [stem(&e.file), e.name.clone()]).flatten();
    loras.chain(hypernetworks).chain(embeddings).collect()
}

/// An entry with what the classifiers said.
fn judged(entry: Entry, verdict: Option<&Verdict>) -> Entry {
    let Some(verdict) = verdict else { return entry };
    let score = |score: &calotype_safety::policy::JudgedScore| Score {
        classifier: format!("{} {}", score.classifier, score.version),
        name: score.score.clone(),
        value: score.value,
        threshold: score.block.or(score.flag),
    };
    Entry { scores: verdict.scores.iter().map(score).collect(), verdict: Some(verdict.action.id().to_owned()), ..entry }
}

/// The policy that is asked for.
fn policy(args: &SafetyArgs, model: Option<&Path>) -> Result<Option<Policy>, Failure> {
    let Some(asked) = args.safety.as_deref().filter(|asked| *asked != "off") else { return Ok(None) };
    let action = match asked {
        "flag" => Action::Label,
        "blur" => Action::Blur,
        "block" => Action::Block,
        _ if Path::new(asked).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) => {
            if args.safety_checker.is_some() {
                let problem =
                    "--safety-checker is for --safety flag, blur or block: a policy file names its classifiers";
                return Err(Failure::usage(problem));
            }
            return Ok(Some(Policy::load(Path::new(asked))?));
        }
        _ => {
            let problem =
                format!("--safety {asked}: expected off, flag, blur, block, or a policy file that ends in .toml");
            return Err(Failure::usage(problem));
        }
    };
    Ok(Some(Policy::of_checker(&checker(args, model)?, action)))
}

/// Where the safety checker is.
fn checker(args: &SafetyArgs, model: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.safety_checker {
        return Ok(path.clone());
    }
    let beside = model.map(|model| model.join(CHECKER)).filter(|folder| folder.is_dir());
    beside.ok_or_else(|| Failure::Usage {
        message: "--safety needs a safety checker, and the model has none".to_owned(),
        hint: Some(format!(
            "give --safety-checker PATH: the folder {CHECKER} of a Stable Diffusion 1 model in diffusers' layout, or a copy of CompVis/stable-diffusion-safety-checker"
        )),
    })
}
