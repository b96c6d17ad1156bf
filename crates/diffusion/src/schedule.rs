use crate::ids::ids;
use crate::linspace::{linspace, linspace_f32};
use crate::{Error, NoiseLevel};

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PredictionType {
    /// The noise ε (Ho et al. 2020): Stable Diffusion 1.
    #[default]
    Epsilon,
    /// The velocity `v = sqrt(ᾱ) ε − sqrt(1 − ᾱ) x0` (Salimans & Ho 2022): Stable Diffusion 2 at 768 pixels.
    VPrediction,
    /// The clean sample `x0` itself (Ho et al. 2020, section 3.2; CompVis' `parameterization: "x0"`).
    Sample,
}

ids!(PredictionType, "prediction type", [Epsilon = "epsilon", VPrediction = "v_prediction", Sample = "sample"]);

/// The noise a network was trained with: `x_t = sqrt(ᾱ_t) x0 + sqrt(1 − ᾱ_t) ε` at each timestep `t`
/// (Ho et al. 2020, eq. 4; ᾱ is `alphas_cumprod` here and in diffusers).
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f32>,
    sigmas: Vec<f32>,
    log_sigmas: Vec<f32>,
    /// ᾱ of the same betas in f64 ([`NoiseSchedule::of_compvis`]).
    exact: Vec<f32>,
    /// Whether it is that of [`NoiseSchedule::cosine`].
    cosine: bool,
}

/// More timesteps than any model has; a config that asks for more is damaged or hostile.
const MAX_TRAIN_TIMESTEPS: usize = 100_000;

/// What A1111 takes for an ᾱ of 0 (`rescale_zero_terminal_snr_abar`).
const LEAST_ALPHA: f32 = 4.897_345_3e-8;
/// What diffusers' schedulers of sigmas take for it: `2^-24`.
const LEAST_HALF: f32 = 5.960_464_5e-8;

impl NoiseSchedule {
    /// `beta_schedule: "scaled_linear"`, the one of latent diffusion: betas whose square roots are evenly spaced.
    ///
    /// # Errors
    /// [`Error::NoiseSchedule`] unless `0 < beta_start ≤ beta_end < 1` and there are 2 to 100000 timesteps.
    pub fn scaled_linear(beta_start: f64, beta_end: f64, num_train_timesteps: usize) -> Result<Self, Error> {
        check_betas(beta_start, beta_end, num_train_timesteps)?;
        let (start, end) = (beta_start.sqrt(), beta_end.sqrt());
        let roots = linspace_f32(start as f32, end as f32, num_train_timesteps);
        let exact = linspace(start, end, num_train_timesteps);
        Self::from_betas(roots.map(|root| root * root), exact.map(|root| root * root), beta_end)
    }

    /// `beta_schedule: "linear"`: evenly spaced betas (Ho et al. 2020, section 4).
    ///
    /// # Errors
    /// As [`NoiseSchedule::scaled_linear`].
    pub fn linear(beta_start: f64, beta_end: f64, num_train_timesteps: usize) -> Result<Self, Error> {
        check_betas(beta_start, beta_end, num_train_timesteps)?;
        let betas = linspace_f32(beta_start as f32, beta_end as f32, num_train_timesteps);
        Self::from_betas(betas, linspace(beta_start, beta_end, num_train_timesteps), beta_end)
    }

