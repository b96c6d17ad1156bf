//! `<lora:name:weight>` and its like in a prompt (A1111's `extra_networks_lora.py`, `extra_networks_hypernet.py`).

use calotype_checkpoint::brief;
use calotype_text::{ExtraNetworkTag, extra_networks_of};

use super::{AdapterFile, HypernetworkOptions, LoraOptions};
use crate::{Error, Result};

/// The adapters that a prompt calls for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PromptTags {
    /// The prompt without its tags.
    pub(crate) prompt: String,
    pub(super) loras: Vec<LoraOptions>,
    pub(super) hypernetworks: Vec<HypernetworkOptions>,
    /// What is said of them that nothing here makes use of, such as `lbw=…` of an extension.
    pub(super) unused: Vec<String>,
}

impl PromptTags {
    /// Parses the tags of a prompt: `<lora:name>`, `<lora:name:te>`, `<lora:name:te:unet>`, `<lora:name:te:unet:dyn>`, the numbers also as
    /// `te=`, `unet=`, `dyn=`; `lyco` for `lora`; `<hypernet:name:strength>`. The text encoder's strength is 1 if it is not
    /// given, the UNet's is then the same.
    ///
    /// # Errors
    /// A number is none, or a network has no name.
    pub(crate) fn new(prompt: &str) -> Result<Self> {
        let (prompt, networks) = extra_networks_of(prompt, |kind| matches!(kind, "lora" | "lyco" | "hypernet"));
        let mut tags = Self { prompt, ..Self::default() };
        for network in networks {
            let arg = |place: usize, key: &str| network.named(key).or_else(|| network.positional().nth(place));
            let name = network.positional().next().filter(|name| !name.trim().is_empty());
            let Some(name) = name else { return refuse(&network, "it has no name") };
            let file = AdapterFile::Name(name.to_owned());
            let number = |text: Option<&str>, default: f32| match text {
                None => Ok(default),
                Some(text) => match text.trim().parse::<f32>() {
                    Ok(number) if number.is_finite() => Ok(number),
                    _ => match with_point(text) {
                        Some(number) => refuse(&network, &format!("{:?} has a comma: write {number}", brief(text))),
                        None => refuse(&network, &format!("{:?} is no number", brief(text))),
                    },
                },
            };
            let known = |key: &str| matches!(key, "te" | "unet" | "dyn");
            let unused =
                network.args.iter().filter(|arg| arg.split_once('=').is_some_and(|(key, _)| !known(key.trim())));
            tags.unused.extend(unused.map(|arg| format!("{arg} of <{}:{name}>", network.kind)));
            if network.kind == "hypernet" {
                let strength = number(network.args.get(1).map(String::as_str), 1.0)?;
                tags.hypernetworks.push(HypernetworkOptions { file, strength });
                continue;
            }
            let text_encoder = number(arg(1, "te"), 1.0)?;
            let unet = number(arg(2, "unet"), text_encoder)?;
            let ranks = match arg(3, "dyn").map(|text| text.trim().parse()) {
                None => None,
                Some(Ok(ranks)) => Some(ranks),
                Some(Err(_)) => return refuse(&network, "dyn is no number of ranks"),
            };
            tags.loras.push(LoraOptions { file, text_encoder, unet, ranks });
        }
        Ok(tags)
    }
}

/// A number that is written with a comma, with a point: of `0,8` it is `0.8`.
fn with_point(text: &str) -> Option<String> {
    let number = text.trim().replacen(',', ".", 1);
    number.parse::<f32>().ok().filter(|number| number.is_finite() && text.contains(',')).map(|_| number)
}

fn refuse<T>(network: &ExtraNetworkTag, problem: &str) -> Result<T> {
    let written = brief(&format!("<{}:{}>", network.kind, network.args.join(":")));
    Err(Error::Prompt(format!("the prompt has {written}: {problem}, expected such as <{}:name:0.8>", network.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_a1111_does() {
        let tags = PromptTags::new("a <lora:x:0.5> b<lyco:y:te=0.2:unet=0.7:dyn=8><hypernet:z:0.3> <c:d>").unwrap();
        assert_eq!(tags.prompt, "a  b <c:d>");
        let lora = |name: &str, text_encoder, unet, ranks| {
            let file = AdapterFile::Name(name.to_owned());
            LoraOptions { file, text_encoder, unet, ranks }
        };
        assert_eq!(tags.loras, [lora("x", 0.5, 0.5, None), lora("y", 0.2, 0.7, Some(8))]);
        assert_eq!(tags.hypernetworks, [HypernetworkOptions { file: AdapterFile::Name("z".into()), strength: 0.3 }]);
        assert_eq!(PromptTags::new("<lora:x:0.5:lbw=IN02>").unwrap().unused, ["lbw=IN02 of <lora:x>"]);
        assert_eq!(PromptTags::new("<lora:x>").unwrap().loras, [lora("x", 1.0, 1.0, None)]);
        assert_eq!(PromptTags::new("<lora:x:2:1:4>").unwrap().loras, [lora("x", 2.0, 1.0, Some(4))]);
        let comma = PromptTags::new("a <lora:x:0,8>").unwrap_err().to_string();
        assert_eq!(
            comma,
            "the prompt has <lora:x:0,8>: \"0,8\" has a comma: write 0.8, expected such as <lora:name:0.8>"
        );
        for tag in ["<lora:x:1:-1,5>", "<lora:x:te=0,5>", "<hypernet:x:1,>"] {
            let message = PromptTags::new(tag).unwrap_err().to_string();
            assert!(message.contains("has a comma: write "), "{message}");
        }
        for wrong in ["<lora:x:a>", "<lora: >", "<lora:te=1>", "<hypernet:x:inf>", "<lora:x:1:1:-1>"] {
            let message = PromptTags::new(wrong).unwrap_err().to_string();
            assert!(message.contains(wrong) && !message.contains('\n'), "{message}");
        }
    }
}
