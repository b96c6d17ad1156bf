use crate::Error;

/// Classifier-free guidance: `e_u + scale · (e_c − e_u)` for every element (Ho & Salimans 2022, eq. 6, with `scale = 1 + w`).
///
/// At scale 1 the result is `cond` up to rounding: callers then make one pass with the condition and no call here.
///
/// # Errors
/// [`Error::Length`] when the two predictions differ in length.
pub fn guide(uncond: &[f32], cond: &[f32], scale: f32) -> Result<Vec<f32>, Error> {
    if uncond.len() != cond.len() {
        return Err(Error::Length { what: "the unconditional prediction", got: uncond.len(), expected: cond.len() });
    }
    Ok(uncond.iter().zip(cond).map(|(&u, &c)| u + scale * (c - u)).collect())
}

/// Guidance by several conditions at once: `e_u + Σ scale_i · (e_i − e_u)` (Liu et al. 2022, eq. 11). With one it is
/// [`guide`].
///
/// # Errors
/// [`Error::Length`] when the predictions differ in length.
pub fn compose(uncond: &[f32], conds: &[(&[f32], f32)]) -> Result<Vec<f32>, Error> {
    let mut composed = uncond.to_vec();
    for &(cond, scale) in conds {
        if uncond.len() != cond.len() {
            return Err(Error::Length { what: "a conditional prediction", got: cond.len(), expected: uncond.len() });
        }
        for ((sum, &u), &c) in composed.iter_mut().zip(uncond).zip(cond) {
            *sum += scale * (c - u);
        }
    }
    Ok(composed)
}
