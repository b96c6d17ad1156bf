//! `calotype devices`, and the pipeline on the device that was asked for.

use std::sync::Arc;

use calotype::{CpuDevice, Model, Pipeline, PipelineOptions, Precision};
use calotype_tensor::cpu::Isa;
use serde_json::{Value, json};

#[cfg(not(feature = "gpu"))]
use crate::args::DeviceArg;
#[cfg(feature = "gpu")]
use crate::card::{Card, Wish};
use crate::{
    args::{DeviceArgs, Devices},
    failure::Failure,
    stdout,
};

/// What is said where a card is asked for and the program can't use any.
#[cfg(not(feature = "gpu"))]
const WITHOUT: &str =
    "this program was built without graphics cards: build it with --features gpu, or take --device cpu";

/// What makes the images of a command.
pub(crate) struct Pipelines {
    pub(crate) pipeline: Pipeline,
    /// On the processor, for when a card fails that was not asked for.
    pub(crate) standby: Option<Pipeline>,
}

/// A pipeline on the device that was asked for, in a precision if one was. `cpu` is the processor as it was asked for, `options` those there.
#[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "the processor's precision is in its options"))]
pub(crate) fn pipeline(
    args: &DeviceArgs,
    precision: Option<Precision>,
    cpu: &CpuDevice,
    model: Arc<Model>,
    options: PipelineOptions,
) -> Result<Pipelines, Failure> {
    #[cfg(feature = "gpu")]
    if let Some(card) = Card::open(Wish { device: args.device, precision, timestamps: false }, cpu)? {
        let memory = card.memory().unwrap_or_else(|| options.memory.clone());
        let is_free = args.device == crate::args::DeviceArg::Auto;
        let standby = is_free.then(|| Pipeline::new(cpu.clone(), Arc::clone(&model), options.clone()));
        let options = PipelineOptions { precision: card.precision, memory, ..options };
        return Ok(Pipelines { pipeline: Pipeline::new(card.device, model, options), standby });
    }
    #[cfg(not(feature = "gpu"))]
    without_cards(args.device)?;
    Ok(Pipelines { pipeline: Pipeline::new(cpu.clone(), model, options), standby: None })
}

/// Refuses what only a card can.
#[cfg(not(feature = "gpu"))]
pub(crate) fn without_cards(asked: DeviceArg) -> Result<(), Failure> {
    match asked {
        DeviceArg::Auto | DeviceArg::Cpu => Ok(()),
        DeviceArg::Gpu(_) => Err(Failure::usage(WITHOUT)),
    }
}

pub(crate) fn run(args: &Devices) -> Result<(), Failure> {
    for device in all()? {
        let text = match args.json {
            true => device.to_string(),
            false => for_people(&device),
        };
        stdout::print(&text)?;
    }
    #[cfg(not(feature = "gpu"))]
    if !args.json {
        crate::failure::line("note", "this program was built without graphics cards: build it with --features gpu");
    }
    Ok(())
}

/// The processor, then the cards.
fn all() -> Result<Vec<Value>, Failure> {
    let isa = Isa::preferred().map_err(calotype::Error::from)?;
    let precisions = Precision::ALL.map(Precision::id);
    let mut devices = vec![json!({
        "device": "cpu",
        "name": isa.to_string(),
        "precisions": precisions,
        "fastest": isa.fastest_precision().id(),
        "software": false,
    })];
    devices.extend(cards());
    Ok(devices)
}

#[cfg(not(feature = "gpu"))]
fn cards() -> Vec<Value> {
    Vec::new()
}

#[cfg(feature = "gpu")]
fn cards() -> Vec<Value> {
    let card = |(number, adapter): (usize, calotype_gpu::AdapterInfo)| {
        let precisions: &[Precision] = if adapter.f16 { &[Precision::F16, Precision::F32] } else { &[Precision::F32] };
        json!({
            "device": format!("gpu:{number}"),
            "name": adapter.name,
            "driver": adapter.driver,
            "api": adapter.api,
            "precisions": precisions.iter().map(|precision| precision.id()).collect::<Vec<_>>(),
            "fastest": precisions.first().map(|precision| precision.id()),
            "tier": adapter.tier.id(),
            "memory": adapter.memory,
            "free": adapter.free,
            "software": adapter.software,
            "lacks": adapter.lacks,
        })
    };
    calotype_gpu::GpuDevice::adapters().into_iter().enumerate().map(card).collect()
}

fn for_people(device: &Value) -> String {
    let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
    let precisions: Vec<&str> =
        device["precisions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut words = vec![precisions.join(" ")];
    if let Some(bytes) = device["memory"].as_u64() {
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        let free = device["free"].as_u64().map(|free| format!(", {} of it free", gib(free)));
        words.push(format!("{}{}", gib(bytes), free.unwrap_or_default()));
    }
    if let (Some(tier), Some(api)) = (device["tier"].as_str(), device["api"].as_str()) {
        words.push(format!("{api}, tier {tier}, driver {}", text("driver")));
    }
    if device["software"] == true {
        words.push("computes on the processor: for tests".into());
    }
    if let Some(lacks) = device["lacks"].as_str() {
        words.push(format!("can't be used: it lacks {lacks}"));
    }
    format!("{:<8}{}: {}", text("device"), text("name"), words.join("; "))
}
