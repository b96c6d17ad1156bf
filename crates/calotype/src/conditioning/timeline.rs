//! What the schedules of prompts run over.

use calotype_text::Timeline;

use crate::Request;

impl Request {
    /// Over the evaluations of the first pass.
    pub(crate) fn first_timeline(&self) -> Timeline {
        let steps = self.evaluations(self.num_inference_steps);
        if self.old_prompt_editing { Timeline::old(steps) } else { Timeline::new(steps) }
    }

    /// Over those of the second, larger pass.
    pub(crate) fn second_timeline(&self) -> Timeline {
        if self.old_prompt_editing {
            return self.first_timeline();
        }
        let steps = self.hires.as_ref().and_then(|hires| hires.num_inference_steps);
        let [first, second] =
            [self.num_inference_steps, steps.unwrap_or(self.num_inference_steps)].map(|steps| self.evaluations(steps));
        Timeline::second(first, second)
    }

    /// How many evaluations of the UNet A1111 counts for so many steps.
    fn evaluations(&self, steps: usize) -> usize {
        self.sampler.info().evaluations * steps
    }
}
