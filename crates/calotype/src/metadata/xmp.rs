//! An XMP packet that says, to programs that know nothing of this one, that an image was generated.

use serde::{Deserialize, Serialize};

use super::Program;
use crate::Request;

/// Where IPTC's words for how an image came to be are.
const VOCABULARY: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/";

/// How an image came to be, in IPTC's words (`DigitalSourceType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DigitalSourceType {
    /// A model made all of it.
    TrainedAlgorithmicMedia,
    /// A given image is its base, or is left in a part of it.
    CompositeWithTrainedAlgorithmicMedia,
}

impl DigitalSourceType {
    /// That of the images of a request.
    pub(super) fn of(request: &Request) -> Self {
        match request.init {
            None => Self::TrainedAlgorithmicMedia,
            Some(_) => Self::CompositeWithTrainedAlgorithmicMedia,
        }
    }

    /// IPTC's word.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::TrainedAlgorithmicMedia => "trainedAlgorithmicMedia",
            Self::CompositeWithTrainedAlgorithmicMedia => "compositeWithTrainedAlgorithmicMedia",
        }
    }

    /// The word as XMP and C2PA have it.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{VOCABULARY}{}", self.id())
    }

    /// The packet, with this program's name and version as IPTC's Photo Metadata Standard 2025.1 calls them. It has nothing
    /// that a person wrote.
    pub(super) fn packet(self, version: &str) -> String {
        let (name, uri) = (Program::Calotype, self.uri());
        let version = version.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            r#"<?xpacket begin="{}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{name} {version}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{uri}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{name}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AISystemVersionUsed>{version}</Iptc4xmpExt:AISystemVersionUsed>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"#,
            '\u{feff}'
        )
    }
}

/// IPTC's word in a packet of any program, as an element or an attribute.
pub(super) fn source_type(packet: &str) -> Option<&str> {
    let (_, after) = packet.split_once("Iptc4xmpExt:DigitalSourceType")?;
    // `>value<`, `="value"` or ` rdf:resource="value"`.
    let after = after.trim_start();
    let value = after
        .strip_prefix("rdf:resource")
        .unwrap_or(after)
        .trim_start()
        .trim_start_matches('=')
        .trim_start()
        .strip_prefix(['>', '"', '\''])?;
    let value = value.get(..value.find(['<', '"', '\''])?)?.trim();
    let word = value.rsplit('/').next().filter(|word| !word.is_empty())?;
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_any_packet_is_found() {
        for source in
            [DigitalSourceType::TrainedAlgorithmicMedia, DigitalSourceType::CompositeWithTrainedAlgorithmicMedia]
        {
            let packet = source.packet("1.2");
            assert_eq!(source_type(&packet), Some(source.id()));
            assert!(packet.contains(">Calotype 1.2<") && packet.contains(">Calotype<") && packet.contains(">1.2<"));
            assert!(source.packet("<&").contains(">Calotype &lt;&amp;<"));
            assert!(packet.starts_with("<?xpacket begin=\"\u{feff}\""));
        }
        for (packet, word) in [
            (r#"<a Iptc4xmpExt:DigitalSourceType="http://x/digitalCapture" b="c"/>"#, Some("digitalCapture")),
            ("<a Iptc4xmpExt:DigitalSourceType = 'softwareImage'/>", Some("softwareImage")),
            ("<Iptc4xmpExt:DigitalSourceType>\n http://x/screenCapture\n</…>", Some("screenCapture")),
            ("<Iptc4xmpExt:DigitalSourceType></…>", None),
            ("<Iptc4xmpExt:DigitalSourceType", None),
            ("Iptc4xmpExt:DigitalSourceType=\"http://x", None),
            ("<Iptc4xmpExt:DigitalSourceType rdf:resource=\"http://x/y\"/>", Some("y")),
            ("<Iptc4xmpExt:DigitalSourceType xml:lang=\"en\">y<", None),
            ("", None),
        ] {
            assert_eq!(source_type(packet), word, "{packet}");
        }
    }
}
