//! What other programs' pictures say, and the requests that it makes.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::{
    Request,
    adapters::{AdapterKind, AdapterMetadata},
    metadata::{BatchMetadata, Metadata, Program, Reading, read},
    request::{Emphasis, Hires, PromptStyle, Tiling, Upscaler},
    sampling::{Rng, SamplerKind, ScheduleKind, SeedPer, UniPcVariant},
};
use calotype_image::{FileFormat, RgbImage, encode_png};
use serde_json::{Value, json};

/// A picture of 96 x 32 pixels with texts.
fn png(texts: &[(&str, &str)]) -> Vec<u8> {
    encode_png(&RgbImage::filled(96, 32, [0; 3]), texts).unwrap()
}

fn reading(texts: &[(&str, &str)]) -> Reading {
    read(&png(texts)).unwrap()
}

fn problem(texts: &[(&str, &str)]) -> String {
    read(&png(texts)).unwrap_err().to_string()
}

fn names(reading: &Reading) -> Vec<&str> {
    reading.unread.iter().map(|(name, _)| name.as_str()).collect()
}

fn lora(name: &str, file: &str, text_encoder: f32, unet: f32) -> AdapterMetadata {
    AdapterMetadata {
        kind: AdapterKind::Lora,
        name: name.into(),
        file: file.into(),
        text_encoder: Some(text_encoder),
        unet: Some(unet),
        ..AdapterMetadata::default()
    }
}

/// What most of the requests here have.
fn request() -> Request {
    Request {
        prompt: "a cat".into(),
        negative_prompt: "dog".into(),
        prompt_style: PromptStyle::A1111,
        num_inference_steps: 6,
        sampler: SamplerKind::Euler,
        guidance_scale: 7.0,
        seed: 1234,
        width: Some(64),
        height: Some(48),
        ..Request::default()
    }
}

fn of_comfyui() -> Request {
    Request { schedule: ScheduleKind::Normal, emphasis: Emphasis::NoNorm, ..request() }
}

#[test]
fn swarmui_is_read() {
    let text = json!({"sui_image_params": {
        "prompt": "a cat", "negativeprompt": "dog", "model": "sub/x", "seed": 1234, "steps": 6, "cfgscale": 7.0, "width": 64,
        "height": 48, "swarm_version": "0.9.3.1", "automaticvae": true, "vae": "y"
    }});
    let read = reading(&[("parameters", &text.to_string())]);
    assert_eq!((read.program, &read.metadata.request), (Program::SwarmUi, &of_comfyui()));
    assert_eq!((read.metadata.model.as_str(), read.metadata.version.as_str()), ("sub/x", "0.9.3.1"));
    assert_eq!((names(&read), read.notes.len()), (vec!["vae"], 0));

    let text = json!({"sui_image_params": {
        "prompt": "a [cat] <lora:x:2>", "seed": "5", "steps": "8", "cfgscale": "3.5", "width": 64, "height": 48,
        "sampler": "dpmpp_2m", "scheduler": "karras", "loras": ["a/ink", "b"], "loraweights": "0.5,0.25", "clipstopatlayer": "-2"
    }});
    let read = reading(&[("parameters", &text.to_string())]);
    let request = &read.metadata.request;
    assert_eq!((request.prompt.as_str(), request.seed, request.num_inference_steps), ("a \\[cat\\] ", 5, 8));
    assert_eq!((request.sampler.id(), request.schedule.id(), request.clip_skip), ("dpmpp_2m", "karras", 2));
    assert_eq!(read.metadata.adapters, [lora("ink", "a/ink", 0.5, 0.5), lora("b", "b", 0.25, 0.25)]);
    assert!(problem(&[("parameters", "{\"sui_image_params\": 3}")]).contains("sui_image_params is no object"));
}

