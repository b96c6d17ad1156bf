//! A1111's text of a picture: the prompt, the negative prompt if there is one, a line of settings
//! (its `create_infotext` and `parse_generation_parameters`).

use calotype_diffusion::{Rng, ScheduleKind};
use calotype_text::PromptStyle;

use super::{
    Metadata,
    fields::{FIELDS, OWN},
};
use crate::adapters::AdapterMetadata;

/// Of the second pass, if there is one.
const STRENGTH: &str = "Denoising strength";
const VERSION: &str = "Version";
const NEGATIVE: &str = "Negative prompt:";
/// A last line with fewer settings belongs to the prompt.
const MIN_SETTINGS: usize = 3;

/// What was read from a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// What it says; the rest is as by default.
    pub metadata: Metadata,
    /// The settings in it that this program has no use for, each a name and its value.
    pub unread: Vec<(String, String)>,
}

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
        let settings: Vec<String> = FIELDS
            .iter()
            .filter_map(|field| Some(format!("{}: {}", field.key, quoted((field.write)(self)?))))
            .collect();
        format!("{text}\n{}", settings.join(", "))
    }

    /// A1111 does not write the schedule `automatic`, and its own of a sampler is that one here: what `dpmpp_2m` has as
    /// `karras` here is diffusers'.
    fn take_schedule_from_a1111(&mut self) {
        let schedule = &mut self.request.schedule;
        if *schedule == ScheduleKind::Default || *schedule == self.request.sampler.info().own_schedule {
            *schedule = ScheduleKind::Automatic;
        }
    }

    /// Reads the text of A1111, this program's or another's.
    #[must_use]
    pub fn from_parameters(text: &str) -> Parameters {
        let mut metadata = Self::default();
        let mut unread = Vec::new();
        let (mut lines, last) = split_last_line(text.trim());
        let settings = settings(last);
        let is_own = settings.iter().any(|(key, value)| key == VERSION && value.starts_with(OWN));
        if !is_own {
            // Texts of other programs are A1111's, and so are their prompts.
            metadata.request.prompt_style = PromptStyle::A1111;
        }
        if settings.len() < MIN_SETTINGS {
            lines = text.trim();
        } else {
            // What A1111 leaves out where it is as by default there.
            metadata.request.rng = Rng::Cuda;
            for (key, value) in settings {
                let field = FIELDS.iter().find(|field| field.key == key);
                if !field.is_some_and(|field| (field.read)(&mut metadata, &value)) {
                    unread.push((key, value));
                }
            }
            if !is_own {
                metadata.take_schedule_from_a1111();
                metadata.request.old_prompt_editing |= lines.contains('[') && is_before_1_6(&metadata.version);
            }
        }
        if let Some(hires) = &mut metadata.request.hires {
            let strength = unread.iter().position(|(key, value)| key == STRENGTH && value.parse::<f64>().is_ok());
            if let Some((_, value)) = strength.map(|at| unread.remove(at)) {
                hires.strength = value.parse().unwrap_or(hires.strength);
            }
        }
        let negative = lines.lines().position(|line| line.starts_with(NEGATIVE)).unwrap_or(usize::MAX);
        let prompt: Vec<&str> = lines.lines().take(negative).collect();
        let negative_prompt: Vec<&str> = lines.lines().skip(negative).collect();
        metadata.request.prompt = prompt.join("\n");
        metadata.request.negative_prompt = negative_prompt.join("\n").trim_start_matches(NEGATIVE).trim().to_owned();
        let mut take = |key: &str| unread.iter().position(|(of, _)| of == key).map(|at| unread.remove(at).1);
        // Before its prompts could call for one.
        if let Some(name) = take("Hypernet") {
            let strength = take("Hypernet strength").unwrap_or_else(|| "1.0".to_owned());
            metadata.request.prompt.push_str(&format!("<hypernet:{name}:{strength}>"));
        }
        Parameters { metadata, unread }
    }
}

/// Whether a version of A1111 is one whose prompts changed by its old rule (its `infotext_versions.py`); one that is not
/// said is a new one.
fn is_before_1_6(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < (1, 6))
}

fn split_last_line(text: &str) -> (&str, &str) {
    text.rsplit_once('\n').unwrap_or(("", text))
}

/// A value that would break the line of settings is written as a JSON string, as A1111 does.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::from(value).to_string() } else { value }
}

/// The settings of a line `Key: value, Key: "quoted, value"`.
fn settings(line: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut rest = line.trim_start();
    while let Some((key, value)) = rest.split_once(':') {
        let key = key.trim();
        if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || " _-/+.".contains(c)) {
            break;
        }
        let value = value.trim_start();
        let mut quoted = serde_json::Deserializer::from_str(value).into_iter::<String>();
        let (value, after) = match quoted.next() {
            Some(Ok(text)) if value.starts_with('"') => (text, value.get(quoted.byte_offset()..).unwrap_or_default()),
            _ => {
                let end = value.find(',').unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        settings.push((key.to_owned(), value));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    settings
}
