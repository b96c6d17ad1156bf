use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// Multistep consistency sampling (Luo et al. 2023, "Latent Consistency Models", algorithm 3), as A1111 runs it: to the
/// denoised sample and back up with fresh noise. The consistency function is `c_skip x + c_out D` with σ_data = 1/2 and
/// the timestep times ten (its section 4.1 and appendix).
pub(super) struct Lcm;

impl<E: From<Error>> Solver<E> for Lcm {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let denoised = ctx.denoise(x, from)?;
        let (sigma_data, t) = (0.5f64, 10.0 * from.timestep);
        let c_skip = sigma_data.powi(2) / (t.powi(2) + sigma_data.powi(2));
        let c_out = t / t.hypot(sigma_data);
        let consistent = [(c_skip, x), (c_out, &denoised)];
        if to.sigma == 0.0 {
            return Ok(Latents::sum(consistent));
        }
        let noise = ctx.noise()?;
        let [skip, out] = consistent;
        Ok(Latents::sum([skip, out, (to.sigma, &noise)]))
    }
}