#[test]
fn fooocus_is_read_in_both_schemes() {
    let text = json!({
        "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "x", "guidance_scale": 7, "prompt": "a cat", "negative_prompt": "dog",
        "seed": "1234", "steps": 6, "resolution": "(64, 48)", "sampler": "euler", "scheduler": "normal", "version": "Fooocus v2.5.0",
        "loras": [["ink", 0.5, "abc"]], "styles": "['Fooocus V2']", "sharpness": 2
    });
    let scheme = ("fooocus_scheme", "fooocus");
    let read = reading(&[("parameters", &text.to_string()), scheme]);
    assert_eq!((read.program, &read.metadata.request), (Program::Fooocus, &of_comfyui()));
    assert_eq!(read.metadata.adapters, [lora("ink", "ink", 0.5, 0.5)]);
    assert_eq!(names(&read), ["adm_guidance", "sharpness", "styles"]);

    // The full prompts have the styles.
    let mut full = text;
    full["full_prompt"] = json!(["cinematic a cat", "a cat, sharp"]);
    full["lora_combined_1"] = json!("ink : 0.25");
    full.as_object_mut().unwrap().remove("loras");
    let read = reading(&[("parameters", &full.to_string())]);
    assert_eq!(read.metadata.request.prompt, "cinematic a cat\nBREAK\na cat, sharp");
    assert_eq!(read.metadata.adapters, [lora("ink", "ink", 0.25, 0.25)]);

    // Fooocus-MRE and the logs of the first versions.
    let text = json!({
        "Prompt": "a cat", "Negative Prompt": "dog", "Performance": "Speed", "Resolution": "(64, 48)", "Base Model": "x.safetensors",
        "Sampler": "euler", "Scheduler": "normal", "Seed": 1234, "Guidance Scale": 7.0, "Steps": 6, "LoRA 1": "ink.safetensors : 0.5"
    });
    let read = reading(&[("Comment", &text.to_string())]);
    assert_eq!((&read.metadata.request, read.metadata.adapters.len()), (&of_comfyui(), 1));

    let text = "a cat\nNegative prompt: dog\nSteps: 6, Sampler: DPM++ 2M SDE Karras, Seed: 1234, Size: 64x48, CFG scale: 7, \
        Sharpness: 2, Model: x, Model hash: 0123456789, Performance: Speed, Scheduler: karras, Lora hashes: \"ink: ab\", \
        Lora weights: \"ink: 0.5\", Version: Fooocus v2.5.0";
    let read = reading(&[("parameters", text), ("fooocus_scheme", "a1111")]);
    let expected = Request { sampler: SamplerKind::Dpmpp2mSde, schedule: ScheduleKind::Karras, ..request() };
    assert_eq!((read.program, &read.metadata.request), (Program::Fooocus, &expected));
    assert_eq!(names(&read), ["Sharpness", "Performance"]);
    assert!(read.metadata.adapters.contains(&lora("ink", "ink", 0.5, 0.5)));
}

#[test]
fn easy_diffusion_is_read() {
    let texts = [
        ("prompt", "a cat"),
        ("negative_prompt", "dog"),
        ("seed", "1234"),
        ("use_stable_diffusion_model", "/models/sub/x.safetensors"),
        ("clip_skip", "True"),
        ("use_vae_model", "None"),
        ("sampler_name", "unipc_snr_2"),
        ("width", "64"),
        ("height", "48"),
        ("num_inference_steps", "6"),
        ("guidance_scale", "7.0"),
        ("use_lora_model", "['ink', 'b']"),
        ("lora_alpha", "[0.5, 0.25]"),
        ("tiling", "xy"),
        ("use_face_correction", "GFPGANv1.4"),
    ];
    let read = reading(&texts);
    let request = &read.metadata.request;
    assert_eq!((read.program, read.metadata.model.as_str()), (Program::EasyDiffusion, "x.safetensors"));
    assert_eq!((request.sampler, request.sampler_settings.uni_pc_order, request.clip_skip), (SamplerKind::UniPc, 2, 2));
    assert_eq!(request.sampler_settings.uni_pc_skip_type.id(), "logSNR");
    assert_eq!((request.width, request.height, request.tiling), (Some(64), Some(48), Tiling::Xy));
    assert_eq!(read.metadata.adapters, [lora("ink", "ink", 0.5, 0.5), lora("b", "b", 0.25, 0.25)]);
    assert_eq!(names(&read), ["use_face_correction"]);

    let read = reading(&[
        ("Prompt", "a cat"),
        ("Negative Prompt", "dog"),
        ("Seed", "1234"),
        ("Stable Diffusion model", "x"),
        ("Sampler", "euler"),
        ("Width", "64"),
        ("Height", "48"),
        ("Steps", "6"),
        ("Guidance Scale", "7.0"),
        ("Clip Skip", "False"),
    ]);
    assert_eq!((read.metadata.request, read.unread), (request_without_schedule(), vec![]));
}

fn request_without_schedule() -> Request {
    Request { schedule: ScheduleKind::Default, ..request() }
}

