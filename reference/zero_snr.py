"""Writes crates/calotype/tests/goldens/zero_snr.json: ᾱ of schedules rescaled to no signal at the last timestep, of betas in a
table, and what diffusers' pipeline makes with the tiny model of Stable Diffusion 2's kind of checkpoints.py and such noise.

FOLDER is any model folder with CLIP's tokenizer in `tokenizer`.

    python reference/zero_snr.py FOLDER
"""

import json
import pathlib
import sys

import diffusers
import torch
from checkpoints import BETAS, sd2
from transformers import CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/zero_snr.json"
AT = [0, 1, 250, 500, 900, 990, 997, 998]


def short(values):
    return [float(f"{v:.9g}") for v in values]


def latents(parts, folder, scheduler):
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", pad_token=parts["pad"])
    pipe = diffusers.StableDiffusionPipeline(
        unet=parts["unet"], vae=parts["vae"], text_encoder=parts["text_encoder"], tokenizer=tokenizer,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    got = pipe("a lighthouse in the fog", negative_prompt="people", num_inference_steps=3, width=64, height=64,
               generator=torch.Generator().manual_seed(7), output_type="latent").images
    return short(got.flatten().tolist())


def main():
    torch.set_num_threads(1)
    options = dict(clip_sample=False, steps_offset=1, set_alpha_to_one=False, prediction_type="v_prediction")
    # The last steps of a run from the end: where there is no signal at all.
    rescaled = diffusers.DDIMScheduler(**BETAS, **options, rescale_betas_zero_snr=True, timestep_spacing="leading")
    # Betas that no start and end make: a cosine.
    betas = [0.0003 + 0.01 * (1 - torch.cos(torch.tensor(n / 999 * 1.5)).item()) for n in range(1000)]
    betas = torch.tensor(betas, dtype=torch.float32)
    table = diffusers.DDIMScheduler(trained_betas=betas.tolist(), **options, timestep_spacing="leading")
    golden = dict(
        at=AT, rescaled=short(rescaled.alphas_cumprod[AT].tolist()), table=short(table.alphas_cumprod[AT].tolist()),
        alphas_cumprod=short(table.alphas_cumprod.tolist()), betas=short(betas.tolist()),
        latents_rescaled=latents(sd2(), sys.argv[1], rescaled), latents_table=latents(sd2(), sys.argv[1], table))
    OUT.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


with torch.no_grad():
    main()
