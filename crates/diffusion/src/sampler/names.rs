//! What samplers and schedules are called: by us, by A1111, by ComfyUI and by diffusers.

use super::{SamplerKind, ScheduleKind};

/// Id and name in A1111.
pub(super) fn of_sampler(kind: SamplerKind) -> (&'static str, &'static str) {
    match kind {
        SamplerKind::Ddim => ("ddim", "DDIM"),
        SamplerKind::Plms => ("plms", "PLMS"),
        SamplerKind::Euler => ("euler", "Euler"),
        SamplerKind::EulerA => ("euler_a", "Euler a"),
        SamplerKind::Heun => ("heun", "Heun"),
        SamplerKind::Lms => ("lms", "LMS"),
        SamplerKind::Dpmpp2m => ("dpmpp_2m", "DPM++ 2M"),
        SamplerKind::Dpm2 => ("dpm_2", "DPM2"),
        SamplerKind::Dpm2A => ("dpm_2_a", "DPM2 a"),
        SamplerKind::Dpmpp2sA => ("dpmpp_2s_a", "DPM++ 2S a"),
        SamplerKind::DpmppSde => ("dpmpp_sde", "DPM++ SDE"),
        SamplerKind::Dpmpp2mSde => ("dpmpp_2m_sde", "DPM++ 2M SDE"),
        SamplerKind::Dpmpp2mSdeHeun => ("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun"),
        SamplerKind::Dpmpp3mSde => ("dpmpp_3m_sde", "DPM++ 3M SDE"),
        SamplerKind::DpmFast => ("dpm_fast", "DPM fast"),
        SamplerKind::DpmAdaptive => ("dpm_adaptive", "DPM adaptive"),
        SamplerKind::Restart => ("restart", "Restart"),
        SamplerKind::Lcm => ("lcm", "LCM"),
        SamplerKind::DdimCfgpp => ("ddim_cfgpp", "DDIM CFG++"),
        SamplerKind::UniPc => ("unipc", "UniPC"),
        // A1111 has none like it.
        SamplerKind::DpmSolver => ("dpm_solver", "DPM-Solver"),
    }
}

/// Id and name in A1111.
pub(super) fn of_schedule(kind: ScheduleKind) -> (&'static str, &'static str) {
    match kind {
        ScheduleKind::Default => ("default", "Default"),
        ScheduleKind::Automatic => ("automatic", "Automatic"),
        ScheduleKind::Uniform => ("uniform", "Uniform"),
        ScheduleKind::Karras => ("karras", "Karras"),
        ScheduleKind::Exponential => ("exponential", "Exponential"),
        ScheduleKind::Polyexponential => ("polyexponential", "Polyexponential"),
        ScheduleKind::SgmUniform => ("sgm_uniform", "SGM Uniform"),
        ScheduleKind::KlOptimal => ("kl_optimal", "KL Optimal"),
        ScheduleKind::AlignYourSteps => ("align_your_steps", "Align Your Steps"),
        ScheduleKind::Simple => ("simple", "Simple"),
        ScheduleKind::Normal => ("normal", "Normal"),
        ScheduleKind::Ddim => ("ddim", "DDIM"),
        ScheduleKind::Beta => ("beta", "Beta"),
        ScheduleKind::Compvis => ("compvis", "CompVis"),
    }
}