#[test]
fn invokeai_is_read_in_every_version() {
    let text = json!({
        "app_version": "3.3.0post3", "generation_mode": "txt2img", "positive_prompt": "a cat", "negative_prompt": "dog", "width": 64,
        "height": 48, "seed": 1234, "rand_device": "cpu", "cfg_scale": 7.0, "steps": 6, "scheduler": "euler_k", "clip_skip": 0,
        "model": {"model_name": "x", "base_model": "sd-1", "model_type": "main"}, "controlnets": [], "ipAdapters": [],
        "loras": [{"lora": {"model_name": "ink", "base_model": "sd-1"}, "weight": 0.5}], "vae": {"model_name": "y"}
    });
    let read = reading(&[("invokeai_metadata", &text.to_string())]);
    let expected = Request { schedule: ScheduleKind::Karras, ..request() };
    assert_eq!((read.program, &read.metadata.request), (Program::InvokeAi, &expected));
    assert_eq!((read.metadata.model.as_str(), read.metadata.version.as_str()), ("x", "3.3.0post3"));
    assert_eq!((names(&read), &read.metadata.adapters), (vec!["vae"], &vec![lora("ink", "ink", 0.5, 0.5)]));

    let text = json!({
        "positive_prompt": "a cat++ [x]", "width": 64, "height": 48, "seed": 1, "rand_device": "cuda", "cfg_scale": 7.5, "steps": 5,
        "scheduler": "kdpm_2_a", "clip_skip": 1, "seamless_x": true, "cfg_rescale_multiplier": 0.7,
        "model": {"key": "1", "hash": "blake3:ab", "name": "x"}, "loras": [{"model": {"name": "ink"}, "weight": 0.75}], "strength": 0.6
    });
    let read = reading(&[("invokeai_metadata", &text.to_string())]);
    let request = &read.metadata.request;
    assert_eq!((request.prompt.as_str(), request.rng, request.clip_skip), ("a (cat:1.21) \\[x\\]", Rng::Cuda, 2));
    assert_eq!((request.sampler.id(), request.schedule.id(), request.tiling), ("dpm_2_a", "uniform", Tiling::X));
    assert_eq!(names(&read), ["strength", "cfg_rescale_multiplier"]);
    let unknown = reading(&[("invokeai_metadata", "{\"scheduler\": \"dpmpp_2s_k\", \"steps\": 5}")]);
    assert_eq!((names(&unknown), unknown.notes.len()), (vec!["scheduler", "Schedule type"], 3));

    let version_2 = |prompt: Value| {
        let text = json!({
            "model": "stable diffusion", "model_weights": "sd-1.5", "model_hash": "cc6cb27103", "app_id": "invoke-ai/InvokeAI",
            "app_version": "v2.2.4", "image": {
                "prompt": prompt, "steps": 6, "cfg_scale": 7.0, "threshold": 0, "perlin": 0.0, "height": 48, "width": 64, "seed": 1234,
                "seamless": false, "hires_fix": false, "type": "txt2img", "postprocessing": null, "sampler": "k_euler",
                "variations": [{"seed": 5, "weight": 0.25}]
            }
        });
        reading(&[("sd-metadata", &text.to_string()), ("Dream", "\"other\" -s 3 -S 1")])
    };
    let read = version_2(json!([{"prompt": "a cat [dog]", "weight": 1.0}]));
    let expected = Request {
        schedule: ScheduleKind::Karras,
        rng: Rng::Cuda,
        variation_seed: Some(5),
        variation_strength: 0.25,
        ..self::request()
    };
    assert_eq!((&read.metadata.request, names(&read)), (&expected, vec![]));
    assert_eq!((read.metadata.model_hash.as_str(), read.metadata.model.as_str()), ("cc6cb27103", "sd-1.5"));
    assert_eq!(version_2(json!("a cat [dog]")).metadata.request, expected);
    assert_eq!(version_2(json!([{"prompt": "a"}, {"prompt": "b"}])).notes.len(), 1);

    for line in [
        "\"a cat [dog]\" -s 6 -S 1234 -W 64 -H 48 -C 7.0 -A k_euler",
        "a cat [dog] -s6 -S1234 -W64 -H48 -C7.0 -A k_euler",
        "a cat [dog] --steps 6 --seed=1234 -W 64 -H 48 --cfg_scale=7 --sampler k_euler",
    ] {
        let expected = Request { schedule: ScheduleKind::Karras, rng: Rng::Cuda, ..self::request() };
        assert_eq!(reading(&[("Dream", line)]).metadata.request, expected, "{line}");
    }
    let read = reading(&[("Dream", "a well-lit cat -s 50 -S 1 -C 7 -A ddim -ft gfpgan -G 0.8 --grid")]);
    assert_eq!((read.metadata.request.prompt.as_str(), names(&read)), ("a well-lit cat", vec!["-ft", "-G", "--grid"]));
    assert!(problem(&[("Dream", "nothing of the kind")]).starts_with("the file does not say"));
}

