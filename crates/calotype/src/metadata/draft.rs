//! What is read of another program's picture, setting by setting. All settings are A1111's by name, each taken by its row in
//! [`FIELDS`]; the readers of other programs translate their names. What no row takes is kept to be told.

use std::sync::LazyLock;

use calotype_diffusion::{NoiseSchedule, SampleOptions, Sampler, SamplerFeature, SamplerKind, ScheduleKind};
use calotype_text::PromptStyle;

use super::{
    Metadata, Program, Reading,
    fields::{self, FIELDS, Field},
    reader::Picture,
};
use crate::{
    Request,
    adapters::{AdapterKind, AdapterMetadata},
    request::Hires,
};

/// Of the second pass, if there is one.
const STRENGTH: &str = "Denoising strength";
const SCHEDULE: &str = "Schedule type";
const SIZE: &str = "Size";
const UPSCALE: &str = "Hires upscale";
/// Without one of these there is something to be told.
const ESSENTIAL: [&str; 4] = ["Steps", "Sampler", "CFG scale", "Seed"];
/// Those that not every sampler and schedule has.
const OF_SAMPLERS: [&str; 31] = [
    "Eta",
    "Eta DDIM",
    "Sigma churn",
    "Sigma tmin",
    "Sigma tmax",
    "Sigma noise",
    "Schedule min sigma",
    "Schedule max sigma",
    "Schedule rho",
    "Beta schedule alpha",
    "Beta schedule beta",
    "Discard penultimate sigma",
    "SGM noise multiplier",
    "UniPC variant",
    "UniPC skip type",
    "UniPC order",
    "UniPC lower order final",
    "Timestep spacing",
    "Steps offset",
    "Sigma spacing",
    "Final sigmas type",
    "Solver order",
    "Solver type",
    "Algorithm type",
    "Lower order final",
    "Euler at final",
    "Set alpha to one",
    "Skip PRK steps",
    "Thresholding",
    "Dynamic thresholding ratio",
    "Sample max value",
];
/// As many as any sampler and schedule can take.
const SOME_STEPS: usize = 10;

/// Settings that are being read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) program: Program,
    pub(super) metadata: Metadata,
    pub(super) notes: Vec<String>,
    settings: Vec<Setting>,
}

struct Setting {
    name: String,
    value: String,
    /// The row that may take it.
    field: Option<&'static Field>,
    is_taken: bool,
}

impl Draft {
    pub(super) fn new(program: Program) -> Self {
        Self { program, ..Self::default() }
    }

    /// A setting by A1111's name.
    pub(super) fn setting(&mut self, name: &str, value: &str) {
        self.setting_as(name, name, value);
    }

    /// A setting `name` of the program, which is A1111's `known`.
    pub(super) fn setting_as(&mut self, name: &str, known: &str, value: &str) {
        let [name, value] = [name, value].map(str::to_owned);
        self.settings.push(Setting { name, value, field: fields::find(known), is_taken: false });
    }

    /// A setting of the program for which there is nothing here.
    pub(super) fn unread(&mut self, name: &str, value: &str) {
        let [name, value] = [name, value].map(str::to_owned);
        self.settings.push(Setting { name, value, field: None, is_taken: false });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The value of a setting, by A1111's name.
    pub(super) fn value(&self, known: &str) -> Option<&str> {
        let is = |setting: &&Setting| setting.name.eq_ignore_ascii_case(known) || setting.is(known);
        self.settings.iter().rev().find(is).map(|setting| setting.value.as_str())
    }

    /// The value of a setting that needs more than a row, which is taken thereby.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let setting = self.settings.iter_mut().rev().find(|setting| setting.name.eq_ignore_ascii_case(name))?;
        setting.is_taken = true;
        Some(setting.value.clone())
    }

    /// Whether a setting of this A1111's name was taken.
    pub(super) fn has(&self, known: &str) -> bool {
        self.settings.iter().any(|setting| setting.is_taken && setting.is(known))
    }

    /// Whether there is any of the settings without which no picture is made.
    pub(super) fn has_essentials(&self) -> bool {
        ESSENTIAL.iter().any(|known| self.settings.iter().any(|setting| setting.is(known)))
    }

    /// Takes all settings that can be taken, in the order of the rows: some need others before them.
    pub(super) fn read(&mut self) {
        for field in FIELDS {
            for setting in self.settings.iter_mut().filter(|setting| setting.is(field.key) && !setting.is_taken) {
                setting.is_taken = (field.read)(&mut self.metadata, &setting.value);
            }
        }
        if let Some(hires) = &mut self.metadata.request.hires
            && let Some(setting) = self.settings.iter_mut().find(|setting| setting.is(STRENGTH))
            && let Ok(strength) = setting.value.parse()
        {
            (hires.strength, setting.is_taken) = (strength, true);
        }
    }