/// Other names, [`plain`]: A1111's and ComfyUI's that differ by more than case and signs, and diffusers' classes.
fn sampler_alias(plain: &str) -> Option<SamplerKind> {
    Some(match plain {
        "ddimscheduler" => SamplerKind::Ddim,
        "pndm" | "pndmscheduler" => SamplerKind::Plms,
        "eulerdiscretescheduler" => SamplerKind::Euler,
        "eulerancestral" | "eulerancestraldiscretescheduler" => SamplerKind::EulerA,
        "heundiscretescheduler" => SamplerKind::Heun,
        "lmsdiscretescheduler" => SamplerKind::Lms,
        "dpmsolvermultistepscheduler" => SamplerKind::Dpmpp2m,
        "kdpm2discretescheduler" => SamplerKind::Dpm2,
        "dpm2ancestral" | "kdpm2ancestraldiscretescheduler" => SamplerKind::Dpm2A,
        "dpmpp2sancestral" => SamplerKind::Dpmpp2sA,
        "dpmppsdegpu" | "dpmsolversdescheduler" => SamplerKind::DpmppSde,
        "dpmpp2msdegpu" => SamplerKind::Dpmpp2mSde,
        "dpmpp2msdeheungpu" => SamplerKind::Dpmpp2mSdeHeun,
        "dpmpp3msdegpu" => SamplerKind::Dpmpp3mSde,
        "dpmad" => SamplerKind::DpmAdaptive,
        "lcmscheduler" => SamplerKind::Lcm,
        "unipcmultistepscheduler" => SamplerKind::UniPc,
        _ => return None,
    })
}

/// The sampler of a name, whatever its case.
pub(super) fn sampler(name: &str) -> Option<SamplerKind> {
    let name = plain(name);
    // k-diffusion's samplers with the `k_` of CompVis' forks and of A1111's aliases.
    let bare = name.strip_prefix("k").unwrap_or(&name);
    let find = |name: &str| SamplerKind::ALL.into_iter().find(|&kind| plain(of_sampler(kind).0) == name);
    find(&name).or_else(|| sampler_alias(&name)).or_else(|| find(bare)).or_else(|| sampler_alias(bare))
}

/// The schedule of a name, whatever its case.
pub(super) fn schedule(name: &str) -> Option<ScheduleKind> {
    let name = plain(name);
    let found = ScheduleKind::ALL.into_iter().find(|&kind| plain(of_schedule(kind).0) == name);
    // ComfyUI's names of two.
    found.or(match name.as_str() {
        "ddimuniform" => Some(ScheduleKind::Ddim),
        "ays" => Some(ScheduleKind::AlignYourSteps),
        _ => None,
    })
}

/// A name of a sampler with one of a schedule behind it: every place where the second may begin is tried.
pub(super) fn fused(name: &str) -> Option<(SamplerKind, ScheduleKind)> {
    let parts =
        split(name).filter_map(|(sampler, schedule)| Some((self::sampler(sampler)?, self::schedule(schedule)?)));
    parts.last()
}

/// A name in two, at each place where there may be a second one.
fn split(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let separators = name.match_indices([' ', '_', '-']);
    separators.filter_map(|(at, _)| Some((name.get(..at)?, name.get(at + 1..)?)))
}

/// Ids and names differ in case and in signs: `DPM++ 2M SDE` is `dpmpp_2m_sde`.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
    letters.map(|c| if c == '+' { 'p' } else { c.to_ascii_lowercase() }).collect()
}

/// The ids of all samplers, for a message.
pub(crate) fn samplers() -> String {
    SamplerKind::ALL.map(SamplerKind::id).join(", ")
}

/// The ids of all schedules, for a message.
pub(crate) fn schedules() -> String {
    ScheduleKind::ALL.map(ScheduleKind::id).join(", ")
}

/// What a wrong name of a sampler, maybe with a schedule's behind it, may have meant.
pub(crate) fn near_sampler(name: &str) -> String {
    let name = split(name).find(|(_, second)| schedule(second).is_some()).map_or(name, |(first, _)| first);
    near(name, &SamplerKind::ALL.map(of_sampler))
}

/// What a wrong name of a schedule may have meant.
pub(crate) fn near_schedule(name: &str) -> String {
    near(name, &ScheduleKind::ALL.map(of_schedule))
}

/// The id that is nearest, if one is near, for a message.
fn near(name: &str, names: &[(&str, &str)]) -> String {
    let name = plain(name);
    let distance = |other: &str| strsim::osa_distance(&name, &plain(other));
    let nearest = names.iter().map(|(id, label)| (distance(id).min(distance(label)), id)).min();
    match nearest {
        Some((distance, id)) if 2 * distance <= name.chars().count() => format!(", the nearest is {id}"),
        _ => String::new(),
    }
}

/// Enough of a wrong name to recognise it in a message.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}