#[test]
fn novelai_is_read() {
    let comment = json!({
        "steps": 6, "sampler": "k_euler_ancestral", "seed": 1234, "strength": 0.69, "noise": 0.2, "scale": 7.0, "uc": "dog, [x]"
    });
    let texts = [
        ("Title", "AI generated image"),
        ("Description", "{a} cat"),
        ("Software", "NovelAI"),
        ("Source", "Stable Diffusion F1022D28"),
        ("Comment", &comment.to_string()),
    ];
    let read = reading(&texts);
    let request = Request {
        prompt: "(a:1.05) cat".into(),
        negative_prompt: "dog, (x:0.9524)".into(),
        sampler: SamplerKind::EulerA,
        schedule: ScheduleKind::Uniform,
        rng: Rng::Cuda,
        clip_skip: 2,
        eta_noise_seed_delta: 31337,
        width: Some(96),
        height: Some(32),
        ..request()
    };
    assert_eq!((read.program, &read.metadata.request), (Program::NovelAi, &request));
    assert_eq!((names(&read), read.notes.len()), (vec!["noise", "strength"], 1));

    let comment = json!({
        "prompt": "a cat", "steps": 28, "height": 48, "width": 64, "scale": 5.0, "uncond_scale": 1.0, "cfg_rescale": 0.3, "seed": 38,
        "n_samples": 1, "noise_schedule": "karras", "sampler": "k_dpmpp_2m", "sm": true, "sm_dyn": false, "uc": "nsfw",
        "request_type": "PromptGenerateRequest", "v4_prompt": {"caption": {"base_caption": "a", "char_captions": [{}]}}
    });
    let root = json!({"Software": "NovelAI", "Source": "Stable Diffusion XL C1E1DE52", "Comment": comment.to_string()});
    // As in EXIF.
    let read = reading(&[("UserComment", &root.to_string())]);
    let request = &read.metadata.request;
    assert_eq!((request.sampler.id(), request.schedule.id(), request.clip_skip), ("dpmpp_2m", "karras", 1));
    assert_eq!((request.width, names(&read), read.notes.len()), (Some(64), vec!["cfg_rescale", "sm"], 1));
}

#[test]
fn draw_things_is_read() {
    let comment = json!({
        "c": "a \"cat\" & <mouse>", "uc": "dog", "steps": 6, "sampler": "DPM++ 2M Karras", "scale": 7.0, "seed": 1234, "size": "64x48",
        "model": "sd_v1.5_f16.ckpt", "strength": 1, "seed_mode": "Torch CPU Compatible", "lora": [{"model": "ink_f16.ckpt", "weight": 0.5}],
        "v2": {"a": [1]}, "mask_blur": 1.5, "refiner": "x.ckpt"
    });
    let xml = comment.to_string().replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let xmp = format!(
        "<x:xmpmeta><rdf:RDF><rdf:Description><xmp:CreatorTool>Draw Things</xmp:CreatorTool><exif:UserComment><rdf:Alt>\
         <rdf:li xml:lang=\"x-default\">{xml}</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"
    );
    let read = reading(&[("XML:com.adobe.xmp", &xmp)]);
    let expected = Request {
        prompt: "a \"cat\" & <mouse>".into(),
        sampler: SamplerKind::Dpmpp2m,
        schedule: ScheduleKind::Karras,
        ..request()
    };
    assert_eq!((read.program, &read.metadata.request), (Program::DrawThings, &expected));
    assert_eq!(read.metadata.adapters, [lora("ink_f16", "ink_f16.ckpt", 0.5, 0.5)]);
    assert_eq!((names(&read), read.metadata.model.as_str()), (vec!["refiner"], "sd_v1.5_f16.ckpt"));

    let mut hires = comment;
    hires["hires_fix"] = json!(true);
    hires["first_stage_size"] = json!("32x24");
    hires["second_stage_strength"] = json!(0.6);
    hires["seed_mode"] = json!("Scale Alike");
    let read = reading(&[("UserComment", &hires.to_string())]);
    let second = Hires { width: 64, height: 48, strength: 0.6, ..Hires::default() };
    assert_eq!((read.metadata.request.width, &read.metadata.request.hires), (Some(32), &Some(second)));
    assert_eq!(names(&read), ["refiner", "seed_mode"]);
}

