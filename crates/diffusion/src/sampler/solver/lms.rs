use std::collections::VecDeque;

use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// Slopes remembered, the one of the current step among them.
const ORDER: usize = 4;

/// Linear multistep, Adams–Bashforth on an uneven grid (k-diffusion `sample_lms`): the polynomial through the last four
/// slopes `d(σ)`, integrated from this sigma to the next.
#[derive(Default)]
pub(super) struct Lms {
    /// Each with its sigma, the latest first.
    slopes: VecDeque<(f64, Latents)>,
}

impl<E: From<Error>> Solver<E> for Lms {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let slope = ctx.derivative(x, from)?;
        if self.slopes.front().is_some_and(|&(sigma, _)| sigma == from.sigma) {
            // Two levels can be one where there are nearly as many steps as timesteps.
            self.slopes.pop_front();
        }
        self.slopes.push_front((from.sigma, slope));
        self.slopes.truncate(ORDER);

        let nodes: Vec<f64> = self.slopes.iter().map(|&(sigma, _)| sigma).collect();
        let mut terms = vec![(1.0, x)];
        for (j, (_, slope)) in self.slopes.iter().enumerate() {
            terms.push((integral(|sigma| lagrange(&nodes, j, sigma), from.sigma, to.sigma), slope));
        }
        Ok(Latents::sum(terms))
    }
}

/// The Lagrange polynomial of node `j`: 1 there and 0 at the other nodes.
fn lagrange(nodes: &[f64], j: usize, sigma: f64) -> f64 {
    let Some(own) = nodes.get(j) else { return 0.0 };
    let others = nodes.iter().enumerate().filter(|&(k, _)| k != j);
    others.map(|(_, node)| (sigma - node) / (own - node)).product()
}

/// `∫ f` by Gauss–Legendre's rule of two points, exact for polynomials up to the third degree: those of four nodes.
fn integral(f: impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    let offset = half / 3.0f64.sqrt();
    half * (f(middle - offset) + f(middle + offset))
}
