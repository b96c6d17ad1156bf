//! A1111's API, route by route, as its clients use it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::{metadata, request::StrengthRule, sampling::Rng};
use calotype_image::{RgbImage, decode, encode_png};
use calotype_server::Style;
use common::{Answer, Running, start, start_with_keys};
use serde_json::{Value, json};

/// A small picture as base64.
fn picture(colour: [u8; 3]) -> String {
    STANDARD.encode(encode_png(&RgbImage::filled(64, 64, colour), &[]).unwrap())
}

/// White in the left half.
fn mask() -> String {
    let mut mask = RgbImage::filled(64, 64, [0; 3]);
    (0..64).flat_map(|y| (0..32).map(move |x| (x, y))).for_each(|(x, y)| mask.set_pixel(x, y, [255; 3]));
    format!("data:image/png;base64,{}", STANDARD.encode(encode_png(&mask, &[]).unwrap()))
}

fn txt2img(server: &Running, body: Value) -> Answer {
    server.post("/sdapi/v1/txt2img", &body)
}

/// The files of an answer, and its info.
fn made(answer: &Answer) -> (Vec<Vec<u8>>, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let images =
        body["images"].as_array().unwrap().iter().map(|image| STANDARD.decode(image.as_str().unwrap()).unwrap());
    (images.collect(), serde_json::from_str(body["info"].as_str().unwrap()).unwrap())
}

