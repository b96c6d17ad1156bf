"""Golden data of calotype-diffusion: what k-diffusion's samplers and A1111's own compute with a stand-in network.

Writes crates/diffusion/tests/goldens/{a1111,combinations,schedules,brownian}.txt. Nothing of either is in this repository: give the folders
of a copy of each (k-diffusion at a commit of 2023 or later; A1111 1.10, of which five files of `modules/` are read).

    python reference/k_samplers.py --k-diffusion k-diffusion --a1111 stable-diffusion-webui

The samplers run in f64, so that the numbers are those of the formulas and not of their rounding; noise is torch's f32. The
schedules, and the SDE samplers on a Brownian tree, run in f32 as there, for the noise of a tree shows the last digit of a sigma.
Torch's functions of f32 are one place off in that digit now and then, and not the same on every machine (MKL has others for
other processors, CUDA its own): so goldens are made with functions that are correctly rounded, and how far this machine's own
are from that is written beside them.
"""

import argparse
import contextlib
import importlib.util
import random
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from samplers import OUT, bits

SEED = 20260
SHAPE = (1, 4, 2, 2)
STEPS = (1, 2, 3, 7, 20, 50)
GUIDANCE = 7.5


def schedule_of_sd1():
    """As CompVis' `DDPM.register_schedule`, and so A1111: betas in f64. (Those of diffusers are f32.)"""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).numpy() ** 2
    return torch.tensor(np.cumprod(1 - betas), dtype=torch.float32)


ALPHAS = schedule_of_sd1()


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


class Options:
    """A1111's settings, as they are if nobody changed them."""

    beta_dist_alpha = beta_dist_beta = 0.6
    uni_pc_variant, uni_pc_skip_type, uni_pc_order, uni_pc_lower_order_final = "bh1", "time_uniform", 3, True
    img2img_fix_steps = False


class Shared(types.ModuleType):
    opts = Options()
    sd_model = types.SimpleNamespace(is_sdxl=False)


def quiet(x, **_):
    return x


def load_references(k_diffusion, a1111):
    """k-diffusion's sampling and external, and A1111's samplers and schedules, among stand-ins for all else they import."""
    tqdm = module("tqdm", tqdm=quiet, trange=lambda n, **_: range(n))
    module("tqdm.auto", tqdm=None, trange=lambda n, **_: range(n))

    class Bar:
        """Counts nothing."""

        def __init__(self, *args, **kwargs):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def update(self, *args):
            pass

    sys.modules["tqdm.auto"].tqdm = Bar
    module("torchdiffeq", odeint=None)
    k = module("k_diffusion", __path__=[str(k_diffusion / "k_diffusion")])
    append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    k.utils = module("k_diffusion.utils", append_dims=append_dims)
    k.sampling = load("k_diffusion.sampling", k_diffusion / "k_diffusion/sampling.py")
    k.external = load("k_diffusion.external", k_diffusion / "k_diffusion/external.py")

    tqdm.tqdm = type("tqdm", (Bar,), {"__new__": lambda cls, x=None, **_: object.__new__(Bar) if x is None else x})
    modules = module("modules", __path__=[])
    shared = Shared("modules.shared")
    sys.modules["modules.shared"] = modules.shared = shared
    modules.devices = module("modules.devices")
    module("modules.torch_utils", float64=lambda x: torch.float64)
    module("modules.models", __path__=[])
    module("modules.models.diffusion", __path__=[])
    uni_pc = module("modules.models.diffusion.uni_pc", __path__=[])
    for name in ("sd_samplers_cfg_denoiser", "sd_samplers_kdiffusion", "sd_samplers_common"):
        setattr(modules, name, module(f"modules.{name}"))
    modules.sd_samplers_cfg_denoiser.CFGDenoiser = torch.nn.Module
    modules.sd_samplers_kdiffusion.KDiffusionSampler = object
    modules.sd_samplers_common.SamplerData = lambda *args: args
    at = a1111 / "modules"
    uni_pc.uni_pc = load("modules.models.diffusion.uni_pc.uni_pc", at / "models/diffusion/uni_pc/uni_pc.py")
    return types.SimpleNamespace(
        k=k,
        shared=shared,
        schedulers=load("modules.sd_schedulers", at / "sd_schedulers.py"),
        timesteps=load("modules.sd_samplers_timesteps_impl", at / "sd_samplers_timesteps_impl.py"),
        extra=load("modules.sd_samplers_extra", at / "sd_samplers_extra.py"),
        lcm=load("modules.sd_samplers_lcm", at / "sd_samplers_lcm.py"),
    )


