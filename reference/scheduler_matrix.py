"""Runs diffusers and Calotype side by side over diffusers' schedulers and their settings, on the tiny model of pipeline.py.

Each case is a folder saved by `save_pretrained` with a scheduler, drawn with a sampler: in diffusers by `from_config` of its
class over the config of the folder's scheduler, here by `--sampler`. Prints the cases whose final latents differ, relative to
the greatest value, and what of the folder either side refuses.

    python reference/scheduler_matrix.py FOLDER CALOTYPE           FOLDER has CLIP's tokenizer in `tokenizer`
    python reference/scheduler_matrix.py FOLDER CALOTYPE --goldens also writes the goldens of crates/calotype/tests/schedulers.rs
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import diffusers
import torch
from pipeline import BETAS, model
from safetensors.torch import load_file
from transformers import CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/schedulers.json"
PROMPT, SEED, SIDE, SCALE = "a lighthouse in the fog", 7, 32, 5.0
SAMPLERS = {
    "ddim": "DDIM", "plms": "PNDM", "euler": "EulerDiscrete", "euler_a": "EulerAncestralDiscrete", "heun": "HeunDiscrete",
    "lms": "LMSDiscrete", "dpm_2": "KDPM2Discrete", "dpm_2_a": "KDPM2AncestralDiscrete", "dpmpp_2m": "DPMSolverMultistep",
    "dpmpp_2m_sde": "DPMSolverMultistep", "dpmpp_2m_sde_heun": "DPMSolverMultistep", "unipc": "UniPCMultistep",
}
SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
# Samplers whose levels are A1111's, unless the folder's scheduler is their own class.
ONLY_OWN = ("dpm_2", "dpm_2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "unipc")
TOLERANCE = 1e-4


def scheduler_class(sampler):
    return getattr(diffusers, SAMPLERS[sampler] + "Scheduler")


def folder_cases():
    """(class of the folder's scheduler, what it was made with)."""
    spacings = [dict(timestep_spacing=spacing) for spacing in ("leading", "linspace", "trailing")]
    yield from (("DDIM", dict(spacing, set_alpha_to_one=to_one)) for spacing in spacings for to_one in (True, False))
    yield "DDIM", dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=2.0)
    yield "DDIM", dict(clip_sample=True)
    yield "DDIM", dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    yield from (("PNDM", dict(spacing, skip_prk_steps=skip)) for spacing in spacings for skip in (True, False))
    yield "PNDM", dict(set_alpha_to_one=True, skip_prk_steps=True)
    for name in ("EulerDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "UniPCMultistep"):
        yield from ((name, spacing) for spacing in spacings)
        yield from ((name, {sigmas: True}) for sigmas in SIGMAS)
        yield from ((name, {sigmas: True, "timestep_spacing": "trailing"}) for sigmas in SIGMAS)
    yield from (("EulerAncestralDiscrete", spacing) for spacing in spacings)
    yield "EulerDiscrete", dict(final_sigmas_type="sigma_min")
    yield "EulerDiscrete", dict(interpolation_type="log_linear")
    yield "EulerDiscrete", dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    dpm = "DPMSolverMultistep"
    yield dpm, dict(use_lu_lambdas=True)
    yield dpm, dict(final_sigmas_type="sigma_min")
    yield dpm, dict(solver_order=3, lower_order_final=False)
    yield dpm, dict(final_sigmas_type="sigma_min", euler_at_final=True)
    yield dpm, dict(thresholding=True)
    yield dpm, dict(lambda_min_clipped=-5.1, beta_schedule="squaredcos_cap_v2")
    for order in (1, 2, 3):
        for kind in ("midpoint", "heun"):
            yield dpm, dict(solver_order=order, solver_type=kind)
            yield dpm, dict(solver_order=order, solver_type=kind, algorithm_type="sde-dpmsolver++")
            yield dpm, dict(solver_order=order, solver_type=kind, algorithm_type="dpmsolver", final_sigmas_type="sigma_min")
        yield "UniPCMultistep", dict(solver_order=order, solver_type="bh2")
        yield "UniPCMultistep", dict(solver_order=order, solver_type="bh1", final_sigmas_type="sigma_min")
    yield "UniPCMultistep", dict(predict_x0=False, final_sigmas_type="sigma_min")
    for name in ("DDIM", "EulerDiscrete", dpm, "UniPCMultistep"):
        yield name, dict(beta_schedule="squaredcos_cap_v2")
        yield name, dict(prediction_type="sample")
        yield name, dict(prediction_type="v_prediction")
    yield "PNDM", dict(prediction_type="v_prediction", skip_prk_steps=True)
    for name in ("DPMSolverSinglestep", "DEISMultistep", "TCD", "LCM", "SASolver", "DDPM"):
        yield name, {}


def own_sampler(name, config):
    algorithm, solver = config.get("algorithm_type", ""), config.get("solver_type")
    if name == "DPMSolverMultistep" and algorithm.startswith("sde"):
        return "dpmpp_2m_sde_heun" if solver == "heun" else "dpmpp_2m_sde"
    return next((sampler for sampler, known in SAMPLERS.items() if known == name), None)


def cases():
    """(class of the folder's scheduler, what it was made with, sampler, steps)."""
    for name, config in folder_cases():
        own = own_sampler(name, config)
        samplers = dict.fromkeys([own or "ddim"] + [s for s in ("ddim", "plms", "euler", "dpmpp_2m") if s not in ONLY_OWN])
        for sampler in samplers:
            for steps in (7,) if sampler != own else (1, 4, 7, 20):
                yield name, config, sampler, steps


def theirs(pipe, sampler, name, steps):
    if SAMPLERS[sampler] != name:
        extra = {"algorithm_type": "sde-dpmsolver++"} if sampler.startswith("dpmpp_2m_sde") else {}
        # The pipelines put false in the place of true, but only in the scheduler that they begin with.
        if sampler == "ddim":
            extra["clip_sample"] = False
        # A user who names plms has it without its Runge-Kutta start, unless the file asks for that.
        if sampler == "plms" and "skip_prk_steps" not in pipe.scheduler.config:
            extra["skip_prk_steps"] = True
        pipe.scheduler = scheduler_class(sampler).from_config(pipe.scheduler.config, **extra)
    elif sampler == "dpmpp_2m" and pipe.scheduler.config.algorithm_type.startswith("sde"):
        # The name says the ODE.
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    return pipe(PROMPT, num_inference_steps=steps, guidance_scale=SCALE, width=SIDE, height=SIDE,
                generator=torch.manual_seed(SEED), output_type="latent").images


def ours(binary, folder, sampler, steps):
    with tempfile.TemporaryDirectory() as out:
        latents = pathlib.Path(out, "latents.safetensors")
        options = ["--model", folder, "--sampler", sampler, "--steps", steps, "--guidance-scale", SCALE, "--seed", SEED,
                   "--precision", "f32", "--width", SIDE, "--height", SIDE, "--save-latents", latents, "--output", pathlib.Path(out, "a.png"), "--quiet"]
        run = subprocess.run([binary, "txt2img", PROMPT, *map(str, options)], capture_output=True, text=True)
        if run.returncode:
            return None, run.stderr.strip()
        return load_file(latents)["latents"], run.stderr.strip()


def attempt(make):
    try:
        return make(), None
    except Exception as error:  # whatever a scheduler stumbles over
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:120]


