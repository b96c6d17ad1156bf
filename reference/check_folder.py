"""Loads a folder that Calotype wrote in diffusers and compares a whole run: python reference/check_folder.py MODEL CALOTYPE.

CALOTYPE is the binary. Both make the same picture with DDIM from the same seed; prints the greatest difference of the final
latents, relative to the greatest value, and the grey levels by which the pictures differ.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

model, binary = sys.argv[1:3]
prompt, steps, scale, seed = "an octopus on a yellow background", 20, 5.0, 7
pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, torch_dtype=torch.float32)
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
size = pipeline.unet.config.sample_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
arguments = dict(num_inference_steps=steps, guidance_scale=scale, width=size, height=size)
latents = pipeline(prompt, generator=torch.manual_seed(seed), output_type="latent", **arguments).images
picture = np.asarray(pipeline(prompt, generator=torch.manual_seed(seed), output_type="pil", **arguments).images[0], dtype=int)

with tempfile.TemporaryDirectory() as folder:
    png, file = pathlib.Path(folder, "out.png"), pathlib.Path(folder, "latents.safetensors")
    options = ["--steps", steps, "--guidance-scale", scale, "--seed", seed, "--output", png, "--save-latents", file]
    subprocess.run([binary, "txt2img", prompt, "--model", model, *map(str, options), "--quiet"], check=True)
    ours, ours_picture = load_file(file)["latents"], np.asarray(Image.open(png), dtype=int)
print(f"latents: {((ours - latents).abs().max() / latents.abs().max()).item():.2e}, picture: {abs(ours_picture - picture).max()} grey levels")
