//! The lines of `--from-file`: prompts, or options of their own as A1111's script "Prompts from file or textbox" has them.
//! A line's options are those of the command line, read by the same definitions; its values take the place of the command
//! line's.

use calotype::{
    Request,
    request::{PromptStyle, Tiling},
    sampling::SeedPer,
};
use clap::{
    Args, Command, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::styles::Style;
use crate::args::LineArgs;

/// Options in the sections of a line that are for all lines.
const FOR_ALL: [&str; 1] = ["from_file"];

/// What a line asks for; what it leaves open is as on the command line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    /// Which line of the file it is, from 1; 0 if it is of none.
    pub(crate) number: usize,
    /// The prompt, if that is all it has.
    prompt: Option<String>,
    /// The options of the command line, and the line's own in their place.
    options: Option<Box<LineArgs>>,
    /// Styles that it names.
    pub(crate) styles: Vec<String>,
    has_seed: bool,
    has_variation_seed: bool,
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
    pub(crate) fn all(text: &str, args: &LineArgs, keeps_empty: bool) -> Result<Vec<Self>, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = if keeps_empty { text } else { text.trim_end_matches(['\n', '\r']) };
        let command = Command::new("line").no_binary_name(true).disable_help_flag(true).args_override_self(true);
        let mut command = LineArgs::augment_args_for_update(command);
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if args.prompt.text.prompt_style == PromptStyle::A1111 && (trimmed.is_empty() || trimmed.starts_with('#')) {
                continue;
            }
            let number = index + 1;
            let read = match trimmed.starts_with("--") {
                true => Self::of_options(trimmed, args, &mut command)
                    .map_err(|problem| format!("line {number}: {problem}"))?,
                false => Self::of_prompt(line),
            };
            lines.push(Self { number, ..read });
        }
        Ok(lines)
    }

    fn of_options(text: &str, args: &LineArgs, command: &mut Command) -> Result<Self, String> {
        let words = shlex::split(text).ok_or("a quotation mark is not closed")?;
        let arguments = arguments(&words)?;
        let refused = |error: &clap::Error| problem(error, &words);
        let mut matches = command.try_get_matches_from_mut(arguments).map_err(|error| refused(&error))?;
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let ids: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        if let Some(id) = FOR_ALL.into_iter().find(|id| given(id)) {
            return Err(no_such_option(&format!("--{}", id.replace('_', "-"))));
        }
        let mut line = Self { has_seed: given("seed"), has_variation_seed: given("variation_seed"), ..Self::default() };
        let (has_size, has_count) = (given("batch_size"), given("batch_count"));
        let chose_sampler = given("sampler") && !given("schedule");
        let open: Vec<&str> = ids.into_iter().filter(|id| !given(id)).collect();
        for id in open {
            // What is not given is not to take the command line's place by its default.
            let _ = matches.try_clear_id(id);
        }
        let mut options = args.clone();
        options.prompt.style.clear();
        options.update_from_arg_matches_mut(&mut matches).map_err(|error| refused(&error))?;
        if chose_sampler {
            options.sampling.line_chose_sampler(&args.sampling);
        }
        line.styles = std::mem::take(&mut options.prompt.style);
        line.batch_size = options.picture.batch_size.filter(|_| has_size);
        line.batch_count = Some(options.picture.batch_count).filter(|_| has_count);
        // A1111's way to say that there is none.
        options.noise.seed_resize = options.noise.seed_resize.filter(|size| !size.contains(&0));
        line.options = Some(Box::new(options));
        Ok(line)
    }

    /// Whether it has more than a prompt.
    pub(crate) fn has_options(&self) -> bool {
        self.options.is_some()
    }

    /// Whether the seeds of its pictures can't be counted on from those before it.
    pub(crate) fn counts_alone(&self) -> bool {
        self.has_seed || self.batch_size.is_some()
    }

    /// Lets a request of the command line be that of the line, the first picture of which is number `first`.
    pub(crate) fn apply(&self, request: &mut Request, styles: &[Style], counts_alone: bool, first: usize) {
        let (seed, variation_seed) = request.seeds(first);
        if let Some(prompt) = &self.prompt {
            request.prompt.clone_from(prompt);
        }
        if let Some(options) = &self.options {
            options.apply(request);
        }
        if counts_alone {
            if !self.has_seed {
                request.seed = seed;
            }
            if !self.has_variation_seed {
                request.variation_seed = variation_seed;
            }
            request.seed_per = SeedPer::Picture;
        }
        if request.variation_strength != 0.0 {
            request.variation_seed = request.variation_seed.or(Some(request.seed));
        }
        styles.iter().for_each(|style| style.apply(request));
    }
}

