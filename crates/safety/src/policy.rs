//! What is done with an image, by the scores that classifiers give it.
//!
//! A policy is a TOML file. Paths start from its folder.
//!
//! ```toml
//! watermark = "required"      # an image whose mark can't be read back from its file is not given; "wanted" is the default
//!
//! [[classifier]]
//! id = "checker"              # what scores and logs call it
//! kind = "safety_checker"     # or "vit", "open_nsfw", or "clip_heads" with heads = "FILE"
//! path = "sd15/safety_checker"
//!
//! [[score]]
//! classifier = "checker"
//! score = "nsfw"              # or "*" for all of its scores
//! flag = 0.5                  # from here on the image is labelled
//! block = 0.9                 # from here on `action` is done
//! action = "block"            # allow, label, blur, hold or block
//! ```

use std::path::{Path, PathBuf};

use calotype_image::RgbImage;
use calotype_tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    classify::{Classifier, ClipHeads, OpenNsfwClassifier, SafetyChecker, Score, VitClassifier},
};

/// What is done with an image. The later ones are the stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    #[default]
    Allow,
    /// The image is given, and it is said that it was flagged.
    Label,
    /// The image is given blurred.
    Blur,
    /// The image is given blurred, and kept apart for a person to decide ([`crate::review`]).
    Hold,
    /// The image is not given.
    Block,
}

impl Action {
    /// Its id: `allow`, `label`, `blur`, `hold`, `block`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Label => "label",
            Self::Blur => "blur",
            Self::Hold => "hold",
            Self::Block => "block",
        }
    }

    /// What an image is that it was done with: `allowed`, `flagged`, `blurred`, `held`, `blocked`.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Allow => "allowed",
            Self::Label => "flagged",
            Self::Blur => "blurred",
            Self::Hold => "held",
            Self::Block => "blocked",
        }
    }
}

/// A policy, whose classifiers are not in memory yet.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The classifiers.
    #[serde(rename = "classifier")]
    classifiers: Vec<ClassifierEntry>,
    /// What follows from their scores.
    #[serde(rename = "score")]
    thresholds: Vec<Threshold>,
    /// What becomes of images without a mark.
    #[serde(default)]
    watermark: WatermarkRule,
}

/// What becomes of images whose mark can't be read back from their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WatermarkRule {
    /// They are given, and it is said.
    #[default]
    Wanted,
    /// They are not given.
    Required,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifierEntry {
    id: String,
    kind: Kind,
    path: PathBuf,
    heads: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    SafetyChecker,
    Vit,
    ClipHeads,
    OpenNsfw,
}

/// From which score on what is done.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    classifier: String,
    score: String,
    flag: Option<f32>,
    block: Option<f32>,
    #[serde(default = "block")]
    action: Action,
}

fn block() -> Action {
    Action::Block
}

/// All scores.
const ALL: &str = "*";
/// A policy is far smaller.
const MAX_POLICY: u64 = 1 << 20;
/// The safety checker in policies that only name an action.
const CHECKER: &str = "safety_checker";

impl Policy {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// It can't be read, or is no policy; the message names the line or the row.
    pub fn load(path: &Path) -> Result<Self> {
        let text = calotype_files::read_text(path, MAX_POLICY)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let refuse = |problem: String| Error::Policy { path: path.to_owned(), problem };
        let mut policy: Self = toml::from_str(&text).map_err(|e| {
            let line = e.span().map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
            let at = line.map_or(String::new(), |line| format!("line {line}: "));
            refuse(format!("{at}{}", e.message().lines().collect::<Vec<_>>().join(" ")))
        })?;
        policy.check().map_err(refuse)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for entry in &mut policy.classifiers {
            entry.path = folder.join(&entry.path);
            entry.heads = entry.heads.as_ref().map(|heads| folder.join(heads));
        }
        Ok(policy)
    }

    /// The policy that does `action` with what the safety checker at `path` flags.
    #[must_use]
    pub fn of_checker(path: &Path, action: Action) -> Self {
        let id = || CHECKER.to_owned();
        let (score, flag) = ("nsfw".to_owned(), Some(0.5));
        Self {
            classifiers: vec![ClassifierEntry {
                id: id(),
                kind: Kind::SafetyChecker,
                path: path.to_owned(),
                heads: None,
            }],
            thresholds: vec![Threshold { classifier: id(), score, flag, block: flag, action }],
            watermark: WatermarkRule::Wanted,
        }
    }

