//! Draw Things' settings: JSON in the comment of its XMP packet or of EXIF.

use serde_json::{Map, Value};

use super::{Program, draft::Draft, members, reader::Picture};
use crate::{Result, request::Upscaler};

const TABLE: &[(&str, &str)] = &[
    ("seed", "Seed"),
    ("steps", "Steps"),
    ("scale", "CFG scale"),
    ("sampler", "Sampler"),
    ("model", "Model"),
    ("size", "Size"),
    ("clip_skip", "Clip skip"),
];

/// Read elsewhere, or of other families of models, or of how it computed.
const SILENT: &[&str] = &[
    "c",
    "uc",
    "strength",
    "seed_mode",
    "lora",
    "hires_fix",
    "first_stage_size",
    "second_stage_strength",
    "mask_blur",
    "mask_blur_outset",
    "shift",
    "v2",
    "profile",
    "tanque",
    "tiled_decoding",
    "decoding_tile_width",
    "decoding_tile_height",
    "decoding_tile_overlap",
    "tiled_diffusion",
    "diffusion_tile_width",
    "diffusion_tile_height",
    "diffusion_tile_overlap",
    "target_size",
    "original_size",
    "negative_original_size",
    "stochastic_sampling_gamma",
];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    let is_own =
        |members: &Map<String, Value>| ["c", "seed", "sampler", "scale"].iter().all(|key| members.contains_key(*key));
    let in_xmp = || {
        let xmp = picture.xmp()?;
        let (_, comment) = xmp.split_once("exif:UserComment")?;
        let (json, _) = comment.split_once("</exif:UserComment")?;
        let json = unescaped(json.get(json.find('{')?..=json.rfind('}')?)?);
        calotype_files::json::from_str(&json).ok().filter(is_own)
    };
    let members: Map<String, Value> = in_xmp().or_else(|| picture.json(&["UserComment"], is_own))?;
    let mut draft = Draft::new(Program::DrawThings);
    let string = |name: &str| members::string(&members, name).unwrap_or_default().to_owned();
    let request = &mut draft.metadata.request;
    (request.prompt, request.negative_prompt) = (string("c"), string("uc"));
    draft.members(&members, TABLE, SILENT);
    match string("seed_mode").as_str() {
        "Torch CPU Compatible" => draft.setting("RNG", "CPU"),
        "Nvidia GPU Compatible" => draft.setting("RNG", "NV"),
        "" => {}
        other => draft.unread("seed_mode", other),
    }
    let hires = members.get("hires_fix").and_then(Value::as_bool).unwrap_or_default();
    if let (true, Some(first), Some(size)) = (hires, members::size(&string("first_stage_size")), draft.value("Size")) {
        // The size is that of the second pass.
        let size = size.to_owned();
        draft.setting("Size", &first);
        draft.setting("Hires resize", &size);
        draft.setting("Hires upscaler", "Latent");
        draft.hires().upscaler = Upscaler::Latent;
        let strength = members::number(&members, "second_stage_strength").unwrap_or(0.7);
        draft.setting("Denoising strength", &strength.to_string());
    } else if let Some(strength) = members::number(&members, "strength").filter(|strength| *strength < 1.0) {
        draft.setting("Denoising strength", &strength.to_string());
    }
    for lora in members.get("lora").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let weight = members::number(lora, "weight").unwrap_or(1.0) as f32;
        draft.lora(members::string(lora, "model").unwrap_or_default(), weight, weight);
    }
    Some(Ok(draft.complete(picture)))
}

/// The longest name of an entity of XML, with what ends it.
const LONGEST_ENTITY: usize = 9;

/// The text of XML without its entities.
fn unescaped(xml: &str) -> String {
    let mut out = String::with_capacity(xml.len());
    let mut rest = xml;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        let Some(end) = entity.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';') else {
            out.push('&');
            rest = entity;
            continue;
        };
        let (name, after) = (&entity[..end], &entity[end + 1..]);
        let numbered = |name: &str| {
            let digits = name.strip_prefix('#')?;
            let number = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(number)
        };
        match name {
            "quot" => out.push('"'),
            "apos" => out.push('\''),
            "amp" => out.push('&'),
            "lt" => out.push('<'),
            "gt" => out.push('>'),
            name => match numbered(name) {
                Some(c) => out.push(c),
                None => out.push_str(&format!("&{name};")),
            },
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_characters() {
        for (xml, text) in [
            ("{&quot;c&quot;:&quot;a &amp;lt; b&quot;}", "{\"c\":\"a &lt; b\"}"),
            ("&#10;&#xe9;&#X732B;&apos;&gt;", "\né猫'>"),
            ("&nothing; &; & &#xffffffff; &猫;", "&nothing; &; & &#xffffffff; &猫;"),
        ] {
            assert_eq!(unescaped(xml), text);
        }
    }
}
