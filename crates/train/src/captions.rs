//! Captions as token ids, each distinct one encoded once.

use std::collections::HashMap;

use calotype_text::Tokenizer;

/// The token ids of the captions of a set.
pub(crate) struct Captions {
    distinct: Vec<Vec<u32>>,
    of_picture: Vec<usize>,
    empty: Vec<u32>,
    /// How many pictures have a caption that is longer than the text encoder takes, and the first of them.
    cut: Option<(usize, usize)>,
}

impl Captions {
    pub(crate) fn new(captions: &[String], tokenizer: &Tokenizer) -> Self {
        let (mut distinct, mut long, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        let mut place = |caption: &String| {
            *known.entry(caption.clone()).or_insert_with(|| {
                let encoding = tokenizer.encode(caption);
                long.push(encoding.truncated_text.is_some());
                distinct.push(encoding.ids);
                distinct.len() - 1
            })
        };
        let of_picture: Vec<usize> = captions.iter().map(&mut place).collect();
        let mut cut = of_picture.iter().enumerate().filter(|(_, place)| long.get(**place) == Some(&true));
        let cut = cut.next().map(|(first, _)| (1 + cut.count(), first));
        Self { distinct, of_picture, empty: tokenizer.encode("").ids, cut }
    }

    /// How many pictures have a caption that is longer than the text encoder takes, and the first of them.
    pub(crate) fn cut(&self) -> Option<(usize, usize)> {
        self.cut
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
    fn captions_that_are_cut_are_counted() {
        let clip = Tokenizer::clip();
        let words = |count: usize| vec!["cat"; count].join(" ");
        // 75 tokens fit between the first and the last.
        assert_eq!(Captions::new(&[words(75), words(10)], clip).cut(), None);
        assert_eq!(Captions::new(&[words(75), words(76), words(1), words(200), words(76)], clip).cut(), Some((3, 1)));
    }

    #[test]
    fn equal_captions_share_their_ids() {
        let captions = Captions::new(&["a cat".into(), "a dog".into(), "a cat".into()], Tokenizer::clip());
        assert_eq!(captions.distinct.len(), 2);
        assert_eq!(captions.ids(0), captions.ids(2));
        assert_eq!(captions.ids(1), Tokenizer::clip().encode("a dog").ids);
        assert_eq!(captions.ids(9), captions.empty());
        assert_eq!(captions.empty()[..3], [49406, 49407, 49407]);
    }
}
