//! The licence of a model, as what came with it says, or as that of the public model of its name or hash is known to be.

use std::fs;
use std::path::Path;

use calotype_formats::{Checkpoint, parse_yaml};
use serde::Serialize;

use crate::files::Files;

/// A licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct License {
    /// Its name, such as `creativeml-openrail-m`.
    pub name: String,
    /// Where its text is, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What says that the model has it.
    pub source: LicenseSource,
}

/// What a licence was told by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LicenseSource {
    /// A file of this name that came with the model.
    File(String),
    /// What the weights' file says of itself.
    Metadata,
    /// The model is called like a public one.
    Name,
    /// The file is a public model.
    Hash,
    /// It is part of this program.
    Program,
}

/// What a model under a licence of the Open RAIL-M family must not be used for: the gist of the use restrictions (attachment A of the
/// CreativeML Open RAIL-M and RAIL++-M licences, paragraph 5), which alone are binding.
pub const USE_RESTRICTIONS: [&str; 11] = [
    "anything against the law",
    "exploiting or harming minors in any way",
    "false information made or spread to harm others",
    "personal data made or spread that can harm somebody",
    "defaming, disparaging or harassing people",
    "decisions without a person that touch somebody's rights or bind them",
    "treating people worse for how they behave, or for what they are or are taken for",
    "exploiting the weakness of a group, by age, social, physical or mental state, to steer and harm its members",
    "discriminating by what the law protects",
    "medical advice, or reading medical results",
    "the administration of justice, police, immigration or asylum, such as foretelling crimes",
];

/// CreativeML Open RAIL-M, of Stable Diffusion 1.
const OPEN_RAIL: (&str, &str) =
    ("creativeml-openrail-m", "https://huggingface.co/spaces/CompVis/stable-diffusion-license");
/// CreativeML Open RAIL++-M, of Stable Diffusion 2.
const OPEN_RAIL_PLUS: (&str, &str) =
    ("openrail++", "https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL");
/// What the hub calls licences with those use restrictions.
const FAMILY: [&str; 3] = [OPEN_RAIL.0, OPEN_RAIL_PLUS.0, "openrail"];

/// What the public models of Stable Diffusion 1 are called, without endings.
const NAMES_1: [&str; 24] = [
    "sd-v1-1",
    "sd-v1-1-full-ema",
    "sd-v1-2",
    "sd-v1-2-full-ema",
    "sd-v1-3",
    "sd-v1-3-full-ema",
    "sd-v1-4",
    "sd-v1-4-full-ema",
    "sd-v1-5-inpainting",
    "v1-5-pruned",
    "v1-5-pruned-emaonly",
    "v1-5-pruned-emaonly-fp16",
    "stable-diffusion-v1-1",
    "stable-diffusion-v1-2",
    "stable-diffusion-v1-3",
    "stable-diffusion-v1-4",
    "stable-diffusion-v1-5",
    "stable-diffusion-v1-5-archive",
    "stable-diffusion-v-1-1-original",
    "stable-diffusion-v-1-2-original",
    "stable-diffusion-v-1-3-original",
    "stable-diffusion-v-1-4-original",
    "stable-diffusion-inpainting",
    "stable-diffusion-v1-5-inpainting",
];
/// And those of Stable Diffusion 2.
const NAMES_2: [&str; 15] = [
    "512-base-ema",
    "512-inpainting-ema",
    "512-depth-ema",
    "768-v-ema",
    "v2-1_512-ema-pruned",
    "v2-1_512-nonema-pruned",
    "v2-1_768-ema-pruned",
    "v2-1_768-nonema-pruned",
    "stable-diffusion-2",
    "stable-diffusion-2-base",
    "stable-diffusion-2-1",
    "stable-diffusion-2-1-base",
    "stable-diffusion-2-1-unclip",
    "stable-diffusion-2-inpainting",
    "stable-diffusion-2-depth",
];

