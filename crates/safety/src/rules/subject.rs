//! What rules are held against.

use calotype_text::{Timeline, extra_networks_of, plain_texts};
use serde::Deserialize;

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The prompt.
    Prompt,
    /// The negative prompt.
    NegativePrompt,
    /// The name of an adapter, an embedding or a style.
    Name,
}

/// All texts of a request.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// Prompts, styles in them written out.
    pub prompts: Vec<&'a str>,
    /// Negative prompts.
    pub negative_prompts: Vec<&'a str>,
    /// Names of adapters, embeddings and styles beside those in the prompts.
    pub names: Vec<&'a str>,
    /// The steps that schedules in prompts run over.
    pub steps: usize,
}

impl<'a> Subject<'a> {
    /// A prompt and nothing else, in 50 steps.
    #[must_use]
    pub fn prompt(prompt: &'a str) -> Self {
        Self { prompts: vec![prompt], steps: 50, ..Self::default() }
    }

    /// Every text to look at: as it was written, and as the model sees it in A1111's grammar; both with HTML's entities as they
    /// are and as what they stand for.
    pub(super) fn texts(&self) -> Vec<(Place, String)> {
        let mut texts: Vec<(Place, String)> = Vec::new();
        let mut add = |place: Place, text: String| {
            if !texts.iter().any(|(other, known)| (*other, known) == (place, &text)) {
                texts.push((place, text));
            }
        };
        let timeline = Timeline::new(self.steps);
        let prompts = self.prompts.iter().map(|text| (Place::Prompt, *text));
        let negative = self.negative_prompts.iter().map(|text| (Place::NegativePrompt, *text));
        for (place, text) in
            prompts.chain(negative).flat_map(|(place, text)| meant(text).map(move |text| (place, text)))
        {
            // What can't be read in the grammar is refused by the run, or is a prompt of another style.
            plain_texts(&text, timeline).into_iter().flatten().for_each(|plain| add(place, plain));
            let networks = extra_networks_of(&text, |_| true).1;
            networks.into_iter().flat_map(|network| network.args).for_each(|name| add(Place::Name, name));
            add(place, text);
        }
        self.names.iter().flat_map(|name| meant(name)).for_each(|name| add(Place::Name, name));
        texts
    }
}

/// A text as it is and with its entities read, twice over as some pages write them.
fn meant(text: &str) -> impl Iterator<Item = String> + use<> {
    let once = html_escape::decode_html_entities(text).into_owned();
    let twice = html_escape::decode_html_entities(&once).into_owned();
    let mut all = vec![text.to_owned(), once, twice];
    all.dedup();
    all.into_iter()
}
