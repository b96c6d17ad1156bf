//! What samplers, schedules and their settings are called, and what is said of those that are out of place.

mod common;

use calotype_diffusion::{
    PredictionType, Rng, SampleOptions, Sampler, SamplerKind, SamplerSettings, ScheduleKind, SeedPer, UniPcSkipType,
    UniPcVariant,
};
use common::sd1;

#[test]
fn names_of_others_are_understood() {
    for kind in SamplerKind::ALL {
        assert_eq!((kind.label().parse(), kind.id().parse()), (Ok(kind), Ok(kind)));
        assert_eq!(kind.label().to_uppercase().parse(), Ok(kind));
    }
    for schedule in ScheduleKind::ALL {
        assert_eq!((schedule.label().parse(), schedule.id().parse()), (Ok(schedule), Ok(schedule)));
    }
    for (name, id) in [
        ("k_euler", "euler"),
        ("k_euler_ancestral", "euler_a"),
        ("k_dpm_ad", "dpm_adaptive"),
        ("k_dpmpp_2s_a", "dpmpp_2s_a"),
        ("dpmpp_2s_ancestral", "dpmpp_2s_a"),
        ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde"),
        ("uni_pc", "unipc"),
        ("DDIM CFG++", "ddim_cfgpp"),
        ("EulerAncestralDiscreteScheduler", "euler_a"),
        ("PNDMScheduler", "plms"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("KDPM2DiscreteScheduler", "dpm_2"),
        ("DPMSolverSDEScheduler", "dpmpp_sde"),
        ("UniPCMultistepScheduler", "unipc"),
        ("LCMScheduler", "lcm"),
        ("dpmpp_3m_sde_gpu", "dpmpp_3m_sde"),
        ("pndm", "plms"),
        ("KDPM2AncestralDiscreteScheduler", "dpm_2_a"),
    ] {
        assert_eq!(name.parse::<SamplerKind>().map(SamplerKind::id), Ok(id), "{name}");
    }
    assert_eq!("SGMUniform".parse(), Ok(ScheduleKind::SgmUniform));
    assert_eq!("ddim_uniform".parse(), Ok(ScheduleKind::Ddim));
    // Each of A1111's with each of its schedules behind it, by label and by id.
    for (kind, schedule) in SamplerKind::ALL.into_iter().flat_map(|kind| ScheduleKind::ALL.map(|s| (kind, s))) {
        for (name, separator) in [([kind.label(), schedule.label()], " "), ([kind.id(), schedule.id()], "_")] {
            let fused = SamplerKind::parse_with_schedule(&name.join(separator).to_uppercase());
            assert_eq!(fused, Ok((kind, Some(schedule))), "{name:?}");
        }
    }
    assert_eq!(SamplerKind::parse_with_schedule("LMS"), Ok((SamplerKind::Lms, None)));
    let error = SamplerKind::parse_with_schedule("Oiler Karras").expect_err("unknown").to_string();
    assert!(
        error.starts_with("unknown sampler \"Oiler Karras\", the nearest is euler: use one of ddim, ")
            && error.ends_with("dpm_solver")
    );
    for (wrong, nearest) in
        [("dpm++ 2m sed", "dpmpp_2m_sde"), ("eulr a", "euler_a"), ("unipcc", "unipc"), ("restrat", "restart")]
    {
        let error = wrong.parse::<SamplerKind>().expect_err("unknown").to_string();
        assert!(error.contains(&format!(", the nearest is {nearest}: ")), "{error}");
    }
    let error = "exponental".parse::<ScheduleKind>().expect_err("unknown").to_string();
    assert!(error.contains(", the nearest is exponential: "), "{error}");
    let error = "magic".parse::<SamplerKind>().expect_err("unknown").to_string();
    assert!(error.starts_with("unknown sampler \"magic\": use one of ddim, "), "{error}");
    assert!("k".parse::<SamplerKind>().is_err() && "".parse::<ScheduleKind>().is_err());
}

#[test]
fn options_out_of_place_say_who_has_them() {
    let new = SamplerSettings::default();
    let error = |kind, schedule, options| {
        let options = SampleOptions::new(10).settings(options);
        Sampler::new(kind, schedule, &sd1(), options).expect_err("refused").to_string()
    };
    use SamplerKind::{Ddim, Dpmpp2m, Euler, EulerA};
    use ScheduleKind::{Default, Karras, Simple};
    let messages = [
        error(EulerA, Default, SamplerSettings { s_churn: 1.0, ..new }),
        error(Dpmpp2m, Default, SamplerSettings { s_noise: 1.1, ..new }),
        error(Euler, Simple, SamplerSettings { rho: Some(7.0), ..new }),
        error(Euler, Simple, SamplerSettings { sigma_min: Some(0.1), ..new }),
        error(Euler, Karras, SamplerSettings { sigma_min: Some(20.0), ..new }),
        error(Euler, Karras, SamplerSettings { beta_alpha: 0.5, ..new }),
        error(Ddim, Default, SamplerSettings { discard_next_to_last_sigma: true, ..new }),
        error(Euler, Karras, SamplerSettings { rho: Some(f64::NAN), ..new }),
        error(Euler, Default, SamplerSettings { s_churn: 1.0, s_tmin: 3.0, s_tmax: Some(2.0), ..new }),
    ];
    assert_eq!(
        messages[0],
        "sampler euler_a has no churn (s_churn, s_tmin, s_tmax): leave it out or use another sampler (euler, heun or dpm_2)"
    );
    assert_eq!(
        messages[2],
        "schedule simple has no rho: leave it out or use another schedule (karras or polyexponential)"
    );
    assert_eq!(messages[4], "sigma_min is 20: give less than sigma_max");
    assert_eq!(messages[8], "s_tmax is 2: give s_tmin or more");
    let uni_pc = |uni_pc_order, uni_pc_skip_type| SamplerSettings { uni_pc_order, uni_pc_skip_type, ..new };
    let messages = [
        messages.as_slice(),
        &[
            error(Euler, Default, uni_pc(2, UniPcSkipType::TimeUniform)),
            error(SamplerKind::UniPc, Default, uni_pc(10, UniPcSkipType::TimeUniform)),
            error(SamplerKind::UniPc, Karras, uni_pc(3, UniPcSkipType::LogSnr)),
            "bh3".parse::<UniPcVariant>().expect_err("no such variant").to_string(),
            "evenly".parse::<UniPcSkipType>().expect_err("no such skip type").to_string(),
        ],
    ]
    .concat();
    assert!(messages.iter().all(|message| !message.contains('\n') && message.len() < 200), "{messages:#?}");

    // The same options where they belong.
    let sampler = |schedule, steps, settings| {
        Sampler::new(Euler, schedule, &sd1(), SampleOptions::new(steps).settings(settings)).expect("valid")
    };
    let all = sampler(ScheduleKind::Uniform, 11, new);
    let discarded = sampler(ScheduleKind::Uniform, 10, SamplerSettings { discard_next_to_last_sigma: true, ..new });
    assert_eq!(discarded.levels(), [&all.levels()[..10], &all.levels()[11..]].concat());
    let plain = sampler(Karras, 10, new).init_noise_sigma();
    let sgm = sampler(Karras, 10, SamplerSettings { sgm_noise_multiplier: true, ..new });
    assert!((sgm.init_noise_sigma() - plain.hypot(1.0)).abs() < 1e-12);
}

/// Whatever is chosen by name is written and read by its id in JSON.
#[test]
fn ids_are_serialised() {
    fn same<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug + ToString>(all: &[T]) {
        for value in all {
            let json = serde_json::to_string(value).expect("JSON");
            assert_eq!(json, format!("{:?}", value.to_string()));
            assert_eq!(serde_json::from_str::<T>(&json).expect("its own id"), *value);
        }
        let error = serde_json::from_str::<T>("\"no such id\"").expect_err("no value").to_string();
        assert!(error.contains("unknown ") && error.contains("use one of"), "{error}");
    }
    same(&SamplerKind::ALL);
    same(&ScheduleKind::ALL);
    same(&Rng::ALL);
    same(&SeedPer::ALL);
    same(&UniPcVariant::ALL);
    same(&UniPcSkipType::ALL);
    same(&PredictionType::ALL);
}
