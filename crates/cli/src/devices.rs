//! `calotype devices`, and the pipeline on the device that was asked for.

use std::sync::Arc;

use calotype::{CpuDevice, Model, Pipeline, PipelineOptions, Precision};
use calotype_tensor::cpu::Isa;
use serde_json::{Value, json};

use crate::{
    args::{DeviceArg, DeviceArgs, Devices},
    failure::Failure,
    stdout,
};

/// What is said where a card is asked for and the program can't use any.
#[cfg(not(feature = "gpu"))]
const WITHOUT: &str =
    "this program was built without graphics cards: build it with --features gpu, or take --device cpu";

/// A pipeline on the device that was asked for, in a precision if one was. `cpu` is the processor as it was asked for, `options` those there.
pub(crate) fn pipeline(
    args: &DeviceArgs,
    precision: Option<Precision>,
    cpu: &CpuDevice,
    model: Arc<Model>,
    options: PipelineOptions,
) -> Result<Pipeline, Failure> {
    match on_card(args.device, precision, cpu, &model, &options)? {
        Some(pipeline) => Ok(pipeline),
        None => Ok(Pipeline::new(cpu.clone(), model, options)),
    }
}

#[cfg(not(feature = "gpu"))]
fn on_card(
    asked: DeviceArg,
    _: Option<Precision>,
    _: &CpuDevice,
    _: &Arc<Model>,
    _: &PipelineOptions,
) -> Result<Option<Pipeline>, Failure> {
    match asked {
        DeviceArg::Auto | DeviceArg::Cpu => Ok(None),
        DeviceArg::Gpu(_) => Err(Failure::usage(WITHOUT)),
    }
}

/// A pipeline on a card, if one is to be taken.
#[cfg(feature = "gpu")]
fn on_card(
    asked: DeviceArg,
    precision: Option<Precision>,
    cpu: &CpuDevice,
    model: &Arc<Model>,
    options: &PipelineOptions,
) -> Result<Option<Pipeline>, Failure> {
    use calotype::{Device, memory::MemoryBudget};
    use calotype_gpu::{GpuDevice, GpuDeviceOptions};

    let threads = Some(cpu.threads().clone());
    let open = |adapter| GpuDevice::new(GpuDeviceOptions { adapter, threads: threads.clone(), ..Default::default() });
    let device = match asked {
        DeviceArg::Cpu => return Ok(None),
        // What a card can't compute in is the processor's.
        DeviceArg::Auto if !matches!(precision, None | Some(Precision::F32 | Precision::F16)) => {
            return Ok(None);
        }
        DeviceArg::Auto => match open(None) {
            Ok(device) => device,
            Err(error) => {
                if GpuDevice::adapters().iter().any(|adapter| !adapter.software) {
                    crate::failure::line("note", &format!("computing on the processor: {error}"));
                }
                return Ok(None);
            }
        },
        DeviceArg::Gpu(adapter) => open(adapter).map_err(calotype::Error::from)?,
    };
    let mut options =
        PipelineOptions { precision: precision.unwrap_or_else(|| device.fastest_precision()), ..options.clone() };
    // Found out before anything is read.
    device.backend(calotype_tensor::BackendOptions::in_precision(options.precision)).map_err(calotype::Error::from)?;
    if let Some(bytes) = device.memory().filter(|_| !device.is_software()) {
        // The rest is the desktop's and the driver's.
        options.memory = MemoryBudget::with_limit(bytes / 10 * 9);
    }
    crate::failure::line("note", &format!("computing on {} in {}", device.name(), options.precision));
    Ok(Some(Pipeline::new(device, Arc::clone(model), options)))
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
        words.push(format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
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
