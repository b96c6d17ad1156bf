//! What is taken out of a prompt before anything else: comments, and the networks it calls for.

use std::fmt;

use super::pattern::is_word;

/// `<kind:arg:arg…>` in a prompt: a network to be applied, such as `<lora:name:0.8>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraNetworkTag {
    /// `lora`, `lyco`, `hypernet`, or any other word.
    pub kind: String,
    /// What stands between the colons after it; the first is the name.
    pub args: Vec<String>,
}

impl ExtraNetworkTag {
    /// The arguments without a key, in their order.
    pub fn positional(&self) -> impl Iterator<Item = &str> {
        self.args.iter().filter(|arg| key_value(arg).is_none()).map(String::as_str)
    }

    /// The value of the last argument `key=value`.
    pub fn named(&self, key: &str) -> Option<&str> {
        self.args.iter().rev().filter_map(|arg| key_value(arg)).find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl fmt::Display for ExtraNetworkTag {
    /// As it is written in a prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}:{}>", self.kind, self.args.join(":"))
    }
}

/// `key=value` with one `=`.
fn key_value(arg: &str) -> Option<(&str, &str)> {
    arg.split_once('=').filter(|(_, value)| !value.contains('='))
}

/// The text without its networks (`extra_networks.py`: `<(\w+):([^>]+)>`), and they.
pub(crate) fn networks(text: &str) -> (String, Vec<ExtraNetworkTag>) {
    extra_networks_of(text, |_| true)
}

/// The text without the networks whose kind `takes` says so of, and they: `<kind:arg:arg…>`. All else stays as it is written.
pub fn extra_networks_of(text: &str, takes: impl Fn(&str) -> bool) -> (String, Vec<ExtraNetworkTag>) {
    let (mut out, mut found) = (String::with_capacity(text.len()), Vec::new());
    let (mut done, mut searched, mut close) = (0, 0, 0);
    while let Some(open) = text[searched..].find('<').map(|at| searched + at) {
        if close <= open {
            // Once there is no `>` left, no `<` begins a network.
            let Some(at) = text[open..].find('>') else { break };
            close = open + at;
        }
        searched = open + 1;
        if let Some(network) = network(&text[searched..close], &takes) {
            out.push_str(&text[done..open]);
            found.push(network);
            (done, searched) = (close + 1, close + 1);
        }
    }
    out.push_str(&text[done..]);
    (out, found)
}

fn network(inside: &str, takes: impl Fn(&str) -> bool) -> Option<ExtraNetworkTag> {
    let (kind, args) = inside.split_at(inside.find(|c| !is_word(c))?);
    let args = args.strip_prefix(':').filter(|args| !kind.is_empty() && !args.is_empty() && takes(kind))?;
    Some(ExtraNetworkTag { kind: kind.to_owned(), args: args.split(':').map(str::to_owned).collect() })
}

/// The text without comments, `#` to the end of the line (`processing_scripts/comments.py`). A line that is only a
/// comment goes with the newline before it.
pub(crate) fn strip_comments(text: &str) -> String {
    cut_comments(&cut_comments(text, true), false)
}

/// Replaces every comment, its end of line included, by a newline; `whole_lines`: only those that begin a line, the
/// newline before them included, unless the comment before has taken it.
fn cut_comments(text: &str, whole_lines: bool) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut at = 0;
    let mut searched = 0;
    while let Some(hash) = text[searched..].find('#').map(|found| searched + found) {
        searched = hash + 1;
        let newline = hash > at && text[..hash].ends_with('\n');
        if whole_lines && hash != 0 && !newline {
            continue;
        }
        out.push_str(&text[at..hash - usize::from(whole_lines && newline)]);
        out.push('\n');
        at = text[hash..].find('\n').map_or(text.len(), |end| hash + end + 1);
        searched = at;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_taken_out() {
        let (text, found) = networks("a <lora:x:0.5:te=0.2> b<hypernet:y>, 1 < 2 <:z> <é_2:a<b:> <lora:> <w>");
        assert_eq!(text, "a  b, 1 < 2 <:z>  <lora:> <w>");
        let found: Vec<_> = found.iter().map(|network| (network.kind.as_str(), network.args.join("|"))).collect();
        assert_eq!(
            found,
            [("lora", "x|0.5|te=0.2".to_owned()), ("hypernet", "y".to_owned()), ("é_2", "a<b|".to_owned())]
        );
        assert_eq!(networks("<lora:x").0, "<lora:x");
    }

    #[test]
    fn arguments_by_place_and_by_name() {
        let (_, found) = networks("<lora:x:te=0.5:1:unet=2:a=b=c>");
        assert_eq!(found[0].positional().collect::<Vec<_>>(), ["x", "1", "a=b=c"]);
        assert_eq!((found[0].named("te"), found[0].named("dyn")), (Some("0.5"), None));
    }

    #[test]
    fn comments_are_cut() {
        assert_eq!(strip_comments("a # b\nc"), "a \nc");
        assert_eq!(strip_comments("a\n# b\nc"), "a\nc");
        assert_eq!(strip_comments("#a\n#b\n#c\nd"), "\n\nd");
        assert_eq!(strip_comments("\n#a\n#b\n#c\n\n#d"), "\n\n\n");
        assert_eq!(strip_comments("##a\nx\n\n#"), "\nx\n\n");
        assert_eq!(strip_comments("a#"), "a\n");
        assert_eq!(strip_comments("no"), "no");
    }
}