/// All but what every image of the model of this repository gets: it is too small for a watermark.
fn warnings(info: &Value) -> Vec<String> {
    let all = info["calotype_warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
    all.filter(|warning| !warning.contains("have no watermark")).collect()
}

#[test]
fn images_are_made_from_text() {
    let server = start();
    let answer = txt2img(
        &server,
        json!({
            "prompt": "a (fox:1.2)", "negative_prompt": "dog", "seed": 5, "steps": 3, "cfg_scale": 5, "batch_size": 2, "n_iter": 2,
            "sampler_name": "DPM++ 2M", "sampler_index": "Euler", "scheduler": "karras", "width": 64, "height": 64,
            "url": "http://x", "auth": "user:secret", "clip_skip": 1, "s_tmax": 0, "eta": 1.0
        }),
    );
    let (images, info) = made(&answer);
    assert_eq!(images.len(), 4);
    assert_eq!(info["all_seeds"], json!([5, 6, 7, 8]));
    assert_eq!(info["infotexts"].as_array().unwrap().len(), 4);
    for (name, value) in [
        ("seed", json!(5)),
        ("steps", json!(3)),
        ("sampler_name", json!("DPM++ 2M")),
        ("cfg_scale", json!(5.0)),
        ("width", json!(64)),
        ("height", json!(64)),
        ("index_of_first_image", json!(0)),
        ("prompt", json!("a (fox:1.2)")),
        ("styles", json!([])),
        ("clip_skip", json!(1)),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    assert_eq!(info["job_timestamp"].as_str().unwrap().len(), 14);
    assert_eq!(info["all_prompts"].as_array().unwrap().len(), 4);
    // Each file says how it was made, by A1111's default noise.
    let reading = metadata::read(&images[1]).unwrap();
    let request = reading.metadata.request;
    assert_eq!((request.seed, request.num_inference_steps, request.rng), (6, 3, Rng::Cuda));
    assert_eq!(
        (request.prompt_style.to_string(), request.schedule.to_string()),
        ("a1111".to_owned(), "karras".to_owned())
    );
    assert_eq!(info["infotexts"][1], metadata::read(&images[1]).unwrap().metadata.parameters());
    // What is known is repeated, passwords are not.
    let parameters = answer.json()["parameters"].clone();
    assert_eq!((&parameters["steps"], &parameters["sampler_name"]), (&json!(3), &json!("DPM++ 2M")));
    assert_eq!(parameters["enable_hr"], json!(false));
    assert!(!answer.text().contains("secret") && parameters.get("clip_skip").is_none());
    assert!(answer.header("x-process-time").is_some());
    // The same again is the same.
    let again = made(&txt2img(
        &server,
        json!({"prompt": "a (fox:1.2)", "negative_prompt": "dog", "seed": "6", "steps": 3.0, "cfg_scale": "5", "sampler_index": "DPM++ 2M Karras"}),
    ));
    assert_eq!(decode(&again.0[0], &Default::default()).unwrap(), decode(&images[1], &Default::default()).unwrap());
}

#[test]
fn a_random_seed_is_told() {
    let server = start();
    let seeds: Vec<u64> = [json!(-1), json!(null)]
        .into_iter()
        .map(|seed| {
            made(&txt2img(
                &server,
                json!({"prompt": "a fox", "steps": 1, "seed": seed, "subseed": -1, "subseed_strength": 0.5}),
            ))
            .1
        })
        .map(|info| {
            assert_ne!(info["subseed"], info["seed"]);
            info["seed"].as_u64().unwrap()
        })
        .collect();
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn samplers_come_by_many_names() {
    let server = start();
    for (body, sampler, schedule) in [
        (json!({}), "Euler", "Automatic"),
        (json!({"sampler_index": "Heun"}), "Heun", "Automatic"),
        (json!({"sampler_name": "Euler a", "sampler_index": "Heun"}), "Euler a", "Automatic"),
        (json!({"sampler_name": "DPM++ 2M Karras"}), "DPM++ 2M", "Karras"),
        (json!({"sampler_name": "DPM++ 2M Karras", "scheduler": "Exponential"}), "DPM++ 2M", "Exponential"),
        (json!({"sampler_name": "DPM++ 2M", "scheduler": "sgm_uniform"}), "DPM++ 2M", "SGM Uniform"),
        (json!({"sampler_name": "k_euler_a", "scheduler": "automatic"}), "Euler a", "Automatic"),
        (json!({"sampler_name": "DDIM", "scheduler": "karras"}), "DDIM", "Automatic"),
        (json!({"sampler_name": null, "sampler_index": ""}), "Euler", "Automatic"),
    ] {
        let mut whole = json!({"prompt": "a fox", "steps": 2});
        body.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
        let (_, info) = made(&txt2img(&server, whole));
        assert_eq!(
            (&info["sampler_name"], &info["extra_generation_params"]["Schedule type"]),
            (&json!(sampler), &json!(schedule)),
            "{body}"
        );
        assert_eq!(warnings(&info).len(), usize::from(sampler == "DDIM"), "{body}");
    }
}

#[test]
fn errors_are_as_a1111_has_them() {
    let server = start();
    let exception = |path: &str, body: Value| {
        let answer = server.post(path, &body);
        let told = answer.json();
        assert_eq!(told["body"], "", "{told}");
        (answer.status, told["error"].as_str().unwrap().to_owned(), told["detail"].as_str().unwrap().to_owned())
    };
    let http = |status, detail: &str| (status, "HTTPException".to_owned(), detail.to_owned());
    let (txt, img) = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img");
    assert_eq!(exception(txt, json!({"sampler_name": "DPM-Solver"})), http(404, "Sampler not found"));
    assert_eq!(exception(txt, json!({"sampler_name": "Eulr"})), http(404, "Sampler not found"));
    assert!(server.post(txt, &json!({"sampler_name": "Eulr"})).json()["errors"].as_str().unwrap().contains("euler"));
    assert_eq!(exception(img, json!({"prompt": "x"})), http(404, "Init image not found"));
    assert_eq!(exception(img, json!({"init_images": []})), http(404, "Init image not found"));
    assert_eq!(exception(txt, json!({"script_name": "X/Y/Z plot"})), http(422, "Script 'X/Y/Z plot' not found"));
    for body in [
        json!({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": true, "module": "canny"}]}}}),
        json!({"refiner_checkpoint": "x"}),
        json!({"firstpass_image": "x"}),
        json!({"scheduler": "Turbo"}),
        json!({"enable_hr": true, "hr_upscaler": "R-ESRGAN 4x+"}),
        json!({"enable_hr": true, "hr_prompt": "another"}),
        json!({"enable_hr": true, "hr_sampler_name": "Heun"}),
        json!({"enable_hr": true, "hr_checkpoint_name": "other"}),
        json!({"enable_hr": true, "hr_scale": 100}),
        json!({"seed": -5}),
        json!({"steps": 100000}),
        json!({"width": 65}),
        json!({"batch_size": 100}),
        json!({"override_settings": {"samples_format": "gif"}}),
    ] {
        let (status, error, detail) = exception(txt, body.clone());
        assert_eq!((status, error.as_str()), (422, "HTTPException"), "{body}: {detail}");
    }
    for image in ["!!!", "http://169.254.169.254/x.png", "https://x.example/x.png", "data:image/png,x", "aGVsbG8="] {
        let (status, ..) = exception(img, json!({"init_images": [image]}));
        assert_eq!(status, 422, "{image}");
    }
    assert_eq!(exception(img, json!({"init_images": [picture([0; 3]), picture([1; 3])]})).0, 422);
    let unknown = exception(txt, json!({"override_settings": {"sd_model_checkpoint": "none"}}));
    assert_eq!(unknown, http(404, "model \"none\" not found"));
    // Of the wrong type.
    let answer = txt2img(&server, json!({"steps": "many"}));
    assert_eq!(answer.status, 422);
    let expected =
        json!([{"loc": ["body", "steps"], "msg": "value is not a valid integer", "type": "type_error.integer"}]);
    assert_eq!(answer.json()["detail"], expected);
    assert_eq!(server.send("POST", txt, &[("content-type", "application/json")], b"{").status, 400);
    assert_eq!(server.send("POST", txt, &[("content-type", "text/plain")], b"{}").status, 415);
    // What is not there.
    for path in ["/sdapi/v1/none", "/controlnet/version", "/controlnet/model_list", "/sdapi/v1/interrogate"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})), "{path}");
    }
}

#[test]
fn what_can_t_be_done_is_named() {
    let server = start();
    let answer = txt2img(
        &server,
        json!({
            "prompt": "a fox", "steps": 1, "restore_faces": true, "s_min_uncond": 1.5, "styles": ["none"],
            "override_settings": {"face_restoration_model": "GFPGAN"},
            "alwayson_scripts": {"ADetailer": {"args": [true, {}]}, "ControlNet": {"args": []}}
        }),
    );
    let (_, info) = made(&answer);
    let told = warnings(&info).join("\n");
    for word in ["restore_faces", "s_min_uncond", "ADetailer", "face_restoration_model", "\"none\""] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let headers = answer.headers.iter().filter(|(name, _)| name == "x-calotype-warning").count();
    assert_eq!(headers, info["calotype_warnings"].as_array().unwrap().len());
    // What webuiapi sends of what is off.
    let (_, info) = made(&txt2img(
        &server,
        json!({
            "prompt": "a fox", "steps": 1, "restore_faces": false, "tiling": false, "script_name": null, "script_args": [],
            "styles": [], "override_settings": {}, "seed_resize_from_h": 0, "seed_resize_from_w": 0, "denoising_strength": 0.7,
            "hr_upscaler": "Latent", "hr_prompt": "", "alwayson_scripts": {"ADetailer": {"args": [false]}}
        }),
    ));
    assert_eq!(warnings(&info), Vec::<String>::new());
    // Images that nobody wants are not sent.
    let (images, info) =
        made(&txt2img(&server, json!({"prompt": "a fox", "steps": 1, "send_images": false, "save_images": true})));
    assert_eq!((images.len(), info["infotexts"].as_array().unwrap().len()), (0, 1));
}

#[test]
fn a_second_pass_is_larger() {
    let server = start();
    for (body, size) in [
        (json!({}), [128, 128]),
        (json!({"hr_scale": 1.5}), [96, 96]),
        (json!({"hr_resize_x": 96, "hr_resize_y": 80}), [96, 80]),
        (json!({"hr_resize_x": 96}), [96, 96]),
        (json!({"width": 96, "height": 96, "firstphase_width": 64, "firstphase_height": 64}), [96, 96]),
    ] {
        let mut whole = json!({
            "prompt": "a fox", "steps": 2, "enable_hr": true, "hr_second_pass_steps": 1, "hr_upscaler": "Latent (nearest-exact)",
            "hr_sampler_name": "Euler", "hr_checkpoint_name": "Use same checkpoint"
        });
        body.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
        let (images, info) = made(&txt2img(&server, whole));
        let image = decode(&images[0], &Default::default()).unwrap();
        assert_eq!([image.width(), image.height()], size, "{body}");
        assert_eq!(info["denoising_strength"], 0.75);
    }
}

#[test]
fn images_are_made_from_images() {
    let server = start();
    let img2img = |body: Value| server.post("/sdapi/v1/img2img", &body);
    let answer = img2img(
        json!({"init_images": [picture([200, 40, 40])], "prompt": "a fox", "steps": 4, "denoising_strength": 0.5, "seed": 1}),
    );
    let (images, info) = made(&answer);
    let request = metadata::read(&images[0]).unwrap().metadata.request;
    let init = request.init.unwrap();
    assert_eq!((init.strength, init.strength_rule), (0.5, StrengthRule::A1111));
    assert_eq!(info["denoising_strength"], 0.5);
    assert_eq!(answer.json()["parameters"]["init_images"], Value::Null);
    let with =
        img2img(json!({"init_images": [picture([0; 3])], "prompt": "a fox", "steps": 1, "include_init_images": true}));
    assert_eq!(with.json()["parameters"]["init_images"].as_array().unwrap().len(), 1);
    // Masked: what is black in the mask stays.
    let body = json!({
        "init_images": [format!("data:image/png;base64,{}", picture([10, 200, 30]))], "mask": mask(), "mask_blur": 0, "inpainting_fill": 1,
        "inpaint_full_res": false, "prompt": "a fox", "steps": 4, "denoising_strength": 0.9, "resize_mode": 0
    });
    let image = decode(&made(&img2img(body.clone())).0[0], &Default::default()).unwrap();
    let far = |image: &RgbImage, xs: std::ops::Range<u32>| {
        let of = |x: u32, y: u32| {
            image.pixel(x, y).unwrap().iter().zip([10u8, 200, 30]).map(|(a, b)| u64::from(a.abs_diff(b))).sum::<u64>()
        };
        xs.flat_map(|x| (0..64).map(move |y| (x, y))).map(|(x, y)| of(x, y)).sum::<u64>()
    };
    assert!(far(&image, 40..64) < far(&image, 0..24) / 4, "{} {}", far(&image, 40..64), far(&image, 0..24));
    let mut inverted = body.clone();
    inverted["inpainting_mask_invert"] = json!(1);
    let image = decode(&made(&img2img(inverted)).0[0], &Default::default()).unwrap();
    assert!(far(&image, 0..24) < far(&image, 40..64) / 4);
    // A1111's own defaults: the part around the mask, filled.
    let (images, _) =
        made(&img2img(json!({"init_images": [picture([9; 3])], "mask": mask(), "prompt": "a fox", "steps": 2})));
    let inpaint = metadata::read(&images[0]).unwrap().metadata.request.init.unwrap().inpaint.unwrap();
    assert_eq!((inpaint.only_masked_padding, inpaint.mask_blur), (Some(0), 4.0));
    for (resize_mode, good) in [(1, true), (2, true), (3, true), (4, false)] {
        let answer = img2img(
            json!({"init_images": [picture([9; 3])], "prompt": "a fox", "steps": 1, "resize_mode": resize_mode, "width": 96, "height": 64}),
        );
        assert_eq!(answer.status, if good { 200 } else { 422 }, "{resize_mode}: {}", answer.text());
    }
    let uneven = img2img(json!({"init_images": [picture([9; 3])], "mask": mask(), "mask_blur_x": 4, "mask_blur_y": 8}));
    assert_eq!(uneven.status, 422);
}

#[test]
fn an_infotext_fills_what_is_left_out() {
    let server = start();
    let text = "a red fox\nNegative prompt: dog\nSteps: 3, Sampler: Heun, Schedule type: Karras, CFG scale: 4, Seed: 77, Size: 64x64, RNG: CPU, Version: v1.10.1";
    let (images, info) = made(&txt2img(&server, json!({"infotext": text})));
    assert_eq!((&info["seed"], &info["steps"], &info["sampler_name"]), (&json!(77), &json!(3), &json!("Heun")));
    assert_eq!(
        (&info["prompt"], &info["negative_prompt"], &info["cfg_scale"]),
        (&json!("a red fox"), &json!("dog"), &json!(4.0))
    );
    let request = metadata::read(&images[0]).unwrap().metadata.request;
    assert_eq!((request.rng, request.schedule.to_string()), (Rng::Cpu, "karras".to_owned()));
    let (_, info) = made(&txt2img(&server, json!({"infotext": text, "prompt": "a cat", "seed": 5, "steps": 2})));
    assert_eq!(
        (&info["prompt"], &info["seed"], &info["steps"], &info["cfg_scale"]),
        (&json!("a cat"), &json!(5), &json!(2), &json!(4.0))
    );
}

#[test]
fn options_belong_to_a_key() {
    let (server, [admin, alice, bob]) = start_with_keys(|config| {
        config.styles = vec![Style {
            name: "ink".to_owned(),
            prompt: "ink of {prompt}".to_owned(),
            negative_prompt: "colour".to_owned(),
        }];
    });
    let call =
        |key: &str, method: &str, path: &str, body: Option<Value>| server.as_key(key, method, path, body.as_ref());
    let options = |key: &str| call(key, "GET", "/sdapi/v1/options", None).json();
    let models = call(&alice, "GET", "/sdapi/v1/sd-models", None).json();
    let title = models[0]["title"].as_str().unwrap();
    assert!(title.starts_with("built-in [") && title.len() == "built-in [".len() + 11, "{title}");
    assert_eq!(models[0]["hash"].as_str().unwrap(), &models[0]["sha256"].as_str().unwrap()[..10]);
    let first = options(&alice);
    assert_eq!(first["sd_model_checkpoint"], title);
    for name in [
        "sd_checkpoint_hash",
        "sd_vae",
        "CLIP_stop_at_last_layers",
        "samples_format",
        "eta_noise_seed_delta",
        "live_previews_enable",
        "show_progress_every_n_steps",
        "show_progress_type",
        "randn_source",
    ] {
        assert!(first.get(name).is_some(), "{name}");
    }
    // The whole dictionary comes back with one thing changed, as Open WebUI does it.
    let mut changed = first.clone();
    changed["samples_format"] = json!("jpg");
    changed["CLIP_stop_at_last_layers"] = json!("2");
    let answer = call(&alice, "POST", "/sdapi/v1/options", Some(changed));
    assert_eq!((answer.status, answer.json()), (200, Value::Null), "{}", answer.text());
    assert_eq!(
        (&options(&alice)["samples_format"], &options(&alice)["CLIP_stop_at_last_layers"]),
        (&json!("jpg"), &json!(2))
    );
    assert_eq!(options(&bob)["samples_format"], "png");
    let answer = call(&alice, "POST", "/sdapi/v1/options", Some(json!({"outdir_samples": "/etc"})));
    assert!(answer.header("x-calotype-warning").unwrap().contains("outdir_samples"));
    for name in [title, "built-in", &title["built-in [".len()..title.len() - 1]] {
        assert_eq!(
            call(&alice, "POST", "/sdapi/v1/options", Some(json!({"sd_model_checkpoint": name}))).status,
            200,
            "{name}"
        );
    }
    let wrong =
        call(&alice, "POST", "/sdapi/v1/options", Some(json!({"sd_model_checkpoint": "x", "samples_format": "webp"})));
    let expected = json!({"error": "RuntimeError", "detail": "", "body": "", "errors": "model \"x\" not found"});
    assert_eq!((wrong.status, wrong.json()), (500, expected));
    assert_eq!(options(&alice)["samples_format"], "jpg");
    for wrong in [
        json!({"samples_format": "gif"}),
        json!({"randn_source": "TPU"}),
        json!({"emphasis": "Loud"}),
        json!({"CLIP_stop_at_last_layers": "x"}),
    ] {
        assert_eq!(call(&alice, "POST", "/sdapi/v1/options", Some(wrong.clone())).status, 422, "{wrong}");
    }
    // They count for the key's images, and others for one request.
    let make = |key: &str, body: Value| made(&call(key, "POST", "/sdapi/v1/txt2img", Some(body)));
    let (images, info) = make(&alice, json!({"prompt": "a fox", "steps": 1}));
    assert!(images[0].starts_with(&[0xff, 0xd8]));
    assert_eq!(info["clip_skip"], 2);
    assert!(make(&bob, json!({"prompt": "a fox", "steps": 1})).0[0].starts_with(b"\x89PNG"));
    let (images, info) = make(
        &alice,
        json!({"prompt": "a fox", "steps": 1, "styles": ["ink"], "override_settings": {"samples_format": "webp", "randn_source": "CPU", "CLIP_stop_at_last_layers": 1}}),
    );
    assert!(images[0].starts_with(b"RIFF"));
    assert_eq!(metadata::read(&images[0]).unwrap().metadata.request.rng, Rng::Cpu);
    assert_eq!(
        (&info["prompt"], &info["negative_prompt"], &info["styles"]),
        (&json!("ink of a fox"), &json!("colour"), &json!(["ink"]))
    );
    assert_eq!(options(&alice)["samples_format"], "jpg");
    make(
        &alice,
        json!({"prompt": "a fox", "steps": 1, "override_settings": {"samples_format": "webp"}, "override_settings_restore_afterwards": false}),
    );
    assert_eq!(options(&alice)["samples_format"], "webp");
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{bob}")));
    assert_eq!(server.send("GET", "/sdapi/v1/options", &[("authorization", &basic)], b"").status, 200);
    let nobody = server.get("/sdapi/v1/options");
    assert!(nobody.status == 401 && nobody.header("www-authenticate").unwrap().starts_with("Basic"));
    assert_eq!(nobody.json()["error"], "HTTPException");
    assert_eq!(call(&alice, "POST", "/sdapi/v1/unload-checkpoint", None).status, 403);
    assert_eq!(call(&admin, "POST", "/sdapi/v1/unload-checkpoint", None).json(), json!({}));
}

#[test]
fn lists_are_as_clients_read_them() {
    let server = start();
    let list = |path: &str| {
        let answer = server.get(&format!("/sdapi/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    };
    let names = |path: &str, member: &str| -> Vec<String> {
        list(path).as_array().unwrap().iter().map(|row| row[member].as_str().unwrap().to_owned()).collect()
    };
    let samplers = names("samplers", "name");
    assert_eq!(samplers.len(), 20);
    assert!(samplers.contains(&"DPM++ 2M SDE Heun".to_owned()) && !samplers.contains(&"DPM-Solver".to_owned()));
    assert_eq!(list("samplers")[0]["options"].as_object().map(|_| ()), Some(()));
    let schedulers = names("schedulers", "label");
    assert_eq!(schedulers.len(), 12);
    assert_eq!((schedulers[0].as_str(), names("schedulers", "name")[0].as_str()), ("Automatic", "automatic"));
    assert_eq!(names("upscalers", "name"), ["None", "Lanczos", "Nearest"]);
    let latent = [
        "Latent",
        "Latent (antialiased)",
        "Latent (bicubic)",
        "Latent (bicubic antialiased)",
        "Latent (nearest)",
        "Latent (nearest-exact)",
    ];
    assert_eq!(names("latent-upscale-modes", "name"), latent);
    assert_eq!(names("sd-models", "model_name"), ["built-in"]);
    for path in [
        "sd-vae",
        "loras",
        "hypernetworks",
        "prompt-styles",
        "script-info",
        "extensions",
        "face-restorers",
        "realesrgan-models",
    ] {
        assert_eq!(list(path), json!([]), "{path}");
    }
    assert_eq!(list("embeddings"), json!({"loaded": {}, "skipped": {}}));
    assert_eq!(list("scripts"), json!({"txt2img": [], "img2img": []}));
    assert!(list("memory")["ram"]["total"].as_u64().unwrap() > 0);
    assert!(!list("cmd-flags").as_object().unwrap().keys().any(|flag| flag.contains("auth")));
    for (path, expected) in [
        ("refresh-checkpoints", Value::Null),
        ("refresh-vae", Value::Null),
        ("refresh-embeddings", Value::Null),
        ("refresh-loras", Value::Null),
        ("unload-checkpoint", json!({})),
        ("reload-checkpoint", json!({})),
        ("interrupt", json!({})),
        ("skip", Value::Null),
    ] {
        // Without a body and without its type, as webuiapi sends them.
        let answer = server.send("POST", &format!("/sdapi/v1/{path}"), &[], b"");
        assert_eq!((answer.status, answer.json()), (200, expected), "{path}");
    }
}

/// Where nothing is done it is said so, in the words that clients wait for.
#[test]
fn an_idle_server_is_ready() {
    let server = start();
    let progress = server.get("/sdapi/v1/progress?skip_current_image=true").json();
    let members: Vec<&String> = progress.as_object().unwrap().keys().collect();
    assert_eq!(members, ["current_image", "eta_relative", "progress", "state", "textinfo"]);
    assert_eq!(
        (&progress["progress"], &progress["state"]["job_count"], &progress["current_image"]),
        (&json!(0.0), &json!(0), &Value::Null)
    );
    let members: Vec<&String> = progress["state"].as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "interrupted",
            "job",
            "job_count",
            "job_no",
            "job_timestamp",
            "sampling_step",
            "sampling_steps",
            "skipped",
            "stopping_generation"
        ]
    );
    let task = server.post("/internal/progress", &json!({"id_task": "task(x)"})).json();
    assert_eq!((&task["active"], &task["queued"], &task["completed"]), (&json!(false), &json!(false), &json!(false)));
    assert_eq!(server.get("/internal/pending-tasks").json(), json!({"size": 0, "tasks": []}));
}

/// A job that takes long enough to be looked at.
fn long(task: Option<&str>) -> Value {
    json!({"prompt": "a fox", "steps": 150, "width": 512, "height": 512, "batch_size": 2, "force_task_id": task})
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_key_has_its_own_progress_and_end() {
    let (server, [admin, alice, bob]) = start_with_keys(|_| {});
    let call =
        |key: &str, method: &str, path: &str, body: Option<Value>| server.as_key(key, method, path, body.as_ref());
    let progress = |key: &str, rest: &str| call(key, "GET", &format!("/sdapi/v1/progress{rest}"), None).json();
    thread::scope(|scope| {
        let first = scope.spawn(|| call(&alice, "POST", "/sdapi/v1/txt2img", Some(long(Some("task(a)")))));
        let running = until(|| {
            Some(progress(&alice, "")).filter(|progress| progress["state"]["sampling_step"].as_u64() > Some(1))
        });
        assert!(
            running["progress"].as_f64().unwrap() > 0.01 && running["eta_relative"].as_f64().unwrap() > 0.0,
            "{running}"
        );
        assert_eq!((&running["state"]["job_count"], &running["state"]["sampling_steps"]), (&json!(1), &json!(150)));
        let preview = until(|| progress(&alice, "")["current_image"].as_str().map(str::to_owned));
        assert!(decode(&STANDARD.decode(preview).unwrap(), &Default::default()).is_ok());
        assert_eq!(progress(&alice, "?skip_current_image=true")["current_image"], Value::Null);
        // Of the others there is nothing to be seen, and they end nothing.
        assert_eq!(
            (&progress(&bob, "")["progress"], &progress(&bob, "")["state"]["job_count"]),
            (&json!(0.0), &json!(0))
        );
        assert_eq!(call(&bob, "GET", "/sdapi/v1/progress?all=True", None).status, 403);
        assert!(progress(&admin, "?all=true")["progress"].as_f64().unwrap() > 0.0);
        assert_eq!(call(&bob, "POST", "/sdapi/v1/interrupt", None).json(), json!({}));
        // By its name.
        let task = |key: &str, id: &str, known: i64| {
            call(key, "POST", "/internal/progress", Some(json!({"id_task": id, "id_live_preview": known}))).json()
        };
        let told = task(&alice, "task(a)", -1);
        assert!(told["active"] == true && told["progress"].as_f64().unwrap() > 0.0, "{told}");
        assert!(told["live_preview"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
        assert_eq!(task(&bob, "task(a)", -1)["active"], false);
        // Bob's waits behind it.
        let second = scope.spawn(|| {
            call(
                &bob,
                "POST",
                "/sdapi/v1/txt2img",
                Some(json!({"prompt": "a fox", "steps": 1, "force_task_id": "task(b)"})),
            )
        });
        let waiting = until(|| Some(task(&bob, "task(b)", -1)).filter(|task| task["queued"] == true));
        assert_eq!(waiting["textinfo"], "In queue: 1/1");
        assert_eq!(progress(&bob, "")["state"]["job_count"], -1);
        assert_eq!(call(&bob, "GET", "/internal/pending-tasks", None).json(), json!({"size": 1, "tasks": ["task(b)"]}));
        assert_eq!(call(&alice, "GET", "/internal/pending-tasks", None).json()["size"], 0);
        // Alice ends hers, which is answered without an image.
        assert_eq!(call(&alice, "POST", "/sdapi/v1/interrupt", None).json(), json!({}));
        let (images, info) = made(&first.join().unwrap());
        assert_eq!(images.len(), 0);
        assert!(warnings(&info)[0].contains("interrupted"));
        assert_eq!(task(&alice, "task(a)", -1)["completed"], true);
        assert_eq!(made(&second.join().unwrap()).0.len(), 1);
        assert_eq!(task(&bob, "task(b)", -1)["completed"], true);
    });
}

/// Clients that go away want it stopped, but for those who have a name to come back by.
#[test]
fn a_client_that_goes_away_ends_its_job() {
    use std::io::Write;
    let server = start();
    let jobs = || server.get("/v1/jobs").json()["jobs"].clone();
    let send = |body: &Value| {
        let body = body.to_string();
        let mut stream = server.connect();
        let host = server.address;
        let head = format!(
            "POST /sdapi/v1/txt2img HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        stream
    };
    let state = |n: usize| until(|| jobs()[n]["state"].as_str().map(str::to_owned));
    let running = send(&long(None));
    until(|| Some(jobs()).filter(|jobs| jobs[0]["progress"]["step"].as_u64() > Some(1)));
    let queued = send(&long(None));
    until(|| (state(0) == "queued").then_some(()));
    drop(queued);
    until(|| (state(0) == "cancelled").then_some(()));
    assert_eq!(state(1), "running");
    drop(running);
    until(|| (state(1) == "cancelled").then_some(()));
    let named = send(&json!({"prompt": "a fox", "steps": 100, "force_task_id": "task(x)"}));
    until(|| Some(jobs()).filter(|jobs| jobs.as_array().unwrap().len() == 3));
    drop(named);
    until(|| (state(0) == "succeeded").then_some(()));
}

#[test]
fn images_are_enlarged_and_read() {
    let server = start();
    let (images, info) = made(&txt2img(&server, json!({"prompt": "a fox", "steps": 1, "seed": 3})));
    let data = STANDARD.encode(&images[0]);
    let single = |mut body: Value| {
        body["image"] = json!(format!("data:image/png;base64,{data}"));
        server.post("/sdapi/v1/extra-single-image", &body)
    };
    let size = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let image =
            decode(&STANDARD.decode(answer.json()["image"].as_str().unwrap()).unwrap(), &Default::default()).unwrap();
        [image.width(), image.height()]
    };
    for (body, expected) in [
        (json!({}), [64, 64]),
        (json!({"upscaler_1": "None", "upscaling_resize": 2}), [64, 64]),
        (json!({"upscaler_1": "Lanczos", "upscaling_resize": 2}), [128, 128]),
        (
            json!({"upscaler_1": "Nearest", "upscaling_resize": 1.5, "upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}),
            [96, 96],
        ),
        (
            json!({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 80}),
            [100, 80],
        ),
        (
            json!({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 80, "upscaling_crop": false}),
            [80, 80],
        ),
    ] {
        assert_eq!(size(&single(body.clone())), expected, "{body}");
    }
    for body in [
        json!({"upscaler_1": "R-ESRGAN 4x+"}),
        json!({"upscaler_1": "Latent"}),
        json!({"upscaler_1": "Lanczos", "upscaling_resize": 100}),
        json!({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100_000}),
    ] {
        assert_eq!(single(body.clone()).status, 422, "{body}");
    }
    assert!(single(json!({"gfpgan_visibility": 1})).header("x-calotype-warning").unwrap().contains("gfpgan"));
    let batch = server.post("/sdapi/v1/extra-batch-images", &json!({"upscaler_1": "Nearest", "upscaling_resize": 2, "imageList": [{"data": data, "name": "a"}, {"data": data, "name": "b"}]}));
    assert_eq!(batch.json()["images"].as_array().unwrap().len(), 2);
    // What it says of itself outlives it.
    let large = single(json!({"upscaler_1": "Lanczos"})).json()["image"].clone();
    let png_info = |image: Value| server.post("/sdapi/v1/png-info", &json!({"image": image})).json();
    for image in [json!(data), large] {
        let told = png_info(image);
        assert_eq!(told["info"], info["infotexts"][0]);
        let parameters = &told["parameters"];
        assert_eq!(
            (&parameters["Prompt"], &parameters["Steps"], &parameters["Seed"]),
            (&json!("a fox"), &json!("1"), &json!("3"))
        );
        assert_eq!((&parameters["Size-1"], &parameters["Sampler"]), (&json!("64"), &json!("Euler")));
    }
    assert_eq!(png_info(json!("")), json!({"info": "", "items": {}, "parameters": {}}));
    assert_eq!(png_info(json!(picture([1; 3])))["info"], "");
    assert_eq!(server.post("/sdapi/v1/png-info", &json!({"image": "aGVsbG8="})).status, 422);
}