/// The words of a line as arguments: each option with its value, by the name that it has on the command line.
fn arguments(words: &[String]) -> Result<Vec<String>, String> {
    let mut arguments = Vec::with_capacity(words.len());
    let mut resized_from = [None, None];
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").map(on_command_line) else {
            return Err(format!("{word:?} stands alone: an option begins with --"));
        };
        if name.is_empty() {
            return Err(no_such_option(word));
        }
        let Some(value) = words.next_if(|next| !next.starts_with("--")) else {
            arguments.push(format!("--{name}"));
            continue;
        };
        let mut value = value.to_owned();
        // The words of a prompt need no quotation marks.
        while matches!(name.as_str(), "prompt" | "negative-prompt")
            && let Some(next) = words.next_if(|next| !next.starts_with("--"))
        {
            value.push(' ');
            value.push_str(next);
        }
        match name.as_str() {
            "seed-resize-from-w" => resized_from[0] = Some(value),
            "seed-resize-from-h" => resized_from[1] = Some(value),
            "tiling" if value.eq_ignore_ascii_case("true") => arguments.push(format!("--{name}={}", Tiling::Xy)),
            "tiling" if value.eq_ignore_ascii_case("false") => arguments.push(format!("--{name}={}", Tiling::None)),
            _ => arguments.push(format!("--{name}={value}")),
        }
    }
    if let [Some(width), Some(height)] = resized_from {
        arguments.push(format!("--seed-resize={width}x{height}"));
    }
    Ok(arguments)
}

/// The command line's name of an option: A1111's have underscores, and it may say `styles` of one.
fn on_command_line(name: &str) -> String {
    match name.replace('_', "-") {
        styles if styles == "styles" => "style".to_owned(),
        name => name,
    }
}

fn no_such_option(option: &str) -> String {
    format!("{option}: a line has no such option: give it for all of them")
}

