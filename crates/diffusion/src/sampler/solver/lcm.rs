use super::{Model, Solver, current, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// Multistep consistency sampling (Luo et al. 2023, "Latent Consistency Models", algorithm 3), as A1111 runs it: to the
/// denoised sample and back up with fresh noise. The consistency function is `c_skip x + c_out D` with σ_data = 1/2 and
/// the timestep times ten (its section 4.1 and appendix).
pub(super) struct Lcm;

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Lcm {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let denoised = model.denoise(x, from)?;
        let (sigma_data, t) = (0.5f64, 10.0 * from.timestep);
        let c_skip = sigma_data.powi(2) / (t.powi(2) + sigma_data.powi(2));
        let c_out = t / t.hypot(sigma_data);
        let consistent = [(c_skip, x), (c_out, denoised.as_slice())];
        if to.sigma == 0.0 {
            return Ok(sum(&consistent));
        }
        let noise = model.noise()?;
        let [skip, out] = consistent;
        Ok(sum(&[skip, out, (to.sigma, &noise)]))
    }
}
