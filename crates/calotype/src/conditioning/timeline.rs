//! What the schedules of prompts run over.

use calotype_diffusion::SamplerKind;
use calotype_text::Timeline;

use crate::Request;

impl Request {
    /// Over the evaluations of the first pass.
    pub(crate) fn first_timeline(&self) -> Timeline {
        let steps = evaluations(self.sampler, self.num_inference_steps);
        if self.old_prompt_editing { Timeline::old(steps) } else { Timeline::new(steps) }
    }

    /// Over those of the second, larger pass.
    pub(crate) fn second_timeline(&self) -> Timeline {
        if self.old_prompt_editing {
            return self.first_timeline();
        }
        let steps = self.hires.as_ref().and_then(|hires| hires.num_inference_steps);
        let [first, second] = [self.num_inference_steps, steps.unwrap_or(self.num_inference_steps)]
            .map(|steps| evaluations(self.sampler, steps));
        Timeline::second(first, second)
    }
}

/// How many evaluations of the UNet A1111 counts for a sampler's steps, over which schedules run: two for each step of
/// those it calls of second order (`sd_samplers_kdiffusion.py`).
fn evaluations(sampler: SamplerKind, steps: usize) -> usize {
    use SamplerKind::{Dpm2, Dpm2A, Dpmpp2sA, DpmppSde, Heun, Restart};
    match sampler {
        Dpm2 | Dpm2A | Dpmpp2sA | DpmppSde | Heun | Restart => 2 * steps,
        _ => steps,
    }
}
