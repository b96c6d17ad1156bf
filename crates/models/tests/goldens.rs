//! The networks' outputs against diffusers' and transformers', on every backend.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use calotype_models::{ModelConfig, Residuals, TextConfig, UNetConfig, UNetInputs, VaeConfig, posterior};
use calotype_tensor::{Backend, cpu::Cpu, reference::Reference};
use common::{Formula, Golden, assert_close, tensor};

const TOLERANCE: f32 = 1e-5;

fn check<B: Backend>(b: &B, name: &str, golden: &Golden, output: &B::Tensor) {
    assert_eq!(&*b.shape(output), &golden.shape, "{name}");
    assert_close(name, &b.to_f32(output).unwrap(), &golden.output, TOLERANCE);
}

fn input<B: Backend>(b: &B, name: &str, shape: &[usize]) -> B::Tensor {
    let (shape, data) = tensor(name, shape);
    b.from_f32(shape, data).unwrap()
}

fn unets<B: Backend>(b: &B) {
    for name in ["unet_v1", "unet_linear", "unet_lists"] {
        let golden = Golden::read(name);
        let unet = golden.config::<UNetConfig>().init(b, &mut Formula).unwrap();
        let (latents, context) = (input(b, "latents", &golden.latents), input(b, "context", &golden.context));
        let (time, context) =
            (unet.time_embedding(b, &golden.timesteps, None).unwrap(), unet.prepare(b, &context).unwrap());
        check(b, name, &golden, &unet.forward(b, &UNetInputs::new(&latents, &time, &context)).unwrap());
    }
}

fn autoencoders<B: Backend>(b: &B) {
    for name in ["vae_f4", "vae_plain", "tiny_f8", "tiny_plain"] {
        let encode = Golden::read(&format!("{name}_encode"));
        let vae = encode.config::<VaeConfig>().init(b, &mut Formula).unwrap();
        let moments = vae.encode(b, &input(b, "x", &encode.x)).unwrap();
        check(b, name, &encode, &posterior(b, &moments).unwrap().0);
        let decode = Golden::read(&format!("{name}_decode"));
        check(b, name, &decode, &vae.decode(b, &input(b, "x", &decode.x)).unwrap());
    }
}

fn text_encoders<B: Backend>(b: &B) {
    for name in ["text_quick_gelu", "text_gelu"] {
        let golden = Golden::read(name);
        let encoder = golden.config::<TextConfig>().init(b, &mut Formula).unwrap();
        let features = encoder.features(b, &golden.ids.concat(), golden.ids.len(), 0).unwrap();
        check(b, name, &golden, &features.rows);
        assert_close(name, &b.to_f32(&features.pooled).unwrap(), &golden.pooled, TOLERANCE);
        // The pooled vector is of all layers, whatever the rows leave out.
        let skipping = encoder.features(b, &golden.ids.concat(), golden.ids.len(), 1).unwrap();
        assert_close(name, &b.to_f32(&skipping.pooled).unwrap(), &golden.pooled, TOLERANCE);
    }
}

/// Residuals for the feature maps of the way down and for the middle block, as a ControlNet gives them.
fn residuals<B: Backend>(b: &B) {
    let golden = Golden::read("unet_added");
    let unet = golden.config::<UNetConfig>().init(b, &mut Formula).unwrap();
    let (latents, context) = (input(b, "latents", &golden.latents), input(b, "context", &golden.context));
    let (time, context) =
        (unet.time_embedding(b, &golden.timesteps, None).unwrap(), unet.prepare(b, &context).unwrap());
    let mut down: Vec<B::Tensor> =
        golden.residuals.iter().enumerate().map(|(n, shape)| input(b, &format!("residual.{n}"), shape)).collect();
    let mid = down.pop();
    let residuals = Residuals { down, mid };
    let inputs = UNetInputs { residuals: Some(&residuals), ..UNetInputs::new(&latents, &time, &context) };
    check(b, "unet_added", &golden, &unet.forward(b, &inputs).unwrap());
    let fewer = Residuals { down: residuals.down[1..].to_vec(), mid: None };
    let error = unet.forward(b, &UNetInputs { residuals: Some(&fewer), ..inputs }).err().unwrap().to_string();
    assert!(error.contains("residuals were given for the way down"), "{error}");
}

