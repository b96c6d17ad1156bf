//! A1111's prompts: contexts equal to its own, and what a run makes of them.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::cell::Cell;
use std::sync::Arc;

use calotype::{
    Keep, Latents, Model, Pipeline, PipelineOptions, Precision, Request, Warning,
    metadata::Metadata,
    request::{Emphasis, PromptStyle},
    sampling::{Conditioning, SamplerKind, ScheduleKind},
};
use calotype_diffusion::{BatchNoise, ModelDenoiser, Predictor, SampleOptions, Sampler};
use calotype_models::TextConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Sizes, begin, distance};

fn model() -> (TempDir, Arc<Model>) {
    model_of_layers(3)
}

fn model_of_layers(num_hidden_layers: usize) -> (TempDir, Arc<Model>) {
    let folder = TempDir::new().unwrap();
    let mut sizes = Sizes::default();
    sizes.text = TextConfig { num_hidden_layers, ..sizes.text };
    sizes.write(folder.path());
    let model = Arc::new(Model::open(folder.path()).unwrap());
    (folder, model)
}

fn load(model: &Arc<Model>) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

fn a1111(prompt: &str, negative_prompt: &str) -> Request {
    Request {
        prompt: prompt.into(),
        negative_prompt: negative_prompt.into(),
        prompt_style: PromptStyle::A1111,
        num_inference_steps: 6,
        sampler: SamplerKind::Euler,
        ..Default::default()
    }
}

fn latents(pipeline: &Pipeline, request: &Request) -> Latents {
    begin(pipeline, request).unwrap().finish_latents().unwrap()
}

/// The prompt's parts at an evaluation: the weight, the rows as they are before parts are made equally long.
fn parts(conditioning: &Conditioning, evaluation: usize) -> Vec<(f32, Vec<f32>)> {
    let holding = conditioning.at(evaluation);
    holding.parts.iter().map(|&(attended, weight)| (weight, conditioning.rows(attended, 1))).collect()
}

/// Against `reference/a1111_prompts.py`.
#[test]
fn contexts_equal_a1111s() {
    let goldens: Value = serde_json::from_str(include_str!("goldens/contexts.json")).unwrap();
    for (group, layers, count) in [("cases", 3, 9), ("skips", 12, 12)] {
        let (_folder, model) = model_of_layers(layers);
        let cases = goldens[group].as_array().unwrap();
        assert_eq!(cases.len(), count);
        check_contexts(&load(&model), cases);
    }
}

fn check_contexts(pipeline: &Pipeline, cases: &[Value]) {
    for case in cases {
        let emphasis = Emphasis::ALL.into_iter().find(|emphasis| emphasis.label() == case["emphasis"]).unwrap();
        let request = Request {
            emphasis,
            clip_skip: case["clip_skip"].as_u64().unwrap() as usize,
            num_inference_steps: case["steps"].as_u64().unwrap() as usize,
            ..a1111(case["prompt"].as_str().unwrap(), "")
        };
        let (conditioning, _) = crate::common::conditioning(pipeline, &request).unwrap();
        for (index, part) in case["parts"].as_array().unwrap().iter().enumerate() {
            for entry in part[1].as_array().unwrap() {
                // An entry holds at its last step whatever the one before did.
                let (weight, rows) = parts(&conditioning, entry[0].as_u64().unwrap() as usize).swap_remove(index);
                assert_eq!(weight, part[0].as_f64().unwrap() as f32);
                let (own, padding) = rows.split_at(entry[1].as_u64().unwrap() as usize * conditioning.width());
                let last = &own[own.len() - conditioning.width()..];
                assert!(padding.chunks_exact(conditioning.width()).all(|row| row == last));
                let expected: Vec<f32> = serde_json::from_value(entry[2].clone()).unwrap();
                let sampled: Vec<f32> = own.iter().step_by(29).copied().collect();
                let error = distance(&sampled, &expected);
                println!("{} {}: {error:.1e}", case["prompt"], entry[0]);
                assert!(error <= 1e-5, "{case}: {error:.1e}");
            }
        }
    }
}

/// The negative prompt's, and those of the parts with their scales.
type Contexts = (Vec<f32>, Vec<(Vec<f32>, f32)>);

/// Calls of the UNet, one text at a time, joined by hand.
struct ByHand<'a> {
    pipeline: &'a Pipeline,
    calls: Cell<usize>,
    /// What holds at a call.
    at: &'a dyn Fn(usize) -> Contexts,
}

impl Predictor for ByHand<'_> {
    type Error = calotype::Error;

    fn predict(&mut self, latents: &Latents, timestep: f64) -> calotype::Result<Latents> {
        let (uncond, conds) = (self.at)(self.calls.replace(self.calls.get() + 1));
        let predict = |context: &[f32]| self.pipeline.predict(latents, timestep, context);
        let uncond = predict(&uncond)?;
        let mut sum = uncond.data().to_vec();
        for (context, scale) in conds {
            let cond = predict(&context)?;
            for ((sum, u), c) in sum.iter_mut().zip(uncond.data()).zip(cond.data()) {
                *sum += scale * (c - u);
            }
        }
        Ok(latents.with_data(sum)?)
    }
}

