//! The steps of DPM-Solver (Lu et al. 2022, "DPM-Solver: A Fast ODE Solver", algorithms 1 and 2) as what to weigh the sample
//! with, the noise `eps` predicted at `from`, and that predicted between. With λ = −ln σ and h the length of a step, its
//! `σ_to (e^h − 1)` is the distance of the sigmas.

/// Order 1: also the way to the points between.
pub(super) fn first(from: f64, to: f64) -> [f64; 2] {
    [1.0, to - from]
}

/// Order 2: `eps_1` is predicted `r1` of the way.
pub(super) fn second(from: f64, to: f64, r1: f64) -> [f64; 3] {
    let slope = (to - from) / (2.0 * r1);
    [1.0, to - from - slope, slope]
}

/// A third and two thirds of the way, where order 3 looks.
pub(super) const THIRDS: [f64; 2] = [1.0 / 3.0, 2.0 / 3.0];

/// The sigma a share of the way in λ.
pub(super) fn between(from: f64, to: f64, share: f64) -> f64 {
    from * (to / from).powf(share)
}

/// The way to the second point of order 3, `sigma`; `eps_1` is predicted at its first.
pub(super) fn third_middle(from: f64, sigma: f64) -> [f64; 3] {
    let [r1, r2] = THIRDS;
    let slope = -sigma * (r2 / r1) * growth(from, sigma);
    [1.0, sigma - from - slope, slope]
}

/// Order 3: `eps_2` is predicted at its second point.
pub(super) fn third(from: f64, to: f64) -> [f64; 3] {
    let [_, r2] = THIRDS;
    let slope = -to / r2 * growth(from, to);
    [1.0, to - from - slope, slope]
}

/// `(e^h − 1) / h − 1`.
fn growth(from: f64, to: f64) -> f64 {
    let h = (from / to).ln();
    if h == 0.0 { 0.0 } else { h.exp_m1() / h - 1.0 }
}
