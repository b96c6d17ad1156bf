//! Options, lists, and what is done with images that are there.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::{metadata, sampling::Rng};
use calotype_image::decode;
use calotype_server::Style;
use serde_json::{Value, json};

use crate::{
    common::{Answer, start, start_with_keys},
    made, picture, txt2img,
};

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
