use calotype_tensor::{Backend, Result};

/// The frequencies fall from 1 to 1 over this.
const MAX_PERIOD: f32 = 10_000.0;

/// The sinusoidal embedding of timesteps (Vaswani et al. 2017, section 3.5; Ho et al. 2020): `(B, channels)`.
///
/// With `half = channels / 2`, entry `i` is `sin(t · e^(-ln(10000) · i / (half - freq_shift)))`, entry `half + i` the
/// cosine; with `flip_sin_to_cos` the halves change places. An odd last channel is 0. Everything in f32, as the reference does.
///
/// # Errors
/// None but the backend's.
pub fn timestep_embedding<B: Backend>(
    b: &B,
    timesteps: &[f32],
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
) -> Result<B::Tensor> {
    let half = channels / 2;
    let mut data = vec![0.0; timesteps.len() * channels];
    for (row, &t) in data.chunks_exact_mut(channels.max(1)).zip(timesteps) {
        let (sines, cosines) = row.split_at_mut(half);
        for (i, (sin, cos)) in sines.iter_mut().zip(cosines).enumerate() {
            let exponent = -MAX_PERIOD.ln() * i as f32 / (half as f32 - freq_shift);
            (*sin, *cos) = (t * exponent.exp()).sin_cos();
            if flip_sin_to_cos {
                std::mem::swap(sin, cos);
            }
        }
    }
    b.from_f32([timesteps.len(), channels].into(), data)
}