/// What is added to the embedding of the timestep does what a bias would.
#[test]
fn an_added_embedding_is_part_of_the_time_embedding() {
    let b = Reference::<f64>::default();
    let golden = Golden::read("unet_added");
    let unet = golden.config::<UNetConfig>().init(&b, &mut Formula).unwrap();
    let context = unet.prepare(&b, &input(&b, "context", &golden.context)).unwrap();
    let (latents, width) = (input(&b, "latents", &golden.latents), 32);
    let forward = |added: Option<f32>| {
        let added = added.map(|x| b.from_f32([1, width].into(), vec![x; width]).unwrap());
        let time = unet.time_embedding(&b, &golden.timesteps, added.as_ref()).unwrap();
        b.to_f32(&unet.forward(&b, &UNetInputs::new(&latents, &time, &context)).unwrap()).unwrap()
    };
    assert_eq!(forward(Some(0.0)), forward(None));
    assert_ne!(forward(Some(0.5)), forward(None));
}

/// `reference/text_encoders.py`: every activation that is read, and the mask of a tokenizer.
#[test]
fn variants_of_the_text_encoder() {
    let path = format!("{}/tests/goldens/text_encoders.json", env!("CARGO_MANIFEST_DIR"));
    let goldens: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(goldens["ids"].clone()).unwrap();
    let cases = goldens["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 11);
    for (name, case) in cases {
        let config = TextConfig::from_json(&case["config"].to_string()).unwrap();
        let expected: Vec<f32> = serde_json::from_value(case["output"].clone()).unwrap();
        let (slow, fast) = (Reference::<f32>::default(), Cpu::new(2).unwrap());
        let run = |output: Vec<f32>| assert_close(name, &output, &expected, TOLERANCE);
        let encoder = config.init(&slow, &mut Formula).unwrap();
        run(slow.to_f32(&encoder.forward(&slow, &ids.concat(), ids.len()).unwrap()).unwrap());
        let encoder = config.init(&fast, &mut Formula).unwrap();
        run(fast.to_f32(&encoder.forward(&fast, &ids.concat(), ids.len()).unwrap()).unwrap());
        // What is written means the same.
        assert_eq!(TextConfig::from_json(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn reference_backend() {
    let b = Reference::<f32>::default();
    unets(&b);
    autoencoders(&b);
    text_encoders(&b);
    residuals(&b);
}

#[test]
fn cpu_backend() {
    let b = Cpu::new(2).unwrap();
    unets(&b);
    autoencoders(&b);
    text_encoders(&b);
    residuals(&b);
}

#[test]
fn what_another_unet_prepared_is_refused() {
    let b = Reference::<f32>::default();
    let [golden, other] = ["unet_v1", "unet_lists"].map(Golden::read);
    let [unet, other] = [&golden, &other].map(|g| g.config::<UNetConfig>().init(&b, &mut Formula).unwrap());
    let (latents, text) = (input(&b, "latents", &golden.latents), input(&b, "context", &golden.context));
    let (time, context) = (unet.time_embedding(&b, &golden.timesteps, None).unwrap(), unet.prepare(&b, &text).unwrap());
    assert!(unet.forward(&b, &UNetInputs::new(&latents, &time, &context)).is_ok());
    let of_others = other.time_embedding(&b, &golden.timesteps, None).unwrap();
    assert!(unet.forward(&b, &UNetInputs::new(&latents, &of_others, &context)).is_err());
    let one_more = [&golden.timesteps[..], &[1.0]].concat();
    let error = unet
        .forward(&b, &UNetInputs::new(&latents, &unet.time_embedding(&b, &one_more, None).unwrap(), &context))
        .unwrap_err();
    let batch = golden.timesteps.len();
    assert_eq!(error.to_string(), format!("unet: {} timesteps were given for {batch} images", batch + 1));
}
