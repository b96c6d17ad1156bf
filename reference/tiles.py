"""Writes crates/calotype/tests/goldens/tiles.json: what diffusers' panorama pipeline (MultiDiffusion) makes with a tiny model.

Weights are by the formulas of `reference/formula.py`. The pipeline has its windows at multiples of a stride, of latents that are an
eighth of the picture; here they are smaller than its own, and otherwise as there. FOLDER is any model folder with CLIP's tokenizer.

    python reference/tiles.py FOLDER
"""

import json
import pathlib
import sys

import diffusers
import torch
from diffusers.pipelines.deprecated.stable_diffusion_panorama import StableDiffusionPanoramaPipeline
from formula import fill
from pipeline import BETAS, SAMPLERS, model
from transformers import CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/tiles.json"
CASES = [
    dict(sampler="ddim", steps=3, prompt="a wide valley", negative="fog", width=160, height=64, seed=21, window=8, stride=4),
    dict(sampler="euler", steps=4, prompt="a wide valley", width=96, height=128, seed=22, window=8, stride=2),
    dict(sampler="ddim", steps=3, prompt="all around", width=128, height=64, seed=23, window=8, stride=4, circular=True),
    dict(sampler="ddim", steps=2, prompt="all around", width=128, height=64, seed=24, window=8, stride=4, batch=3),
]


def run(tokenizer, case):
    made = model()
    made["vae"] = fill(diffusers.AutoencoderKL(
        block_out_channels=[8, 8, 8, 12], norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4))
    scheduler, config = SAMPLERS[case["sampler"]]
    pipe = StableDiffusionPanoramaPipeline(
        **made, tokenizer=tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        scheduler=scheduler(**BETAS, **config))
    pipe.set_progress_bar_config(disable=True)
    views = pipe.get_views
    pipe.get_views = lambda height, width, circular_padding: views(
        height, width, window_size=case["window"], stride=case["stride"], circular_padding=circular_padding)
    latents = pipe(
        case["prompt"], negative_prompt=case.get("negative", ""), num_inference_steps=case["steps"], guidance_scale=7.5,
        width=case["width"], height=case["height"], generator=torch.Generator().manual_seed(case["seed"]),
        circular_padding=case.get("circular", False), view_batch_size=case.get("batch", 1), output_type="latent").images
    return dict(case, latents=[float(f"{v:.9g}") for v in latents.flatten().tolist()])


torch.set_num_threads(1)
with torch.no_grad():
    tokenizer = CLIPTokenizer.from_pretrained(sys.argv[1], subfolder="tokenizer")
    lines = ",\n".join(json.dumps(run(tokenizer, case)) for case in CASES)
OUT.write_text(f"[\n{lines}\n]\n")
