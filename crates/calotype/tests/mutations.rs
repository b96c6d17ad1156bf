//! What pictures say of how they were made, and the configs of a folder, changed at random: each is read or refused by one
//! line, and what is read of a picture is written so that it is read again the same. The test command makes twenty thousand,
//! the same every time; `MUTATIONS` and `SEED` make others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use calotype::{
    Model,
    metadata::{Metadata, Reading, read},
};
use calotype_image::{RgbImage, encode_png};
use tempfile::TempDir;

use crate::common::Sizes;

/// A1111's text, with all that it may say.
const TEXTS: [&str; 3] = [
    "a cat, (b:1.2) <lora:x:0.5>\nNegative prompt: dog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512, Model hash: 6ce0161689, Model: v1-5, Denoising strength: 0.7, Clip skip: 2, ENSD: 31337, RNG: NV, Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent, Lora hashes: \"a: 123456, b: 7\", Version: v1.10.0",
    "x\nSteps: 1, Sampler: Euler a, CFG scale: 1, Seed: 1, Size: 8x8, TI hashes: \"q: 1\", Mask blur: 4, Variation seed: 5, Variation seed strength: 0.2, Eta: 0.5, Tiling: True",
    "Steps: 50, Sampler: DDIM, Seed: 18446744073709551615, Size: 64x64, Inpaint area: Only masked, Masked area padding: 32",
];

#[test]
fn texts_that_are_wrong() {
    let words: [&[u8]; 12] = [
        b", ",
        b": ",
        b"\n",
        b"\"",
        b"Steps: ",
        b"Size: 99999x0",
        b"-1",
        b"1e999",
        b"NaN",
        b"Hires upscale: 0",
        b"Schedule type: x",
        b"\\",
    ];
    crate::mutator::run("metadata", &TEXTS.map(|text| text.as_bytes().to_vec()), &words, |bytes| {
        let Reading { metadata: read, unread, .. } = Metadata::from_parameters(&String::from_utf8_lossy(&bytes));
        // Infinity and NaN, which a text may have, JSON has not.
        if let Ok(again) = Metadata::from_json(&read.to_json()) {
            assert_eq!(again.to_json(), read.to_json());
        }
        let _ = Metadata::from_parameters(&read.parameters());
        one_line(read.request(&[])) && unread.is_empty()
    });
}

#[test]
fn json_that_is_wrong() {
    let corpus = TEXTS.map(|text| Metadata::from_parameters(text).metadata.to_json().into_bytes());
    let words: [&[u8]; 10] =
        [b"null", b"true", b"{}", b"[]", b"-1", b"1e999", b"18446744073709551616", b"\"\"", b",", b":"];
    crate::mutator::run("metadata_json", &corpus, &words, |bytes| {
        one_line(Metadata::from_json(&String::from_utf8_lossy(&bytes)).and_then(|read| read.request(&[])))
    });
}