def network(x, t):
    """That of samplers.py, not rounded."""
    return 0.7 * x + 0.3 * torch.sin(2 * x + t / 300)


def uncond(x, t):
    """Another for the half without the prompt."""
    return 0.6 * x + 0.2 * torch.cos(x - t / 500)


class LatentDiffusion:
    """What k-diffusion's and A1111's wrappers know of a model."""

    alphas_cumprod = ALPHAS
    device = "cpu"

    def apply_model(self, x, t, **_):
        return network(x, t.reshape(-1, 1, 1, 1).double())

    __call__ = apply_model


class Noise:
    """The draws after the first, in order; in the place of `torch` where samplers call torch.randn_like."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(SEED)

    def next(self, *_):
        return torch.randn(SHAPE, generator=self.generator, dtype=torch.float32).double()

    def __getattr__(self, name):
        return self.next if name == "randn_like" else getattr(torch, name)


class Timesteps:
    """A1111's `CFGDenoiserTimesteps`: noise at timesteps; of two predictions if the sampler asks for the unguided one."""

    def __init__(self):
        model = LatentDiffusion()
        model.alphas_cumprod = ALPHAS.double()
        self.inner_model = types.SimpleNamespace(inner_model=model)
        self.cond_scale_miltiplier, self.need_last_noise_uncond = 1.0, False

    def __call__(self, x, t, **_):
        t = t.reshape(-1, 1, 1, 1).double()
        if not self.need_last_noise_uncond:
            return network(x, t)
        self.last_noise_uncond = uncond(x, t)
        scale = GUIDANCE * self.cond_scale_miltiplier
        return self.last_noise_uncond + scale * (network(x, t) - self.last_noise_uncond)


# Name, function of k-diffusion, schedule that A1111 has for it, whether it leaves out a sigma, and arguments.
K_SAMPLERS = [
    ("euler", "sample_euler", "uniform", False, {}),
    ("euler", "sample_euler", "uniform", False, dict(s_churn=20.0, s_tmin=0.1, s_tmax=8.0, s_noise=1.01)),
    ("euler_a", "sample_euler_ancestral", "uniform", False, {}),
    ("euler_a", "sample_euler_ancestral", "uniform", False, dict(eta=0.4, s_noise=0.9)),
    ("lms", "sample_lms", "uniform", False, {}),
    ("heun", "sample_heun", "uniform", False, {}),
    ("heun", "sample_heun", "uniform", False, dict(s_churn=10.0)),
    ("dpm_2", "sample_dpm_2", "karras", True, {}),
    ("dpm_2", "sample_dpm_2", "karras", True, dict(s_churn=10.0, s_tmin=0.5)),
    ("dpm_2_a", "sample_dpm_2_ancestral", "karras", True, {}),
    ("dpm_2_a", "sample_dpm_2_ancestral", "karras", True, dict(eta=0.5, s_noise=1.1)),
    ("dpmpp_2s_a", "sample_dpmpp_2s_ancestral", "karras", False, {}),
    ("dpmpp_2s_a", "sample_dpmpp_2s_ancestral", "karras", False, dict(eta=0.3)),
    ("dpmpp_2m", "sample_dpmpp_2m", "karras", False, {}),
    ("dpmpp_sde", "sample_dpmpp_sde", "karras", False, {}),
    ("dpmpp_sde", "sample_dpmpp_sde", "karras", False, dict(eta=0.5, s_noise=0.9)),
    ("dpmpp_2m_sde", "sample_dpmpp_2m_sde", "exponential", False, {}),
    ("dpmpp_2m_sde", "sample_dpmpp_2m_sde", "exponential", False, dict(eta=0.0)),
    ("dpmpp_2m_sde_heun", "sample_dpmpp_2m_sde", "exponential", False, {}),
    ("dpmpp_3m_sde", "sample_dpmpp_3m_sde", "exponential", True, {}),
    ("dpmpp_3m_sde", "sample_dpmpp_3m_sde", "exponential", True, dict(eta=0.6, s_noise=1.05)),
    ("restart", None, "karras", False, {}),
]
UNI_PC = [
    dict(uni_pc_variant="bh2"),
    dict(uni_pc_variant="bh2", uni_pc_order=2),
    dict(uni_pc_variant="vary_coeff"),
    dict(uni_pc_variant="vary_coeff", uni_pc_order=2),
    dict(uni_pc_variant="vary_coeff", uni_pc_order=4, uni_pc_lower_order_final=False),
    dict(uni_pc_order=1),
    dict(uni_pc_order=2, uni_pc_lower_order_final=False),
    dict(uni_pc_order=5),
    dict(uni_pc_skip_type="time_quadratic"),
    dict(uni_pc_skip_type="logSNR"),
]
SCHEDULES = ("uniform", "karras", "exponential", "polyexponential", "sgm_uniform", "kl_optimal", "align_your_steps",
             "simple", "normal", "ddim", "beta")


