//! What a picture's file says, written and read again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::{
    Precision, Request,
    adapters::{AdapterKind, AdapterMetadata},
    metadata::{BatchMetadata, DigitalSourceType, LatentsMetadata, Metadata, WatermarkMetadata},
    request::{BatchPlace, Emphasis, Hires, OneOf, PromptStyle, Tiling, Upscaler},
    sampling::{Rng, SamplerKind, SamplerSettings, ScheduleKind, SeedPer, UniPcSkipType, UniPcVariant},
};

/// No field as by default.
fn metadata() -> Metadata {
    let request = Request {
        prompt: "a tree,\nin \"autumn\": Steps: 3".into(),
        negative_prompt: "blurry, red\nblue".into(),
        prompt_style: PromptStyle::A1111,
        emphasis: Emphasis::NoNorm,
        old_prompt_editing: true,
        clip_skip: 2,
        num_inference_steps: 21,
        sampler: SamplerKind::Dpmpp2m,
        schedule: ScheduleKind::Karras,
        eta: Some(0.5),
        sampler_settings: SamplerSettings {
            s_churn: 3.5,
            s_tmin: 0.1,
            s_tmax: Some(9.5),
            s_noise: 1.01,
            rho: Some(5.0),
            sigma_min: Some(0.05),
            sigma_max: Some(12.0),
            beta_alpha: 0.5,
            beta_beta: 0.7,
            discard_next_to_last_sigma: true,
            sgm_noise_multiplier: true,
            uni_pc_variant: UniPcVariant::Bh2,
            uni_pc_skip_type: UniPcSkipType::LogSnr,
            uni_pc_order: 2,
            uni_pc_lower_order_final: false,
        },
        guidance_scale: 7.3,
        seed: u64::MAX,
        rng: Rng::Nv,
        variation_seed: Some(77),
        variation_strength: 0.25,
        seed_resize: Some([512, 768]),
        eta_noise_seed_delta: -31337,
        init_noise_multiplier: 1.25,
        extra_noise: 0.125,
        width: Some(320),
        height: Some(64),
        hires: Some(Hires {
            width: 640,
            height: 128,
            num_inference_steps: Some(9),
            strength: 0.35,
            upscaler: Upscaler::LatentBicubic,
            network: None,
        }),
        tiling: Tiling::X,
        ..Request::default()
    };
    Metadata {
        version: "9.9".into(),
        request,
        batch: Some(BatchMetadata { seed_per: SeedPer::Batch, fixed_code: true, size: 3, index: 1, position: 2 }),
        model: "one, two: three".into(),
        model_hash: "0123456789abcdef".into(),
        license: "creativeml-openrail-m".into(),
        safety: Some(serde_json::json!({"action": "label", "scores": []})),
        noise_schedule: "Zero Terminal SNR".into(),
        adapters: vec![AdapterMetadata {
            kind: AdapterKind::Lora,
            name: "ink, thin".into(),
            called: None,
            file: "loras/ink, thin.safetensors".into(),
            sha256: "ab".into(),
            short_hash: "cdef01234567".into(),
            text_encoder: Some(0.5),
            unet: Some(0.75),
            ranks: Some(4),
        }],
        precision: Some(Precision::BF16),
        vae_precision: Some(Precision::F32),
        latents: Some(LatentsMetadata { file: "a.safetensors".into(), sha256: "ff".into(), index: 3 }),
        digital_source_type: Some(DigitalSourceType::CompositeWithTrainedAlgorithmicMedia),
        postprocessing: None,
        watermark: Some(WatermarkMetadata { scheme: "tiled".into(), id: Some("00ff".into()), strength: 2 }),
    }
}

/// What a request says of its noise, but for the seed.
fn noise(request: &Request) -> String {
    let &Request { rng, variation_seed, variation_strength, seed_resize, eta_noise_seed_delta, .. } = request;
    let &Request { init_noise_multiplier, extra_noise, seed_per, fixed_code, .. } = request;
    let seeds = (rng, variation_seed, variation_strength, seed_resize, eta_noise_seed_delta, seed_per, fixed_code);
    format!("{seeds:?} {init_noise_multiplier} {extra_noise}")
}

#[test]
fn json_says_everything() {
    assert_eq!(Metadata::from_json(&metadata().to_json()).unwrap(), metadata());
    for damaged in ["", "3", "{\"seed\": -1}", "{\"seed\": \"a\"}"] {
        let error = Metadata::from_json(damaged).unwrap_err().to_string();
        assert!(error.starts_with("the picture's metadata are damaged: ") && !error.contains('\n'), "{error}");
    }
}

