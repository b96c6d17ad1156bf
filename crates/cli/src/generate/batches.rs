//! Which batches a call makes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use calotype::{
    Request,
    request::{BatchPlace, OneOf},
    sampling::SeedPer,
};

use super::{
    line::Line,
    styles::{Style, Styles},
};
use crate::{args::PromptArgs, failure::Failure};

/// More pictures than anybody waits for; the sum of seeds stays far from overflow.
const MAX_BATCHES: usize = 1_000_000;

/// The lines of prompts of a call, and the styles of each.
pub(crate) struct Lines {
    lines: Vec<(Line, Arc<[Style]>)>,
    /// The file that they are of.
    file: Option<PathBuf>,
    /// Whether a batch is of several lines.
    share_batches: bool,
}

/// One batch.
pub(crate) struct Batch {
    /// Which line it is of.
    pub(crate) line: usize,
    /// Which of the pictures to start from.
    pub(crate) picture: usize,
    /// How many batches of the line came before it.
    index: usize,
    /// How many of all came before it, or before the one that it is a part of.
    number: usize,
    /// The only picture of a batch whose others are of other lines.
    one_of: Option<OneOf>,
    /// How many pictures came before the line.
    first_of_line: usize,
    /// How many pictures came before it.
    pub(crate) first: usize,
    /// How many pictures it has.
    pub(crate) size: usize,
}

impl Lines {
    /// The styles of the command line are those of every line. Lines that share batches have one picture of each, as in
    /// CompVis' scripts.
    pub(crate) fn new(lines: Vec<Line>, args: &PromptArgs, share_batches: bool) -> Result<Self, Failure> {
        let file = args.from_file.clone();
        let is_styled = !args.style.is_empty() || lines.iter().any(|line| !line.styles.is_empty());
        let table = if is_styled { Styles::open(&args.styles)? } else { Styles::default() };
        let of_all: Arc<[Style]> = table.named(&args.style)?.into();
        let styled = |line: Line| {
            let styles = match line.styles.is_empty() {
                true => of_all.clone(),
                false => {
                    let own = table.named(&line.styles);
                    [&*of_all, &own.map_err(|error| error.at(&place(file.as_deref(), &line)))?].concat().into()
                }
            };
            Ok((line, styles))
        };
        let lines = lines.into_iter().map(styled).collect::<Result<_, Failure>>()?;
        Ok(Self { lines, file, share_batches })
    }

    /// One prompt as a request has it.
    pub(crate) fn one(prompt: &str) -> Self {
        Self { lines: vec![(Line::of_prompt(prompt), Arc::new([]))], file: None, share_batches: false }
    }

    /// How many batches there are where a line has `count` of them for each of `pictures` to start from.
    pub(crate) fn batches(&self, count: usize, pictures: usize) -> Result<usize, Failure> {
        let of_line = |line: &Line| line.batch_count.unwrap_or(count).saturating_mul(pictures.max(1));
        let counts = self.lines.iter().map(|(line, _)| of_line(line));
        if counts.clone().any(|count| !(1..=MAX_BATCHES).contains(&count)) {
            return Err(Failure::usage(format!("--batch-count {count} is out of range: give 1 to {MAX_BATCHES}")));
        }
        let all = counts.fold(0usize, usize::saturating_add);
        if all > MAX_BATCHES {
            let problem =
                format!("{} prompts times --batch-count {count} are more than {MAX_BATCHES}", self.lines.len());
            return Err(Failure::usage(problem));
        }
        Ok(all)
    }

    /// All batches, those of a line one after the other.
    pub(crate) fn list(&self, count: usize, pictures: usize, batch_size: usize) -> Vec<Batch> {
        if self.share_batches {
            return self.shared(count, pictures, batch_size);
        }
        let (mut batches, mut first) = (Vec::new(), 0);
        for (line, (of, _)) in self.lines.iter().enumerate() {
            let (first_of_line, mut index) = (first, 0);
            let size = of.batch_size.unwrap_or(batch_size);
            for picture in 0..pictures.max(1) {
                for _ in 0..of.batch_count.unwrap_or(count) {
                    let (number, one_of) = (batches.len(), None);
                    batches.push(Batch { line, picture, index, number, one_of, first_of_line, first, size });
                    index += 1;
                    first += size;
                }
            }
        }
        batches
    }

    /// CompVis' `--from-file`: batches of lines in a row, and all lines so many times. Where the last batch is not full, and
    /// CompVis' scripts fail, the rest of it is not made.
    fn shared(&self, count: usize, pictures: usize, batch_size: usize) -> Vec<Batch> {
        let mut batches = Vec::new();
        for round in 0..pictures.max(1) * count {
            for line in 0..self.lines.len() {
                let number = round * self.lines.len().div_ceil(batch_size.max(1)) + line / batch_size.max(1);
                let one_of = Some(OneOf { batch_size, position: line % batch_size.max(1) });
                let (picture, index, first) = (round / count, round % count, batches.len());
                batches.push(Batch { line, picture, index, number, one_of, first_of_line: first, first, size: 1 });
            }
        }
        batches
    }

    /// Whether seeds can't be counted through all batches, for some lines have their own.
    ///
    /// # Errors
    /// What is one stream through all batches has none.
    pub(crate) fn count_alone(&self, request: &Request) -> Result<bool, Failure> {
        let is_alone =
            |line: &&(Line, _)| line.0.counts_alone() || (self.share_batches && line.0.batch_count.is_some());
        let alone = self.lines.iter().find(is_alone);
        if let Some((line, _)) = alone
            && (request.seed_per == SeedPer::Batch || request.fixed_code)
        {
            let problem = "has a seed, a batch size or a count of its own, which goes neither with --seed-per batch nor with --fixed-code";
            return Err(Failure::usage(format!("{} {problem}", place(self.file.as_deref(), line))));
        }
        Ok(alone.is_some())
    }

    /// Whether a line has to be checked for itself.
    pub(crate) fn has_options(&self, line: usize) -> bool {
        self.lines.get(line).is_some_and(|(line, _)| line.has_options())
    }

    /// Which line of its file a batch is of, for messages.
    pub(crate) fn line_of(&self, batch: &Batch) -> Option<String> {
        let (line, _) = self.lines.get(batch.line)?;
        self.file.as_deref().map(|file| place(Some(file), line))
    }

    /// A request of the command line as that of each line, as far as it can be said without its batch.
    pub(crate) fn requests<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = Request> + 'a {
        self.lines.iter().map(|(line, styles)| {
            let mut request = request.clone();
            line.apply(&mut request, styles, false, 0);
            request
        })
    }

    /// Where a batch stands in its run.
    pub(crate) fn place(batch: &Batch, counts_alone: bool) -> BatchPlace {
        BatchPlace { index: if counts_alone { batch.index } else { batch.number }, one_of: batch.one_of }
    }

    /// Lets a request of the command line be that of a batch, save the picture that it starts from.
    pub(crate) fn apply(&self, request: &mut Request, batch: &Batch, counts_alone: bool) {
        let Some((line, styles)) = self.lines.get(batch.line) else { return };
        request.batch_size = batch.size;
        line.apply(request, styles, counts_alone, batch.first_of_line);
    }
}

/// A line of a file, for messages.
fn place(file: Option<&Path>, line: &Line) -> String {
    format!("{}: line {}", file.unwrap_or(Path::new("-")).display(), line.number)
}