#[test]
fn a_run_with_schedules_and_parts_equals_calls_of_the_unet() {
    let (_folder, model) = model();
    let pipeline = load(&model);
    let request = a1111("a [cat:dog:3] AND fog BREAK sea :0.5", "[bad|worse]");
    let text = |text: &str| pipeline.encode_text(&[text]).unwrap().0;
    let width = model.text_config().hidden_size;
    let repeated = |mut rows: Vec<f32>| {
        let last = rows[rows.len() - width..].to_vec();
        (0..77).for_each(|_| rows.extend(&last));
        rows
    };
    let (cat, dog) = (repeated(text("a cat")), repeated(text("a dog")));
    let fog_and_sea = [text("fog"), text("sea")].concat();
    let (bad, worse) = (text("bad"), text("worse"));
    let at = |call: usize| {
        let animal = if call <= 3 { &cat } else { &dog };
        let negative = if [0, 1, 3, 5].contains(&call) { &bad } else { &worse };
        (negative.clone(), vec![(animal.clone(), 7.5), (fog_and_sea.clone(), 0.5 * 7.5)])
    };

    let by_hand = ByHand { pipeline: &pipeline, calls: Cell::new(0), at: &at };
    let options = SampleOptions::new(6);
    let sampler = Sampler::new(SamplerKind::Euler, ScheduleKind::Default, model.noise_schedule(), options).unwrap();
    let mut noise = BatchNoise::new(request.seed, 1, [8, 8, 4]);
    let start = noise.randn();
    let denoiser = ModelDenoiser::new(by_hand, model.prediction_type());
    let last = sampler.run(denoiser, &start, noise).last().unwrap().unwrap();
    let expected = last.latents.data();

    let got = latents(&pipeline, &request);
    let error = distance(got.data(), expected);
    println!("{error:.1e}");
    assert!(error <= 1e-6, "{error:.1e}");
    // The schedule and the parts are no empty words.
    for other in ["a dog AND fog BREAK sea :0.5", "a [cat:dog:3]", "a [cat:dog:4] AND fog BREAK sea :0.5"] {
        assert!(distance(latents(&pipeline, &a1111(other, "[bad|worse]")).data(), expected) > 1e-5, "{other}");
    }
    // Each picture of a batch is the one that it is alone.
    let batch = latents(&pipeline, &Request { batch_size: 2, ..request.clone() });
    assert_eq!(batch.slice(0, 1).unwrap(), got);
    let second = latents(&pipeline, &Request { seed: request.seed + 1, ..request });
    assert_eq!(batch.slice(1, 1).unwrap(), second);
}

#[test]
fn prompts_without_grammar_are_the_same_in_both_styles() {
    let (_folder, model) = model();
    let pipeline = load(&model);
    for guidance_scale in [1.0, 7.5] {
        let request = Request { guidance_scale, ..a1111("a cat, a dog", "blurry") };
        let plain = Request { prompt_style: PromptStyle::Plain, ..request.clone() };
        assert_eq!(latents(&pipeline, &request), latents(&pipeline, &plain));
    }
    // A part's weight counts where the guidance scale is 1.
    let one = |prompt: &str| latents(&pipeline, &Request { guidance_scale: 1.0, ..a1111(prompt, "blurry") });
    assert_ne!(one("a cat :0.5"), one("a cat"));
}

#[test]
fn schedules_of_second_order_samplers_run_over_twice_the_steps() {
    let (_folder, model) = model();
    let pipeline = load(&model);
    let request = Request { sampler: SamplerKind::Heun, ..a1111("[a:b:0.5]", "") };
    let (conditioning, _) = crate::common::conditioning(&pipeline, &request).unwrap();
    let held: Vec<usize> = (0..12).map(|call| conditioning.at(call).parts[0].0.context).collect();
    assert_eq!(held, [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
}

#[test]
fn clip_skip_takes_layers_away_in_both_styles() {
    let (_folder, model) = model();
    let pipeline = load(&model);
    let with = |clip_skip, prompt_style| Request { clip_skip, prompt_style, ..a1111("a cat", "") };
    for style in PromptStyle::ALL {
        let skipped: Vec<Latents> = (1..=3).map(|clip_skip| latents(&pipeline, &with(clip_skip, style))).collect();
        assert!(skipped[0] != skipped[1] && skipped[1] != skipped[2]);
        for clip_skip in [0, 4] {
            let error = crate::common::plan(&model, &with(clip_skip, style)).unwrap_err();
            assert!(error.is_request());
            assert!(error.to_string().contains(&format!("clip skip {clip_skip} ")), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let (_folder, model) = model();
    let pipeline = load(&model);
    let long = format!("{}, ", "word ".repeat(74)).repeat(65);
    for (prompt, message) in
        [("(a:1.2.3)", "weight 1.2.3"), (&long, "at most 1024 and 64"), (&"a".repeat(70000), "70000 bytes long")]
    {
        let error = crate::common::conditioning(&pipeline, &a1111(prompt, "")).unwrap_err();
        assert!(error.is_request() && error.to_string().contains(message), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    let (_, warnings) = crate::common::conditioning(&pipeline, &a1111("a <magic:x:0.5> cat", "")).unwrap();
    assert_eq!(warnings, [Warning::Network { tag: "<magic:x:0.5>".into() }]);
}

#[test]
fn metadata_say_how_prompts_were_read() {
    let (_folder, model) = model();
    let request = Request { clip_skip: 2, emphasis: Emphasis::NoNorm, ..a1111("(a:1.2)", "") };
    let plan = crate::common::plan(&model, &request).unwrap();
    let metadata = Metadata::new(&model, &plan, Precision::default(), 0).unwrap();
    let text = metadata.parameters();
    for setting in [", Clip skip: 2,", ", Emphasis: No norm, Prompt style: a1111, Version: calotype "] {
        assert!(text.contains(setting), "{text}");
    }
    for read in [Metadata::from_parameters(&text).metadata, Metadata::from_json(&metadata.to_json()).unwrap()] {
        let again = read.request(&[]).unwrap().0;
        assert_eq!((again.prompt_style, again.emphasis, again.clip_skip), (PromptStyle::A1111, Emphasis::NoNorm, 2));
    }
}