# Each with the schedules it is run on, and whether it leaves out a sigma.
BROWNIAN = {
    "dpmpp_sde": ("karras", False),
    "dpmpp_2m_sde": ("exponential", False),
    "dpmpp_2m_sde_heun": ("exponential", False),
    "dpmpp_3m_sde": ("exponential", True),
}


@contextlib.contextmanager
def correctly_rounded():
    """Functions of f32 by way of f64."""
    names = ("log", "exp", "sqrt", "expm1", "tan", "atan", "__pow__")
    theirs = {(place, name): getattr(place, name) for name in names for place in (torch.Tensor,)}
    theirs |= {(torch, name): getattr(torch, name) for name in ("exp", "tan", "arctan")}
    for (place, name), function in theirs.items():
        setattr(place, name, lambda x, *more, f=function: f(x.double(), *more).to(x.dtype))
    try:
        yield
    finally:
        for (place, name), function in theirs.items():
            setattr(place, name, function)


class Runs:
    def __init__(self, references):
        self.of = references
        self.k = references.k.sampling
        self.denoiser = references.k.external.DiscreteEpsDDPMDenoiser(LatentDiffusion(), ALPHAS, quantize=False)

    def sigmas(self, schedule, n, model=None, **more):
        """A1111's `get_sigmas`, without its settings."""
        model = model or self.denoiser
        scheduler = self.of.schedulers.schedulers_map[schedule]
        ends = dict(sigma_min=model.sigmas[0].item(), sigma_max=model.sigmas[-1].item()) | more
        inner = {"inner_model": model} if scheduler.need_inner_model else {}
        return scheduler.function(n=n, device="cpu", **ends, **inner)

    def start(self, scale):
        self.noise = Noise()
        self.k.torch = self.noise
        return self.noise.next() * scale

    def model(self, x, sigma, **_):
        return self.denoiser(x, sigma)

    def k_sampler(self, name, function, schedule, discards, arguments, steps):
        sigmas = self.sigmas(schedule, steps + discards)
        if discards:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        x = self.start(sigmas[0].double())
        arguments = dict(arguments)
        if function is None:
            # A1111's restart asks for randn_like where it imports k-diffusion, and Karras' schedule of f32.
            return self.of.extra.restart_sampler(self.model, x, sigmas.double(), disable=True)
        if name.endswith("_sde") or name == "dpmpp_2m_sde_heun":
            arguments["noise_sampler"] = self.noise.next
        if name.endswith("heun") and name != "heun":
            arguments["solver_type"] = "heun"
        return getattr(self.k, function)(self.model, x, sigmas.double(), disable=True, **arguments)

    def lcm_sampler(self, schedule, n):
        """LCM with a schedule of sigmas, among its own fifty."""
        model = self.of.lcm.LCMCompVisDenoiser(LatentDiffusion())
        sigmas = self.sigmas(schedule, n, model)
        x = self.start(sigmas[0].double())
        return self.of.lcm.sample_lcm(model, x, sigmas.double(), disable=True, noise_sampler=self.noise.next)

    def brownian(self, name, schedule, discards, steps, arguments):
        """A1111's `KDiffusionSampler.sample`, in f32, with its `create_noise_sampler`."""
        model = lambda x, t: network(x.double(), t.double().reshape(-1, 1, 1, 1)).float()
        denoiser = self.of.k.external.DiscreteEpsDDPMDenoiser(model, ALPHAS, quantize=False)
        sigmas = self.sigmas(schedule, steps + discards, denoiser)
        if discards:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(SEED)) * sigmas[0]
        self.k.torch = torch
        tree = self.k.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=[SEED])
        arguments = dict(arguments, noise_sampler=tree)
        if name.endswith("heun"):
            arguments["solver_type"] = "heun"
        return getattr(self.k, "sample_" + name.removesuffix("_heun"))(denoiser, x, sigmas, disable=True, **arguments)

    def ends(self):
        return self.denoiser.sigmas[[0, -1]].double()

    def fast(self, n, eta):
        sigma_min, sigma_max = self.ends()
        x = self.start(sigma_max)
        return self.k.sample_dpm_fast(self.model, x, sigma_min, sigma_max, n, disable=True, eta=eta)

    def adaptive(self, eta):
        sigma_min, sigma_max = self.ends()
        x = self.start(sigma_max)
        return self.k.sample_dpm_adaptive(self.model, x, sigma_min, sigma_max, disable=True, eta=eta, return_info=True)

    def timesteps(self, name, steps, **more):
        """A1111's `CompVisSampler.sample`."""
        timesteps = torch.clip(torch.asarray(list(range(0, 1000, 1000 // steps))) + 1, 0, 999)
        x = self.start(1.0)
        function = getattr(self.of.timesteps, name)
        settings = {key: more.pop(key) for key in list(more) if key.startswith("uni_pc_")}
        if name == "unipc":
            more["callback"] = lambda _: None
        options = self.of.shared.opts = Options()
        options.__dict__.update(settings)
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                return function(Timesteps(), x, timesteps, extra_args={}, disable=True, **more)
        finally:
            torch.set_default_dtype(torch.float32)


def lines(runs):
    yield f"# k-diffusion and A1111 1.10, seed {SEED}, latents {SHAPE} in NCHW order, f64"
    yield "# sampler steps options bits"
    for name, function, schedule, discards, arguments in K_SAMPLERS:
        counts = (7, 20) if arguments else (*STEPS, 36, 1000) if name == "restart" else STEPS
        for steps in counts:
            if steps == 1 and name.startswith(("dpmpp_2m_sde", "dpmpp_3m_sde")):
                continue  # k-diffusion's stop there with an error: they remember a step that was none
            x = runs.k_sampler(name, function, schedule, discards, arguments, steps)
            yield golden(name, steps, arguments, x)
    for steps in (*STEPS, 8, 9):
        yield golden("dpm_fast", steps, {}, runs.fast(steps, 1.0))
    for eta in (0.0, 0.5):
        yield golden("dpm_fast", 20, {"eta": eta}, runs.fast(20, eta))
    for eta in (1.0, 0.0, 0.3):
        x, info = runs.adaptive(eta)
        yield golden("dpm_adaptive", info["steps"], {} if eta == 1.0 else {"eta": eta}, x)
    for steps in (*STEPS, 100):
        yield golden("lcm", steps, {}, runs.lcm_sampler("uniform", steps))
    for name in ("ddim", "ddim_cfgpp", "plms", "unipc"):
        # One step is none for the first three, and UniPC's order is more than two steps allow.
        for steps in (3, 7, 20, 30, 50, 1000) if name == "unipc" else (2, 3, 7, 20, 30, 50, 1000):
            yield golden(name, steps, {}, runs.timesteps(name, steps))
    for settings in UNI_PC:
        for steps in (10, 50):
            yield golden("unipc", steps, settings, runs.timesteps("unipc", steps, **settings))
    for name in ("ddim", "ddim_cfgpp"):
        yield golden(name, 20, {"eta": 0.7}, runs.timesteps(name, 20, eta=0.7))


def combinations(runs):
    """Some of all samplers, schedules and counts."""
    yield f"# k-diffusion and A1111 1.10, seed {SEED}, latents {SHAPE} in NCHW order, f64"
    yield "# sampler schedule steps bits"
    samplers = {sampler[0]: sampler for sampler in reversed(K_SAMPLERS)}
    # These have diffusers' schedule of that name (samplers.py).
    of_diffusers = ("euler", "euler_a", "lms", "heun", "dpmpp_2m")
    every = [
        (name, schedule, steps)
        for name in [*samplers, "lcm"]
        for schedule in SCHEDULES
        for steps in (1, 2, 7, 20, 50)
        if not (name in of_diffusers and schedule == "karras")
        # k-diffusion's stop there with an error: they remember a step that was none.
        and not (steps == 1 and name.startswith(("dpmpp_2m_sde", "dpmpp_3m_sde")))
    ]
    for name, schedule, steps in sorted(random.Random(SEED).sample(every, 80)):
        if name == "lcm":
            x = runs.lcm_sampler(schedule, steps)
        else:
            _, function, _, discards, _ = samplers[name]
            x = runs.k_sampler(name, function, schedule, discards, {}, steps)
        assert torch.isfinite(x).all(), (name, schedule, steps)
        yield f"{name} {schedule} {steps} {bits(x.float())}"


def golden(name, steps, arguments, x):
    assert torch.isfinite(x).all(), (name, steps, arguments)
    options = ",".join(f"{key}={value}" for key, value in arguments.items()) or "-"
    return f"{name} {steps} {options} {bits(x.float())}"


def distance(a, b):
    """The largest difference, relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def brownian_lines(runs):
    yield f"# k-diffusion's SDE samplers as A1111 1.10 calls them, f32, seed {SEED}, latents {SHAPE} in NCHW order"
    yield f"# How far the same of this machine is, whose functions are those of torch {torch.__version__}, follows the steps."
    yield "# sampler schedule steps distance options bits"
    cases = []
    for name, (own, _) in BROWNIAN.items():
        cases += [(name, own, steps, {}) for steps in (2, 7, 20, 36, 50, 200)]
        others = [schedule for schedule in SCHEDULES if schedule != own]
        cases += [(name, schedule, steps, {}) for schedule in others for steps in (7, 20)]
        cases += [(name, own, 12, dict(eta=0.5, s_noise=1.1))]
    for name, schedule, steps, arguments in cases:
        case = (name, schedule, BROWNIAN[name][1], steps, arguments)
        of_torch = runs.brownian(*case)
        with correctly_rounded():
            x = runs.brownian(*case)
        assert torch.isfinite(x).all(), case
        options = ",".join(f"{key}={value}" for key, value in arguments.items()) or "-"
        yield f"{name} {schedule} {steps} {distance(of_torch, x):.0e} {options} {bits(x)}"


def schedule_lines(runs):
    """With functions that are correctly rounded; torch's own may be a few places off in the last digit."""
    rounded = Runs(runs.of)
    with correctly_rounded():
        rounded.denoiser = runs.of.k.external.DiscreteEpsDDPMDenoiser(LatentDiffusion(), ALPHAS, quantize=False)
        lcm = runs.of.lcm.LCMCompVisDenoiser(LatentDiffusion())

    def sigmas(schedule, n, model=None, **more):
        with correctly_rounded():
            x = rounded.sigmas(schedule, n, model, **more)
        if model is None or model is rounded.denoiser:
            torch.testing.assert_close(x, runs.sigmas(schedule, n, **more), rtol=3e-6, atol=0)
        return x

    yield "# A1111 1.10's sigmas for Stable Diffusion 1: the count, then each if they are few, else every thirteenth"
    yield "# model schedule steps options count bits"
    for label, model in (("sd1", rounded.denoiser), ("lcm", lcm)):
        for schedule in SCHEDULES:
            for steps in (1, 2, 7, 11, 20, 30, 50, 1000) if label == "sd1" else (1, 4, 20):
                x = sigmas(schedule, steps, model)
                some = x if len(x) <= 21 else x[:: max(13, len(x) // 20)]
                yield f"{label} {schedule} {steps} - {len(x)} {bits(some)}"
    more = [
        ("karras", dict(rho=3.0)),
        ("polyexponential", dict(rho=2.5)),
        ("karras", dict(sigma_min=0.1, sigma_max=10.0)),
        ("sgm_uniform", dict(sigma_min=0.5, sigma_max=5.0)),
        ("normal", dict(sigma_min=0.07, sigma_max=12.0)),
        ("kl_optimal", dict(sigma_min=0.07, sigma_max=12.0)),
        ("beta", dict(sigma_min=0.1)),
    ]
    for schedule, arguments in more:
        x = sigmas(schedule, 7, **arguments)
        options = ",".join(f"{key}={value}" for key, value in arguments.items())
        yield f"sd1 {schedule} 7 {options} {len(x)} {bits(x)}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # trees hold times to their ends, and say so each time
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k-diffusion", type=Path, required=True, help="folder with k_diffusion/sampling.py")
    parser.add_argument("--a1111", type=Path, required=True, help="folder with modules/sd_schedulers.py")
    args = parser.parse_args()
    runs = Runs(load_references(args.k_diffusion, args.a1111))
    (OUT / "a1111.txt").write_text("\n".join(lines(runs)) + "\n")
    (OUT / "combinations.txt").write_text("\n".join(combinations(runs)) + "\n")
    (OUT / "brownian.txt").write_text("\n".join(brownian_lines(runs)) + "\n")
    (OUT / "schedules.txt").write_text("\n".join(schedule_lines(runs)) + "\n")
