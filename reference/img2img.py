"""Golden data of calotype-diffusion: img2img runs of diffusers' schedulers, whose pipeline skips the first timesteps.

Writes crates/diffusion/tests/goldens/img2img.txt, numbers as the hexadecimal bits of f32.

    python reference/img2img.py
"""

import diffusers
import torch
from samplers import OUT, SEED, SHAPE, bits, network, scheduler

Pipeline = diffusers.StableDiffusionImg2ImgPipeline
# Not compared: PNDM, which repeats a timestep of its list, so that the pipeline's cut starts it one level early; and LMS,
# which counts its order from the start of the whole run and so pairs coefficients with slopes it does not have.
CASES = [(name, "default") for name in ("ddim", "euler", "euler_a", "heun", "dpmpp_2m")]
CASES += [("euler", "karras"), ("heun", "karras"), ("dpmpp_2m", "karras")]


class Host:
    """What the pipeline's get_timesteps reads."""

    def __init__(self, scheduler):
        self.scheduler = scheduler


def run(name, schedule, steps, strength):
    s = scheduler(name, schedule)
    s.set_timesteps(steps)
    timesteps, count = Pipeline.get_timesteps(Host(s), steps, strength, "cpu")
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(SHAPE, generator=generator)
    init = torch.sin(torch.arange(noise.numel()) * 0.37).reshape(SHAPE)
    x = s.add_noise(init, noise, timesteps[:1])
    extra = {"generator": generator} if name in ("ddim", "euler_a") else {}
    for t in timesteps:
        x = s.step(network(s.scale_model_input(x, t), t), t, x, **extra).prev_sample
    return f"{name} {schedule} {steps} {strength} {count} {bits(timesteps[:1])} {bits(x)}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    lines = [f"# diffusers {diffusers.__version__}, seed {SEED}, latents (1, 4, 3, 5) in NCHW order, init sin(0.37 i)"]
    lines.append("# sampler schedule steps strength count first_timestep bits")
    for name, schedule in CASES:
        for steps, strength in ((20, 0.75), (20, 1.0), (50, 0.33), (7, 0.5), (10, 0.15)):
            lines.append(run(name, schedule, steps, strength))
    (OUT / "img2img.txt").write_text("\n".join(lines) + "\n")
