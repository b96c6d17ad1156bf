use std::collections::VecDeque;

use super::super::{AlgorithmType, SampleOptions, SamplerKind, SchedulerSettings, SolverType};
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// DPM-Solver and DPM-Solver++ (Lu et al. 2022) of order 1 to 3, for the ODE and for the SDE, as diffusers'
/// `DPMSolverMultistepScheduler` has them, in λ = −ln σ: a Taylor series of the denoised sample, or of the noise, whose
/// derivatives are divided differences of the latest ones.
pub(super) struct DpmMultistep {
    algorithm: AlgorithmType,
    solver_type: SolverType,
    order: usize,
    /// Steps of the whole run.
    steps: usize,
    lower_order_final: bool,
    euler_at_final: bool,
    /// What the network is taken to predict, and the λ it belongs to, the latest first.
    outputs: VecDeque<(Latents, f64)>,
}

impl DpmMultistep {
    /// A run of fewer steps has its last ones of lower order.
    const SHORT: usize = 15;

    pub(super) fn new(kind: SamplerKind, options: &SampleOptions) -> Self {
        let scheduler = options.scheduler.or(SchedulerSettings::defaults(kind));
        let solver_type = match kind {
            SamplerKind::Dpmpp2mSdeHeun => SolverType::Heun,
            _ => scheduler.solver_type.unwrap_or(SolverType::Midpoint),
        };
        Self {
            algorithm: scheduler.algorithm_type.unwrap_or(AlgorithmType::DpmsolverPp),
            solver_type,
            order: scheduler.solver_order.unwrap_or(2),
            steps: options.steps,
            lower_order_final: scheduler.lower_order_final.unwrap_or(true),
            euler_at_final: scheduler.euler_at_final.unwrap_or(false),
            outputs: VecDeque::new(),
        }
    }

    /// The order of a step, as many outputs as there are.
    fn order_of(&self, levels: &Levels) -> usize {
        let lowers = self.lower_order_final && self.steps < Self::SHORT;
        let most = match levels.left {
            0 if self.euler_at_final || lowers || levels.to.sigma == 0.0 => 1,
            1 if lowers => 2,
            _ => self.order,
        };
        self.order.min(most).min(self.outputs.len())
    }
}

impl<E: From<Error>> Solver<E> for DpmMultistep {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        use AlgorithmType::{Dpmsolver, DpmsolverPp, SdeDpmsolver, SdeDpmsolverPp};
        let Levels { from, to, .. } = levels;
        let output = match self.algorithm {
            DpmsolverPp | SdeDpmsolverPp => ctx.denoise(x, from)?,
            Dpmsolver | SdeDpmsolver => ctx.derivative(x, from)?,
        };
        let noise = match self.algorithm {
            SdeDpmsolver | SdeDpmsolverPp => Some(ctx.noise()?),
            Dpmsolver | DpmsolverPp => None,
        };
        let lambda = -from.sigma.ln();
        // Two levels can be one where there are nearly as many steps as timesteps: nothing to extrapolate from.
        if self.outputs.front().is_some_and(|&(_, before)| before == lambda) {
            self.outputs.pop_front();
        }
        self.outputs.push_front((output, lambda));
        self.outputs.truncate(self.order);
        let h = (from.sigma / to.sigma).ln();
        if h == 0.0 {
            return Ok(x.clone());
        }

        // What x and fresh noise are multiplied by, and the integrals of 1, λ and λ²/2 along the step.
        let midpoint = self.solver_type == SolverType::Midpoint;
        let (keep, fresh, phi) = match self.algorithm {
            DpmsolverPp => (to.sigma / from.sigma, 0.0, Integrals::of_denoised(h)),
            SdeDpmsolverPp => {
                let fresh = to.sigma * (-(-2.0 * h).exp_m1()).sqrt();
                let phi = Integrals::of_denoised(2.0 * h);
                // Of order 3 it has −1/2 where the series has +1/2.
                let phi = Integrals { second: phi.second - 1.0, ..phi };
                ((to.sigma / from.sigma).powi(2), fresh, phi)
            }
            Dpmsolver => (1.0, 0.0, Integrals::of_noise(to.sigma, h)),
            SdeDpmsolver => (1.0, to.sigma * (2.0 * h).exp_m1().sqrt(), Integrals::of_noise(to.sigma, h).times(2.0)),
        };
        let order = self.order_of(&levels);
        let outputs: &[_] = self.outputs.make_contiguous();
        let mut terms = vec![(keep, x)];
        match outputs {
            [(m0, l0), (m1, l1), (m2, l2), ..] if order == 3 => {
                let (r0, r1) = ((l0 - l1) / h, (l1 - l2) / h);
                // D1 = D1_0 + d2 r0 and D2 = d2 with d2 = (D1_0 − D1_1) / (r0 + r1), of which these are the weights.
                let of_difference = (phi.first * r0 + phi.second) / (r0 + r1);
                let d1_0 = (phi.first + of_difference) / r0;
                let d1_1 = -of_difference / r1;
                terms.extend([(phi.zeroth + d1_0, m0), (d1_1 - d1_0, m1), (-d1_1, m2)]);
            }
            [(m0, l0), (m1, l1), ..] if order >= 2 => {
                let r0 = (l0 - l1) / h;
                let weight = if midpoint { 0.5 * phi.zeroth } else { phi.first } / r0;
                terms.extend([(phi.zeroth + weight, m0), (-weight, m1)]);
            }
            [(m0, _), ..] => terms.push((phi.zeroth, m0)),
            [] => {}
        }
        terms.extend(noise.as_ref().map(|noise| (fresh, noise)));
        Ok(Latents::sum(terms))
    }
}

/// `∫ w(s) s^k / k! ds` over a step of length 1 for `k` from 0 to 2, `w` what the solver's exponential leaves of an output at
/// the share `s` of the step.
struct Integrals {
    zeroth: f64,
    first: f64,
    second: f64,
}

impl Integrals {
    /// Of the denoised sample: `h e^(−h (1 − s))`.
    fn of_denoised(h: f64) -> Self {
        let gone = -(-h).exp_m1(); // 1 − e^(−h)
        Self { zeroth: gone, first: 1.0 - gone / h, second: (gone - h) / (h * h) + 0.5 }
    }

    /// Of the noise: `−σ_to h e^(h (1 − s))`.
    fn of_noise(sigma: f64, h: f64) -> Self {
        let grown = h.exp_m1(); // e^h − 1
        let of = |x: f64| -sigma * x;
        Self { zeroth: of(grown), first: of(grown / h - 1.0), second: of((grown - h) / (h * h) - 0.5) }
    }

    fn times(self, by: f64) -> Self {
        Self { zeroth: by * self.zeroth, first: by * self.first, second: by * self.second }
    }
}
