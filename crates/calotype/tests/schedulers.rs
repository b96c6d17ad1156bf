//! What a folder's `scheduler_config.json` says of the sampler is heeded, said, recorded and converted.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use calotype::{
    Keep, Model, ModelOptions, Pipeline, PipelineOptions, Precision, Request,
    metadata::Metadata,
    sampling::{FinalSigmas, PredictionType, SamplerKind, ScheduleKind, SchedulerSettings, TimestepSpacing},
};
use calotype_checkpoint::{ConvertOptions, ConvertTo, Inspection, convert, inspect};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Sizes, begin, distance, family};

/// A case of `reference/scheduler_matrix.py`.
#[derive(Deserialize)]
struct Golden {
    /// The text of `scheduler_config.json`.
    scheduler: String,
    sampler: String,
    steps: usize,
    latents: Vec<f32>,
}

const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A model whose scheduler has this config.
fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    fs::write(folder.path().join(SCHEDULER), config).unwrap();
    folder
}

/// The config of Stable Diffusion 1 with more in it.
fn config(class: &str, more: Value) -> String {
    let mut config = json!({
        "_class_name": class,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "set_alpha_to_one": false,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

fn open(path: &Path) -> Pipeline {
    let model = Model::open(path).unwrap();
    Pipeline::load(model, PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

fn request(sampler: SamplerKind) -> Request {
    Request {
        prompt: "a lighthouse in the fog".into(),
        num_inference_steps: 4,
        sampler,
        guidance_scale: 5.0,
        width: Some(32),
        height: Some(32),
        seed: 7,
        ..Default::default()
    }
}

fn latents(pipeline: &Pipeline, request: &Request) -> Vec<f32> {
    begin(pipeline, request).unwrap().finish_latents().unwrap().to_nchw()
}

#[test]
fn folders_are_drawn_as_diffusers_draws_them() {
    let goldens: Vec<Golden> = serde_json::from_str(include_str!("goldens/schedulers.json")).unwrap();
    assert!(goldens.len() >= 30);
    for golden in goldens {
        let folder = folder(&golden.scheduler);
        let request = Request { num_inference_steps: golden.steps, ..request(golden.sampler.parse().unwrap()) };
        let error = distance(&latents(&open(folder.path()), &request), &golden.latents);
        assert!(error <= 1e-4, "{} in {} steps: {error:.1e} with {}", golden.sampler, golden.steps, golden.scheduler);
    }
}

#[test]
fn every_saved_class_is_a_sampler_or_none() {
    let saved: Value = serde_json::from_str(include_str!("goldens/saved_configs.json")).unwrap();
    for (name, text) in saved["schedulers"].as_object().unwrap() {
        let model = Model::open(folder(text.as_str().unwrap()).path()).unwrap();
        let scheduler = model.saved_scheduler().unwrap();
        assert_eq!(scheduler.class(), Some(name.as_str()));
        let expected = match name.strip_suffix("Scheduler").unwrap() {
            "DDIM" | "DDIMParallel" => Some("ddim"),
            "PNDM" => Some("plms"),
            "EulerDiscrete" => Some("euler"),
            "EulerAncestralDiscrete" => Some("euler_a"),
            "HeunDiscrete" => Some("heun"),
            "LMSDiscrete" => Some("lms"),
            "KDPM2Discrete" => Some("dpm_2"),
            "KDPM2AncestralDiscrete" => Some("dpm_2_a"),
            "DPMSolverMultistep" => Some("dpmpp_2m"),
            "UniPCMultistep" => Some("unipc"),
            "LCM" => Some("lcm"),
            _ => None,
        };
        assert_eq!(scheduler.sampler().map(SamplerKind::id), expected, "{name}");
        // Its class has no such key, so that diffusers' pipelines don't put 1 there.
        let offset = (name == "DPMSolverSinglestepScheduler").then_some(0);
        assert_eq!(scheduler.settings(SamplerKind::Ddim).steps_offset, offset, "{name}");
        // As each class saves itself, its own sampler is drawn by default; but PNDM and DDIM are not as Stable Diffusion has them.
        let Some(sampler) = scheduler.sampler() else { continue };
        let said = scheduler.settings(sampler).differing(&SchedulerSettings::defaults(sampler)).given();
        let expected: &[(&str, &str)] = match sampler {
            SamplerKind::Ddim => &[("set_alpha_to_one", "true")],
            SamplerKind::Plms => &[("skip_prk_steps", "false")],
            _ => &[],
        };
        let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(said, expected, "{name}");
        assert!(scheduler.unheeded(sampler).is_empty(), "{name}: {:?}", scheduler.unheeded(sampler));
    }
}

#[test]
fn what_a_request_says_counts_more() {
    let (trailing, plain) = (
        folder(&config("EulerDiscreteScheduler", json!({"timestep_spacing": "trailing"}))),
        folder(&config("EulerDiscreteScheduler", json!({}))),
    );
    let [of_trailing, of_plain] = [&trailing, &plain].map(|folder| open(folder.path()));
    for sampler in [SamplerKind::Ddim, SamplerKind::Plms, SamplerKind::Euler, SamplerKind::Dpmpp2m] {
        let asked = |timestep_spacing| SchedulerSettings { timestep_spacing, ..Default::default() };
        let with = |spacing| Request { scheduler_settings: asked(Some(spacing)), ..request(sampler) };
        let by_default = SchedulerSettings::defaults(sampler).timestep_spacing.unwrap();
        let heeded = latents(&of_trailing, &request(sampler));
        assert_eq!(heeded, latents(&of_plain, &with(TimestepSpacing::Trailing)), "{sampler}");
        let default = latents(&of_plain, &request(sampler));
        assert_eq!(default, latents(&of_trailing, &with(by_default)), "{sampler}");
        assert_eq!(default, latents(&of_trailing, &Request { ignore_scheduler_config: true, ..request(sampler) }));
        assert!(distance(&heeded, &default) > 1e-3, "{sampler}");
        // Other schedules are what they say.
        let automatic = Request { schedule: ScheduleKind::Automatic, ..request(sampler) };
        assert_eq!(latents(&of_trailing, &automatic), latents(&of_plain, &automatic), "{sampler}");
    }
    // A1111's sampler, unless the folder is of its own class.
    assert_eq!(latents(&of_trailing, &request(SamplerKind::UniPc)), latents(&of_plain, &request(SamplerKind::UniPc)));
    let own = folder(&config("UniPCMultistepScheduler", json!({})));
    let (of_a1111, unipc) = (latents(&of_plain, &request(SamplerKind::UniPc)), request(SamplerKind::UniPc));
    assert!(distance(&latents(&open(own.path()), &unipc), &of_a1111) > 1e-3);
    let order = Request {
        sampler_settings: calotype::sampling::SamplerSettings { uni_pc_order: 2, ..Default::default() },
        ..unipc
    };
    assert_eq!(latents(&open(own.path()), &order), latents(&of_plain, &order));
}

#[test]
fn metadata_say_what_the_folder_said() {
    let saved = config("PNDMScheduler", json!({"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}));
    let (said, plain) = (folder(&saved), folder(&config("PNDMScheduler", json!({}))));
    let pipeline = open(said.path());
    let euler = request(SamplerKind::Euler);
    let metadata = |pipeline: &Pipeline, request: &Request| {
        let plan = pipeline.plan(request.clone()).unwrap();
        let metadata = Metadata::new(pipeline.model(), &plan, Precision::F32, 0).unwrap();
        Metadata { model: "a copy".to_owned(), ..metadata }
    };
    let made = metadata(&pipeline, &euler);
    let expected = SchedulerSettings {
        timestep_spacing: Some(TimestepSpacing::Trailing),
        final_sigmas_type: Some(FinalSigmas::SigmaMin),
        ..Default::default()
    };
    assert_eq!(made.request.scheduler_settings, expected);
    let text = made.parameters();
    assert!(text.contains("Timestep spacing: trailing, Final sigmas type: sigma_min"), "{text}");
    let read = Metadata::from_parameters(&text).metadata;
    assert_eq!(read.request.scheduler_settings, expected);
    assert_eq!(Metadata::from_json(&made.to_json()).unwrap(), made);

    // Made again on any copy of the model, and to the same metadata.
    let (again, _) = made.request(&[]).unwrap();
    for other in [&pipeline, &open(plain.path())] {
        assert_eq!(latents(other, &again), latents(&pipeline, &euler));
        assert_eq!(metadata(other, &again).to_json(), made.to_json());
    }
    // A picture that does not say so was made without.
    let old = Metadata { request: euler.clone(), ..made };
    let (again, _) = old.request(&[]).unwrap();
    assert_eq!(latents(&pipeline, &again), latents(&open(plain.path()), &euler));
    assert!(!metadata(&pipeline, &again).to_json().contains("scheduler"));
    // Nor does a model whose scheduler says nothing.
    assert!(!metadata(&open(plain.path()), &euler).to_json().contains("scheduler"));
}

#[test]
fn every_setting_is_in_both_texts() {
    let all = json!({
        "timestep_spacing": "leading", "steps_offset": 2, "sigma_spacing": "lu", "final_sigmas_type": "sigma_min",
        "solver_order": 3, "solver_type": "heun", "algorithm_type": "sde-dpmsolver++", "lower_order_final": false,
        "euler_at_final": true, "set_alpha_to_one": true, "skip_prk_steps": false, "thresholding": true,
        "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5,
    });
    let settings: SchedulerSettings = serde_json::from_value(all.clone()).unwrap();
    assert_eq!(settings.given().len(), all.as_object().unwrap().len());
    let metadata = Metadata {
        request: Request { scheduler_settings: settings, ..request(SamplerKind::Dpmpp2mSde) },
        ..Default::default()
    };
    assert_eq!(Metadata::from_parameters(&metadata.parameters()).metadata.request.scheduler_settings, settings);
    assert_eq!(Metadata::from_json(&metadata.to_json()).unwrap(), metadata);
    assert!(!Metadata { request: request(SamplerKind::Ddim), ..metadata }.to_json().contains("scheduler"));
}

#[test]
fn what_is_not_heeded_is_said() {
    let more = json!({"interpolation_type": "log_linear", "sigma_max": 20.0, "lambda_min_clipped": -5.1});
    let folder = folder(&config("EulerDiscreteScheduler", more));
    let warnings = |sampler| {
        let mut run = begin(&open(folder.path()), &request(sampler)).unwrap();
        while run.next().is_some() {}
        run.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let euler = "the model's scheduler_config.json says interpolation_type \"log_linear\", sigma_max 20.0, which is not heeded: diffusers' pictures differ";
    assert_eq!(warnings(SamplerKind::Euler), [euler]);
    assert_eq!(warnings(SamplerKind::Ddim), [""; 0]);
    let Inspection::Model(found) = inspect(folder.path(), &ModelOptions::default()).unwrap() else {
        panic!("no model")
    };
    let scheduler = found.scheduler.unwrap();
    assert_eq!((scheduler.class.as_deref(), scheduler.sampler), (Some("EulerDiscreteScheduler"), Some("euler")));
    assert_eq!(scheduler.unheeded.len(), 3);
    assert!(found.warnings.iter().any(|warning| warning.contains("log_linear")), "{:?}", found.warnings);
}

const FILE: ConvertOptions = ConvertOptions { to: ConvertTo::CompVis, dtype: None };
const FOLDER: ConvertOptions = ConvertOptions { to: ConvertTo::Diffusers, dtype: None };

#[test]
fn settings_go_through_every_layout() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("from")).unwrap();
    family::SD1.sizes.write(&path("from"));
    let saved = config(
        "EulerDiscreteScheduler",
        json!({"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min", "lambda_min_clipped": "-", "of_a_later_version": 3}),
    );
    // As Python writes it.
    fs::write(path("from").join(SCHEDULER), saved.replace("\"-\"", "-Infinity")).unwrap();
    let done = |from: &str, to: &str, how| {
        convert(&path(from), &ModelOptions::default(), &path(to), how, &mut |_, _| true).unwrap();
    };
    done("from", "file.safetensors", FILE);
    done("file.safetensors", "folder", FOLDER);
    done("folder", "again", FOLDER);
    let expected = family::latents(&path("from"), &ModelOptions::default());
    for there in ["file.safetensors", "folder", "again"] {
        let model = Model::open(path(there)).unwrap();
        let scheduler = model.saved_scheduler().unwrap();
        assert_eq!(scheduler.sampler(), Some(SamplerKind::Euler), "{there}");
        assert_eq!(scheduler.settings(SamplerKind::Euler).timestep_spacing, Some(TimestepSpacing::Trailing));
        assert_eq!(family::latents(&path(there), &ModelOptions::default()), expected, "{there}");
    }
    for there in ["folder", "again"] {
        let text = fs::read_to_string(path(there).join(SCHEDULER)).unwrap();
        for kept in ["\"lambda_min_clipped\": -Infinity", "\"of_a_later_version\": 3", "\"EulerDiscreteScheduler\""] {
            assert!(text.contains(kept), "{text}");
        }
        let index = fs::read_to_string(path(there).join("model_index.json")).unwrap();
        assert!(index.contains("EulerDiscreteScheduler"), "{index}");
    }
    // A scheduler that says nothing leaves the file as it was.
    fs::create_dir(path("plain")).unwrap();
    family::SD1.sizes.write(&path("plain"));
    done("plain", "plain.safetensors", FILE);
    assert!(Model::open(path("plain.safetensors")).unwrap().saved_scheduler().is_none());
}

#[test]
fn cosine_betas_and_sample_prediction_go_through_every_layout() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("from")).unwrap();
    family::SD1.sizes.write(&path("from"));
    let more = json!({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"});
    fs::write(path("from").join(SCHEDULER), config("DDIMScheduler", more)).unwrap();
    let done = |from: &str, to: &str, how| {
        convert(&path(from), &ModelOptions::default(), &path(to), how, &mut |_, _| true).unwrap();
    };
    done("from", "file.safetensors", FILE);
    done("file.safetensors", "folder", FOLDER);
    let from = Model::open(path("from")).unwrap();
    let alphas = from.noise_schedule().alphas_cumprod();
    // Of diffusers 0.42.1.
    for (at, expected) in [(0, 0.999_958_7), (500, 0.492_285_04), (999, 2.428_735e-9)] {
        assert!((alphas[at] - expected).abs() <= 1e-5 * expected, "{} at {at}", alphas[at]);
    }
    for there in ["from", "file.safetensors", "folder"] {
        let model = Model::open(path(there)).unwrap();
        assert_eq!(model.prediction_type(), PredictionType::Sample, "{there}");
        assert_eq!(model.noise_schedule(), from.noise_schedule(), "{there}");
        assert_eq!(model.noise_schedule_name(), None, "{there}");
    }
    // Without its YAML config the file still says the betas.
    fs::remove_file(path("file.yaml")).unwrap();
    let alone = Model::open(path("file.safetensors")).unwrap();
    assert_eq!(alone.noise_schedule(), from.noise_schedule());
}