/// After all that version 0.1.0 wrote, and not at all where there is nothing to say.
#[test]
fn marks_are_said_last() {
    let json = metadata().to_json();
    let last = r#","digital_source_type":"compositeWithTrainedAlgorithmicMedia","watermark":{"scheme":"tiled","id":"00ff","strength":2}}"#;
    assert!(json.ends_with(last), "{json}");
    let weakest = WatermarkMetadata { scheme: "tiled".into(), ..WatermarkMetadata::default() };
    let json = Metadata { watermark: Some(weakest), ..metadata() }.to_json();
    assert!(json.ends_with(r#""watermark":{"scheme":"tiled"}}"#), "{json}");
    let bare = Metadata { digital_source_type: None, watermark: None, ..metadata() };
    assert_eq!(bare.to_json(), format!("{}}}", metadata().to_json().strip_suffix(last).unwrap()));
    assert_eq!(bare.xmp(), None);
}

#[test]
fn a1111s_text_says_what_it_has_words_for() {
    // Of adapters its text has names and hashes; how strong they are stands in the prompt.
    let plain = Metadata { adapters: Vec::new(), ..metadata() };
    let read = Metadata::from_parameters(&plain.parameters());
    assert_eq!(read.unread, []);
    let expected = Metadata {
        version: "calotype 9.9".into(),
        model_hash: "0123456789".into(),
        license: String::new(),
        safety: None,
        precision: None,
        vae_precision: None,
        latents: None,
        digital_source_type: None,
        watermark: None,
        ..plain
    };
    assert_eq!(read.metadata, expected);
    let read = Metadata::from_parameters(&metadata().parameters());
    assert!(read.metadata.request.prompt.ends_with("<lora:ink, thin:0.5:0.75:4>"), "{:?}", read.metadata);
    assert_eq!(read.metadata.adapters[0].short_hash, "cdef01234567");
}

#[test]
fn a1111s_own_text_is_read() {
    let text = "a (cat:1.2), <lora:x:1>\nsecond line\nNegative prompt: bad, worse\nworst\n\
        Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, \
        Model hash: 6ce0161689, Model: v1-5-pruned, Clip skip: 2, Magic: 3, Lora hashes: \"x: 1234, y: 56\", Version: v1.10.1";
    let read = Metadata::from_parameters(text);
    let (m, r) = (&read.metadata, &read.metadata.request);
    assert_eq!(
        (r.prompt.as_str(), r.negative_prompt.as_str()),
        ("a (cat:1.2), <lora:x:1>\nsecond line", "bad, worse\nworst")
    );
    assert_eq!((r.num_inference_steps, r.sampler.id(), r.schedule.id()), (20, "euler_a", "karras"));
    assert_eq!((r.prompt_style.id(), r.clip_skip), ("a1111", 2));
    assert_eq!((r.guidance_scale, r.seed, r.width, r.height), (7.0, 965_400_086, Some(512), Some(768)));
    assert_eq!((m.model_hash.as_str(), m.model.as_str()), ("6ce0161689", "v1-5-pruned"));
    assert_eq!(
        (noise(r), &m.batch),
        (noise(&Request { rng: Rng::Cuda, ..Request::default() }), &None),
        "what goes without saying"
    );
    let unread: Vec<(&str, &str)> = read.unread.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(unread, [("Magic", "3")]);
    let hashes: Vec<(&str, &str)> = m.adapters.iter().map(|a| (a.name.as_str(), a.short_hash.as_str())).collect();
    assert_eq!(hashes, [("x", "1234"), ("y", "56")]);
}

/// What A1111 leaves out, and how it wrote schedules before its version 1.9.
#[test]
fn a1111s_schedules_are_read() {
    let read = |settings: &str| {
        let read = Metadata::from_parameters(&format!("a\nSteps: 20, {settings}, Seed: 1, Size: 8x8")).metadata;
        (read.request.sampler.id(), read.request.schedule.id())
    };
    let is = |sampler, schedule| (sampler, schedule);
    assert_eq!(read("Sampler: DPM++ 3M SDE, Version: v1.10.1"), is("dpmpp_3m_sde", "automatic"));
    assert_eq!(read("Sampler: DPM++ 2M, Schedule type: Karras"), is("dpmpp_2m", "automatic"));
    assert_eq!(read("Sampler: DPM++ 2M SDE Karras"), is("dpmpp_2m_sde", "karras"));
    assert_eq!(read("Sampler: Euler, Schedule type: SGM Uniform"), is("euler", "sgm_uniform"));
    assert_eq!(read("Sampler: Euler, Version: calotype 1.0"), is("euler", "default"));
    let magic = Metadata::from_parameters("a\nSteps: 20, Sampler: Magic, Seed: 1, Schedule type: Black, Eta DDIM: 0.3");
    let unread: Vec<&str> = magic.unread.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((unread, magic.metadata.request.eta), (vec!["Sampler", "Schedule type"], Some(0.3)));
}

/// Before its version 1.9 a sampler without a schedule in its name had the plain one.
#[test]
fn a1111s_schedules_are_those_of_its_version() {
    for (settings, schedule) in [
        ("Sampler: DPM++ 2M, Version: v1.5.1", "uniform"),
        ("Sampler: DPM++ 2M Karras, Version: v1.5.1", "automatic"),
        ("Sampler: DPM++ 2M", "uniform"),
        ("Sampler: DPM++ 2M, Schedule type: karras, Version: v1.6.0", "automatic"),
        ("Sampler: DPM++ 3M SDE, Version: v1.8.0", "uniform"),
        ("Sampler: DPM++ 2M, Version: f0.0.17v1.8.0rc-latest-276-g29be1da7", "uniform"),
        ("Sampler: Restart, Version: v1.6.0", "automatic"),
        ("Sampler: UniPC, Version: v1.5.1", "automatic"),
        ("Sampler: Euler, Version: v1.5.1", "automatic"),
        ("Sampler: dpm++2m, Version: stable-diffusion.cpp", "uniform"),
        ("Sampler: DPM++ 2M, Version: ComfyUI", "uniform"),
        ("Sampler: DPM++ 2M, Version: v1.9.0", "automatic"),
        ("Sampler: DPM++ 2M, Version: f2.0.1v1.10.1-previous-304", "automatic"),
        ("Sampler: DPM++ 2M, App: SD.Next, Version: 0b73cb6", "default"),
    ] {
        let read = Metadata::from_parameters(&format!("a\nSteps: 20, {settings}, Seed: 1, Size: 8x8"));
        assert_eq!(read.metadata.request.schedule.id(), schedule, "{settings}");
        assert_eq!(read.metadata.request.sampler_settings, SamplerSettings::default());
    }
}

/// Other programs write settings of samplers that have none.
#[test]
fn settings_that_the_sampler_has_not_are_taken_back() {
    for (settings, unread, eta) in [
        ("Sampler: DPM++ 2M Karras, Eta: 0.67", &["Eta"][..], None),
        ("Sampler: DPM++ 2M Karras, Eta: 0.0", &[], None),
        ("Sampler: Euler a, Eta: 0.67", &[], Some(0.67)),
        ("Sampler: Euler a, Eta: 0", &[], Some(0.0)),
        ("Sampler: Euler a, Eta: 1.5", &["Eta"], None),
        ("Eta DDIM: 0.5, Sampler: DDIM", &[], Some(0.5)),
        ("Sampler: DDIM, Schedule type: Karras, Eta DDIM: 0.2", &["Schedule type"], Some(0.2)),
        (
            "Sampler: DPM++ 2M, Sigma churn: 3, Sigma noise: 1.0, Schedule rho: 3",
            &["Sigma churn", "Schedule rho"],
            None,
        ),
        ("Sampler: Euler, UniPC order: 2, Beta schedule alpha: 0.5", &["UniPC order", "Beta schedule alpha"], None),
    ] {
        let read = Metadata::from_parameters(&format!("a\nSteps: 20, Seed: 1, {settings}, Size: 8x8, CFG scale: 2"));
        let names: Vec<&str> = read.unread.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, read.metadata.request.eta), (unread.to_vec(), eta), "{settings}");
        assert_eq!((read.metadata.request.sampler_settings, read.notes), (SamplerSettings::default(), vec![]));
    }
    let churns = Metadata::from_parameters("a\nSteps: 2, Sampler: Euler, Sigma churn: 3, Sigma tmax: 0, Seed: 1");
    assert_eq!((churns.metadata.request.sampler_settings.s_churn, churns.unread), (3.0, vec![]));
}

