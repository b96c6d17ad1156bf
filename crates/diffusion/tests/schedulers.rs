//! Every setting of diffusers' schedulers (`goldens/schedulers.txt`, written by `reference/schedulers.py`).

mod common;

use calotype_diffusion::{
    AlgorithmType, BatchNoise, Error, FinalSigmas, ModelDenoiser, NoiseSchedule, PredictionType, SampleOptions,
    Sampler, SamplerKind, SamplerSettings, ScheduleKind, SchedulerSettings, SolverType, TimestepSpacing,
};
use common::{Network, distance, parse_bits, sd1};

const GOLDENS: &str = include_str!("goldens/schedulers.txt");
const SEED: u64 = 20260;

fn noise_schedule(betas: &str) -> NoiseSchedule {
    match betas {
        "sd1" => sd1(),
        "zero_snr" => sd1().zero_terminal_snr(),
        "cosine" => NoiseSchedule::cosine(1000).expect("valid"),
        other => panic!("bad betas: {other}"),
    }
}

#[test]
fn equals_diffusers() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in GOLDENS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, betas, prediction, eta, steps, settings, hex] = fields[..] else { panic!("bad line: {line}") };
        let kind: SamplerKind = kind.parse().expect("a sampler");
        let steps: usize = steps.parse().expect("a count");
        let scheduler: SchedulerSettings = serde_json::from_str(settings).expect("settings");
        assert_eq!(serde_json::to_string(&scheduler).expect("JSON").len(), settings.len(), "{settings}: not all read");
        // The samplers that have A1111's levels by default are diffusers' where a setting says so.
        let asked = SchedulerSettings { timestep_spacing: Some(TimestepSpacing::Linspace), ..Default::default() };
        let scheduler = if scheduler.is_empty() && kind != SamplerKind::Ddim && kind != SamplerKind::Plms {
            asked
        } else {
            scheduler
        };
        let mut options = SampleOptions::new(steps).scheduler(scheduler);
        if kind == SamplerKind::Ddim {
            options = options.eta(eta.parse().expect("a number"));
        }
        let noise_schedule = noise_schedule(betas);
        let sampler = Sampler::new(kind, ScheduleKind::Default, &noise_schedule, options).expect(line);
        let mut noise = BatchNoise::new(SEED, 1, [3, 5, 4]);
        let start = noise.randn();
        let denoiser = ModelDenoiser::new(Network, prediction.parse::<PredictionType>().expect("a type"));
        let latents = sampler.run(denoiser, &start, noise).last().expect("a step").expect("no error").latents;
        let error = distance(&latents.to_nchw(), &parse_bits(hex));
        if error.is_nan() || error > limit(kind, betas) {
            wrong.push(format!("{kind} {betas} {prediction} eta {eta} {steps} steps {settings}: {error:.1e}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases} differ from diffusers:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 400, "only {cases} cases in the golden file");
}

/// What f32 rounding does to either side: more of it where the first sigma is 4096 and the sample is written by its slope.
fn limit(kind: SamplerKind, betas: &str) -> f64 {
    if betas == "zero_snr" && matches!(kind, SamplerKind::Euler | SamplerKind::EulerA) { 1e-3 } else { 1e-5 }
}

fn fails(kind: SamplerKind, schedule: ScheduleKind, options: SampleOptions) -> String {
    Sampler::new(kind, schedule, &sd1(), options).expect_err("it was taken").to_string()
}

#[test]
fn what_a_sampler_has_not_is_told() {
    let with = |scheduler| SampleOptions::new(8).scheduler(scheduler);
    let default = SchedulerSettings::default();
    let trailing = SchedulerSettings { timestep_spacing: Some(TimestepSpacing::Trailing), ..default };
    assert_eq!(
        fails(SamplerKind::Euler, ScheduleKind::Karras, with(trailing)),
        "schedule karras has no timestep_spacing: leave it out or use another schedule (default)"
    );
    assert_eq!(
        fails(SamplerKind::Restart, ScheduleKind::Default, with(trailing)),
        "sampler restart has no timestep_spacing: leave it out or use another sampler (ddim, plms, euler, euler_a, heun, lms, dpm_2, dpmpp_2m, unipc, ...)"
    );
    let skip = SchedulerSettings { skip_prk_steps: Some(false), ..default };
    assert_eq!(
        fails(SamplerKind::Ddim, ScheduleKind::Default, with(skip)),
        "sampler ddim has no skip_prk_steps: leave it out or use another sampler (plms)"
    );
    assert_eq!(
        fails(SamplerKind::Plms, ScheduleKind::Default, SampleOptions { steps: 3, ..with(skip) }),
        "3 steps are out of range for sampler plms: give 4 to 999"
    );
    let bh1 = SchedulerSettings { solver_type: Some(SolverType::Bh1), ..default };
    assert_eq!(
        fails(SamplerKind::Dpmpp2m, ScheduleKind::Default, with(bh1)),
        "sampler dpmpp_2m has no solver_type bh1: leave it out or use another sampler (dpmpp_2m with midpoint or heun, unipc with bh1 or bh2)"
    );
    let of_noise = SchedulerSettings { algorithm_type: Some(AlgorithmType::Dpmsolver), ..default };
    assert_eq!(
        fails(SamplerKind::Dpmpp2m, ScheduleKind::Default, with(of_noise)),
        "algorithm_type dpmsolver and sde-dpmsolver needs final_sigmas_type sigma_min: they don't reach sigma 0"
    );
    let third = SchedulerSettings {
        algorithm_type: Some(AlgorithmType::SdeDpmsolver),
        final_sigmas_type: Some(FinalSigmas::SigmaMin),
        solver_order: Some(3),
        ..default
    };
    assert_eq!(
        fails(SamplerKind::Dpmpp2mSde, ScheduleKind::Default, with(third)),
        "algorithm_type sde-dpmsolver needs solver_order 1 or 2"
    );
    let fourth = SchedulerSettings { solver_order: Some(4), ..default };
    assert_eq!(fails(SamplerKind::Dpmpp2m, ScheduleKind::Default, with(fourth)), "solver_order is 4: give 1, 2 or 3");
    let offset =
        SchedulerSettings { steps_offset: Some(600), timestep_spacing: Some(TimestepSpacing::Leading), ..default };
    assert_eq!(
        fails(SamplerKind::Euler, ScheduleKind::Default, with(offset)),
        "steps_offset is 600: give less, or take fewer steps"
    );
    let order = SamplerSettings { uni_pc_order: 2, ..SamplerSettings::default() };
    assert_eq!(
        fails(SamplerKind::UniPc, ScheduleKind::Default, with(trailing).settings(order)),
        "timestep_spacing needs solver_order and solver_type in the place of A1111's uni_pc settings"
    );
    assert_eq!(
        fails(SamplerKind::Dpmpp2mSde, ScheduleKind::Default, with(trailing).eta(0.5)),
        "a setting of diffusers' schedulers needs eta and s_noise as they are, 1"
    );
}

#[test]
fn any_step_count_of_every_setting_stays_inside_the_schedule() {
    for kind in SamplerKind::ALL {
        for spacing in TimestepSpacing::ALL {
            let scheduler = SchedulerSettings { timestep_spacing: Some(spacing), ..Default::default() };
            for steps in [1, 2, 3, 7, 61, 103, 333, 500, 998, 999, 1000] {
                let options = SampleOptions::new(steps).scheduler(scheduler);
                let sampler = match Sampler::new(kind, ScheduleKind::Default, &sd1(), options) {
                    Ok(sampler) => sampler,
                    Err(Error::Steps { .. } | Error::SamplerOption { .. } | Error::OptionRange { .. }) => continue,
                    Err(error) => panic!("{kind} {spacing} {steps}: {error}"),
                };
                for level in sampler.levels() {
                    assert!(
                        (0.0..=999.0).contains(&level.timestep) && level.sigma.is_finite(),
                        "{kind} {spacing} {steps}"
                    );
                }
                let start = BatchNoise::new(SEED, 1, [2, 2, 4]).randn();
                let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
                let run = sampler.run(denoiser, &start, BatchNoise::new(SEED, 1, [2, 2, 4]));
                let last = run.last().expect("a step").expect("no error");
                assert_eq!(last.index + 1, sampler.steps(), "{kind} {spacing} {steps}");
                assert!(last.latents.is_finite(), "{kind} {spacing} {steps}");
            }
        }
    }
}

/// A setting that says what is so anyway changes nothing, to the last bit.
#[test]
fn the_defaults_said_aloud_are_the_defaults() {
    for kind in [SamplerKind::Ddim, SamplerKind::Plms, SamplerKind::Euler, SamplerKind::Lms, SamplerKind::Dpmpp2m] {
        let said = SchedulerSettings::defaults(kind);
        assert!(said.given().len() > 1, "{kind}");
        let sampler = |scheduler| {
            let options = SampleOptions::new(9).scheduler(scheduler);
            Sampler::new(kind, ScheduleKind::Default, &sd1(), options).expect("valid")
        };
        assert_eq!(sampler(said), sampler(SchedulerSettings::default()), "{kind}");
    }
}

/// Runs from the middle go on with the same levels.
#[test]
fn a_run_from_a_picture_is_the_end_of_a_whole_one() {
    for kind in [SamplerKind::Ddim, SamplerKind::Plms, SamplerKind::Euler, SamplerKind::Dpmpp2m, SamplerKind::UniPc] {
        let scheduler = SchedulerSettings { timestep_spacing: Some(TimestepSpacing::Trailing), ..Default::default() };
        let options = SampleOptions::new(10).scheduler(scheduler);
        let whole = Sampler::new(kind, ScheduleKind::Default, &sd1(), options).expect("valid");
        let part = whole.img2img(0.5, calotype_diffusion::StrengthRule::Diffusers).expect("valid");
        assert_eq!(part.levels(), &whole.levels()[5..], "{kind}");
        assert_eq!(part.levels()[0].timestep, 499.0, "{kind}");
    }
}