#[test]
fn sd_next_is_read() {
    let text = "a cat\nNegative prompt: dog\nSteps: 6, Size: 64x48, Sampler: Euler, Seed: 1234, CFG scale: 7, RNG: CPU, Model: x, \
        Model hash: 335da0800c, App: SD.Next, Version: 8b73cb6, Pipeline: StableDiffusionPipeline, Operations: txt2img";
    let read = reading(&[("parameters", text)]);
    assert_eq!((read.program, &read.metadata.request), (Program::SdNext, &request_without_schedule()));
    assert_eq!(names(&read), ["App", "Pipeline", "Operations"]);
}

/// ComfyUI's graph of its first example.
fn graph() -> Value {
    json!({
        "3": {"class_type": "KSampler", "inputs": {
            "seed": 1234, "steps": 6, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]
        }},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub/x.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "dog", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}}
    })
}

/// The graph with nodes put in or changed.
fn changed(changes: Value) -> Reading {
    let mut graph = graph();
    for (id, change) in changes.as_object().unwrap() {
        let node = graph.as_object_mut().unwrap().entry(id).or_insert_with(|| json!({"class_type": "", "inputs": {}}));
        for (name, value) in change.as_object().unwrap() {
            match name.as_str() {
                "class_type" => node["class_type"] = value.clone(),
                name => node["inputs"][name] = value.clone(),
            }
        }
    }
    reading(&[("prompt", &graph.to_string())])
}

#[test]
fn comfyuis_graph_is_followed() {
    // Python writes NaN bare.
    let text = graph()
        .to_string()
        .replace("\"class_type\":\"SaveImage\"", "\"class_type\":\"SaveImage\",\"is_changed\":[NaN]");
    for texts in [
        &[("prompt", text.as_str())][..],
        &[("Model", &format!("prompt:{text}"))],
        &[("Make", &format!("Prompt: {text}"))],
    ] {
        let read = reading(texts);
        assert_eq!((read.program, &read.metadata.request), (Program::ComfyUi, &of_comfyui()));
        assert_eq!((read.metadata.model.as_str(), names(&read), read.notes.len()), ("x.safetensors", vec![], 0));
    }

    let read = changed(json!({
        "3": {"seed": ["20", 0], "model": ["10", 0], "sampler_name": "uni_pc_bh2", "scheduler": "karras", "positive": ["12", 0]},
        "6": {"text": ["21", 0], "clip": ["11", 0]},
        "10": {"class_type": "LoraLoader", "lora_name": "a/ink.safetensors", "strength_model": 0.5, "strength_clip": 0.25,
            "model": ["13", 0], "clip": ["4", 1]},
        "11": {"class_type": "CLIPSetLastLayer", "stop_at_clip_layer": -2, "clip": ["10", 1]},
        "12": {"class_type": "ControlNetApply", "conditioning": ["6", 0], "strength": 1.0},
        "13": {"class_type": "FreeU", "b1": 1.1, "model": ["4", 0]},
        "14": {"class_type": "ImageSharpen", "image": ["8", 0]},
        "9": {"images": ["14", 0]},
        "20": {"class_type": "PrimitiveInt", "value": 77},
        "21": {"class_type": "Text Multiline", "text": "a (cat:1.2) [x] embedding:mark <lora:z:1>"}
    }));
    let request = &read.metadata.request;
    assert_eq!((request.prompt.as_str(), request.seed), ("a (cat:1.2) \\[x\\] embedding:mark ", 77));
    assert_eq!((request.sampler, request.sampler_settings.uni_pc_variant), (SamplerKind::UniPc, UniPcVariant::Bh2));
    assert_eq!((request.schedule, request.clip_skip), (ScheduleKind::Karras, 2));
    assert_eq!(read.metadata.adapters, [lora("ink", "a/ink.safetensors", 0.25, 0.5)]);
    assert_eq!(names(&read), ["ImageSharpen", "ControlNetApply", "FreeU"]);
    assert_eq!(read.notes.len(), 2, "{:?}", read.notes);

    let ddim = changed(json!({"3": {"sampler_name": "ddim", "scheduler": "ddim_uniform"}, "5": {"batch_size": 3}}));
    assert_eq!(
        (ddim.metadata.request.sampler, ddim.metadata.request.schedule),
        (SamplerKind::Euler, ScheduleKind::Ddim)
    );
    let batch = BatchMetadata { seed_per: SeedPer::Batch, size: 3, ..BatchMetadata::default() };
    assert_eq!((ddim.metadata.batch, ddim.notes.len()), (Some(batch), 1));

    let advanced = changed(json!({"3": {
        "class_type": "KSamplerAdvanced", "seed": null, "noise_seed": 5, "start_at_step": 2, "end_at_step": 10000, "add_noise": "enable"
    }}));
    assert_eq!(names(&advanced), ["start_at_step"]);
    let picture = changed(json!({
        "3": {"latent_image": ["30", 0], "denoise": 0.6},
        "30": {"class_type": "VAEEncode", "pixels": ["31", 0]}, "31": {"class_type": "LoadImage", "image": "a.png"}
    }));
    assert_eq!(names(&picture), ["VAEEncode", "denoise"]);
    assert_eq!(picture.metadata.request.width, Some(96));
}