#[test]
fn what_old_and_odd_texts_say_is_read() {
    let read = |settings: &str| {
        Metadata::from_parameters(&format!("a\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, {settings}"))
    };
    for rng in ["GPU", "gpu", "cuda"] {
        assert_eq!(read(&format!("RNG: {rng}")).metadata.request.rng, Rng::Cuda);
    }
    let hashes = read("Hashes: {\"vae\": \"c6a580b13a\", \"model\": \"cc6cb27103\"}, RNG: CPU");
    assert_eq!((hashes.metadata.model_hash.as_str(), hashes.metadata.request.rng), ("cc6cb27103", Rng::Cpu));
    assert_eq!(hashes.unread[0].0, "Hashes");
    let both = read("Hashes: {\"model\": \"cc6cb27103\"}, Model hash: 6ce0161689");
    assert_eq!(both.metadata.model_hash, "6ce0161689");

    // The hires fix of 2022.
    let hires = |width, height| Hires { width, height, strength: 0.7, upscaler: Upscaler::Lanczos, ..Hires::default() };
    let old = read("Size: 1024x512, Denoising strength: 0.7, First pass size: 512x256");
    let request = old.metadata.request;
    assert_eq!((request.width, request.height, request.hires), (Some(512), Some(256), Some(hires(1024, 512))));
    let old = read("Size: 1024x1024, Denoising strength: 0.7, First pass size: 0x0");
    assert_eq!((old.metadata.request.width, old.metadata.request.hires), (Some(512), Some(hires(1024, 1024))));
    assert_eq!(old.unread, []);

    // In any order.
    let scaled = read("Hires upscale: 2, Denoising strength: 0.5, Size: 64x32").metadata.request.hires.unwrap();
    assert_eq!((scaled.width, scaled.height, scaled.strength), (128, 64, 0.5));

    let bare = Metadata::from_parameters("a\nSteps: 20, Sampler: Undefined, Size: 8x8");
    assert_eq!(bare.unread, [("Sampler".to_owned(), "Undefined".to_owned())]);
    let missing = ["Sampler is not said: DDIM", "CFG scale is not said: 7.5", "Seed is not said: 42"];
    let missing = missing.map(|note| format!("{note} is taken, the default here"));
    assert_eq!(bare.notes, missing);
}