    fn check(&self) -> Result<(), String> {
        for (n, entry) in self.classifiers.iter().enumerate() {
            if self.classifiers[..n].iter().any(|other| other.id == entry.id) {
                return Err(format!("two classifiers have the id {:?}", entry.id));
            }
            match (entry.kind, &entry.heads) {
                (Kind::ClipHeads, None) => return Err(format!("the classifier {:?} needs heads = \"FILE\"", entry.id)),
                (Kind::SafetyChecker | Kind::Vit | Kind::OpenNsfw, Some(_)) => {
                    return Err(format!(
                        "the classifier {:?} has heads, which are of kind \"clip_heads\" only",
                        entry.id
                    ));
                }
                _ => {}
            }
        }
        if self.thresholds.is_empty() {
            return Err("it has no [[score]], so it would let everything pass: add one".to_owned());
        }
        for Threshold { classifier, score, flag, block, action } in &self.thresholds {
            let row = format!("the score {score:?} of {classifier:?}");
            if self.classifiers.iter().all(|entry| entry.id != *classifier) {
                return Err(format!("{row}: there is no classifier of that id"));
            }
            match (flag, block) {
                (None, None) => return Err(format!("{row} has neither flag nor block: give one")),
                (Some(flag), Some(block)) if flag > block => {
                    return Err(format!("{row}: flag = {flag} is above block = {block}"));
                }
                _ if [flag, block].into_iter().flatten().any(|x| !x.is_finite()) => {
                    return Err(format!("{row}: expected finite numbers"));
                }
                (_, Some(_)) if *action == Action::Allow => {
                    return Err(format!("{row}: action = \"allow\" with a block would do nothing"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it does more than label: such images must not be seen in another way.
    #[must_use]
    pub fn hides_images(&self) -> bool {
        self.does(|action| action > Action::Label)
    }

    /// Whether images may have to be held.
    #[must_use]
    pub fn holds_images(&self) -> bool {
        self.does(|action| action == Action::Hold)
    }

    fn does(&self, is_meant: impl Fn(Action) -> bool) -> bool {
        self.thresholds.iter().any(|threshold| threshold.block.is_some() && is_meant(threshold.action))
    }

    /// Whether an image without a mark that can be read is not to be given.
    #[must_use]
    pub fn requires_watermark(&self) -> bool {
        self.watermark == WatermarkRule::Required
    }

    /// Reads its classifiers onto `device`.
    ///
    /// # Errors
    /// A classifier can't be had, or a row names a score that it does not give.
    pub fn open<D: Device>(&self, device: &D) -> Result<Guard> {
        let mut classifiers: Vec<(String, Box<dyn Classifier>)> = Vec::new();
        for entry in &self.classifiers {
            let classifier: Box<dyn Classifier> = match (entry.kind, &entry.heads) {
                (Kind::SafetyChecker, _) => Box::new(SafetyChecker::open(device, &entry.path)?),
                (Kind::Vit, _) => Box::new(VitClassifier::open(device, &entry.path)?),
                (Kind::OpenNsfw, _) => Box::new(OpenNsfwClassifier::open(device, &entry.path)?),
                (Kind::ClipHeads, heads) => {
                    let heads = heads.as_deref().unwrap_or(Path::new(""));
                    Box::new(ClipHeads::open(device, &entry.path, heads)?)
                }
            };
            let names = classifier.names();
            let of_this = self.thresholds.iter().filter(|threshold| threshold.classifier == entry.id);
            for Threshold { score, .. } in of_this.filter(|threshold| threshold.score != ALL) {
                if !names.contains(score) {
                    let problem = format!("it has no score {score:?}: expected one of {}", names.join(", "));
                    return Err(Error::Classifier { path: entry.path.clone(), problem });
                }
            }
            classifiers.push((entry.id.clone(), classifier));
        }
        Ok(Guard { classifiers, thresholds: self.thresholds.clone() })
    }
}

/// A policy with its classifiers in memory.
pub struct Guard {
    classifiers: Vec<(String, Box<dyn Classifier>)>,
    thresholds: Vec<Threshold>,
}

/// What a policy says of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The strictest of all that its scores ask for.
    pub action: Action,
    /// Every score of every classifier.
    pub scores: Vec<JudgedScore>,
}

/// A score, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgedScore {
    /// The classifier's id in the policy.
    pub classifier: String,
    /// The SHA-256 of its weights.
    pub version: String,
    /// The name of the score.
    pub score: String,
    /// The score.
    pub value: f32,
    /// From where on the image is labelled, by the policy's row for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<f32>,
    /// From where on the row's action is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<f32>,
    /// What it asks for.
    pub action: Action,
}

impl Guard {
    /// What the policy says of an image.
    ///
    /// # Errors
    /// A classifier fails: then nothing is known of the image, and it is not to be shown.
    pub fn judge(&self, image: &RgbImage) -> Result<Verdict> {
        let mut scores = Vec::new();
        for (id, classifier) in &self.classifiers {
            let version = classifier.version();
            scores.extend(classifier.scores(image)?.into_iter().map(|score| self.judged(id, version, score)));
        }
        let action = scores.iter().map(|score| score.action).max().unwrap_or_default();
        Ok(Verdict { action, scores })
    }

    fn judged(&self, id: &str, version: &str, Score { name, value }: Score) -> JudgedScore {
        // The row that asks for most, and of those that ask for the same the first.
        let of_this =
            self.thresholds.iter().filter(|row| row.classifier == id && (row.score == name || row.score == ALL));
        let strictest = of_this.map(|row| (row.asks(value), row)).reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (action, row) = strictest.map_or((Action::Allow, None), |(action, row)| (action, Some(row)));
        JudgedScore {
            classifier: id.to_owned(),
            version: version.to_owned(),
            score: name,
            value,
            flag: row.and_then(|row| row.flag),
            block: row.and_then(|row| row.block),
            action,
        }
    }
}

impl Threshold {
    fn asks(&self, value: f32) -> Action {
        match (self.flag, self.block) {
            (_, Some(block)) if value >= block => self.action,
            (Some(flag), _) if value >= flag => Action::Label,
            _ => Action::Allow,
        }
    }
}

impl Verdict {
    /// As JSON, each number with the fewest digits that tell it: what is read back from a text is then the same.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        // A struct of texts and numbers can always be written, and what is written be read.
        serde_json::to_string(self).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// The scores that ask for its action, for people: `checker nsfw 1.00 (from 0.50 on)`.
    #[must_use]
    pub fn reasons(&self) -> String {
        let asks = self.scores.iter().filter(|score| score.action == self.action && self.action > Action::Allow);
        let reason = |score: &JudgedScore| {
            let from = if score.action == Action::Label { score.flag.or(score.block) } else { score.block };
            let from = from.map_or(String::new(), |from| format!(" (from {from:.2} on)"));
            format!("{} {} {:.2}{from}", score.classifier, score.score, score.value)
        };
        asks.map(reason).collect::<Vec<_>>().join(", ")
    }
}

/// The image as it is shown under [`Action::Blur`]: its shapes and colours are lost, whatever its size.
#[must_use]
pub fn blurred(image: &RgbImage) -> RgbImage {
    let longest = image.width().max(image.height());
    calotype_image::blurred(image, f64::from(longest) / 12.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    /// Gives the red of the first pixel, and a half.
    struct Red;

    impl Classifier for Red {
        fn kind(&self) -> &'static str {
            "red"
        }
        fn version(&self) -> &str {
            "1"
        }
        fn names(&self) -> Vec<String> {
            vec!["red".into(), "half".into()]
        }
        fn scores(&self, image: &RgbImage) -> Result<Vec<Score>> {
            let values = [f32::from(image.data()[0]) / 255.0, 0.5];
            Ok(self.names().into_iter().zip(values).map(|(name, value)| Score { name, value }).collect())
        }
    }

    fn policy(rows: &str) -> Result<Policy> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, format!("[[classifier]]\nid = \"r\"\nkind = \"vit\"\npath = \"x\"\n{rows}")).unwrap();
        Policy::load(&path)
    }

    fn action(rows: &str, red: u8) -> Verdict {
        let policy = policy(rows).unwrap();
        let guard = Guard { classifiers: vec![("r".into(), Box::new(Red))], thresholds: policy.thresholds };
        guard.judge(&RgbImage::filled(1, 1, [red, 0, 0])).unwrap()
    }

    const RED: &str = "[[score]]\nclassifier = \"r\"\nscore = \"red\"\nflag = 0.2\nblock = 0.6\n";

    #[test]
    fn the_strictest_of_all_rows_is_done() {
        let actions = |rows: &str| [0, 51, 152, 153, 255].map(|red| action(rows, red).action);
        use Action::{Allow, Block, Blur, Hold, Label};
        assert_eq!(actions(RED), [Allow, Label, Label, Block, Block]);
        assert_eq!(actions(&format!("{RED}action = \"blur\"\n")), [Allow, Label, Label, Blur, Blur]);
        assert_eq!(actions(&format!("{RED}action = \"hold\"\n")), [Allow, Label, Label, Hold, Hold]);
        let all = "[[score]]\nclassifier = \"r\"\nscore = \"*\"\nblock = 0.5\naction = \"blur\"\n";
        assert_eq!(actions(all), [Blur; 5]);
        assert_eq!(actions(&format!("{all}{RED}")), [Blur, Blur, Blur, Block, Block]);
        let verdict = action(RED, 255);
        assert_eq!(verdict.reasons(), "r red 1.00 (from 0.60 on)");
        assert_eq!(verdict.scores.len(), 2);
        assert_eq!((verdict.scores[1].action, verdict.scores[1].flag), (Allow, None));
        let json = verdict.to_json();
        assert_eq!(json["scores"][0]["block"].to_string(), "0.6");
        assert_eq!((json["action"].as_str(), json["scores"][0]["score"].as_str()), (Some("block"), Some("red")));
    }

    #[test]
    fn what_would_let_everything_pass_is_refused() {
        let row = |text: &str| format!("[[score]]\nclassifier = \"r\"\n{text}\n");
        for (rows, expected) in [
            (String::new(), "missing field `score`"),
            ("score = []".to_owned(), "line 5: unknown field `score`"),
            (row("score = \"x\""), "has neither flag nor block"),
            (row("score = \"x\"\nflag = 2.0\nblock = 1.0"), "flag = 2 is above block = 1"),
            (row("score = \"x\"\nblock = nan"), "expected finite numbers"),
            (row("score = \"x\"\nblock = 1.0\naction = \"allow\""), "would do nothing"),
            (row("score = \"x\"\nblock = 1.0\naction = \"alow\""), "unknown variant `alow`"),
            (row("score = \"x\"\nblok = 1.0"), "unknown field `blok`"),
            (
                "[[score]]\nclassifier = \"s\"\nscore = \"x\"\nflag = 1.0".to_owned(),
                "there is no classifier of that id",
            ),
            (format!("heads = \"h\"\n{RED}"), "has heads, which are of kind"),
        ] {
            let message = policy(&rows).unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}\n{expected}");
        }
        assert!(policy(RED).unwrap().hides_images());
        assert!(!policy(&RED.replace("block = 0.6\n", "")).unwrap().hides_images());
        let hold = format!("{RED}action = \"hold\"");
        assert!(policy(&hold).unwrap().holds_images() && policy(&hold).unwrap().hides_images());
        assert!(!policy(RED).unwrap().holds_images());
    }

    #[test]
    fn nothing_is_left_to_see_in_a_blurred_image() {
        // A board of squares of a sixteenth of its side.
        let side = 256;
        let at = |n: usize| (n % side / 16 + n / side / 16) % 2;
        let data = (0..side * side).flat_map(|n| [if at(n) == 0 { 0 } else { 255 }; 3]).collect();
        let blurred = blurred(&RgbImage::new(256, 256, data).unwrap());
        let middle = (64..192).flat_map(|y| (64..192).map(move |x| (x, y)));
        assert!(middle.into_iter().all(|(x, y)| (110..=145).contains(&blurred.pixel(x, y).unwrap()[0])));
    }
}
