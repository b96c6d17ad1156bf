//! What is refused, what is done with images by what they show, and the record of both.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use calotype::{Model, Request, RgbImage, adapters::AdapterFile, metadata::Metadata};
use calotype_safety::{
    audit::{Entry, Kind, Log, Prompt, Query, Score},
    policy::{Action, Guard, Policy, Verdict, blurred},
    review::{self, Holding},
    rules::{Rules, Subject},
};
use calotype_tensor::Device;

use crate::{
    args::SafetyArgs,
    failure::{Failure, line},
    license,
    output::Output,
    review::user,
};

/// The folder of the safety checker in that of a diffusers model.
const CHECKER: &str = "safety_checker";

/// What a run is held to; nothing, if nothing was asked for.
pub(crate) struct Safety {
    guard: Option<Guard>,
    /// Whether the policy blurs, holds or blocks.
    hides_images: bool,
    /// Whether the policy holds.
    holds_images: bool,
    /// Whether images say their scores.
    says_scores: bool,
    /// The folder for held images, if it was named.
    held: Option<PathBuf>,
    /// Whether the policy lets no image through without a watermark.
    requires_watermark: bool,
    rules: Option<Rules>,
    log: Option<RefCell<Log>>,
    /// Where the log is.
    log_path: Option<PathBuf>,
    hash_prompts: bool,
}