/// What another program's text leaves out is as by default there, and what depends on its version as it was then.
#[test]
fn a1111s_text_is_read_by_its_version() {
    let read = |prompt: &str, more: &str| {
        Metadata::from_parameters(&format!("{prompt}\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x32{more}"))
    };
    for (more, style, is_old) in [
        ("", "a1111", false),
        (", Version: v1.5.2", "a1111", true),
        (", Version: v1.6.0-2-g4afaaf8a", "a1111", false),
        (", Version: 1.10.1", "a1111", false),
        (", Version: f2.0.1v1.10.1-previous-304", "a1111", false),
        (", Old prompt editing timelines: True", "a1111", true),
        (", Version: calotype 0.1.0", "plain", false),
        (", Prompt style: a1111, Version: calotype 0.1.0", "a1111", false),
    ] {
        let request = read("a [b:c:.5]", more).metadata.request;
        assert_eq!((request.prompt_style.id(), request.old_prompt_editing), (style, is_old), "{more}");
    }
    assert!(
        !read("a cat", ", Version: v1.5.2").metadata.request.old_prompt_editing,
        "nothing in it changes on the way"
    );
    assert_eq!(Metadata::from_parameters("a (cat:1.2)").metadata.request.prompt_style.id(), "a1111");

    let hires = read("a", ", Denoising strength: 0.3, Hires upscale: 1.5, Hires upscaler: R-ESRGAN 4x+");
    let unread: Vec<&str> = hires.unread.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(unread, ["Hires upscaler"]);
    let expected = Hires { width: 96, height: 48, strength: 0.3, upscaler: Upscaler::Lanczos, ..Hires::default() };
    assert_eq!(hires.metadata.request.hires, Some(expected));

    let old = read("a cat", ", Hypernet: ink, Hypernet strength: 0.5");
    assert_eq!((old.metadata.request.prompt.as_str(), old.unread.len()), ("a cat<hypernet:ink:0.5>", 0));
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
        assert_eq!((read.metadata.request.prompt.as_str(), read.unread.len()), (prompt, unread), "{text:?}");
    }
}

#[test]
fn noise_is_asked_for_again() {
    let (request, place) = metadata().request(&[]).unwrap();
    assert_eq!((request.rng, request.seed_per, request.fixed_code), (Rng::Nv, SeedPer::Batch, true));
    assert_eq!((request.seed, place.index), (u64::MAX, 1));
    assert_eq!(place.one_of, Some(OneOf { batch_size: 3, position: 2 }));
    assert_eq!((request.seed_resize, request.eta_noise_seed_delta), (Some([512, 768]), -31337));
    assert_eq!((request.variation_seed, request.variation_strength), (Some(77), 0.25));
    let (_, alone) = Metadata { batch: None, ..metadata() }.request(&[]).unwrap();
    assert_eq!(alone, BatchPlace::default());

    let setting = |key: &str, value: &str| {
        let text = format!("a\nSteps: 2, Seed: 1, Size: 8x8, {key}: {value}");
        let read = Metadata::from_parameters(&text);
        (noise(&read.metadata.request), read.metadata.batch, read.unread.len())
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
        assert_eq!(setting(key, value).2, 1, "{key} {value}");
    }
    assert_eq!(setting("Seed resize from", "-1x-1").2, 1);
    let default = |rng| (noise(&Request { rng, ..Request::default() }), None, 0);
    assert_eq!(setting("Seed resize from", "0x0"), default(Rng::Cuda));
    assert_eq!(setting("RNG", "CPU"), default(Rng::Cpu));
}
