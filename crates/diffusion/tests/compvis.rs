//! CompVis' three samplers against its own code (`goldens/compvis.txt`, written by `reference/compvis_samplers.py`).

mod common;

use calotype_diffusion::{
    Batch, BatchNoise, Error, ModelDenoiser, NoiseOptions, PredictionType, SampleOptions, Sampler, SamplerKind,
    ScheduleKind, SeedPer,
};
use common::{Network, distance, parse_bits, sd1};

const GOLDENS: &str = include_str!("goldens/compvis.txt");
const SEED: u64 = 20260;

fn sampler(kind: SamplerKind, steps: usize, eta: f64) -> Result<Sampler, Error> {
    Sampler::new(kind, ScheduleKind::Compvis, &sd1(), SampleOptions::new(steps).eta(eta))
}

/// Every case of the golden file: the last batch of several that share one stream, and where the stream is after it.
#[test]
fn equals_compvis() {
    let mut cases = 0;
    for line in GOLDENS.lines().filter(|line| !line.starts_with(['#', 'r'])) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, steps, eta, size, batches, expected, next] = fields[..] else { panic!("bad golden line: {line}") };
        let number = |field: &str| field.parse::<usize>().expect("a count");
        let sampler = sampler(kind.parse().expect("a sampler"), number(steps), eta.parse().expect("a number"));
        let sampler = sampler.expect("valid");

        let options = NoiseOptions { seed_per: SeedPer::Batch, ..NoiseOptions::new(SEED) };
        let (size, batches) = (number(size), number(batches));
        let draws = sampler.noise_draws();
        let batch = |index| Batch { size, index, draws, ..Batch::default() };
        let mut noise = BatchNoise::with_options(&options, batch(batches - 1), [3, 5, 4]).expect("valid");
        let start = noise.randn();
        let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
        let last = sampler.run(denoiser, &start, &mut noise).last().expect("a step").expect("no error");
        let error = distance(&last.latents.to_nchw(), &parse_bits(expected));
        assert!(error < 1e-5, "{line:.40}: {error:.1e} from CompVis");

        // The stream goes on with the next numbers; it has 60 or more a time, CompVis' script asked for four.
        let mut after = BatchNoise::with_options(&options, batch(batches), [3, 5, 4]).expect("valid");
        assert_eq!(noise.randn(), after.randn(), "{line:.40}: as many draws as counted");
        let mut four = calotype_diffusion::Generator::manual_seed(SEED);
        (0..batches * (1 + draws)).for_each(|_| four.skip_randn(size * 60));
        assert_eq!(four.randn(4), parse_bits(next), "{line:.40}: as many draws as in CompVis' code");
        cases += 1;
    }
    assert_eq!(cases, 38);
}

/// The counts that CompVis' code crashes on, and no others, are refused, with the nearest that work.
#[test]
fn refuses_what_compvis_crashes_on() {
    let mut cases = 0;
    for line in GOLDENS.lines().filter(|line| line.starts_with("refused")) {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind: SamplerKind = fields[1].parse().expect("a sampler");
        let refused: Vec<usize> = fields[2].split(',').map(|steps| steps.parse().expect("a count")).collect();
        for steps in 1..=1000 {
            match sampler(kind, steps, 0.0) {
                Ok(sampler) => {
                    assert!(!refused.contains(&steps), "{kind} takes {steps}");
                    assert!(sampler.steps() >= steps);
                }
                Err(error) => assert!(refused.contains(&steps), "{kind} refuses {steps}: {error}"),
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 3);
    let message = |kind, steps| sampler(kind, steps, 0.0).expect_err("refused").to_string();
    let beginning = "on the schedule compvis takes no";
    assert_eq!(
        message(SamplerKind::Ddim, 27),
        format!("ddim {beginning} 27 steps, as CompVis' own does not: give 26 or 28")
    );
    assert_eq!(
        message(SamplerKind::Plms, usize::MAX),
        format!("plms {beginning} {} steps, as CompVis' own does not: give 500", usize::MAX)
    );
    assert_eq!(
        message(SamplerKind::DpmSolver, 1),
        format!("dpm_solver {beginning} 1 steps, as CompVis' own does not: give 2")
    );
    assert!(message(SamplerKind::DpmSolver, 0).ends_with("give 2"));
    assert!(message(SamplerKind::DpmSolver, 1001).ends_with("give 1000"));
    let error = Sampler::new(SamplerKind::Euler, ScheduleKind::Compvis, &sd1(), SampleOptions::new(9));
    assert!(error.expect_err("not CompVis'").to_string().contains("no compvis schedule"));
}

#[test]
fn takes_the_steps_of_compvis() {
    let steps = |kind, asked| sampler(kind, asked, 0.0).expect("valid").steps();
    let asked = [30, 60, 99, 50, 500, 7];
    assert_eq!(asked.map(|asked| steps(SamplerKind::Ddim, asked)), [31, 63, 100, 50, 500, 8]);
    assert_eq!(steps(SamplerKind::DpmSolver, 30), 30);
    let draws = |kind, asked| sampler(kind, asked, 0.0).expect("valid").noise_draws();
    assert_eq!(draws(SamplerKind::Ddim, 30), 31);
    assert_eq!(draws(SamplerKind::Plms, 30), 32);
    assert_eq!(draws(SamplerKind::DpmSolver, 30), 0);
    let only = Sampler::new(SamplerKind::DpmSolver, ScheduleKind::Default, &sd1(), SampleOptions::new(12));
    assert_eq!(only, sampler(SamplerKind::DpmSolver, 12, 0.0), "dpm_solver has no other schedule");
}
