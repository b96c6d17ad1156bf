"""Golden data of calotype-diffusion: what diffusers' schedulers and torch's CPU generator compute.

Writes crates/diffusion/tests/goldens/{samplers,noise}.txt, all numbers as the hexadecimal bits of f32.

    python reference/samplers.py
"""

from pathlib import Path

import diffusers
import numpy as np
import torch

OUT = Path(__file__).resolve().parent.parent / "crates/diffusion/tests/goldens"
SHAPE, SEED = (1, 4, 3, 5), 20260
STEPS = (1, 2, 3, 5, 12, 30, 50)
SD1 = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
LEADING = dict(timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False)
SCHEDULERS = {
    "ddim": (diffusers.DDIMScheduler, dict(clip_sample=False, **LEADING)),
    "plms": (diffusers.PNDMScheduler, dict(skip_prk_steps=True, **LEADING)),
    "euler": (diffusers.EulerDiscreteScheduler, dict(timestep_spacing="linspace")),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, dict(timestep_spacing="linspace")),
    "heun": (diffusers.HeunDiscreteScheduler, dict(timestep_spacing="linspace")),
    "lms": (diffusers.LMSDiscreteScheduler, dict(timestep_spacing="linspace")),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, dict(timestep_spacing="linspace")),
}


class EulerAncestralKarras(diffusers.EulerAncestralDiscreteScheduler):
    """diffusers' ancestral Euler has no Karras sigmas: give it the sigmas and timesteps of its plain Euler."""

    def set_timesteps(self, steps, device=None):
        super().set_timesteps(steps, device)
        euler = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True, **SD1)
        euler.set_timesteps(steps)
        self.sigmas, self.timesteps = euler.sigmas, euler.timesteps


def scheduler(name, schedule, **more):
    cls, config = SCHEDULERS[name]
    if schedule == "karras" and name == "euler_a":
        cls = EulerAncestralKarras
    elif schedule == "karras":
        more["use_karras_sigmas"] = True
    return cls(**SD1, **config, **more)


def network(x, t):
    """A smooth stand-in for the UNet: 0.7 x + 0.3 sin(2 x + t / 300), in f64, rounded to f32."""
    x = x.double()
    return (0.7 * x + 0.3 * torch.sin(2 * x + float(t) / 300)).float()


def run(name, schedule, steps, eta=0.0, **more):
    s = scheduler(name, schedule, **more)
    s.set_timesteps(steps)
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(SHAPE, generator=generator) * s.init_noise_sigma
    extra = {"eta": eta} if name == "ddim" else {}
    if name in ("ddim", "euler_a"):
        extra["generator"] = generator
    for t in s.timesteps:
        output = network(s.scale_model_input(x, t), t)
        x = s.step(output, t, x, **extra).prev_sample
    assert torch.isfinite(x).all(), (name, schedule, steps)
    return x


def bits(values):
    return "".join(f"{word:08x}" for word in np.asarray(values, dtype=np.float32).reshape(-1).view(np.uint32))


def fnv1a(values):
    """FNV-1a of the little-endian f32 bytes, 64 bits."""
    digest = 0xCBF29CE484222325
    for byte in np.asarray(values, dtype="<f4").tobytes():
        digest = ((digest ^ byte) * 0x100000001B3) % 2**64
    return f"{digest:016x}"


def sampler_lines():
    yield f"# diffusers {diffusers.__version__}, seed {SEED}, latents (1, 4, 3, 5) in NCHW order"
    yield "# sampler schedule prediction eta steps bits"
    for name in SCHEDULERS:
        for schedule in ("default",) if name in ("ddim", "plms") else ("default", "karras"):
            # DDIM has no 1000 steps here, and DPM-Solver++ divides by zero at two equal timesteps there.
            # Karras LMS extrapolates from the last sigma to 0 with growing factors, thousands in 1000 steps: only rounding error is left of those.
            long = {"default": 999, "karras": 200 if name == "lms" else 1000}[schedule]
            for steps in (*STEPS, long):
                yield f"{name} {schedule} epsilon 0 {steps} {bits(run(name, schedule, steps))}"
    for eta, steps in ((0.5, 3), (0.5, 12), (1.0, 1), (1.0, 12), (1.0, 50)):
        yield f"ddim default epsilon {eta} {steps} {bits(run('ddim', 'default', steps, eta))}"
    # PNDM remembers v itself, which only agrees with remembering ε in a run of one step: not compared.
    for name in ("ddim", "euler", "euler_a", "heun", "lms", "dpmpp_2m"):
        x = run(name, "default", 12, prediction_type="v_prediction")
        yield f"{name} default v_prediction 0 12 {bits(x)}"


def noise_lines():
    yield f"# torch {torch.__version__}"
    for schedule in ("scaled_linear", "linear"):
        s = diffusers.DDIMScheduler(**{**SD1, "beta_schedule": schedule})
        yield f"alphas_cumprod {schedule} 1000 {fnv1a(s.alphas_cumprod)} {bits(s.alphas_cumprod[::200])}"
    for seed in (0, 1234, 2**32 + 1234, 2**63 + 5):
        for n in (1, 5, 15, 16, 17, 31, 100, 4096, 65536 + 3):
            x = torch.randn(n, generator=torch.Generator().manual_seed(seed))
            yield f"randn {seed} {n} {fnv1a(x)} {bits(x[: min(n, 18)])}"
    # One generator from call to call.
    g = torch.Generator().manual_seed(99)
    for call in ("randn 5", "randn 16", "rand 3", "randn 2", "randn 33", "randint 10 6", "randn 1", "randint 1099511627776 3",
                 "randperm 20", "randn 15", "randn 624", "rand 5"):
        name, *numbers = call.split()
        numbers = [int(number) for number in numbers]
        if name in ("randn", "rand"):
            yield f"stream {call} {bits(getattr(torch, name)(numbers[0], generator=g))}"
        elif name == "randint":
            values = torch.randint(numbers[0], (numbers[1],), generator=g)
            yield f"stream {call} {','.join(map(str, values.tolist()))}"
        else:
            yield f"stream {call} {','.join(map(str, torch.randperm(numbers[0], generator=g).tolist()))}"


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "samplers.txt").write_text("\n".join(sampler_lines()) + "\n")
    (OUT / "noise.txt").write_text("\n".join(noise_lines()) + "\n")
