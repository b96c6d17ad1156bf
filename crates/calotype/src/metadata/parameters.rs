//! A1111's text of a picture: the prompt, the negative prompt if there is one, a line of settings
//! (its `create_infotext` and `parse_generation_parameters`).

use calotype_diffusion::Rng;
use calotype_text::PromptStyle;

use super::{
    Metadata, Program, Reading, ages,
    draft::Draft,
    fields::{FIELDS, OWN},
    fooocus,
    settings::{NEGATIVE, Parts},
};
use crate::adapters::AdapterMetadata;

const VERSION: &str = "Version";

impl Metadata {
    /// The text of A1111: the prompt, the negative prompt if there is one, a line of settings.
    #[must_use]
    pub fn parameters(&self) -> String {
        let mut text = self.request.prompt.clone();
        for tag in self.adapters.iter().filter_map(AdapterMetadata::tag) {
            text.push_str(&format!(" {tag}"));
        }
        if !self.request.negative_prompt.is_empty() {
            text.push_str(&format!("\n{NEGATIVE} {}", self.request.negative_prompt));
        }
        let settings = self.written().map(|(name, value)| format!("{name}: {}", quoted(value)));
        format!("{text}\n{}", settings.collect::<Vec<_>>().join(", "))
    }

    /// A1111's names of the settings, and their values as its text has them; of the model only what is known.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.written().filter(|(name, value)| *name != VERSION && !value.is_empty()).collect()
    }

    fn written(&self) -> impl Iterator<Item = (&'static str, String)> {
        FIELDS.iter().filter_map(|field| Some((field.key, (field.write)(self)?)))
    }

    /// Reads the text of A1111, this program's or another's. A text without settings is a prompt.
    #[must_use]
    pub fn from_parameters(text: &str) -> Reading {
        draft(text, None).finish()
    }
}

/// What a text says; the picture's width and height, if they are known, are for what it does not say.
pub(super) fn draft(text: &str, picture: Option<[usize; 2]>) -> Draft {
    let Parts { prompt, negative_prompt, settings } = Parts::new(text);
    let find = |name: &str| settings.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value);
    let version = find(VERSION).unwrap_or_default();
    let mut draft = Draft::new(program(version, find("App").unwrap_or_default()));
    let has_settings = !settings.is_empty();
    settings.iter().for_each(|(name, value)| draft.setting(name, value));
    let request = &mut draft.metadata.request;
    (request.prompt, request.negative_prompt) = (prompt, negative_prompt);
    if draft.program == Program::Calotype {
        request.rng = Rng::Cuda;
        draft.read();
        return draft;
    }
    // Texts of other programs are A1111's, and so are their prompts.
    request.prompt_style = PromptStyle::A1111;
    if has_settings {
        // What A1111 leaves out where it is as by default there.
        request.rng = Rng::Cuda;
        draft.read();
        match draft.program {
            Program::Fooocus => fooocus::adapt(&mut draft),
            Program::ComfyUi if draft.value("RNG").is_none() => draft.metadata.request.rng = Rng::Cpu,
            _ => {}
        }
        ages::adapt(&mut draft);
        draft.take_back_unfit();
        draft.take_size(picture);
        draft.note_what_is_missing();
    }
    draft
}

/// Who wrote a text, by what it says of that.
fn program(version: &str, app: &str) -> Program {
    let (version, is_app) = (version.trim_start(), |name: &str| app.eq_ignore_ascii_case(name));
    let is_forge = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    match () {
        () if version.starts_with(OWN) => Program::Calotype,
        () if is_app("SD.Next") => Program::SdNext,
        () if version.starts_with("Fooocus") => Program::Fooocus,
        () if version.eq_ignore_ascii_case("ComfyUI") => Program::ComfyUi,
        () if version.starts_with("neo") || version.strip_prefix('f').is_some_and(is_forge) => Program::Forge,
        () => Program::A1111,
    }
}

/// A value that would break the line of settings is written as a JSON string, as A1111 does.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::from(value).to_string() } else { value }
}
