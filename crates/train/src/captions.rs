//! Captions as token ids, each distinct one encoded once.

use std::collections::HashMap;

use calotype_text::Tokenizer;

/// The token ids of the captions of a set.
pub(crate) struct Captions {
    distinct: Vec<Vec<u32>>,
    of_picture: Vec<usize>,
    empty: Vec<u32>,
}

impl Captions {
    pub(crate) fn new(captions: &[String]) -> Self {
        let tokenizer = Tokenizer::clip();
        let (mut distinct, mut known) = (Vec::new(), HashMap::new());
        let mut place = |caption: &String| {
            *known.entry(caption.clone()).or_insert_with(|| {
                distinct.push(tokenizer.encode(caption).ids);
                distinct.len() - 1
            })
        };
        let of_picture = captions.iter().map(&mut place).collect();
        Self { distinct, of_picture, empty: tokenizer.encode("").ids }
    }

    /// The ids of a picture's caption.
    pub(crate) fn ids(&self, picture: usize) -> &[u32] {
        self.of_picture.get(picture).and_then(|&place| self.distinct.get(place)).map_or(&self.empty, |ids| ids)
    }

    /// The ids of the empty caption.
    pub(crate) fn empty(&self) -> &[u32] {
        &self.empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_captions_share_their_ids() {
        let captions = Captions::new(&["a cat".into(), "a dog".into(), "a cat".into()]);
        assert_eq!(captions.distinct.len(), 2);
        assert_eq!(captions.ids(0), captions.ids(2));
        assert_eq!(captions.ids(1), Tokenizer::clip().encode("a dog").ids);
        assert_eq!(captions.ids(9), captions.empty());
        assert_eq!(captions.empty()[..3], [49406, 49407, 49407]);
    }
}