/// The SHA-256 of public files of Stable Diffusion 1: 1.1 to 1.4 with and without the training's raw weights, 1.5 pruned and with its moving
/// average alone, both as a PyTorch and a safetensors file, 1.5 for inpainting.
const HASHES_1: [&str; 13] = [
    "86cd1d3ccb044d7ba8db743d717c9bac603c4043508ad2571383f954390f3cea",
    "efdeb5dc418a025d9a8cc0a8617e106c69044bc2925abecc8a254b2910d69829",
    "3b87d30facd5bafca1cbed71cfb86648aad75d1c264663c0cc78c7aea8daec0d",
    "bc5086a904d7b9d13d2a7bccf38f089824755be7261c7399d92e555e1e9ac69a",
    "2cff93af4dcc07c3e03110205988ff98481e86539c51a8098d4f2236e41f7f2f",
    "54632c6e8a36eecae65e36cb0595fab314e1a1545a65209f24fde221a8d4b2ca",
    "fe4efff1e174c627256e44ec2991ba279b3816e364b49f9be2abc0b3ff3f8556",
    "14749efc0ae8ef0329391ad4436feb781b402f4fece4883c7ad8d10556d8a36a",
    "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",
    "e1441589a6f3c5a53f5f54d0975a18a7feb7cdf0b0dee276dfc3331ae376a053",
    "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
    "1a189f0be69d6106a48548e7626207dddd7042a418dbf372cefd05e0cdba61b6",
    "c6bbc15e3224e6973459ba78de4998b80b50112b0ae5b5c67113d56b4e366b19",
];
/// And of Stable Diffusion 2: 2.0 at 512, at 768 and for inpainting, 2.1 at 512 and 768.
const HASHES_2: [&str; 5] = [
    "d635794c1fedfdfa261e065370bea59c651fc9bfa65dc6d67ad29e11869a1824",
    "bfcaf0755797b0c30eb00a3787e8b423eb1f5decd8de76c4d824ac2dd27e139f",
    "2a208a7ded5d42dcb0c0ec908b23c631002091e06afe7e76d16cd11079f8d4e3",
    "88ecb782561455673c4b78d05093494b9c539fc6bfc08f3a9a4a0dd7b0b10f36",
    "ad2a33c361c1f593c4a1fb32ea81afce2b5bb7d1983c6b94793a26a3b54b08a0",
];
/// The smallest of those files has more bytes: of a smaller one no hash need be known.
pub(crate) const SMALLEST_PUBLIC: u64 = 2_000_000_000;

/// The card of a model on the hub.
const CARD: &str = "README.md";
/// How the names of files with licences begin.
const FILE: &str = "LICENSE";
/// As much of such a file is read as its heading takes.
const HEADING: usize = 4096;
/// safetensors' metadata of a licence, as the ModelSpec has it.
const MODEL_SPEC: &str = "modelspec.license";

impl License {
    fn known((name, link): (&str, &str), source: LicenseSource) -> Self {
        Self { name: name.to_owned(), link: Some(link.to_owned()), source }
    }

    /// Of this name, with the link if it is one that is known here.
    fn named(name: &str, link: Option<&str>, source: LicenseSource) -> Self {
        let known = [OPEN_RAIL, OPEN_RAIL_PLUS].into_iter().find(|(known, _)| *known == name);
        let link = link.filter(|link| link.starts_with("https://")).or(known.map(|(_, link)| link));
        Self { name: name.to_owned(), link: link.map(str::to_owned), source }
    }

    /// Whether [`USE_RESTRICTIONS`] are a part of it.
    #[must_use]
    pub fn is_open_rail_m(&self) -> bool {
        FAMILY.contains(&self.name.to_ascii_lowercase().as_str())
    }

    /// That of a folder, by its card or its licence's file.
    pub(crate) fn of_folder(files: &Files) -> Option<Self> {
        let card = files.exists(CARD).then(|| files.read_text(CARD).ok()).flatten();
        card.and_then(|card| of_card(&card)).or_else(|| match files {
            Files::Folder(folder) => of_license_file(folder),
            Files::Memory(..) => None,
        })
    }

    /// That of a file of weights, by what it says itself or the card beside it. A licence's file beside it may be anything's.
    pub(crate) fn of_file(path: &Path, weights: &Checkpoint) -> Option<Self> {
        let own = weights.metadata().get(MODEL_SPEC).map(|text| text.trim()).filter(|text| !text.is_empty());
        own.map(|own| of_text(own).unwrap_or_else(|| Self::named(own, None, LicenseSource::Metadata)))
            .map(|license| Self { source: LicenseSource::Metadata, ..license })
            .or_else(|| {
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                let files = Files::Folder(folder);
                of_card(&files.exists(CARD).then(|| files.read_text(CARD).ok()).flatten()?)
            })
    }

    /// That of the public model of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.as_str();
        let known =
            if NAMES_1.contains(&name) { OPEN_RAIL } else { NAMES_2.contains(&name).then_some(OPEN_RAIL_PLUS)? };
        Some(Self::known(known, LicenseSource::Name))
    }

    /// That of the public file of this SHA-256.
    pub(crate) fn of_hash(hash: &str) -> Option<Self> {
        let known =
            if HASHES_1.contains(&hash) { OPEN_RAIL } else { HASHES_2.contains(&hash).then_some(OPEN_RAIL_PLUS)? };
        Some(Self::known(known, LicenseSource::Hash))
    }
}

