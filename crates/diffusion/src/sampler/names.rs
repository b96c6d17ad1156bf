//! What samplers and schedules are called: by us, by A1111, by ComfyUI and by diffusers.

use std::str::FromStr;

use super::{SAMPLERS, SCHEDULES, SamplerKind, ScheduleKind};
use crate::Error;
use crate::ids::{plain, shortened};

impl FromStr for SamplerKind {
    type Err = Error;

    /// Any of its names, whatever the case: also with the `k_` of CompVis' forks, as diffusers' class
    /// (`EulerDiscreteScheduler`), and with ComfyUI's `_gpu`.
    fn from_str(name: &str) -> Result<Self, Error> {
        sampler(name).ok_or_else(|| {
            // It may have a schedule's name behind it.
            let first = split(name).find(|(_, second)| schedule(second).is_some()).map_or(name, |(first, _)| first);
            unknown("sampler", name, first, SAMPLERS.iter().map(|row| (row.id, row.label)))
        })
    }
}

impl FromStr for ScheduleKind {
    type Err = Error;

    /// Any of its names, whatever the case.
    fn from_str(name: &str) -> Result<Self, Error> {
        let names = || SCHEDULES.iter().map(|row| (row.id, row.label));
        schedule(name).ok_or_else(|| unknown("schedule", name, name, names()))
    }
}

fn sampler(name: &str) -> Option<SamplerKind> {
    let name = plain(name);
    let find = |name: &str| {
        let is = |other: &&str| plain(other) == name;
        SAMPLERS.iter().find(|row| is(&row.id) || row.aliases.iter().any(&is)).map(|row| row.kind)
    };
    let bare = name.strip_suffix("gpu").or_else(|| name.strip_suffix("scheduler")).unwrap_or(&name);
    let bare = bare.strip_suffix("discrete").unwrap_or(bare);
    find(&name).or_else(|| find(bare)).or_else(|| find(bare.strip_prefix('k')?))
}

fn schedule(name: &str) -> Option<ScheduleKind> {
    let name = plain(name);
    let is = |other: &str| plain(other) == name;
    SCHEDULES.iter().find(|row| is(row.id) || row.alias.is_some_and(is)).map(|row| row.kind)
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

/// The error for a name that is none of these ids and labels, with the id that is nearest to `like`, if one is near.
fn unknown(
    what: &'static str,
    name: &str,
    like: &str,
    names: impl Iterator<Item = (&'static str, &'static str)> + Clone,
) -> Error {
    let like = plain(like);
    let distance = |other: &str| strsim::osa_distance(&like, &plain(other));
    let nearest = names.clone().map(|(id, label)| (distance(id).min(distance(label)), id)).min();
    let nearest = nearest.filter(|(distance, _)| 2 * distance <= like.chars().count()).map(|(_, id)| id);
    let known = names.map(|(id, _)| id).collect::<Vec<_>>().join(", ");
    Error::Unknown { what, name: shortened(name), nearest, known }
}
