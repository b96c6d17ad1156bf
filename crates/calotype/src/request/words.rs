//! Words of a request that its model was not trained on.

use calotype_text::{PromptStyle, Timeline, plain_texts};

use crate::{Model, Plan, Warning};

impl Plan {
    /// What a model that tells its words does not know of the prompt's, as far as guidance makes use of it the negative one's too.
    pub(crate) fn unknown_words(&self, model: &Model) -> Option<Warning> {
        let vocabulary = model.vocabulary()?;
        let request = self.request();
        let negative = Some(&request.negative_prompt).filter(|_| request.guides());
        let texts =
            [Some(&request.prompt), negative].into_iter().flatten().flat_map(|text| match request.prompt_style {
                PromptStyle::Plain => vec![text.clone()],
                // The plan has parsed them, so this can't fail.
                PromptStyle::A1111 => plain_texts(text, Timeline::new(self.steps())).unwrap_or_default(),
            });
        let unknown = vocabulary.unknown_words(&texts.collect::<Vec<_>>().join("\n"));
        (!unknown.is_empty()).then_some(Warning::UnknownWords(unknown))
    }
}
