//! From the images of a run to results: the policy, files, the audit log.

use std::time::Instant;

use calotype::{CancelToken, Image, Output};
use calotype_image::FileFormat;
use calotype_publish::{FileOptions, HeldImage, InputFile, Judged, Made, Origin, Parents, Verdict};
use calotype_queue::{JobError, Outcome, ResultFile};
use serde_json::{Value, json};

use crate::{Notice, Order, Result, shared::Shared};

/// The images of a job on their way out.
pub(crate) struct Publication<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) order: &'a Order,
    pub(crate) origin: Origin,
    pub(crate) inputs: &'a [InputFile<'a>],
    pub(crate) cancel: &'a CancelToken,
}

/// What became of an image.
struct Published {
    file: Option<ResultFile>,
    verdict: Option<Value>,
    is_held: bool,
}

impl Publication<'_> {
    /// The files of the images, as far as the policy lets them through.
    pub(crate) fn publish(&self, output: Output, warnings: &mut Vec<String>) -> Result<Outcome> {
        let (mut results, mut reasons, mut is_held) = (Vec::new(), Vec::new(), false);
        let total = output.images.len();
        for (number, image) in output.images.into_iter().enumerate() {
            self.cancel.check().map_err(calotype::Error::from)?;
            let published = self.publish_one(number, image, warnings)?;
            if let Some(verdict) = &published.verdict {
                reasons.push(json!({"n": number, "verdict": verdict}));
            }
            is_held |= published.is_held;
            results.extend(published.file);
        }
        for result in &mut results {
            result.about["warnings"] = json!(warnings);
        }
        if is_held {
            return Ok(Outcome::Held(results, json!({"images": reasons})));
        }
        if results.is_empty() {
            let what = if total == 1 { "the image is" } else { "all images are" };
            let message = format!("{what} blocked by the policy of this server");
            return Ok(Outcome::Failed(JobError { code: "image_blocked".to_owned(), message }));
        }
        Ok(Outcome::Succeeded(results))
    }

    fn publish_one(&self, number: usize, image: Image, warnings: &mut Vec<String>) -> Result<Published> {
        let shared = self.shared;
        let publisher = &shared.publisher;
        let begin = Instant::now();
        let mut metadata = image.metadata()?;
        let Judged { shown, held, verdict, notes } = publisher.judge(image.pixels, &mut metadata, &self.origin)?;
        warnings.extend(notes.iter().map(ToString::to_string));
        for score in verdict.iter().flat_map(|verdict| &verdict.scores) {
            let (classifier, verdict) = (score.classifier.clone(), score.action.id().to_owned());
            shared.tell(&Notice::Verdict { classifier, verdict });
        }
        shared.tell(&Notice::Took { stage: "check", time: begin.elapsed() });
        let said = verdict.as_ref().map(Verdict::to_json);
        let Some(shown) = shown else { return Ok(Published { file: None, verdict: said, is_held: false }) };

        let begin = Instant::now();
        let options = FileOptions {
            quality: self.order.output.quality,
            parents: Parents::Memory(self.inputs),
            ..FileOptions::new(self.order.output.format.file_format())
        };
        // An original that is held has a mark of its own, for when it is released; who decides sees a blurred copy first.
        let mut of_copy = metadata.clone();
        let pixels = held.as_ref().unwrap_or(&shown);
        let (file, notes) = publisher.file(pixels, &mut metadata, &options)?;
        warnings.extend(notes.iter().map(ToString::to_string));
        let copy = match held {
            Some(_) => {
                let options = FileOptions { parents: options.parents, ..FileOptions::new(FileFormat::Jpeg) };
                Some(publisher.file(&shown, &mut of_copy, &options)?.0)
            }
            None => None,
        };
        shared.tell(&Notice::Took { stage: "file", time: begin.elapsed() });

        let begin = Instant::now();
        let original = Made { metadata: &metadata, file: &file };
        let mut about = json!({
            "n": number,
            "width": pixels.width(),
            "height": pixels.height(),
            "seed": metadata.request.seed,
            "verdict": verdict.as_ref().map(|verdict| verdict.action.id()),
            "infotext": metadata.parameters(),
            "metadata": serde_json::from_str::<Value>(&metadata.to_json()).unwrap_or_default(),
        });
        // The line comes before the row that makes the image visible.
        let sha256 = match (&copy, &verdict) {
            (Some(copy), Some(verdict)) => {
                let sha256 = shared.held.put(&file)?;
                let blurred = shared.held.put(copy)?;
                let held = HeldImage { id: &sha256, verdict, original, copy: Made { metadata: &of_copy, file: copy } };
                let entry = publisher.record_held(held, blurred.as_ref(), &self.origin)?;
                about["blurred"] = json!(blurred);
                about["entry"] = serde_json::to_value(entry).unwrap_or_default();
                sha256
            }
            _ => {
                let sha256 = shared.results.put(&file)?;
                publisher.record(original, verdict.as_ref(), sha256.as_ref(), &self.origin)?;
                sha256
            }
        };
        shared.tell(&Notice::Took { stage: "store", time: begin.elapsed() });
        let media_type = self.order.output.format.media_type().to_owned();
        let bytes = file.len() as u64;
        let is_held = copy.is_some();
        Ok(Published { file: Some(ResultFile { sha256, bytes, media_type, about }), verdict: said, is_held })
    }
}