/// What is wrong with the words of a line.
fn problem(error: &clap::Error, words: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (option, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let option = option.split([' ', '=', '[']).next().unwrap_or_default();
    let source = std::error::Error::source(error);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let is_it =
                |word: &&String| word.strip_prefix("--").map(on_command_line).as_deref() == option.strip_prefix("--");
            no_such_option(words.iter().find(is_it).map_or(option, String::as_str))
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{option} has no value"),
        ErrorKind::ValueValidation => match source {
            Some(source) if !(source.is::<std::num::ParseIntError>() || source.is::<std::num::ParseFloatError>()) => {
                format!("{option}: {source}")
            }
            _ => format!("{option}: {value:?} is no such number"),
        },
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            first.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/mutator.rs"]
mod mutator;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        args: LineArgs,
    }

    /// The options of a command line.
    fn args(style: &str, more: &[&str]) -> LineArgs {
        let command_line = [&["calotype", "--prompt-style", style][..], more].concat();
        Whole::try_parse_from(command_line).unwrap().args
    }

    #[test]
    fn lines_are_prompts_or_options() {
        let text =
            "\u{feff}a cat\r\n\r\n# no\n  --prompt a red dog --negative_prompt \"ugly, bad\" --steps 5 --seed 7\n\n";
        let a1111 = args("a1111", &[]);
        let lines = Line::all(text, &a1111, false).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], Line { number: 1, ..Line::of_prompt("a cat") });
        assert_eq!(lines[1].number, 4);
        assert!(!lines[0].has_options() && lines[1].has_options() && lines[1].counts_alone());
        let mut request = Request { num_inference_steps: 50, ..Request::default() };
        lines[1].apply(&mut request, &[], true, 0);
        let expected = Request {
            prompt: "a red dog".into(),
            negative_prompt: "ugly, bad".into(),
            prompt_style: PromptStyle::A1111,
            num_inference_steps: 5,
            seed: 7,
            ..Request::default()
        };
        assert_eq!(request, expected);
        let as_plain = args("plain", &[]);
        let plain = Line::all("a\n\n# b\n-- c", &as_plain, false);
        assert_eq!(plain.unwrap_err(), "line 4: --: a line has no such option: give it for all of them");
        assert_eq!(Line::all("a\n\n# b\n\n", &as_plain, false).unwrap().len(), 3);
        assert_eq!(Line::all("a\n\n# b\n\n", &as_plain, true).unwrap().len(), 4);
        for (wrong, part) in [
            ("--steps", "--steps has no value"),
            ("--steps x", "\"x\" is no such number"),
            ("--prompt \"a", "not closed"),
            ("--steps 5 x", "\"x\" stands alone"),
            ("--sd_model x", "--sd_model: a line has no such option"),
            ("--from_file x", "no such option"),
            ("--latents x --steps 5", "no such option"),
            ("--seed 1.5", "expected a whole number"),
            ("--tiling up", "up"),
            ("--sampler_name nope", "nope"),
        ] {
            let error = Line::all(wrong, &a1111, false).unwrap_err();
            assert!(error.contains(part) && error.starts_with("line 1: "), "{error}");
        }
    }

    #[test]
    fn options_hold_for_their_line() {
        let args = args(
            "a1111",
            &[
                "--seed",
                "10",
                "--steps",
                "20",
                "--old-prompt-editing",
                "--style",
                "ink",
                "--schedule",
                "exponential",
                "--plms",
            ],
        );
        let mut base = Request::default();
        args.apply(&mut base);
        let of = |text: &str, alone: bool, first: usize| {
            let mut request = base.clone();
            Line::all(text, &args, false).unwrap()[0].apply(&mut request, &[], alone, first);
            request
        };
        // What a line does not say is the command line's, where that is not as by default too.
        let own = of("--width 64", false, 0);
        assert_eq!(own, Request { width: Some(64), ..base.clone() });
        assert_eq!((own.num_inference_steps, own.old_prompt_editing), (20, true));
        assert_eq!(of("--steps 50", false, 0).num_inference_steps, 50);
        assert_eq!(of("--seed_resize_from_w 64 --seed_resize_from_h 32", false, 0).seed_resize, Some([64, 32]));
        assert_eq!(of("--seed_resize_from_w 0 --seed_resize_from_h 0", false, 0).seed_resize, None);
        let schedule = |text: &str| of(text, false, 0).schedule.id();
        assert_eq!(
            [schedule("--sampler_name Euler"), schedule("--sampler_name 'DPM++ 2M Karras'")],
            ["exponential", "karras"]
        );
        assert_eq!(of("--clip-skip 2 --s-churn 3 --fixed-code", false, 0).sampler_settings.s_churn, 3.0);
        assert!(Line::all("--styles a --style b", &args, false).unwrap()[0].styles == ["a", "b"]);
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
        let args = args("a1111", &[]);
        mutator::run("lines", &corpus, &words, |bytes| {
            match Line::all(&String::from_utf8_lossy(&bytes), &args, false) {
                Ok(_) => true,
                Err(problem) => {
                    assert!(!problem.contains('\n'), "{problem}");
                    false
                }
            }
        });
    }
}
