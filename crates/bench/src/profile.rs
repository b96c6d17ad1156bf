//! Where the time of a bench goes.

use calotype_tensor::{
    cpu::{Arithmetic, Cpu},
    profile::{Call, Total, totals},
};
use serde::Serialize;

use calotype::{Precision, Result};

use crate::Work;

/// Where the time went, per kind of operation and per block of each network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchProfile {
    /// What the machine could do at most, where that can be measured.
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
    /// The text encoder, for a prompt and a negative prompt.
    pub text_encoder: PartProfile,
    /// The UNet step of the median time.
    pub unet_step: PartProfile,
    /// The decoding of the median time.
    pub vae_decode: PartProfile,
}

/// What the machine can do at most with all threads of the bench, measured on registers alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peaks {
    /// The arithmetic that the shares of the peak are of: that of the precision.
    pub arithmetic: String,
    /// That arithmetic's peak in GFLOP/s.
    pub peak_gflops: f64,
    /// The peak of each arithmetic that the processor has.
    pub peaks: Vec<Peak>,
}

/// The peak of one arithmetic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// `f32`, `bf16` or `int8`.
    pub arithmetic: String,
    /// 10⁹ multiplications and additions in a second.
    pub gflops: f64,
}

/// Where the time of one network's run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartProfile {
    /// The whole run, with what is between the operations.
    pub total: ProfileRow,
    /// Per kind of operation, the slowest first.
    pub kinds: Vec<ProfileRow>,
    /// Per block, in the order in which they run.
    pub blocks: Vec<ProfileRow>,
}

/// Some operations together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProfileRow {
    /// The kind, or the block.
    pub name: String,
    /// How many operations.
    pub calls: usize,
    /// How long they ran.
    pub seconds: f64,
    /// Seconds of the whole run's, 0 to 1.
    pub share: f64,
    /// Floating-point operations, as [`calotype_tensor::Op::flops`] counts.
    pub flops: f64,
    /// 10⁹ of them in a second.
    pub gflops: f64,
    /// GFLOP/s of the machine's peak, 0 to 1, where that is known.
    pub peak_share: Option<f64>,
}

impl Peaks {
    /// Measures each arithmetic of the processor, 0.1 to 0.2 s each.
    pub(crate) fn measure(cpu: &Cpu, precision: Precision) -> Result<Self> {
        let wanted = match precision {
            Precision::BF16 => Arithmetic::Bf16,
            Precision::Int8 => Arithmetic::Int8,
            _ => Arithmetic::F32,
        };
        // Without instructions of its own, a narrow type is widened.
        let arithmetic = if cpu.has_arithmetic(wanted) { wanted } else { Arithmetic::F32 };
        let mut peaks = Vec::new();
        for arithmetic in Arithmetic::ALL.into_iter().filter(|&each| cpu.has_arithmetic(each)) {
            peaks.push(Peak { arithmetic: arithmetic.to_string(), gflops: cpu.measure_peak(arithmetic)? });
        }
        let arithmetic = arithmetic.to_string();
        let peak_gflops = peaks.iter().find(|peak| peak.arithmetic == arithmetic).map_or(f64::NAN, |peak| peak.gflops);
        Ok(Self { arithmetic, peak_gflops, peaks })
    }
}

/// One run of a part.
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// Its operations, when they are timed.
    pub(crate) calls: Vec<Call>,
    /// What it asked of the device, where that counts.
    pub(crate) work: Option<Work>,
}

/// The profile of a run, whose blocks are named by the first `names` names of a layer's path.
pub(crate) fn part(run: &Run, names: usize, peak_gflops: Option<f64>) -> PartProfile {
    let row = |total: Total| {
        let Total { name, calls, seconds, flops } = total;
        let gflops = if seconds > 0.0 { flops / seconds / 1e9 } else { 0.0 };
        let (share, peak_share) = (seconds / run.seconds, peak_gflops.map(|peak| gflops / peak));
        ProfileRow { name, calls, seconds, share, flops, gflops, peak_share }
    };
    let mut kinds = totals(&run.calls, |call| &call.kind);
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let total = Total {
        name: "total".to_owned(),
        calls: run.calls.len(),
        seconds: run.seconds,
        flops: run.calls.iter().map(|call| call.flops).sum(),
    };
    PartProfile {
        total: row(total),
        kinds: kinds.into_iter().map(row).collect(),
        blocks: totals(&run.calls, |call| call.block(names)).into_iter().map(row).collect(),
    }
}
