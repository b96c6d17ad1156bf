//! The lines of `--from-file`: prompts, or options of their own as A1111's script "Prompts from file or textbox" has them.

use calotype::{
    Request,
    request::{PromptStyle, Tiling},
    sampling::SeedPer,
};

use super::styles::Style;
use crate::args::{NamedSampler, seed};

/// What a line asks for; what it leaves open is as on the command line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    prompt: Option<String>,
    negative_prompt: Option<String>,
    /// Styles that it names.
    pub(crate) styles: Vec<String>,
    pub(crate) seed: Option<u64>,
    variation_seed: Option<u64>,
    variation_strength: Option<f32>,
    seed_resize: [Option<usize>; 2],
    sampler: Option<NamedSampler>,
    steps: Option<usize>,
    guidance_scale: Option<f32>,
    width: Option<usize>,
    height: Option<usize>,
    tiling: Option<bool>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) batch_count: Option<usize>,
}

impl Line {
    /// A prompt as it is.
    pub(crate) fn of_prompt(prompt: &str) -> Self {
        Self { prompt: Some(prompt.to_owned()), ..Self::default() }
    }

    /// Reads the lines of a file. One that begins with `--` has options. In A1111's style empty lines and lines of comment
    /// are none; in CompVis' an empty line is an empty prompt, those at the end only if they are to be kept.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn all(text: &str, style: PromptStyle, keeps_empty: bool) -> Result<Vec<Self>, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = if keeps_empty { text } else { text.trim_end_matches(['\n', '\r']) };
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if style == PromptStyle::A1111 && (trimmed.is_empty() || trimmed.starts_with('#')) {
                continue;
            }
            lines.push(match trimmed.starts_with("--") {
                true => Self::of_options(trimmed).map_err(|problem| format!("line {}: {problem}", index + 1))?,
                false => Self::of_prompt(line),
            });
        }
        Ok(lines)
    }

    fn of_options(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).ok_or("a quotation mark is not closed")?;
        let mut line = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(format!("{word:?} stands alone: an option begins with --"));
            };
            let value = words.next().ok_or_else(|| format!("--{name} has no value"))?;
            // The words of a prompt need no quotation marks.
            let mut whole = value.to_owned();
            while matches!(name, "prompt" | "negative_prompt" | "negative-prompt")
                && let Some(next) = words.next_if(|next| !next.starts_with("--"))
            {
                whole.push(' ');
                whole.push_str(next);
            }
            line.take(name, whole).map_err(|problem| format!("--{name}: {problem}"))?;
        }
        Ok(line)
    }

    /// Takes an option, by A1111's name or ours.
    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        fn number<T: std::str::FromStr>(value: &str) -> Result<Option<T>, String> {
            value.parse().map(Some).map_err(|_| format!("{value:?} is no such number"))
        }
        match name.replace('-', "_").as_str() {
            "prompt" => self.prompt = Some(value),
            "negative_prompt" => self.negative_prompt = Some(value),
            "styles" | "style" => self.styles.push(value),
            "seed" => self.seed = Some(seed(&value)?),
            "subseed" | "variation_seed" => self.variation_seed = Some(seed(&value)?),
            "subseed_strength" | "variation_strength" => self.variation_strength = number(&value)?,
            "seed_resize_from_w" => self.seed_resize[0] = number(&value)?,
            "seed_resize_from_h" => self.seed_resize[1] = number(&value)?,
            "sampler_name" | "sampler" => self.sampler = Some(NamedSampler::parse(&value)?),
            "steps" => self.steps = number(&value)?,
            "cfg_scale" | "guidance_scale" => self.guidance_scale = number(&value)?,
            "width" => self.width = number(&value)?,
            "height" => self.height = number(&value)?,
            "tiling" => self.tiling = Some(value.eq_ignore_ascii_case("true")),
            "batch_size" => self.batch_size = number(&value)?,
            "n_iter" | "batch_count" => self.batch_count = number(&value)?,
            _ => return Err("a line has no such option: give it for all of them".to_owned()),
        }
        Ok(())
    }

    /// Whether it has more than a prompt.
    pub(crate) fn has_options(&self) -> bool {
        *self != Self { prompt: self.prompt.clone(), ..Self::default() }
    }

    /// Whether the seeds of its pictures can't be counted on from those before it.
    pub(crate) fn counts_alone(&self) -> bool {
        self.seed.is_some() || self.batch_size.is_some()
    }

    /// Lets a request of the command line be that of the line, the first picture of which is number `first`.
    pub(crate) fn apply(&self, request: &mut Request, styles: &[Style], counts_alone: bool, first: usize) {
        if counts_alone {
            (request.seed, request.variation_seed) = request.seeds(first);
            request.seed = self.seed.unwrap_or(request.seed);
            request.seed_per = SeedPer::Picture;
        }
        if let Some(strength) = self.variation_strength {
            request.variation_seed = request.variation_seed.or(Some(request.seed));
            request.variation_strength = strength;
        }
        if request.variation_seed.is_some() {
            request.variation_seed = self.variation_seed.or(request.variation_seed);
        }
        if let [Some(width), Some(height)] = self.seed_resize {
            request.seed_resize = Some([width, height]).filter(|size| !size.contains(&0));
        }
        let own = |own: &Option<String>, all: &mut String| {
            if let Some(own) = own {
                all.clone_from(own);
            }
        };
        own(&self.prompt, &mut request.prompt);
        own(&self.negative_prompt, &mut request.negative_prompt);
        styles.iter().for_each(|style| style.apply(request));
        if let Some(sampler) = self.sampler {
            request.sampler = sampler.kind;
            request.schedule = sampler.schedule.unwrap_or(request.schedule);
        }
        request.num_inference_steps = self.steps.unwrap_or(request.num_inference_steps);
        request.guidance_scale = self.guidance_scale.unwrap_or(request.guidance_scale);
        request.width = self.width.or(request.width);
        request.height = self.height.or(request.height);
        request.batch_size = self.batch_size.unwrap_or(request.batch_size);
        if let Some(tiling) = self.tiling {
            request.tiling = if tiling { Tiling::Xy } else { Tiling::None };
        }
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/mutator.rs"]
mod mutator;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_prompts_or_options() {
        let text =
            "\u{feff}a cat\r\n\r\n# no\n  --prompt a red dog --negative_prompt \"ugly, bad\" --steps 5 --seed 7\n\n";
        let lines = Line::all(text, PromptStyle::A1111, false).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], Line::of_prompt("a cat"));
        assert!(!lines[0].has_options() && lines[1].has_options() && lines[1].counts_alone());
        let expected = Line {
            prompt: Some("a red dog".into()),
            negative_prompt: Some("ugly, bad".into()),
            steps: Some(5),
            seed: Some(7),
            ..Line::default()
        };
        assert_eq!(lines[1], expected);
        let plain = Line::all("a\n\n# b\n-- c", PromptStyle::Plain, false);
        assert_eq!(plain.unwrap_err(), "line 4: --: a line has no such option: give it for all of them");
        assert_eq!(Line::all("a\n\n# b\n\n", PromptStyle::Plain, false).unwrap().len(), 3);
        assert_eq!(Line::all("a\n\n# b\n\n", PromptStyle::Plain, true).unwrap().len(), 4);
        for (wrong, part) in [
            ("--steps", "--steps has no value"),
            ("--steps x", "\"x\" is no such number"),
            ("--prompt \"a", "not closed"),
            ("--steps 5 x", "\"x\" stands alone"),
            ("--sd_model x", "no such option"),
            ("--sampler_name nope", "nope"),
        ] {
            let error = Line::all(wrong, PromptStyle::A1111, false).unwrap_err();
            assert!(error.contains(part) && error.starts_with("line 1: "), "{error}");
        }
    }

    #[test]
    fn options_hold_for_their_line() {
        let base = Request { seed: 10, ..Request::default() };
        let of = |text: &str, alone: bool, first: usize| {
            let mut request = base.clone();
            Line::all(text, PromptStyle::A1111, false).unwrap()[0].apply(&mut request, &[], alone, first);
            request
        };
        assert_eq!(of("x", false, 3), Request { prompt: "x".into(), ..base.clone() });
        assert_eq!(of("x", true, 3).seed, 13);
        let request =
            of("--seed 5 --subseed 6 --subseed_strength 0.5 --sampler_name 'DPM++ 2M Karras' --cfg_scale 3", true, 3);
        assert_eq!((request.seed, request.variation_seed, request.variation_strength), (5, Some(6), 0.5));
        assert_eq!((request.sampler.id(), request.schedule.id(), request.guidance_scale), ("dpmpp_2m", "karras", 3.0));
        assert_eq!(of("--tiling true --width 64 --n_iter 2", false, 0).tiling, Tiling::Xy);
    }

    #[test]
    fn lines_that_are_wrong() {
        let corpus = [
            "a cat\n--prompt a red dog --negative_prompt \"ugly, bad\" --steps 5 --seed 7 --width 64\n# no\n",
            "--sampler_name \"Euler a\" --cfg_scale 7.5 --tiling true --batch_size 2\n\n'\n",
        ]
        .map(|text| text.as_bytes().to_vec());
        let words: [&[u8]; 10] = [
            b"--",
            b"\n",
            b"\"",
            b"'",
            b"\\",
            b" --seed -1",
            b" --subseed 5",
            b" 1e999",
            b" --styles a",
            b" --width 7",
        ];
        mutator::run("lines", &corpus, &words, |bytes| {
            match Line::all(&String::from_utf8_lossy(&bytes), PromptStyle::A1111, false) {
                Ok(_) => true,
                Err(problem) => {
                    assert!(!problem.contains('\n'), "{problem}");
                    false
                }
            }
        });
    }
}