/// What other programs write, and under which keyword.
const OF_OTHERS: [(&str, &str); 8] = [
    (
        "prompt",
        r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 6, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0], "latent_image": ["5", 0]}}, "4": {"class_type": "LoraLoader", "inputs": {"lora_name": "a", "strength_model": 1, "model": ["8", 0]}}, "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 2}}, "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (cat:1.2)", "clip": ["4", 1]}}, "8": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x"}}, "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}}"#,
    ),
    (
        "parameters",
        r#"{"sui_image_params": {"prompt": "a <lora:x>", "seed": 1, "steps": "6", "width": 64, "height": 64, "sampler": "ddim", "loras": ["a"], "loraweights": "1", "clipstopatlayer": "-2"}}"#,
    ),
    (
        "parameters",
        r#"{"base_model": "x", "prompt": "a", "seed": "1", "steps": 6, "resolution": "(64, 64)", "sampler": "euler", "scheduler": "karras", "loras": [["a", 1, "b"]], "lora_combined_1": "a : 1"}"#,
    ),
    (
        "invokeai_metadata",
        r#"{"positive_prompt": "a++ (b c)1.2 [d]", "seed": 1, "steps": 6, "scheduler": "euler_k", "clip_skip": 1, "width": 8, "height": 8, "loras": [{"lora": {"name": "a"}, "weight": 1}]}"#,
    ),
    (
        "sd-metadata",
        r#"{"app_id": "i", "app_version": "v2.2", "image": {"prompt": [{"prompt": "a [b]"}], "steps": 6, "seed": 1, "sampler": "k_lms", "variations": [{"seed": 1, "weight": 0.1}]}}"#,
    ),
    ("Dream", r#""a (b)+ [c]" -s6 -S 1 -W 64 -H64 -C 7.5 -A k_lms --grid -ft x"#),
    (
        "XML:com.adobe.xmp",
        r#"<exif:UserComment><li>{&quot;c&quot;:&quot;a&amp;&quot;,&quot;seed&quot;:1,&quot;sampler&quot;:&quot;DDIM&quot;,&quot;scale&quot;:7,&quot;hires_fix&quot;:true,&quot;first_stage_size&quot;:&quot;8x8&quot;,&quot;size&quot;:&quot;9x9&quot;}</li></exif:UserComment>"#,
    ),
    (
        "UserComment",
        r#"{"Software": "NovelAI", "Comment": "{\"prompt\": \"{a [b} c]\", \"seed\": 1, \"steps\": 6, \"sampler\": \"k_euler\", \"noise_schedule\": \"native\"}"}"#,
    ),
];

#[test]
fn what_others_write_wrongly() {
    let words: [&[u8]; 14] = [
        b"null",
        b"1e999",
        b"-1",
        b"NaN",
        b"[\"3\", 0]",
        b"{}",
        b"[]",
        b"\"",
        b"&#",
        b"++++",
        b"(((",
        b"]",
        b"18446744073709551615",
        b"\"4\"",
    ];
    let picture = RgbImage::filled(8, 8, [0; 3]);
    for (number, (keyword, text)) in OF_OTHERS.into_iter().enumerate() {
        let sound = encode_png(&picture, &[(keyword, text)]).unwrap();
        assert!(read(&sound).is_ok_and(|reading| !reading.is_complete), "{keyword}: {text}");
        let corpus = [text.as_bytes().to_vec()];
        crate::mutator::run_part(10, &format!("others_{number}"), &corpus, &words, |bytes| {
            let text = String::from_utf8_lossy(&bytes);
            let file = encode_png(&picture, &[(keyword, &text)]).unwrap();
            let reading = read(&file);
            if let Ok(reading) = &reading {
                let _ = Metadata::from_parameters(&reading.metadata.parameters());
                let _ = (reading.metadata.to_json(), one_line(reading.metadata.request(&[])));
            }
            one_line(reading)
        });
    }
}

/// The files of a folder that no network's config is; a folder takes milliseconds.
#[test]
fn folders_that_are_wrong() {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    for name in ["scheduler/scheduler_config.json", "model_index.json"] {
        let path = folder.path().join(name);
        let sound = fs::read(&path).unwrap();
        let words: [&[u8]; 10] = [
            b"null",
            b"1e300",
            b"-1",
            b"0",
            b"\"linear\"",
            b"\"v_prediction\"",
            b"{}",
            b"[1]",
            b"18446744073709551615",
            b",",
        ];
        crate::mutator::run_part(20, name, std::slice::from_ref(&sound), &words, |bytes| {
            fs::write(&path, bytes).unwrap();
            one_line(Model::open(folder.path()).map_err(calotype::Error::from))
        });
        fs::write(&path, sound).unwrap();
    }
}

fn one_line<T>(result: calotype::Result<T>) -> bool {
    result.map_or_else(
        |error| {
            assert!(!error.to_string().contains('\n'), "{error}");
            false
        },
        |_| true,
    )
}
