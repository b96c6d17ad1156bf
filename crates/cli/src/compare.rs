//! `calotype compare`.

use std::path::Path;

use calotype_formats::Checkpoint;
use calotype_image::{Limits, RgbImage, open, psnr, seam_ratio, ssim};
use calotype_models::PerceptualDistance;
use calotype_tensor::{
    Backend, BackendOptions, Device,
    cpu::{Cpu, CpuDevice, CpuDeviceOptions, Param},
};
use serde_json::{Value, json};

use crate::{args::Compare, failure::Failure, interrupt, stdout};

/// The shortest side that LPIPS' network takes: four times halved.
const LEAST_SIDE: u32 = 16;

/// LPIPS on the processor.
struct Lpips {
    cpu: Cpu,
    network: PerceptualDistance<Param>,
}

pub(crate) fn run(args: &Compare) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let read = |file: &Path| open(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()));
    let first = read(&args.first)?;
    let lpips = args.lpips.as_deref().map(|trunk| Lpips::open(trunk, args.lpips_heads.as_deref())).transpose()?;
    for file in &args.others {
        let other = read(file)?;
        let failed = |error: calotype_image::Error| Failure::Failed(format!("{}: {error}", file.display()));
        let (psnr, ssim) = (psnr(&first, &other).map_err(failed)?, ssim(&first, &other).map_err(failed)?);
        let lpips = lpips.as_ref().map(|lpips| lpips.distance(&first, &other, file)).transpose()?;
        let seams = args.seam.map(|tile| [&first, &other].map(|picture| seam_ratio(picture, tile)));
        let text = match args.json {
            true => as_json(file, psnr, ssim, lpips, seams).to_string(),
            false => for_people(file, psnr, ssim, lpips, seams),
        };
        stdout::print(&text)?;
    }
    Ok(())
}

/// A figure of both images, where there is one.
type Seams = Option<[Option<f64>; 2]>;

fn as_json(file: &Path, psnr: f64, ssim: f64, lpips: Option<f32>, seams: Seams) -> Value {
    json!({
        "file": file.display().to_string(),
        // Of equal images it is infinite, which JSON can't say.
        "psnr": psnr.is_finite().then_some(psnr),
        "equal": psnr.is_infinite(),
        "ssim": ssim,
        "lpips": lpips,
        "seam": seams.map(|[_, other]| other),
        "seam_of_first": seams.map(|[first, _]| first),
    })
}

fn for_people(file: &Path, psnr: f64, ssim: f64, lpips: Option<f32>, seams: Seams) -> String {
    let mut words = match psnr.is_infinite() {
        true => vec!["equal".to_owned()],
        false => vec![format!("PSNR {psnr:.2} dB")],
    };
    words.push(format!("SSIM {ssim:.4}"));
    words.extend(lpips.map(|lpips| format!("LPIPS {lpips:.4}")));
    let seam = |seam: Option<f64>| seam.map_or_else(|| "none".to_owned(), |seam| format!("{seam:.3}"));
    words.extend(seams.map(|[first, other]| format!("seams {} ({} in the first)", seam(other), seam(first))));
    format!("{}: {}", file.display(), words.join(", "))
}

impl Lpips {
    fn open(trunk: &Path, heads: Option<&Path>) -> Result<Self, Failure> {
        let device = CpuDevice::new(CpuDeviceOptions::default()).map_err(calotype::Error::from)?;
        let cpu = device.backend(BackendOptions::default()).map_err(calotype::Error::from)?;
        let trunk = Checkpoint::open(trunk, "")?;
        let heads = heads.map(|heads| Checkpoint::open(heads, "")).transpose()?;
        let network = PerceptualDistance::lpips(&cpu, &trunk, heads.as_ref().unwrap_or(&trunk));
        Ok(Self { network: network.map_err(calotype::Error::from)?, cpu })
    }

    fn distance(&self, first: &RgbImage, other: &RgbImage, file: &Path) -> Result<f32, Failure> {
        let Self { cpu, network } = self;
        let (width, height) = (first.width(), first.height());
        if width.min(height) < LEAST_SIDE {
            let problem = format!("LPIPS needs sides of at least {LEAST_SIDE} pixels, they are {width} x {height}");
            return Err(Failure::Failed(format!("{}: {problem}", file.display())));
        }
        let distance = Backend::threads(cpu).enter(|| {
            let tensor = |picture: &RgbImage| {
                let shape = [1, height as usize, width as usize, 3];
                cpu.from_f32(shape.into(), picture.to_unit_f32())
            };
            cpu.to_f32(&network.distance(cpu, &tensor(first)?, &tensor(other)?)?)
        });
        Ok(distance.map_err(calotype::Error::from)?.first().copied().unwrap_or(f32::NAN))
    }
}