#[test]
fn comfyuis_other_samplers_are_followed() {
    let mut custom = graph();
    custom["3"] = json!({"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["30", 0], "guider": ["31", 0], "sampler": ["32", 0], "sigmas": ["33", 0], "latent_image": ["5", 0]
    }});
    custom["30"] = json!({"class_type": "RandomNoise", "inputs": {"noise_seed": 1234}});
    custom["31"] = json!({"class_type": "CFGGuider", "inputs": {
        "cfg": 7, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0]
    }});
    custom["32"] = json!({"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}});
    custom["33"] = json!({"class_type": "BasicScheduler", "inputs": {
        "scheduler": "normal", "steps": 6, "denoise": 1.0, "model": ["4", 0]
    }});
    let read = reading(&[("prompt", &custom.to_string())]);
    assert_eq!((&read.metadata.request, names(&read)), (&of_comfyui(), vec![]));
    custom["33"] = json!({"class_type": "KarrasScheduler", "inputs": {
        "steps": 6, "sigma_max": 14.0, "sigma_min": 0.03, "rho": 6.0
    }});
    custom["32"] = json!({"class_type": "SamplerEulerAncestral", "inputs": {"eta": 0.5, "s_noise": 1.0}});
    let request = reading(&[("prompt", &custom.to_string())]).metadata.request;
    assert_eq!(
        (request.sampler, request.schedule, request.eta),
        (SamplerKind::EulerA, ScheduleKind::Karras, Some(0.5))
    );
    assert_eq!((request.sampler_settings.rho, request.sampler_settings.sigma_max), (Some(6.0), Some(14.0)));

    let read = changed(json!({
        "8": {"samples": ["40", 0]},
        "40": {"class_type": "KSampler", "seed": 1234, "steps": 4, "cfg": 7, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 0.5, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["41", 0]},
        "41": {"class_type": "LatentUpscaleBy", "samples": ["3", 0], "upscale_method": "nearest-exact", "scale_by": 1.5}
    }));
    let (num_inference_steps, upscaler) = (Some(4), Upscaler::LatentNearestExact);
    let hires = Hires { width: 96, height: 72, num_inference_steps, strength: 0.5, upscaler, network: None };
    assert_eq!(read.metadata.request, Request { hires: Some(hires), ..of_comfyui() });
    assert_eq!((names(&read), read.notes.len()), (vec![], 0), "{:?}", read.notes);

    // A loader that encodes, as in the Efficiency nodes.
    let loader = json!({
        "1": {"class_type": "Efficient Loader", "inputs": {
            "ckpt_name": "x.safetensors", "vae_name": "Baked VAE", "clip_skip": -2, "positive": "a cat", "negative": "dog",
            "empty_latent_width": 64, "empty_latent_height": 48, "batch_size": 1
        }},
        "2": {"class_type": "KSampler (Efficient)", "inputs": {
            "seed": 1234, "steps": 6, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["1", 0], "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 3]
        }},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 5]}}
    });
    let read = reading(&[("prompt", &loader.to_string())]);
    assert_eq!(read.metadata.request, Request { clip_skip: 2, ..of_comfyui() });
}

