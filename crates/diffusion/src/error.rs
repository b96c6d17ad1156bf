use crate::{SamplerKind, ScheduleKind};

/// What can go wrong in this crate. Each message is one line that says what was expected and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that does not exist: of a sampler, a schedule, a generator, …
    #[error("unknown {what} {name:?}{near}: use one of {known}", near = near(*nearest))]
    Unknown {
        /// What it should be the name of.
        what: &'static str,
        /// What was given.
        name: String,
        /// The id that is nearest, where one is near.
        nearest: Option<&'static str>,
        /// The ids that exist.
        known: String,
    },
    /// Options of the noise that don't go together, or a value out of range: what, and what to do.
    #[error("{0}")]
    NoiseOptions(String),
    /// A sampler that has only its own schedule was given another one.
    #[error(
        "sampler {sampler} has no {schedule} schedule: use --schedule default or another sampler (euler, dpmpp_2m, ...)"
    )]
    Schedule {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The schedule it does not have.
        schedule: ScheduleKind,
    },
    /// `eta` was given to a sampler that has none.
    #[error("sampler {sampler} has no eta (got {eta}): leave eta at 0 or use the sampler ddim")]
    Eta {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The value given.
        eta: f64,
    },
    /// `eta` is not a number from 0 to 1.
    #[error("eta is {0}: give a number from 0 (deterministic) to 1 (as much noise as DDPM)")]
    EtaRange(f64),
    /// An option that is out of range.
    #[error("{option} is {value}: give {expected}")]
    OptionRange {
        /// The option.
        option: &'static str,
        /// The value given.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// An option was given to a sampler that does not have it.
    #[error("sampler {sampler} has no {option}: leave it out or use another sampler ({has})")]
    SamplerOption {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The option it does not have.
        option: &'static str,
        /// Samplers that have it.
        has: &'static str,
    },
    /// A setting has a value that is of other samplers.
    #[error("sampler {sampler} has no {option} {value}: leave it out or use another sampler ({has})")]
    SettingOfSampler {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The setting.
        option: &'static str,
        /// The value given.
        value: String,
        /// Samplers and what they have.
        has: &'static str,
    },
    /// A setting does not go without another.
    #[error("{option} needs {needs}")]
    SettingNeeds {
        /// The setting.
        option: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// An option was given to a schedule that does not have it.
    #[error("schedule {schedule} has no {option}: leave it out or use another schedule ({has})")]
    ScheduleOption {
        /// The schedule asked for.
        schedule: ScheduleKind,
        /// The option it does not have.
        option: &'static str,
        /// Schedules that have it.
        has: &'static str,
    },
    /// More or fewer steps than the sampler can take.
    #[error("{steps} steps are out of range for sampler {sampler}: give {min} to {max}")]
    Steps {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The count given.
        steps: usize,
        /// The fewest it can take.
        min: usize,
        /// The most it can take with this noise schedule.
        max: usize,
    },
    /// A count of steps for which CompVis' samplers crash.
    #[error("{sampler} on the schedule compvis takes no {steps} steps, as CompVis' own does not: give {nearest}")]
    CompvisSteps {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The count given.
        steps: usize,
        /// The nearest counts that work.
        nearest: String,
    },
    /// A strength that is not a number from 0 to 1.
    #[error("strength is {0}: give a number from 0 (keep the picture) to 1 (start from noise alone)")]
    Strength(f64),
    /// A strength that leaves no step to run.
    #[error("strength {strength} leaves none of {steps} steps: give a strength of {least} or more, or more steps")]
    NoSteps {
        /// The strength given.
        strength: f64,
        /// The steps of the whole run.
        steps: usize,
        /// The least strength that leaves a step.
        least: f64,
    },
    /// Steps that are the end of more than the sampler can lay out.
    #[error(
        "{steps} steps at strength {strength} are the last of {laid_out}, of which {sampler} lays out {min} to {max}: give fewer steps or a greater strength"
    )]
    LaidOut {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// The count given.
        steps: usize,
        /// The strength given.
        strength: f64,
        /// The steps of the whole run.
        laid_out: usize,
        /// The fewest it can lay out.
        min: usize,
        /// The most it can lay out.
        max: usize,
    },
    /// The numbers of a scheduler config make no noise schedule.
    #[error("bad noise schedule: {field} is {value}, expected {expected}; check scheduler_config.json")]
    NoiseSchedule {
        /// The config field.
        field: &'static str,
        /// What it holds.
        value: f64,
        /// What it should hold.
        expected: &'static str,
    },
    /// Latents with another number of elements than their shape has.
    #[error("{got} numbers were given for latents of shape {shape:?} (B, h, w, C): give one for each element")]
    LatentsShape {
        /// `[B, h, w, C]`.
        shape: [usize; 4],
        /// The numbers given.
        got: usize,
    },
    /// Latents that can't be one batch, or none at all.
    #[error("latents {other:?} can't be joined with others of {first:?}: h, w and C of (B, h, w, C) must be the same")]
    LatentsConcat {
        /// The shape of the first.
        first: [usize; 4],
        /// A shape that differs.
        other: [usize; 4],
    },
    /// Latents that belong together differ in shape.
    #[error("{what} has shape {got:?}, expected {expected:?}: latents, noise and predictions must have one shape")]
    Shape {
        /// Which of them.
        what: &'static str,
        /// Its shape, `[B, h, w, C]`.
        got: [usize; 4],
        /// The shape it should have.
        expected: [usize; 4],
    },
    /// Two buffers that belong together differ in length.
    #[error("{what} has {got} numbers, expected {expected}: latents, noise and predictions must have one shape")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it should have.
        expected: usize,
    },
    /// A timestep outside the noise schedule.
    #[error("timestep {timestep} is outside the noise schedule: expected 0 to {last}")]
    Timestep {
        /// The timestep given.
        timestep: usize,
        /// The last one of the schedule.
        last: usize,
    },
    /// The stored state of a [`crate::Generator`] can't be read.
    #[error("bad generator state: {0}; the file is damaged or not ours")]
    GeneratorState(&'static str),
}

impl Error {
    /// Whether another request would have worked: the fault is in what was asked, not in a file or in the caller's code.
    #[must_use]
    pub fn is_request(&self) -> bool {
        !matches!(
            self,
            Self::NoiseSchedule { .. }
                | Self::LatentsShape { .. }
                | Self::LatentsConcat { .. }
                | Self::Shape { .. }
                | Self::Length { .. }
                | Self::Timestep { .. }
                | Self::GeneratorState(_)
        )
    }
}

fn near(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |id| format!(", the nearest is {id}"))
}