/// What the YAML between the lines `---` at the beginning of a card says.
fn of_card(card: &str) -> Option<License> {
    let rest = card.trim_start_matches('\u{feff}').strip_prefix("---")?;
    let (front, _) = rest.split_once("\n---")?;
    let front = parse_yaml(front, CARD).ok()?;
    let text = |key: &str| front[key].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    // "other" is named by the field beside it.
    let name = text("license").filter(|name| name != "other").or_else(|| text("license_name"))?;
    Some(License::named(&name, text("license_link").as_deref(), LicenseSource::File(CARD.to_owned())))
}

/// What the first file does whose name begins with `LICENSE`, by its heading.
fn of_license_file(folder: &Path) -> Option<License> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.to_ascii_uppercase().starts_with(FILE)).collect();
    names.sort_unstable();
    // Of several the one that is told is the model's: a LICENSE beside a LICENSE-MODEL is that of the code.
    let read = |name: &String| {
        let text = calotype_files::read_text(&folder.join(name), 1 << 20).ok()?;
        let license = of_text(text.get(..HEADING).unwrap_or(&text))?;
        Some(License { source: LicenseSource::File(name.clone()), ..license })
    };
    names.iter().find_map(read).or_else(|| {
        let first = names.first()?;
        Some(License::named(&format!("see {first}"), None, LicenseSource::File(first.clone())))
    })
}

/// A licence of the Open RAIL-M family, by its title.
fn of_text(text: &str) -> Option<License> {
    let text: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '+').collect();
    let text = text.to_ascii_lowercase();
    let known = [("openrail++", OPEN_RAIL_PLUS), ("openrailm", OPEN_RAIL)];
    let known = known.into_iter().find(|(title, _)| text.contains(title))?.1;
    Some(License::known(known, LicenseSource::Metadata))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    fn of_folder(files: &[(&str, &str)]) -> Option<License> {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
        License::of_folder(&Files::Folder(folder.path().to_owned()))
    }

    #[test]
    fn a_folder_says_its_licence() {
        let card = "---\nlicense: creativeml-openrail-m\ntags:\n- text-to-image\n---\n# A model\nlicense: mit\n";
        let license = of_folder(&[("README.md", card)]).unwrap();
        assert!(license.is_open_rail_m());
        assert_eq!(license.source, LicenseSource::File("README.md".into()));
        assert_eq!(license.link.as_deref(), Some(OPEN_RAIL.1));
        let other = "---\r\nlicense: other\r\nlicense_name: mine\r\nlicense_link: https://x.org/l\r\n---\r\n";
        let license = of_folder(&[("README.md", other)]).unwrap();
        assert_eq!((license.name.as_str(), license.link.as_deref()), ("mine", Some("https://x.org/l")));
        assert!(!license.is_open_rail_m());
        for nothing in [
            "# A model\n---\nlicense: mit\n---\n",
            "---\ntags: []\n---\n",
            "---\n: [\n---\n",
            "---\nlicense: [a, b]\n---\n",
        ] {
            assert_eq!(of_folder(&[("README.md", nothing)]), None, "{nothing}");
        }
        assert_eq!(of_folder(&[]), None);
    }

    #[test]
    fn a_licences_file_is_told_by_its_title() {
        let title = "Copyright (c) 2022\n\nCreativeML Open RAIL-M\ndated August 22, 2022\n";
        let plus = "CreativeML Open RAIL++-M License\ndated November 24, 2022\n";
        for (files, expected) in [
            (vec![("LICENSE", title)], "creativeml-openrail-m"),
            (vec![("License.txt", title)], "creativeml-openrail-m"),
            (vec![("LICENSE", "MIT License"), ("LICENSE-MODEL", plus)], "openrail++"),
            (vec![("LICENSE", "MIT License")], "see LICENSE"),
        ] {
            assert_eq!(of_folder(&files).unwrap().name, expected);
        }
    }

    #[test]
    fn public_models_are_known_by_name_and_hash() {
        for (name, expected) in [
            ("sd-v1-4", Some("creativeml-openrail-m")),
            ("V1-5-Pruned-EMAonly", Some("creativeml-openrail-m")),
            ("stable-diffusion-2-1", Some("openrail++")),
            ("v2-1_768-ema-pruned", Some("openrail++")),
            ("my-model", None),
            ("sd-v1-4-mine", None),
        ] {
            assert_eq!(License::of_name(name).map(|license| license.name).as_deref(), expected, "{name}");
        }
        let hashes = HASHES_1.iter().chain(&HASHES_2);
        assert!(hashes.clone().all(|hash| hash.len() == 64 && License::of_hash(hash).unwrap().is_open_rail_m()));
        assert_eq!(License::of_hash(HASHES_2[0]).unwrap().name, "openrail++");
        assert_eq!(License::of_hash(&"0".repeat(64)), None);
    }
}