    /// `beta_schedule: "squaredcos_cap_v2"`, CompVis' `cosine`: ᾱ falls as a squared cosine, no beta above 0.999 (Nichol &
    /// Dhariwal 2021, eq. 17).
    ///
    /// # Errors
    /// [`Error::NoiseSchedule`] unless there are 2 to 100000 timesteps.
    pub fn cosine(num_train_timesteps: usize) -> Result<Self, Error> {
        check_betas(0.5, 0.5, num_train_timesteps)?;
        let (count, offset) = (num_train_timesteps as f64, 0.008);
        let alpha =
            |t: usize| ((t as f64 / count + offset) / (1.0 + offset) * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let betas = (0..num_train_timesteps).map(|t| (1.0 - alpha(t + 1) / alpha(t)).min(0.999));
        let schedule = Self::from_betas(betas.clone().map(|beta| beta as f32), betas, 0.999)?;
        Ok(Self { cosine: true, ..schedule })
    }

    /// Torch multiplies up in f64 and stores f32, also where betas are f32; sigma is computed from the stored value.
    fn from_betas(
        betas: impl Iterator<Item = f32>,
        exact: impl Iterator<Item = f64>,
        beta_end: f64,
    ) -> Result<Self, Error> {
        let multiplied = |product: &mut f64, alpha: f64| {
            *product *= alpha;
            Some(*product as f32)
        };
        let alphas_cumprod: Vec<f32> = betas.map(|beta| f64::from(1.0 - beta)).scan(1.0, multiplied).collect();
        let exact: Vec<f32> = exact.map(|beta| 1.0 - beta).scan(1.0, multiplied).collect();
        let [schedule, exact] = [alphas_cumprod, exact.clone()].map(|alphas| Self::from_alphas(alphas, exact.clone()));
        if !schedule.sigmas.iter().chain(&exact.sigmas).all(|sigma| sigma.is_finite() && *sigma > 0.0) {
            let expected = "smaller: the betas leave no signal at the last timestep";
            return Err(Error::NoiseSchedule { field: "beta_end", value: beta_end, expected });
        }
        Ok(schedule)
    }

    /// A table of ᾱ as a model's file has it. A last value of 0, no signal at all (Lin et al. 2023), is as in A1111 the least
    /// that is told from it: its sigma is 4519.
    ///
    /// # Errors
    /// [`Error::NoiseSchedule`] unless these are 2 to 100000 numbers below 1 that fall from each to the next, none of them 0
    /// but the last.
    pub fn from_alphas_cumprod(mut alphas_cumprod: Vec<f32>) -> Result<Self, Error> {
        let refuse = |value: f64, expected| Err(Error::NoiseSchedule { field: "alphas_cumprod", value, expected });
        if !(2..=MAX_TRAIN_TIMESTEPS).contains(&alphas_cumprod.len()) {
            return refuse(alphas_cumprod.len() as f64, "a table of 2 to 100000 numbers");
        }
        if let Some(last) = alphas_cumprod.last_mut().filter(|last| **last == 0.0) {
            *last = LEAST_ALPHA;
        }
        if let Some(&alpha) = alphas_cumprod.iter().find(|alpha| !(f32::MIN_POSITIVE..1.0).contains(*alpha)) {
            return refuse(f64::from(alpha), "numbers above 0 and below 1 (0 only as the last)");
        }
        if let Some(pair) = alphas_cumprod.windows(2).find(|pair| pair[1] >= pair[0]) {
            return refuse(f64::from(pair[1]), "numbers that fall from each to the next");
        }
        Ok(Self::from_alphas(alphas_cumprod.clone(), alphas_cumprod))
    }

    /// The betas of each timestep, as a `scheduler_config.json` has them in `trained_betas`. A last one of 1 leaves no signal:
    /// see [`NoiseSchedule::from_alphas_cumprod`].
    ///
    /// # Errors
    /// As there, of the ᾱ that they make.
    pub fn from_trained_betas(betas: &[f32]) -> Result<Self, Error> {
        let multiplied = |product: &mut f64, beta: &f32| {
            *product *= f64::from(1.0 - beta);
            Some(*product as f32)
        };
        Self::from_alphas_cumprod(betas.iter().scan(1.0, multiplied).collect())
    }

    /// The schedule rescaled so that its last timestep has no signal (Lin et al. 2023, algorithm 1; diffusers'
    /// `rescale_betas_zero_snr`), with A1111's least ᾱ for the last.
    #[must_use]
    pub fn zero_terminal_snr(&self) -> Self {
        let rescaled = |alphas: &[f32]| -> Vec<f32> {
            let roots: Vec<f32> = alphas.iter().map(|alpha| alpha.sqrt()).collect();
            let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else { return Vec::new() };
            let scale = first / (first - last);
            let mut alphas: Vec<f32> = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect();
            alphas.iter_mut().rev().take(1).for_each(|alpha| *alpha = LEAST_ALPHA);
            alphas
        };
        Self::from_alphas(rescaled(&self.alphas_cumprod), rescaled(&self.exact))
    }

    /// Whether the last timestep has no signal.
    #[must_use]
    pub fn is_zero_terminal_snr(&self) -> bool {
        !self.cosine && self.alphas_cumprod.last().is_some_and(|&last| last <= LEAST_ALPHA)
    }

    fn from_alphas(alphas_cumprod: Vec<f32>, exact: Vec<f32>) -> Self {
        let sigmas: Vec<f32> = alphas_cumprod.iter().map(|&alpha| ((1.0 - alpha) / alpha).sqrt()).collect();
        let log_sigmas = sigmas.iter().map(|&sigma| ln(sigma)).collect();
        Self { alphas_cumprod, sigmas, log_sigmas, exact, cosine: false }
    }

    /// The same with ᾱ of betas in f64, as CompVis' code and so A1111 make it: its sigmas differ from diffusers', whose
    /// betas are f32, by a few `1e-6` of them, which the noise of a Brownian tree shows.
    pub(crate) fn of_compvis(&self) -> Self {
        Self::from_alphas(self.exact.clone(), self.exact.clone())
    }

    /// The same with the last ᾱ that diffusers' schedulers put in the place of 0, the least of half precision: its sigma is
    /// 4096.
    pub(crate) fn of_diffusers(&self) -> Self {
        let mut own = self.clone();
        if self.stands_for_no_signal() {
            own.alphas_cumprod.iter_mut().rev().take(1).for_each(|alpha| *alpha = LEAST_HALF);
            own = Self::from_alphas(own.alphas_cumprod, own.exact);
        }
        own
    }

    /// Whether the last ᾱ is one that was put in the place of 0.
    pub(crate) fn stands_for_no_signal(&self) -> bool {
        let mut last = self.alphas_cumprod.iter().rev();
        let put = last.next().is_some_and(|last| [LEAST_ALPHA, LEAST_HALF].contains(last));
        put && last.next().is_some_and(|&before| before > LEAST_HALF)
    }

    /// Whether its betas are those of [`NoiseSchedule::cosine`].
    pub(crate) fn is_cosine(&self) -> bool {
        self.cosine
    }

    /// ᾱ of every timestep, falling from nearly 1.
    #[must_use]
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// `sqrt((1 − ᾱ) / ᾱ)` of every timestep, rising: the noise in variance-exploding form.
    #[must_use]
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// How many timesteps the network was trained with.
    #[must_use]
    pub fn num_train_timesteps(&self) -> usize {
        self.sigmas.len()
    }

    /// The timestep of a sigma, interpolated in log sigma and held inside the schedule
    /// (k-diffusion `DiscreteSchedule.sigma_to_t`, in its f32).
    #[must_use]
    pub fn sigma_to_t(&self, sigma: f64) -> f64 {
        let log_of = |i: usize| self.log_sigmas.get(i).copied().unwrap_or(f32::NAN);
        let log_sigma = ln(sigma as f32);
        let above = self.log_sigmas.partition_point(|&log| log <= log_sigma);
        let low = above.saturating_sub(1).min(self.sigmas.len().saturating_sub(2));
        let w = ((log_of(low) - log_sigma) / (log_of(low) - log_of(low + 1))).clamp(0.0, 1.0);
        f64::from((1.0 - w) * low as f32 + w * (low + 1) as f32)
    }

    /// The same as diffusers computes it (`_sigma_to_t`): in f64 over logarithms in f32. Where it keeps whole timesteps by
    /// cutting off, this decides between 998 and 999.
    pub(crate) fn sigma_to_t_of_diffusers(&self, sigma: f64) -> f64 {
        let log_of = |i: usize| self.log_sigmas.get(i).copied().unwrap_or(f32::NAN);
        let log_sigma = sigma.ln();
        let above = self.log_sigmas.partition_point(|&log| f64::from(log) <= log_sigma);
        let low = above.saturating_sub(1).min(self.sigmas.len().saturating_sub(2));
        let (below, distance) = (f64::from(log_of(low)), f64::from(log_of(low) - log_of(low + 1)));
        let w = ((below - log_sigma) / distance).clamp(0.0, 1.0);
        (1.0 - w) * low as f64 + w * (low + 1) as f64
    }

    /// The sigma of a timestep, interpolated in log sigma and held inside the schedule
    /// (k-diffusion `DiscreteSchedule.t_to_sigma`, in its f32).
    #[must_use]
    pub fn t_to_sigma(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len().saturating_sub(1);
        let t = (timestep as f32).clamp(0.0, last as f32);
        let log_of = |i: f32| self.log_sigmas.get((i as usize).min(last)).copied().unwrap_or(f32::NAN);
        let w = t.fract();
        f64::from(exp((1.0 - w) * log_of(t.floor()) + w * log_of(t.ceil())))
    }

    /// The sigma of a timestep, interpolated in sigma itself: how diffusers spaces its default schedules.
    pub(crate) fn sigma_at(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len().saturating_sub(1);
        let t = timestep.clamp(0.0, last as f64);
        let low = t.floor() as usize;
        let sigma = |i: usize| self.sigmas.get(i.min(last)).map_or(f64::NAN, |&sigma| f64::from(sigma));
        sigma(low) + (sigma(low + 1) - sigma(low)) * (t - low as f64)
    }

    /// The level of a sigma; both numbers are held in f32, as k-diffusion holds them.
    #[must_use]
    pub fn level(&self, sigma: f64) -> NoiseLevel {
        if sigma <= 0.0 {
            return NoiseLevel::CLEAN;
        }
        NoiseLevel { sigma: f64::from(sigma as f32), timestep: self.sigma_to_t(sigma) }
    }

    /// Every `stride`th timestep up to the last, `count` of them at most: the timesteps, and a schedule of only these.
    pub(crate) fn thinned(&self, count: usize) -> (Vec<usize>, Self) {
        let count = count.min(self.alphas_cumprod.len());
        let (last, stride) = (self.alphas_cumprod.len() - 1, self.alphas_cumprod.len() / count);
        let timesteps: Vec<usize> = (0..count).rev().map(|i| last - i * stride).collect();
        let of = |all: &[f32]| timesteps.iter().filter_map(|&t| all.get(t)).copied().collect();
        let thinned = Self::from_alphas(of(&self.alphas_cumprod), of(&self.exact));
        (timesteps, thinned)
    }

    /// `(sqrt(ᾱ_t), sqrt(1 − ᾱ_t))`: the share of signal and of noise at a timestep.
    ///
    /// # Errors
    /// [`Error::Timestep`] past the end.
    pub fn signal_and_noise(&self, timestep: usize) -> Result<(f32, f32), Error> {
        let last = self.sigmas.len().saturating_sub(1);
        let alpha = *self.alphas_cumprod.get(timestep).ok_or(Error::Timestep { timestep, last })?;
        Ok((alpha.sqrt(), (1.0 - alpha).sqrt()))
    }

    /// `sqrt(ᾱ_t) x0 + sqrt(1 − ᾱ_t) noise`: the network's input in training (Ho et al. 2020, eq. 4).
    ///
    /// # Errors
    /// [`Error::Timestep`] past the end, [`Error::Length`] when the buffers differ in length.
    pub fn add_noise(&self, x0: &[f32], noise: &[f32], timestep: usize) -> Result<Vec<f32>, Error> {
        let (signal, sigma) = self.signal_and_noise(timestep)?;
        blend(signal, x0, sigma, noise)
    }

    /// `sqrt(ᾱ_t) noise − sqrt(1 − ᾱ_t) x0`: the target of v-prediction (Salimans & Ho 2022, appendix D).
    ///
    /// # Errors
    /// As [`NoiseSchedule::add_noise`].
    pub fn velocity(&self, x0: &[f32], noise: &[f32], timestep: usize) -> Result<Vec<f32>, Error> {
        let (signal, sigma) = self.signal_and_noise(timestep)?;
        blend(-sigma, x0, signal, noise)
    }
}

fn blend(a: f32, x0: &[f32], b: f32, noise: &[f32]) -> Result<Vec<f32>, Error> {
    if noise.len() != x0.len() {
        return Err(Error::Length { what: "the noise", got: noise.len(), expected: x0.len() });
    }
    Ok(x0.iter().zip(noise).map(|(&x0, &noise)| a * x0 + b * noise).collect())
}

fn check_betas(beta_start: f64, beta_end: f64, num_train_timesteps: usize) -> Result<(), Error> {
    // The first beta in f32 must still leave 1 − beta < 1, else sigma is 0 at a timestep.
    if !(1e-7..1.0).contains(&beta_start) {
        let expected = "a number from 1e-7 to below 1";
        return Err(Error::NoiseSchedule { field: "beta_start", value: beta_start, expected });
    }
    if !(beta_start..1.0).contains(&beta_end) {
        let expected = "a number from beta_start to below 1";
        return Err(Error::NoiseSchedule { field: "beta_end", value: beta_end, expected });
    }
    if !(2..=MAX_TRAIN_TIMESTEPS).contains(&num_train_timesteps) {
        let (field, value) = ("num_train_timesteps", num_train_timesteps as f64);
        return Err(Error::NoiseSchedule { field, value, expected: "2 to 100000" });
    }
    Ok(())
}

/// The natural logarithm of an f32, correctly rounded. (Torch's own, and its [`exp`], is one place off in the last digit now
/// and then, and not the same on every machine.)
pub(crate) fn ln(x: f32) -> f32 {
    f64::from(x).ln() as f32
}

/// The exponential of an f32, correctly rounded.
pub(crate) fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}
