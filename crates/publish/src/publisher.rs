//! What is refused, and what is done with images by what they show.

use std::path::Path;

use calotype::{Device, Request, RgbImage, adapters::AdapterFile, metadata::Metadata};
use calotype_safety::{
    audit::{Entry, Kind},
    policy::{Action, Guard, Policy, Verdict, blurred},
    rules::{Rules, Subject},
};

use crate::{
    Error, Note, Options, Origin, Result,
    marks::Marks,
    record::{Record, judged},
    sign::Signing,
};

/// What every image goes through before it is given out. One of them is for many threads; only their lines in the audit log wait for each
/// other.
pub struct Publisher {
    guard: Option<Guard>,
    hides_images: bool,
    holds_images: bool,
    says_scores: bool,
    rules: Option<Rules>,
    pub(crate) marks: Marks,
    pub(crate) record: Record,
}

/// An image after the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What is given out, if anything is.
    pub shown: Option<RgbImage>,
    /// The image as it was made, if it is to be held.
    pub held: Option<RgbImage>,
    /// What the policy says, if there is one.
    pub verdict: Option<Verdict>,
    /// What people should know of it.
    pub notes: Vec<Note>,
}

impl Publisher {
    /// Opens the audit log, reads the classifiers onto `device`, and the key. What can't work is found out here.
    ///
    /// # Errors
    /// Something can't be read; [`Error::HoldWithoutLog`]; [`Error::WatermarkOff`]; [`Error::Key`]; [`Error::NoC2pa`].
    pub fn open(options: Options, device: &impl Device) -> Result<Self> {
        let Options { policy, rules, .. } = options;
        let policy = policy.as_ref();
        let holds_images = policy.is_some_and(Policy::holds_images);
        if holds_images && options.audit.is_none() {
            return Err(Error::HoldWithoutLog);
        }
        let is_required = options.requires_watermark || policy.is_some_and(Policy::requires_watermark);
        if is_required && options.watermark.is_none() {
            return Err(Error::WatermarkOff);
        }
        let rules_sha256 = rules.as_ref().map(|rules| rules.hash().to_owned());
        Ok(Self {
            guard: policy.map(|policy| policy.open(device)).transpose()?,
            hides_images: policy.is_some_and(Policy::hides_images),
            holds_images,
            says_scores: options.says_scores,
            marks: Marks {
                watermark: options.watermark,
                is_required,
                has_metadata: options.has_metadata,
                source_as_made: options.source_as_made,
                signing: options.signing.as_ref().map(Signing::open).transpose()?,
            },
            record: Record::open(options.audit, options.hash_prompts, rules_sha256)?,
            rules,
        })
    }

    /// Whether the policy blurs, holds or blocks: previews, latents and whatever else an image can be seen by must then be hidden too, or
    /// [blurred].
    #[must_use]
    pub fn hides_images(&self) -> bool {
        self.hides_images
    }

    /// Whether images may have to be held.
    #[must_use]
    pub fn holds_images(&self) -> bool {
        self.holds_images
    }

    /// Refuses prompts and names that the rules don't let through; the log then says so.
    ///
    /// # Errors
    /// [`Error::Refused`], by the first rule that matches; what the log gives.
    pub fn check_prompts(&self, request: &Request, origin: &Origin) -> Result<()> {
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
            ..self.record.of_request(Kind::Refused, request, origin)
        };
        self.record.append(&entry)?;
        Err(Error::Refused { rule: first.id.clone(), reason: first.reason.clone() })
    }

    /// Refuses images to start from that the policy does not let through; the log then says so. One that is flagged is told.
    ///
    /// # Errors
    /// [`Error::InitRefused`]; a classifier fails; what the log gives.
    pub fn check_init(&self, request: &Request, origin: &Origin) -> Result<Option<Note>> {
        let (Some(guard), Some(init)) = (&self.guard, &request.init) else { return Ok(None) };
        let verdict = guard.judge(&init.picture.rgb()?)?;
        let reference = init.picture.reference();
        let (file, reasons) = (reference.file.clone(), verdict.reasons());
        match verdict.action {
            Action::Allow => Ok(None),
            Action::Label => Ok(Some(Note::InitFlagged { file, reasons })),
            Action::Blur | Action::Hold | Action::Block => {
                let entry = Entry {
                    reason: Some("the image to start from".to_owned()),
                    file_sha256: Some(reference.sha256.clone()),
                    ..judged(self.record.of_request(Kind::Refused, request, origin), Some(&verdict))
                };
                self.record.append(&entry)?;
                Err(Error::InitRefused { file, reasons })
            }
        }
    }

    /// What the policy makes of an image. That it is blocked is in the log then; its scores are in the metadata if that is wanted.
    ///
    /// # Errors
    /// A classifier fails: nothing is known of the image then, and it is not to be shown; what the log gives.
    pub fn judge(&self, image: RgbImage, metadata: &mut Metadata, origin: &Origin) -> Result<Judged> {
        let Some(guard) = &self.guard else {
            return Ok(Judged { shown: Some(image), held: None, verdict: None, notes: Vec::new() });
        };
        let verdict = guard.judge(&image)?;
        if self.says_scores {
            metadata.safety = Some(verdict.to_json());
        }
        let action = verdict.action;
        let (shown, held) = match action {
            Action::Allow | Action::Label => (Some(image), None),
            Action::Blur => (Some(blurred(&image)), None),
            Action::Hold => (Some(blurred(&image)), Some(image)),
            Action::Block => (None, None),
        };
        if shown.is_none() {
            self.record.append(&self.record.of_image(Kind::Refused, metadata, Some(&verdict), origin))?;
        }
        let note = Note::Judged { seed: metadata.request.seed, action, reasons: verdict.reasons() };
        let notes = if action == Action::Allow { Vec::new() } else { vec![note] };
        Ok(Judged { shown, held, verdict: Some(verdict), notes })
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