def main():
    tokenizer_folder, binary = sys.argv[1:3]
    warnings.filterwarnings("ignore")
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    tokenizer, parts = CLIPTokenizer.from_pretrained(tokenizer_folder, subfolder="tokenizer"), model()
    goldens, counts = [], dict(same=0, differ=0, refused=0)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place, "model")
        def pipeline(scheduler):
            return diffusers.StableDiffusionPipeline(
                **parts, tokenizer=tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
                scheduler=scheduler)
        pipeline(diffusers.DDIMScheduler(**BETAS)).save_pretrained(folder)
        for name, config, sampler, steps in cases():
            what = f"{name} {json.dumps(config)} drawn with {sampler} in {steps} steps"
            saved = getattr(diffusers, name + "Scheduler")(**(BETAS | config))
            saved.save_pretrained(folder / "scheduler")
            reloaded = type(saved).from_pretrained(folder, subfolder="scheduler")
            pipe = pipeline(reloaded)
            pipe.set_progress_bar_config(disable=True)
            expected, refused = attempt(lambda: theirs(pipe, sampler, name, steps))
            got, said = ours(binary, folder, sampler, steps)
            if expected is None or got is None:
                counts["refused"] += 1
                print(f"refused: {what}: there {refused or 'drawn'}; here {'drawn' if got is not None else said}", flush=True)
                continue
            error = ((got - expected).abs().max() / expected.abs().max()).item()
            same = error < TOLERANCE and bool(torch.isfinite(expected).all())
            counts["same" if same else "differ"] += 1
            if not same or said:
                print(f"{'same' if same else 'differ'}: {what}: {error:.1e} {said}", flush=True)
            if same and steps in (1, 7) and "--goldens" in sys.argv:
                text = (folder / "scheduler/scheduler_config.json").read_text()
                values = [float(f"{v:.8g}") for v in expected.flatten().tolist()]
                goldens.append(dict(scheduler=text, sampler=sampler, steps=steps, latents=values))
    print(counts)
    if goldens:
        kept = goldens[:: max(1, len(goldens) // 40)]
        OUT.write_text("[\n" + ",\n".join(json.dumps(golden, separators=(",", ":")) for golden in kept) + "\n]\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