#[test]
fn what_has_no_settings_is_no_prompt() {
    let mut lost = graph();
    lost["6"] = json!({"class_type": "Odd", "inputs": {"a": 1}});
    let mut ring = graph();
    ring["6"] = json!({"class_type": "Odd", "inputs": {"conditioning": ["6", 0]}});
    let no_sampler = json!({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}});
    for (texts, expected) in [
        (&[][..], "the file does not say how the picture was made"),
        (&[("prompt", "a cat")], "the file does not say how the picture was made"),
        (&[("parameters", "a cat on a mat")], "there are no settings in what A1111 wrote"),
        (&[("parameters", "{\"prompt\": \"a cat\"}")], "the settings are JSON of a program that is not known here"),
        (&[("parameters", "{\"prompt\": \"a ca")], "the settings are JSON of a program that is not known here"),
        (&[("parameters", "[1, 2]")], "the settings are JSON of a program that is not known here"),
        (&[("Comment", "{\"a\": 1}")], "the settings are JSON of a program that is not known here"),
        (&[("prompt", &lost.to_string())], "the prompt is not found in ComfyUI's graph"),
        (&[("prompt", &ring.to_string())], "the prompt is not found in ComfyUI's graph"),
        (&[("prompt", &no_sampler.to_string())], "there is no sampler in ComfyUI's graph, by which settings are found"),
        (
            &[("workflow", "{\"nodes\": [], \"links\": []}")],
            "there is ComfyUI's workflow, but not its graph (prompt), by which settings are found",
        ),
        (&[("sd-metadata", "{\"app_id\": 1}")], "InvokeAI's sd-metadata has no image"),
        (&[("invokeai_metadata", "{}")], "there are no settings in what InvokeAI wrote"),
    ] {
        assert_eq!(problem(texts), expected);
    }
    // What says more is taken.
    let text = "a cat\nNegative prompt: dog\nSteps: 6, Sampler: Euler, CFG scale: 7, Seed: 1234, Size: 64x48, Version: ComfyUI";
    let read = reading(&[("prompt", &graph().to_string()), ("parameters", text)]);
    assert_eq!((read.program, read.metadata.request.rng), (Program::ComfyUi, Rng::Cpu));
    let read = reading(&[("prompt", &graph().to_string()), ("parameters", "only words")]);
    assert_eq!(read.metadata.request, of_comfyui());
}

#[test]
fn hidden_texts_are_read() {
    let hide = |text: &str| {
        let bytes = [b"stealth_rgbinfo", &(text.len() as u32 * 8).to_be_bytes()[..], text.as_bytes()].concat();
        let (width, height) = (96_usize, 64_usize);
        let mut data = vec![254_u8; width * height * 3];
        let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let pixels = (0..width).flat_map(|x| (0..height).map(move |y| (y * width + x) * 3));
        pixels.flat_map(|at| at..at + 3).zip(bits).for_each(|(at, bit)| data[at] |= bit);
        encode_png(&RgbImage::new(width as u32, height as u32, data).unwrap(), &[]).unwrap()
    };
    let text = "a cat\nNegative prompt: dog\nSteps: 6, Sampler: Euler, CFG scale: 7, Seed: 1234, Size: 64x48";
    let plain = read(&hide(text)).unwrap();
    assert_eq!((plain.program, plain.metadata.request.seed), (Program::A1111, 1234));
    let comment = json!({"steps": 6, "sampler": "k_euler", "seed": 1234, "scale": 7.0, "uc": "dog", "prompt": "a cat"});
    let root = json!({"Software": "NovelAI", "Comment": comment.to_string(), "Source": "Stable Diffusion XL"});
    let read = read(&hide(&root.to_string())).unwrap();
    let size = (Some(96), Some(64));
    assert_eq!((read.program, (read.metadata.request.width, read.metadata.request.height)), (Program::NovelAi, size));
}

#[test]
fn every_format_of_this_program_is_read() {
    let metadata = Metadata { request: request(), version: "9.9".into(), model: "x".into(), ..Metadata::default() };
    let picture = RgbImage::filled(64, 48, [9; 3]);
    for format in [FileFormat::Png, FileFormat::Jpeg, FileFormat::WebP] {
        let (file, _) = metadata.encode(&picture, format, 90).unwrap();
        let read = read(&file).unwrap();
        assert_eq!((read.program, read.is_complete, &read.metadata), (Program::Calotype, true, &metadata));
    }
}
