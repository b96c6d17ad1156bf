"""Golden data of calotype-diffusion: what diffusers' schedulers do with the settings of their `scheduler_config.json`.

Writes crates/diffusion/tests/goldens/schedulers.txt, numbers as the hexadecimal bits of f32. The stand-in network is that of
`samplers.py`. `steps_offset` is 1 throughout, which diffusers' pipelines of Stable Diffusion put in the place of any other.

    python reference/schedulers.py
"""

import json
import warnings
from pathlib import Path

import diffusers
import torch
from samplers import SD1, SEED, SHAPE, bits, network

OUT = Path(__file__).resolve().parent.parent / "crates/diffusion/tests/goldens/schedulers.txt"
warnings.filterwarnings("ignore")
diffusers.logging.set_verbosity_error()

CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "plms": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
    "dpm_2": diffusers.KDPM2DiscreteScheduler,
    "dpm_2_a": diffusers.KDPM2AncestralDiscreteScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "dpmpp_2m_sde": diffusers.DPMSolverMultistepScheduler,
    "dpmpp_2m_sde_heun": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
# What the sampler itself says.
OWN = {
    "ddim": dict(clip_sample=False, set_alpha_to_one=False),
    "plms": dict(skip_prk_steps=True, set_alpha_to_one=False),
    "dpmpp_2m_sde": dict(algorithm_type="sde-dpmsolver++"),
    "dpmpp_2m_sde_heun": dict(algorithm_type="sde-dpmsolver++", solver_type="heun"),
}
COSINE = dict(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
ZERO_SNR = dict(SD1, rescale_betas_zero_snr=True)
BETAS = {"sd1": SD1, "cosine": COSINE, "zero_snr": ZERO_SNR}
STOCHASTIC = ("ddim", "euler_a", "dpm_2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_heun")


def cases():
    """(sampler, betas, prediction type, settings, eta, steps)."""
    spacings = ("leading", "trailing", "linspace")
    for name in CLASSES:
        for spacing in spacings:
            for steps in (1, 3, 7, 30):
                yield name, "sd1", "epsilon", dict(timestep_spacing=spacing), 0, steps
    for spacing in spacings:
        yield "ddim", "sd1", "epsilon", dict(timestep_spacing=spacing, set_alpha_to_one=True), 0, 9
        yield "ddim", "sd1", "epsilon", dict(timestep_spacing=spacing), 0.6, 9
        yield "plms", "sd1", "epsilon", dict(timestep_spacing=spacing, set_alpha_to_one=True), 0, 9
        for steps in (4, 9, 30):
            yield "plms", "sd1", "epsilon", dict(timestep_spacing=spacing, skip_prk_steps=False), 0, steps
    yield "ddim", "sd1", "epsilon", dict(set_alpha_to_one=True), 0, 9
    yield "plms", "sd1", "epsilon", dict(skip_prk_steps=False), 0, 9
    for name in ("euler", "heun", "lms", "dpm_2", "dpm_2_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        for sigmas in ("karras", "exponential", "beta", "lu"):
            if sigmas == "lu" and not name.startswith("dpmpp"):
                continue
            yield name, "sd1", "epsilon", dict(sigma_spacing=sigmas), 0, 8
            yield name, "sd1", "epsilon", dict(sigma_spacing=sigmas, timestep_spacing="trailing"), 0, 8
            if name in ("euler", "dpmpp_2m", "unipc"):
                yield name, "sd1", "epsilon", dict(sigma_spacing=sigmas, timestep_spacing="leading", final_sigmas_type="sigma_min"), 0, 5
    for name in ("euler", "dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        for steps in (5, 20):
            yield name, "sd1", "epsilon", dict(final_sigmas_type="sigma_min"), 0, steps
    for order in (1, 2, 3):
        for steps in (1, 2, 3, 8, 20):
            for solver_type in ("midpoint", "heun"):
                yield "dpmpp_2m", "sd1", "epsilon", dict(solver_order=order, solver_type=solver_type), 0, steps
                noise = dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min")
                yield "dpmpp_2m", "sd1", "epsilon", dict(solver_order=order, solver_type=solver_type, **noise), 0, steps
            for name in ("dpmpp_2m_sde", "dpmpp_2m_sde_heun"):
                yield name, "sd1", "epsilon", dict(solver_order=order), 0, steps
                if order < 3:
                    noise = dict(algorithm_type="sde-dpmsolver", final_sigmas_type="sigma_min")
                    yield name, "sd1", "epsilon", dict(solver_order=order, **noise), 0, steps
            # bh1 has no end at sigma 0 there.
            bh1 = dict(solver_type="bh1", final_sigmas_type="sigma_min")
            for solver in (dict(solver_type="bh2"), bh1):
                yield "unipc", "sd1", "epsilon", dict(solver_order=order, **solver), 0, steps
    for steps in (8, 20):
        yield "dpmpp_2m", "sd1", "epsilon", dict(solver_order=3, lower_order_final=False), 0, steps
        yield "dpmpp_2m", "sd1", "epsilon", dict(final_sigmas_type="sigma_min", euler_at_final=True), 0, steps
        yield "dpmpp_2m", "sd1", "epsilon", dict(final_sigmas_type="sigma_min", lower_order_final=False), 0, steps
        yield "unipc", "sd1", "epsilon", dict(final_sigmas_type="sigma_min", lower_order_final=False, solver_order=3), 0, steps
    for name in ("ddim", "dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        yield name, "sd1", "epsilon", dict(thresholding=True), 0, 8
        own = dict(thresholding=True, dynamic_thresholding_ratio=0.8, sample_max_value=1.5)
        yield name, "sd1", "epsilon", own, 0, 8
        yield name, "sd1", "epsilon", own, 0, 30
    yield "dpmpp_2m", "sd1", "epsilon", dict(own, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"), 0, 8
    for name in CLASSES:
        if name not in ("euler_a", "heun", "lms", "dpm_2", "dpm_2_a", "plms"):  # which have no such prediction there
            yield name, "sd1", "sample", dict(timestep_spacing="trailing"), 0, 8
        if name != "plms":  # which combines v there
            yield name, "sd1", "v_prediction", dict(timestep_spacing="trailing"), 0, 8
        if name != "dpm_2_a":  # which takes the logarithm of a rounding error there
            yield name, "cosine", "epsilon", {}, 0, 8
    yield "ddim", "sd1", "sample", {}, 0, 8
    for name in ("ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        for steps in (2, 8):
            yield name, "zero_snr", "v_prediction", dict(timestep_spacing="trailing"), 0, steps
    yield "ddim", "zero_snr", "v_prediction", dict(timestep_spacing="trailing"), 0, 1
    yield "ddim", "zero_snr", "v_prediction", dict(timestep_spacing="linspace"), 0.7, 8


def config(settings):
    """The settings by diffusers' names."""
    settings = dict(settings)
    sigmas = settings.pop("sigma_spacing", "timesteps")
    names = dict(karras="use_karras_sigmas", exponential="use_exponential_sigmas", beta="use_beta_sigmas", lu="use_lu_lambdas")
    return settings | ({names[sigmas]: True} if sigmas in names else {})


def run(name, betas, prediction, settings, eta, steps):
    options = dict(OWN.get(name, {}), **config(settings))
    s = CLASSES[name](**BETAS[betas], **options, steps_offset=1, prediction_type=prediction)
    s.set_timesteps(steps)
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(SHAPE, generator=generator) * s.init_noise_sigma
    extra = {"eta": eta} if name == "ddim" else {}
    if name in STOCHASTIC:
        extra["generator"] = generator
    for t in s.timesteps:
        x = s.step(network(s.scale_model_input(x, t), t), t, x, **extra).prev_sample
    assert torch.isfinite(x).all(), (name, betas, prediction, settings, steps)
    return x


def lines():
    yield f"# diffusers {diffusers.__version__}, seed {SEED}, latents (1, 4, 3, 5) in NCHW order"
    yield "# sampler betas prediction eta steps settings bits"
    for name, betas, prediction, settings, eta, steps in cases():
        x = run(name, betas, prediction, settings, eta, steps)
        yield f"{name} {betas} {prediction} {eta} {steps} {json.dumps(settings, separators=(',', ':'))} {bits(x)}"


if __name__ == "__main__":
    OUT.write_text("\n".join(lines()) + "\n")
