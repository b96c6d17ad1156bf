//! Images from text, from images, and of infotexts.

use calotype::{metadata, request::StrengthRule, sampling::Rng};
use calotype_image::{RgbImage, decode};
use serde_json::{Value, json};

use crate::{common::start, made, mask, picture, txt2img, warnings};

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
