//! What a picture's file says, written and read again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::{BatchMetadata, Hires, LatentsMetadata, Metadata, NoiseMetadata, OneOf, Rng, SeedPer, Tiling, Upscaler};

/// No field as by default.
fn metadata() -> Metadata {
    Metadata {
        version: "9.9".into(),
        prompt: "a tree,\nin \"autumn\": Steps: 3".into(),
        negative_prompt: "blurry, red\nblue".into(),
        num_inference_steps: 21,
        sampler: "dpmpp_2m".into(),
        schedule: "karras".into(),
        eta: 0.5,
        guidance_scale: 7.3,
        seed: u64::MAX,
        noise: NoiseMetadata {
            rng: "nv".into(),
            variation_seed: Some(77),
            variation_strength: 0.25,
            seed_resize: Some([512, 768]),
            eta_noise_seed_delta: -31337,
            batch: Some(BatchMetadata { seed_per: "batch".into(), fixed_code: true, size: 3, index: 1, position: 2 }),
        },
        width: 320,
        height: 64,
        model: "one, two: three".into(),
        model_hash: "0123456789abcdef".into(),
        precision: "bf16".into(),
        latents: Some(LatentsMetadata { file: "a.safetensors".into(), sha256: "ff".into(), index: 3 }),
        init: None,
        hires: Some(Hires {
            width: 640,
            height: 128,
            num_inference_steps: Some(9),
            strength: 0.35,
            upscaler: Upscaler::LatentBicubic,
        }),
        tiling: Tiling::X,
    }
}

#[test]
fn json_says_everything() {
    assert_eq!(Metadata::from_json(&metadata().to_json()).unwrap(), metadata());
    for damaged in ["", "3", "{\"seed\": -1}", "{\"seed\": \"a\"}"] {
        let error = Metadata::from_json(damaged).unwrap_err().to_string();
        assert!(error.starts_with("the picture's metadata are damaged: ") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a1111s_text_says_what_it_has_words_for() {
    let read = Metadata::from_parameters(&metadata().parameters());
    assert_eq!(read.unread, []);
    let expected = Metadata {
        version: "calotype 9.9".into(),
        model_hash: "0123456789".into(),
        precision: String::new(),
        latents: None,
        ..metadata()
    };
    assert_eq!(read.metadata, expected);
}

#[test]
fn a1111s_own_text_is_read() {
    let text = "a (cat:1.2), <lora:x:1>\nsecond line\nNegative prompt: bad, worse\nworst\n\
        Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, \
        Model hash: 6ce0161689, Model: v1-5-pruned, Magic: 3, Lora hashes: \"x: 1234, y: 56\", Version: v1.10.1";
    let read = Metadata::from_parameters(text);
    let m = read.metadata;
    assert_eq!(
        (m.prompt.as_str(), m.negative_prompt.as_str()),
        ("a (cat:1.2), <lora:x:1>\nsecond line", "bad, worse\nworst")
    );
    assert_eq!((m.num_inference_steps, m.sampler.as_str(), m.schedule.as_str()), (20, "euler_a", "karras"));
    assert_eq!((m.guidance_scale, m.seed, m.width, m.height), (7.0, 965_400_086, 512, 768));
    assert_eq!((m.model_hash.as_str(), m.model.as_str()), ("6ce0161689", "v1-5-pruned"));
    assert_eq!(m.noise, NoiseMetadata { rng: "cuda".into(), ..NoiseMetadata::default() }, "what goes without saying");
    let unread: Vec<(&str, &str)> = read.unread.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(unread, [("Magic", "3"), ("Lora hashes", "x: 1234, y: 56")]);
}

#[test]
fn any_text_is_read_as_far_as_it_goes() {
    for (text, prompt, unread) in [
        ("", "", 0),
        ("just a prompt", "just a prompt", 0),
        ("a\nb: c, d: e", "a\nb: c, d: e", 0),
        ("a\nSteps: x, Seed: -1, Size: 3", "a", 3),
        ("Steps: 5, Seed: 2, Size: 8x8", "", 0),
        ("a\nSteps: \"5, Seed: 2, Size: 8x8", "a", 1),
    ] {
        let read = Metadata::from_parameters(text);
        assert_eq!((read.metadata.prompt.as_str(), read.unread.len()), (prompt, unread), "{text:?}");
    }
}

#[test]
fn noise_is_asked_for_again() {
    let request = metadata().request().unwrap();
    let noise = &request.noise;
    assert_eq!((noise.rng, noise.seed_per, noise.fixed_code), (Rng::Nv, SeedPer::Batch, true));
    assert_eq!((request.seed, noise.batch_index), (u64::MAX, 1));
    assert_eq!(noise.one_of, Some(OneOf { batch_size: 3, position: 2 }));
    assert_eq!((noise.seed_resize, noise.eta_noise_seed_delta), (Some([512, 768]), -31337));
    assert_eq!(noise.variation.map(|v| (v.seed, v.strength)), Some((77, 0.25)));

    let setting = |key: &str, value: &str| {
        let text = format!("a\nSteps: 2, Seed: 1, Size: 8x8, {key}: {value}");
        let read = Metadata::from_parameters(&text);
        (read.metadata.noise, read.unread.len())
    };
    for (key, value) in [
        ("RNG", "XY"),
        ("Seed per", "batch 1 2"),
        ("Seed per", "day 1 2 3"),
        ("Seed per", "batch 1 2 3 x"),
        ("Variation seed", "-1"),
        ("Seed resize from", "8"),
        ("ENSD", "x"),
    ] {
        assert_eq!(setting(key, value).1, 1, "{key} {value}");
    }
    assert_eq!(setting("Seed resize from", "-1x-1").1, 1);
    assert_eq!(setting("Seed resize from", "0x0"), (NoiseMetadata { rng: "cuda".into(), ..Default::default() }, 0));
    assert_eq!(setting("RNG", "CPU"), (NoiseMetadata::default(), 0));
}
