//! `calotype watermark`.

use std::path::Path;

use calotype_formats::write_atomic;
use calotype_image::{Limits, RgbImage, encode_png, open, read_limited, read_png_text};
use calotype_safety::watermark::{
    self, Marked, Reading, package,
    rivagan::{RivaGan, RivaGanBits},
    tiled::{Effort, STRENGTHS},
};
use calotype_tensor::cpu::{CpuDevice, CpuDeviceOptions};
use serde_json::{Value, json};

use crate::{
    args::{Watermark, WatermarkRead, WatermarkWrite},
    failure::Failure,
    stdout,
};

pub(crate) fn run(command: &Watermark) -> Result<(), Failure> {
    match command {
        Watermark::Read(args) => read(args),
        Watermark::Write(args) => write(args),
    }
}

fn read(args: &WatermarkRead) -> Result<(), Failure> {
    let effort = if args.quick { Effort::Quick } else { Effort::Thorough };
    let (mut rows, mut without) = (Vec::new(), 0);
    let rivagan = match &args.rivagan {
        Some(file) => {
            let device = CpuDevice::new(CpuDeviceOptions::default()).map_err(calotype::Error::from)?;
            Some(RivaGan::open(&device, file)?)
        }
        None => None,
    };
    for file in &args.files {
        let picture = open(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
        let readings = watermark::read(&picture, args.text.as_bytes(), effort);
        let bits = rivagan.as_ref().map(|rivagan| rivagan.read(&picture)).transpose()?;
        let is_of_rivagan = bits.as_ref().zip(args.rivagan_bits).is_some_and(|(bits, expected)| bits.is(expected));
        without += usize::from(readings.is_empty() && !is_of_rivagan);
        if args.json {
            let marks: Vec<Value> = readings.iter().map(as_json).collect();
            let mut row = json!({ "file": file.display().to_string(), "watermarks": marks });
            if let Some(bits) = &bits {
                row["rivagan"] = rivagan_json(bits, args.rivagan_bits);
            }
            rows.push(row);
        } else {
            let mut said = for_people(file, &readings);
            said.extend(bits.iter().map(|bits| rivagan_for_people(bits, args.rivagan_bits)));
            stdout::print(&said)?;
        }
    }
    if args.json {
        stdout::print(&Value::from(rows).to_string())?;
    }
    match without {
        0 => Ok(()),
        1 if args.files.len() == 1 => Err(Failure::Failed("no watermark was found".to_owned())),
        count => Err(Failure::Failed(format!("no watermark was found in {count} of {} images", args.files.len()))),
    }
}

fn for_people(file: &Path, readings: &[Reading]) -> String {
    let one = |reading: &Reading| match reading {
        Reading::Tiled(found) => {
            let mut done = Vec::new();
            if (found.scale - 1.0).abs() > 0.001 {
                done.push(format!("scaled to {:.1} %", found.scale * 100.0));
            }
            if found.degrees != 0.0 {
                done.push(format!("turned by {:.1} degrees", found.degrees));
            }
            if found.turned != 0 {
                done.push("mirrored or turned".to_owned());
            }
            let done = if done.is_empty() { String::new() } else { format!(", {} since", done.join(", ")) };
            format!("tiled, id {:016x}{done}", found.id)
        }
        Reading::Package { scheme, text, right } => {
            format!("{}, {:?}, {:.0} % of the bits", scheme.name(), String::from_utf8_lossy(text), right * 100.0)
        }
        _ => "of a kind this command does not know".to_owned(),
    };
    let marks = if readings.is_empty() {
        "no watermark".to_owned()
    } else {
        readings.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    format!("{}: {marks}", file.display())
}

/// What rivaGan reads, which every image has.
fn rivagan_for_people(read: &RivaGanBits, expected: Option<u32>) -> String {
    let bits = read.bits();
    match expected {
        Some(expected) if read.is(expected) => {
            format!("; rivaGan, bits {bits:08x}, {} of 32 right", read.right(expected))
        }
        Some(expected) => format!("; no rivaGan ({} of 32 bits right)", read.right(expected)),
        None => format!("; rivaGan reads the bits {bits:08x}, which is a watermark if they are the expected ones"),
    }
}

fn rivagan_json(read: &RivaGanBits, expected: Option<u32>) -> Value {
    json!({
        "bits": format!("{:08x}", read.bits()),
        "values": read.values,
        "bits_right": expected.map(|expected| read.right(expected)),
        "found": expected.map(|expected| read.is(expected)),
    })
}

fn as_json(reading: &Reading) -> Value {
    match reading {
        Reading::Tiled(found) => json!({
            "scheme": "tiled", "id": format!("{:016x}", found.id),
            "scale": found.scale, "degrees": found.degrees, "turned": found.turned,
        }),
        Reading::Package { scheme, text, right } => json!({
            "scheme": scheme.name(), "text": String::from_utf8_lossy(text), "bits_right": right,
        }),
        _ => Value::Null,
    }
}

fn write(args: &WatermarkWrite) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", args.file.display()));
    let picture = open(&args.file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
    let bytes = read_limited(&args.file, &Limits::default()).map_err(|error| failed(&error))?;
    // How the image was made goes along.
    let texts = read_png_text(&bytes).unwrap_or_default();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(keyword, text)| (keyword.as_str(), text.as_str())).collect();
    let encode = |picture: &RgbImage| encode_png(picture, &texts);
    let (file, said) = match args.scheme.package() {
        None => {
            let id = match args.id {
                Some(id) => id,
                None => watermark::random_id().map_err(|error| failed(&error))?,
            };
            let Marked { file, strength, is_readable } =
                watermark::mark(&picture, id, encode).map_err(|error| failed(&error))?;
            if !is_readable {
                return Err(failed(
                    &"no id can be read back from this image at any strength; it is too small for a mark",
                ));
            }
            (file, format!("tiled, id {id:016x}, strength {} of {STRENGTHS}", strength + 1))
        }
        Some(scheme) => {
            let text = args.text.as_bytes();
            let marked = package::write(&picture, text, scheme).map_err(|error| failed(&error))?;
            let is_readable = package::read(&marked, text.len(), scheme).is_ok_and(|read| read == text);
            let warning = if is_readable { "" } else { ", which can't be read back whole from this image" };
            (encode(&marked).map_err(|error| failed(&error))?, format!("{}, {:?}{warning}", scheme.name(), args.text))
        }
    };
    write_atomic(&args.output, |writer| writer.write_all(&file)).map_err(|error| Failure::Failed(error.to_string()))?;
    stdout::print(&format!("{}: {said}", args.output.display()))
}
