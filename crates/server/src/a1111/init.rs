//! What img2img starts from.

use axum::http::StatusCode;
use calotype::{
    Request,
    request::{FileRef, Fill, Init, Inpaint, InputImage, ResizeMode},
};
use calotype_engine::Engine;

use super::{
    fields::{Fields, Warnings},
    request::STRENGTH,
    settings::Settings,
};
use crate::{
    job_body::{decode_base64, put},
    problem::{Problem, Result},
};

/// How many pixels a mask is blurred by, where nothing is said.
const MASK_BLUR: i64 = 4;

/// The image to start from, and what of it is to change.
pub(super) fn fill(
    engine: &Engine,
    fields: &Fields<'_>,
    settings: &Settings,
    request: &mut Request,
    warnings: &Warnings,
) -> Result<()> {
    let images = fields.texts("init_images")?;
    let [image] = images.as_slice() else {
        return Err(match images.len() {
            0 => Problem::new(StatusCode::NOT_FOUND, "no_init_image", "Init image not found").param("init_images"),
            n => Problem::invalid("init_images", format!("there are {n} init_images: send a request for each")),
        });
    };
    let open = |text: &str, param: &str| {
        let sha256 = put(engine, &decode_base64(text, param)?, param)?;
        Ok::<_, Problem>(InputImage::from(FileRef { file: String::new(), sha256 }))
    };
    let mode = match fields.int("resize_mode")?.unwrap_or(0) {
        0 => ResizeMode::JustResize,
        1 => ResizeMode::Crop,
        2 => ResizeMode::Fill,
        3 => ResizeMode::Latent,
        other => return Err(Problem::invalid("resize_mode", format!("resize_mode {other} is none of 0, 1, 2 and 3"))),
    };
    if let Some(multiplier) = fields.float("initial_noise_multiplier")? {
        request.init_noise_multiplier = multiplier;
    }
    let inpaint = match fields.word("mask")? {
        Some(mask) => Some(inpaint(fields, settings, open(&mask, "mask")?)?),
        None => None,
    };
    if fields.flag("include_init_images")? {
        warnings.add("include_init_images: the answer has them in parameters only");
    }
    request.init = Some(Init {
        strength: fields.float("denoising_strength")?.unwrap_or(STRENGTH),
        strength_rule: settings.strength_rule(),
        resize_mode: mode,
        inpaint,
        ..Init::new(open(image, "init_images")?)
    });
    Ok(())
}

fn inpaint(fields: &Fields<'_>, settings: &Settings, mask: InputImage) -> Result<Inpaint> {
    let [x, y] = match fields.float("mask_blur")? {
        Some(blur) => [blur; 2],
        None => [
            fields.float("mask_blur_x")?.unwrap_or(MASK_BLUR as f64),
            fields.float("mask_blur_y")?.unwrap_or(MASK_BLUR as f64),
        ],
    };
    if x != y {
        return Err(Problem::invalid("mask_blur_y", "mask_blur_x and mask_blur_y: give both the same"));
    }
    let fill = match fields.int("inpainting_fill")?.unwrap_or(0) {
        0 => Fill::Fill,
        1 => Fill::Original,
        2 => Fill::LatentNoise,
        3 => Fill::LatentNothing,
        other => {
            let detail = format!("inpainting_fill {other} is none of 0, 1, 2 and 3");
            return Err(Problem::invalid("inpainting_fill", detail));
        }
    };
    let is_of_part = fields.get("inpaint_full_res").is_none() || fields.flag("inpaint_full_res")?;
    let padding = fields.count("inpaint_full_res_padding")?.unwrap_or(0);
    Ok(Inpaint {
        mask_blur: x,
        invert_mask: fields.int("inpainting_mask_invert")?.unwrap_or(0) != 0,
        only_masked_padding: is_of_part.then(|| u32::try_from(padding).unwrap_or(u32::MAX)),
        fill,
        conditioning_mask_strength: settings.mask_weight()?,
        ..Inpaint::new(Some(mask))
    })
}
