//! The answer to txt2img and img2img: images, the request again, and `info`, a text of JSON.

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::Request;
use serde_json::{Map, Value, json};

use super::{fields::timestamp, models, request::Kind};
use crate::{app::App, attend::Made, problem::warn_header};

/// What an answer is made of.
pub(super) struct Answer<'a> {
    pub(super) kind: Kind,
    pub(super) body: &'a Map<String, Value>,
    pub(super) request: &'a Request,
    pub(super) model: &'a str,
    pub(super) vae: Option<&'a str>,
    pub(super) styles: &'a [String],
    pub(super) submitted: u64,
    pub(super) images: &'a [Made],
    pub(super) warnings: Vec<String>,
}

impl Answer<'_> {
    pub(super) fn into_response(self, app: &App) -> Response {
        let mut headers = HeaderMap::new();
        self.warnings.iter().for_each(|warning| warn_header(&mut headers, warning));
        let sends = self.body.get("send_images") != Some(&Value::Bool(false));
        let images: Vec<String> =
            self.images.iter().filter(|_| sends).map(|image| STANDARD.encode(&image.bytes)).collect();
        let body = json!({"images": images, "parameters": self.parameters(), "info": self.info(app).to_string()});
        (headers, Json(body)).into_response()
    }

    /// The members of the request that A1111 knows; never others, for clients put passwords there.
    fn parameters(&self) -> Map<String, Value> {
        let mut parameters = known(self.kind);
        for (name, value) in &mut parameters {
            if let Some(given) = self.body.get(name) {
                value.clone_from(given);
            }
        }
        if self.body.get("include_init_images") != Some(&Value::Bool(true)) {
            for name in ["init_images", "mask"] {
                parameters.get_mut(name).into_iter().for_each(|value| *value = Value::Null);
            }
        }
        parameters
    }

    fn info(&self, app: &App) -> Value {
        let Self { request, images, .. } = self;
        let about = |name: &str| images.iter().map(|image| image.result.about[name].clone()).collect::<Vec<_>>();
        let seeds = match about("seed") {
            seeds if seeds.is_empty() => (0..request.batch_size).map(|n| json!(request.seeds(n).0)).collect(),
            seeds => seeds,
        };
        let numbers = images.iter().map(|image| image.result.about["n"].as_u64().unwrap_or(0));
        let numbers: Vec<usize> = numbers.map(|n| usize::try_from(n).unwrap_or(0)).collect();
        let subseeds: Vec<Value> = numbers.iter().map(|&n| json!(request.seeds(n).1.unwrap_or(request.seed))).collect();
        let count = seeds.len();
        let first = images.first().map(|image| &image.result.about);
        let side = |name: &str, asked: Option<usize>| first.map_or(json!(asked), |about| about[name].clone());
        let [resize_width, resize_height] = request
            .seed_resize
            .map_or([-1, -1], |[width, height]| [width, height].map(|side| i64::try_from(side).unwrap_or(-1)));
        let strength = request.hires.as_ref().map(|hires| hires.strength);
        let hash = app.a1111.hash(self.model).map(|hash| models::short(&hash));
        json!({
            "prompt": request.prompt,
            "all_prompts": vec![&request.prompt; count],
            "negative_prompt": request.negative_prompt,
            "all_negative_prompts": vec![&request.negative_prompt; count],
            "seed": request.seed,
            "all_seeds": seeds,
            "subseed": request.variation_seed.unwrap_or(request.seed),
            "all_subseeds": subseeds,
            "subseed_strength": request.variation_strength,
            "width": side("width", request.width),
            "height": side("height", request.height),
            "sampler_name": request.sampler.label(),
            "cfg_scale": request.guidance_scale,
            "steps": request.num_inference_steps,
            "batch_size": request.batch_size,
            "restore_faces": false,
            "face_restoration_model": null,
            "sd_model_name": self.model,
            "sd_model_hash": hash.unwrap_or_default(),
            "sd_vae_name": self.vae,
            "sd_vae_hash": null,
            "seed_resize_from_w": resize_width,
            "seed_resize_from_h": resize_height,
            "denoising_strength": strength.or(request.init.as_ref().map(|init| init.strength)),
            "extra_generation_params": {"Schedule type": request.schedule.label()},
            "index_of_first_image": 0,
            "infotexts": about("infotext"),
            "styles": self.styles,
            "job_timestamp": timestamp(Some(self.submitted)),
            "clip_skip": request.clip_skip,
            "is_using_inpainting_conditioning": false,
            "version": concat!("calotype ", env!("CARGO_PKG_VERSION")),
            "calotype_warnings": self.warnings,
        })
    }
}

/// The members of a request with A1111's defaults, which the answer repeats.
fn known(kind: Kind) -> Map<String, Value> {
    // In two: the macro counts members.
    let common = json!({
        "prompt": "", "negative_prompt": "", "styles": null, "seed": -1, "subseed": -1, "subseed_strength": 0.0,
        "seed_resize_from_h": -1, "seed_resize_from_w": -1, "sampler_name": null, "scheduler": null, "batch_size": 1,
        "n_iter": 1, "steps": 50, "cfg_scale": 7.0, "width": 512, "height": 512, "restore_faces": null, "tiling": null,
        "do_not_save_samples": false, "do_not_save_grid": false, "eta": null, "denoising_strength": null,
    });
    let rare = json!({
        "s_min_uncond": null, "s_churn": null, "s_tmax": null, "s_tmin": null, "s_noise": null,
        "override_settings": null, "override_settings_restore_afterwards": true, "refiner_checkpoint": null,
        "refiner_switch_at": null, "disable_extra_networks": false, "firstpass_image": null, "comments": null,
        "force_task_id": null, "sampler_index": "Euler", "script_name": null, "script_args": [], "send_images": true,
        "save_images": false, "alwayson_scripts": {}, "infotext": null,
    });
    let own = match kind {
        Kind::Txt2Img => json!({
            "enable_hr": false, "firstphase_width": 0, "firstphase_height": 0, "hr_scale": 2.0, "hr_upscaler": null,
            "hr_second_pass_steps": 0, "hr_resize_x": 0, "hr_resize_y": 0, "hr_checkpoint_name": null,
            "hr_sampler_name": null, "hr_scheduler": null, "hr_prompt": "", "hr_negative_prompt": "",
        }),
        Kind::Img2Img => json!({
            "init_images": null, "resize_mode": 0, "denoising_strength": 0.75, "image_cfg_scale": null, "mask": null,
            "mask_blur": null, "mask_blur_x": 4, "mask_blur_y": 4, "mask_round": true, "inpainting_fill": 0,
            "inpaint_full_res": true, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0,
            "initial_noise_multiplier": null, "latent_mask": null, "include_init_images": false,
        }),
    };
    [common, rare, own].into_iter().filter_map(|members| members.as_object().cloned()).flatten().collect()
}
