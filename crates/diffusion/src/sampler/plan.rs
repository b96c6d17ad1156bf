//! The levels of the samplers that do not simply go down those of a schedule.

use super::sigmas::between;
use crate::linspace::linspace;
use crate::{NoiseLevel, NoiseSchedule};

/// DPM-Solver-fast (Lu et al. 2022, section 3.4): `calls / 3 + 1` steps evenly spaced in λ = −ln σ.
pub(super) fn fast(noise_schedule: &NoiseSchedule, [max, min]: [f64; 2], calls: usize) -> Vec<NoiseLevel> {
    linspace(-max.ln(), -min.ln(), calls / 3 + 2).map(|t| noise_schedule.level((-t).exp())).collect()
}

/// Where A1111's Restart goes back up from and to: the levels next to these sigmas.
const RESTART: [f64; 2] = [0.1, 2.0];

/// Restart's levels as A1111 chooses them (Xu et al. 2023, algorithm 1): of 20 steps or more, 9 go once from sigma 2 down
/// to 0.1 again; of 36 or more, a quarter of them twice; what is left of the steps goes down Karras' schedule.
pub(super) fn restarts(noise_schedule: &NoiseSchedule, levels: &[NoiseLevel]) -> Vec<NoiseLevel> {
    let steps = levels.len() - 1;
    let (again, times) = match steps {
        0..20 => return levels.to_vec(),
        20..36 => (9, 1),
        _ => (steps / 4, 2),
    };
    let [Some(first), Some(least)] = [levels.first(), levels.get(steps - 1)] else { return levels.to_vec() };
    let mut down = karras(noise_schedule, first.sigma, least.sigma, steps - again * times);
    down.push(NoiseLevel::CLEAN);

    let next_to = |sigma: f64| {
        let distance = |level: &NoiseLevel| (level.sigma - sigma).abs();
        down.iter().enumerate().min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).map_or(0, |(i, _)| i)
    };
    let [low, high] = RESTART.map(next_to);
    let (Some(bottom), Some(top)) = (down.get(low), down.get(high)) else { return down };
    if high >= low {
        return down;
    }
    let mut detour = karras(noise_schedule, top.sigma, bottom.sigma, again + 1);
    detour.pop();
    detour.push(*bottom);
    let detours = (0..times).flat_map(|_| detour.iter());
    let (before, after) = down.split_at(low + 1);
    before.iter().chain(detours).chain(after).copied().collect()
}

/// Karras et al. 2022, eq. 5, with ρ = 7 (k-diffusion `get_sigmas_karras` without the 0).
fn karras(noise_schedule: &NoiseSchedule, max: f64, min: f64, n: usize) -> Vec<NoiseLevel> {
    between(max, min, 7.0, n).map(|sigma| noise_schedule.level(sigma)).collect()
}
