//! What the scheduler that a model was saved with has to say in a request.

use calotype_checkpoint::SavedScheduler;
use calotype_diffusion::{SamplerFeature, SamplerKind, SamplerSettings, ScheduleKind, SchedulerSettings};

use crate::{Model, Request, Warning};

impl Request {
    /// The settings of its sampler: those asked for, and for what they leave open those of the model's scheduler, where the
    /// schedule is as diffusers has it.
    pub(crate) fn effective_scheduler_settings(&self, model: &Model) -> SchedulerSettings {
        let saved = self.heeded(model).map(|saved| saved.settings(self.sampler)).unwrap_or_default();
        // Diffusers' pipeline for inpainting never begins with Runge-Kutta's steps.
        let inpaints = self.init.as_ref().is_some_and(|init| init.inpaint.is_some());
        let skip_prk_steps = saved.skip_prk_steps.filter(|_| !inpaints);
        self.scheduler_settings.or(SchedulerSettings { skip_prk_steps, ..saved })
    }

    /// Those of them that are not as by default: what metadata have to say.
    pub(crate) fn said_scheduler_settings(&self, model: &Model) -> SchedulerSettings {
        let settings = self.effective_scheduler_settings(model);
        match self.is_of_diffusers() {
            true => settings.differing(&SchedulerSettings::defaults(self.sampler)),
            false => settings,
        }
    }

    /// What the model's scheduler says that diffusers heeds, and this program does not.
    pub(crate) fn unheeded_settings(&self, model: &Model) -> Option<Warning> {
        let unheeded = self.heeded(model)?.unheeded(self.sampler).join(", ");
        (!unheeded.is_empty()).then_some(Warning::UnheededScheduler { settings: unheeded })
    }

    /// The scheduler of the model, if it counts.
    fn heeded<'a>(&self, model: &'a Model) -> Option<&'a SavedScheduler> {
        let as_diffusers = self.schedule == ScheduleKind::Default && (self.is_of_diffusers() || !self.asks_for_a1111());
        model.saved_scheduler().filter(|_| as_diffusers && !self.ignore_scheduler_config)
    }

    /// Whether its sampler has diffusers' levels by default.
    fn is_of_diffusers(&self) -> bool {
        self.sampler.info().has(SamplerFeature::Diffusers)
    }

    /// Whether it has settings that its sampler only has as A1111 runs it.
    fn asks_for_a1111(&self) -> bool {
        let (own, default) = (&self.sampler_settings, SamplerSettings::default());
        let of_unipc =
            |s: &SamplerSettings| (s.uni_pc_variant, s.uni_pc_skip_type, s.uni_pc_order, s.uni_pc_lower_order_final);
        match self.sampler {
            SamplerKind::UniPc => of_unipc(own) != of_unipc(&default),
            _ => self.eta.is_some() || own.s_noise != default.s_noise,
        }
    }
}
