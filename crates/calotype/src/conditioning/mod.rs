//! What the UNet attends to at each of its evaluations: the contexts of a prompt, of what `AND` joins to it, and of the
//! negative prompt.

mod encode;
mod inputs;
mod timeline;
mod weigh;

use calotype_text::Entries;

pub(crate) use encode::Encoder;
pub(crate) use inputs::PromptInputs;

/// The contexts of a run, and which of them hold when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditioning {
    /// Each `(L, width)` row-major and of one text for all pictures, or one such after the other for every picture.
    contexts: Vec<Context>,
    /// Numbers in a row.
    width: usize,
    /// The negative prompt; without one there is no guidance.
    uncond: Option<PromptSchedule>,
    /// What `AND` joins, one at least.
    parts: Vec<(PromptSchedule, f32)>,
    /// Those of the regions of tiled diffusion.
    pub(crate) regions: Vec<Conditioning>,
}

/// The text encoder's output for one text.
#[derive(Clone, Debug, PartialEq)]
struct Context {
    /// Rows of one picture, L.
    length: usize,
    rows: Vec<f32>,
}

/// A prompt that changes on the way.
#[derive(Clone, Debug, PartialEq)]
struct PromptSchedule {
    /// The place of its first context.
    first: usize,
    entries: Entries,
}

/// A context as one evaluation attends to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextRef {
    /// Its place among those of its [`Conditioning`].
    pub context: usize,
    /// How many rows it is to have: the last is repeated, as A1111 does where parts of one prompt differ (`stack_conds`).
    pub length: usize,
}

/// What the UNet attends to at one evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct StepConditioning {
    /// The negative prompt; none without guidance.
    pub uncond: Option<ContextRef>,
    /// The prompt's parts, all of one length, and their weights.
    pub parts: Vec<(ContextRef, f32)>,
}

impl Conditioning {
    /// The same texts at every evaluation: a prompt, and a negative one where there is guidance. Each is `(L, width)`
    /// row-major, or that for every picture of a batch one after the other.
    #[must_use]
    pub fn constant([length, width]: [usize; 2], uncond: Option<Vec<f32>>, cond: Vec<f32>) -> Self {
        let mut conditioning = Self { width, ..Self::default() };
        conditioning.uncond = uncond.map(|rows| conditioning.add(Entries::default(), [Context { length, rows }]));
        let part = conditioning.add(Entries::default(), [Context { length, rows: cond }]);
        conditioning.parts.push((part, 1.0));
        conditioning
    }

    fn add(&mut self, entries: Entries, contexts: impl IntoIterator<Item = Context>) -> PromptSchedule {
        let first = self.contexts.len();
        self.contexts.extend(contexts);
        PromptSchedule { first, entries }
    }

    /// What the UNet attends to at an evaluation, counted from 0.
    #[must_use]
    pub fn at(&self, evaluation: usize) -> StepConditioning {
        let attended = |schedule: &PromptSchedule| {
            let context = schedule.first + schedule.entries.at(evaluation);
            ContextRef { context, length: self.contexts.get(context).map_or(0, |context| context.length) }
        };
        let mut parts: Vec<(ContextRef, f32)> =
            self.parts.iter().map(|(schedule, weight)| (attended(schedule), *weight)).collect();
        let longest = parts.iter().map(|(part, _)| part.length).max().unwrap_or(0);
        parts.iter_mut().for_each(|(part, _)| part.length = longest);
        StepConditioning { uncond: self.uncond.as_ref().map(attended), parts }
    }

    /// Numbers in a row of a context: the text encoder's width.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// A context for `pictures` pictures: for each `(length, width)`, one after the other.
    #[must_use]
    pub fn rows(&self, attended: ContextRef, pictures: usize) -> Vec<f32> {
        let Some(context) = self.contexts.get(attended.context) else { return Vec::new() };
        let of_one = (context.length * self.width).max(1);
        let mut rows = Vec::with_capacity(pictures * attended.length * self.width);
        for picture in context.rows.chunks_exact(of_one) {
            rows.extend(picture);
            let last = &picture[picture.len() - self.width..];
            (context.length..attended.length).for_each(|_| rows.extend(last));
        }
        if context.rows.len() == of_one { rows.repeat(pictures) } else { rows }
    }
}