/// An image after the policy.
pub(crate) struct Judged {
    /// What is given out, if anything is.
    pub(crate) shown: Option<RgbImage>,
    /// The image as it was made, if it is to be held.
    pub(crate) held: Option<RgbImage>,
    /// What the policy says, if there is one.
    pub(crate) verdict: Option<Verdict>,
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
            holds_images: policy.as_ref().is_some_and(Policy::holds_images),
            says_scores: args.safety_scores,
            held: args.held.clone(),
            requires_watermark: policy.as_ref().is_some_and(Policy::requires_watermark),
            guard: policy.map(|policy| policy.open(device)).transpose()?,
            rules: args.rules.as_deref().map(Rules::open).transpose()?,
            log: log.map(RefCell::new),
            log_path: args.audit.clone(),
            hash_prompts: args.audit_hash_prompts,
        })
    }

    /// Whether what is blurred or blocked must not be written in another form.
    pub(crate) fn hides_images(&self) -> bool {
        self.hides_images
    }

    /// Sees to it that the model's licence is accepted.
    pub(crate) fn check_license(&self, model: &Model, is_given: bool) -> Result<(), Failure> {
        license::check(model, is_given, |license| {
            let reason = Some(format!("{} of the model {}", license, model.name()));
            self.append(&Entry { reason, who: user(), ..Entry::new(Kind::Accepted) })
        })
    }

    /// Makes the folder for held images, if some may be held and `output` is where images go.
    pub(crate) fn prepare(&self, output: &Output) -> Result<(), Failure> {
        if !self.holds_images {
            return Ok(());
        }
        if self.log.is_none() {
            let problem = "--safety holds images, and every decision on one has to be recorded: give --audit LOG";
            return Err(Failure::usage(problem));
        }
        match self.held_folder(output) {
            Some(folder) => Ok(review::make_folder(&folder)?),
            None => {
                Err(Failure::usage("--safety holds images, which goes with no --output -: give a file or a folder"))
            }
        }
    }

    /// The folder for held images.
    pub(crate) fn held_folder(&self, output: &Output) -> Option<PathBuf> {
        let beside = output.folder()?.join(review::FOLDER);
        Some(self.held.clone().unwrap_or(beside))
    }

    /// Stages an image to be held whose file is `original`.
    pub(crate) fn stage(
        &self,
        metadata: &Metadata,
        verdict: &Verdict,
        original: &[u8],
        output: &Output,
    ) -> Result<Holding, Failure> {
        let folder = self.held_folder(output).unwrap_or_default();
        let entry =
            Entry { pixels_sha256: pixels_sha256(original), ..self.of_image(Kind::Made, metadata, Some(verdict)) };
        Ok(Holding::new(&folder, original, output.format.endings()[0], entry, &verdict.reasons())?)
    }

    /// Holds a staged image, whose blurred copy of these metadata is about to be at `path`, after its line.
    pub(crate) fn hold(
        &self,
        holding: &mut Holding,
        metadata: &Metadata,
        shown: &[u8],
        path: &Path,
    ) -> Result<(), Failure> {
        holding.hold(path, shown, self.log_path.as_deref(), |entry| {
            let watermark_id = watermark_id(metadata);
            self.append(&Entry { pixels_sha256: pixels_sha256(shown), watermark_id, ..entry })
        })
    }

    /// Whether an image without a watermark is not to be written.
    pub(crate) fn requires_watermark(&self) -> bool {
        self.requires_watermark
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

    /// What the policy makes of an image; says so on stderr where that is not the image as it is, and in the metadata if that is wanted.
    pub(crate) fn apply(&self, image: RgbImage, metadata: &mut Metadata) -> Result<Judged, Failure> {
        let as_it_is = |verdict, image| Judged { shown: Some(image), held: None, verdict };
        let Some(guard) = &self.guard else { return Ok(as_it_is(None, image)) };
        let verdict = guard.judge(&image)?;
        if self.says_scores {
            metadata.safety = Some(verdict.to_json());
        }
        let (shown, held, said) = match verdict.action {
            Action::Allow => return Ok(as_it_is(Some(verdict), image)),
            Action::Label => (Some(image), None, "flagged"),
            Action::Blur => (Some(blurred(&image)), None, "blurred"),
            Action::Hold => (Some(blurred(&image)), Some(image), "held"),
            Action::Block => (None, None, "blocked"),
        };
        let seed = metadata.request.seed;
        line("warning", &format!("the image of seed {seed} is {said} by --safety: {}", verdict.reasons()));
        if shown.is_none() {
            self.append(&self.of_image(Kind::Refused, metadata, Some(&verdict)))?;
        }
        Ok(Judged { shown, held, verdict: Some(verdict) })
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
        let entry = Entry { pixels_sha256: pixels_sha256(bytes), ..self.of_image(Kind::Made, metadata, verdict) };
        self.append(&entry.of_file(path, bytes))
    }

    fn of_image(&self, kind: Kind, metadata: &Metadata, verdict: Option<&Verdict>) -> Entry {
        let adapter = |adapter: &calotype::adapters::AdapterMetadata| format!("{} {}", adapter.name, adapter.sha256);
        let entry = Entry {
            model_sha256: Some(metadata.model_hash.clone()),
            adapters: metadata.adapters.iter().map(adapter).collect(),
            rules_sha256: self.rules.as_ref().map(|rules| rules.hash().to_owned()),
            watermark_id: watermark_id(metadata),
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

/// The hash of a file's pixels, as they are read back from it.
fn pixels_sha256(file: &[u8]) -> Option<String> {
    match Query::image(file) {
        Query::Image { pixels_sha256, .. } => pixels_sha256,
        Query::Watermark(_) => None,
    }
}

/// The id in an image's mark.
fn watermark_id(metadata: &Metadata) -> Option<String> {
    metadata.watermark.as_ref()?.id.clone()
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
        "hold" => Action::Hold,
        "block" => Action::Block,
        _ if Path::new(asked).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) => {
            if args.safety_checker.is_some() {
                let problem =
                    "--safety-checker is for --safety flag, blur, hold or block: a policy file names its classifiers";
                return Err(Failure::usage(problem));
            }
            return Ok(Some(Policy::load(Path::new(asked))?));
        }
        _ => {
            let problem =
                format!("--safety {asked}: expected off, flag, blur, hold, block, or a policy file that ends in .toml");
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