    /// Takes back what the sampler has not: other programs write such settings all the same, and don't use them.
    pub(super) fn take_back_unfit(&mut self) {
        let (sampler, schedule) = (self.metadata.request.sampler, self.metadata.request.schedule);
        if !sampler.has_schedule(schedule) {
            self.metadata.request.schedule = ScheduleKind::Automatic;
            self.settings
                .iter_mut()
                .filter(|setting| setting.is(SCHEDULE))
                .for_each(|setting| setting.is_taken = false);
        }
        let request = &mut self.metadata.request;
        (request.eta, request.sampler_settings, request.scheduler_settings) = Default::default();
        let bare = Request { sampler, schedule: request.schedule, ..Request::default() };
        let of_samplers = |setting: &&mut Setting| OF_SAMPLERS.iter().any(|known| setting.is(known));
        for setting in self.settings.iter_mut().filter(|setting| setting.is_taken).filter(of_samplers) {
            let Some(field) = setting.field else { continue };
            let mut alone = Metadata { request: bare.clone(), ..Metadata::default() };
            (field.read)(&mut alone, &setting.value);
            let eta_of_none = alone.request.eta == Some(0.0) && sampler.info().noise.default_eta().is_none();
            // What says nothing needs not be told.
            let is_nothing = alone.request == bare || eta_of_none;
            setting.is_taken = is_nothing || runs(&alone.request);
            if setting.is_taken && !is_nothing {
                (field.read)(&mut self.metadata, &setting.value);
            }
        }
    }

    /// Takes the size from the picture, if it is not said.
    pub(super) fn take_size(&mut self, picture: Option<[usize; 2]>) {
        if self.has(SIZE) {
            return;
        }
        let Some([width, height]) = picture else { return };
        let scale = self.value(UPSCALE).and_then(|scale| scale.parse::<f64>().ok()).filter(|scale| *scale >= 1.0);
        let of_first = |side: usize, scale: f64| (side as f64 / scale).round() as usize;
        let request = &mut self.metadata.request;
        match (&mut request.hires, scale) {
            (None, _) => (request.width, request.height) = (Some(width), Some(height)),
            (Some(hires), Some(scale)) => {
                (request.width, request.height) = (Some(of_first(width, scale)), Some(of_first(height, scale)));
                (hires.width, hires.height) = (width, height);
            }
            (Some(_), None) => self.note("the size of the first pass is not said: the model's own is taken"),
        }
    }

    /// A second pass, by a setting that has no row.
    pub(super) fn hires(&mut self) -> &mut Hires {
        self.metadata.request.hires.get_or_insert_with(Hires::default)
    }

    /// Tells what no picture is made without and is not said.
    pub(super) fn note_what_is_missing(&mut self) {
        let default = Metadata::default();
        let value = |known: &str| fields::find(known).and_then(|field| (field.write)(&default)).unwrap_or_default();
        let missing = ESSENTIAL.into_iter().filter(|known| !self.has(known));
        let notes = missing.map(|known| format!("{known} is not said: {} is taken, the default here", value(known)));
        let notes: Vec<String> = notes.collect();
        self.notes.extend(notes);
    }

    /// An adapter by the name that the program has for its file; an embedding is called by the prompt.
    pub(super) fn adapter(&mut self, kind: AdapterKind, name: &str, text_encoder: Option<f32>, unet: f32) {
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let endings = [".safetensors", ".ckpt", ".pt", ".bin"];
        let stem = endings.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
        if !stem.is_empty() {
            let (name, file, unet) = (stem.to_owned(), name.to_owned(), Some(unet));
            self.metadata.adapters.push(AdapterMetadata { kind, name, file, text_encoder, unet, ..Default::default() });
        }
    }

    /// A LoRA.
    pub(super) fn lora(&mut self, name: &str, text_encoder: f32, unet: f32) {
        self.adapter(AdapterKind::Lora, name, Some(text_encoder), unet);
    }

    /// Reads all of a program that has another form than A1111's text.
    pub(super) fn complete(mut self, picture: &Picture) -> Self {
        // All of them have prompts of more than 77 tokens, as A1111.
        self.metadata.request.prompt_style = PromptStyle::A1111;
        self.read();
        let says_schedule = self.has(SCHEDULE);
        let request = &mut self.metadata.request;
        let of_diffusers = request.sampler.info().has(SamplerFeature::Diffusers);
        // A sampler without a schedule in its name has the plain one, that of diffusers if it has one.
        if request.schedule == ScheduleKind::Default && !of_diffusers && !says_schedule {
            request.schedule =
                if has_plain_schedule(request.sampler) { ScheduleKind::Automatic } else { ScheduleKind::Uniform };
        }
        self.take_back_unfit();
        self.take_size(picture.size);
        self.note_what_is_missing();
        self
    }

    pub(super) fn finish(self) -> Reading {
        let Self { program, metadata, notes, settings } = self;
        let unread = settings.into_iter().filter(|setting| !setting.is_taken);
        let unread = unread.map(|Setting { name, value, .. }| (name, value)).collect();
        Reading { program, metadata, unread, notes, ..Reading::default() }
    }
}

impl Setting {
    fn is(&self, known: &str) -> bool {
        self.field.is_some_and(|field| field.key == known)
    }
}

/// Whether A1111 runs a sampler with the plain schedule, or one of the sampler's own, where no other is asked for; before its
/// version 1.9 it did so with all of them but `Restart`.
pub(super) fn has_plain_schedule(sampler: SamplerKind) -> bool {
    let own = sampler.info().own_schedule;
    sampler == SamplerKind::Restart || !matches!(own, ScheduleKind::Karras | ScheduleKind::Exponential)
}

/// Whether the sampler of a request takes its settings.
fn runs(request: &Request) -> bool {
    static NOISE: LazyLock<Option<NoiseSchedule>> =
        LazyLock::new(|| NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).ok());
    let (settings, scheduler) = (request.sampler_settings, request.scheduler_settings);
    let options = SampleOptions { eta: request.eta, settings, scheduler, steps: SOME_STEPS };
    NOISE.as_ref().is_none_or(|noise| Sampler::new(request.sampler, request.schedule, noise, options).is_ok())
}
