"""Writes crates/calotype/tests/goldens/modes.json: what diffusers makes of pictures, masks and odd sizes with tiny models.

Weights, pictures and masks are not stored: both sides make them by the formulas of `reference/formula.py`. What diffusers
has no pipeline for (A1111's blending of latents under a mask, a second pass over enlarged latents) is computed here from
diffusers' networks, in the words of k-diffusion: denoised = x - sigma * eps, then a step of Euler.
FOLDER is any model folder with CLIP's tokenizer in `tokenizer`.

    python reference/modes.py FOLDER
"""

import json
import pathlib
import sys

import diffusers
import numpy as np
import torch
from formula import fill, values
from pipeline import BETAS, SAMPLERS, model
from PIL import Image
from transformers import CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/modes.json"
CASES = [
    dict(mode="txt2img", sampler="euler", steps=4, prompt="odd sizes", width=40, height=24, seed=11, deep=True),
    dict(mode="txt2img", sampler="dpmpp_2m", steps=4, prompt="odd sizes", width=24, height=56, seed=12, deep=True),
    dict(mode="txt2img", sampler="euler", steps=4, prompt="no seams", width=32, height=16, seed=13, tiling=True),
    dict(mode="img2img", sampler="ddim", steps=7, eta=0.4, strength=0.6, prompt="a pier", width=32, height=24, seed=1),
    dict(mode="img2img", sampler="euler", steps=4, strength=1.0, prompt="a pier", width=32, height=24, seed=2),
    dict(mode="img2img", sampler="dpmpp_2m", steps=8, strength=0.5, prompt="fog", negative="sun", width=32, height=32, seed=3),
    dict(mode="img2img", sampler="euler_a", steps=6, strength=0.7, prompt="two", width=32, height=16, seed=4, batch=2),
    dict(mode="img2img", sampler="ddim", steps=5, strength=0.75, prompt="odd", width=40, height=24, seed=5, deep=True),
    dict(mode="img2img", sampler="euler", steps=6, strength=0.5, prompt="a pier", width=32, height=24, seed=15,
         rule="a1111"),
    dict(mode="img2img", sampler="euler", steps=4, strength=0.6, prompt="a pier", width=32, height=24, seed=16,
         rule="exact"),
    dict(mode="img2img", sampler="euler", steps=5, strength=0.6, prompt="small", width=32, height=24, seed=17, tiny=True),
    dict(mode="inpaint", sampler="ddim", steps=6, strength=1.0, prompt="a bench", width=32, height=24, seed=6),
    dict(mode="inpaint", sampler="euler", steps=6, strength=0.6, prompt="a bench", width=32, height=32, seed=7),
    dict(mode="blend", sampler="euler", steps=6, strength=0.7, prompt="a bench", width=32, height=24, seed=8),
    dict(mode="hires", sampler="euler", steps=5, strength=0.7, prompt="large", width=32, height=16, seed=9,
         hires_width=48, hires_height=32, upscaler="latent"),
    dict(mode="hires", sampler="euler", steps=3, strength=0.35, prompt="tall", width=16, height=24, seed=14,
         hires_width=56, hires_height=40, upscaler="latent-bicubic"),
    dict(mode="hires", sampler="euler", steps=5, strength=0.5, prompt="large", width=32, height=16, seed=10,
         hires_width=48, hires_height=24, upscaler="latent-bicubic-antialiased"),
]


def picture(width, height):
    """A picture by formula."""
    x = (values("picture", (height, width, 3)).numpy() * 0.5 + 0.5) * 255
    return Image.fromarray(np.floor(x).astype(np.uint8))


def mask(width, height):
    """White in the right half's lower two thirds."""
    x = np.zeros((height, width), np.uint8)
    x[height // 3:, width // 2:] = 255
    return Image.fromarray(x)


def parts(case):
    made = model()
    if case.get("deep"):
        made["unet"] = fill(diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=[8, 16, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
            cross_attention_dim=8, down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]))
    if case.get("tiny"):
        made["vae"] = fill(diffusers.AutoencoderTiny(
            encoder_block_out_channels=[8] * 3, decoder_block_out_channels=[8] * 3, num_encoder_blocks=[1, 2, 1],
            num_decoder_blocks=[1, 1, 1]))
    if case["mode"] == "inpaint":
        made["unet"] = fill(diffusers.UNet2DConditionModel(
            in_channels=9, sample_size=8, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4,
            attention_head_dim=2, cross_attention_dim=8, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"]))
    if case.get("tiling"):
        for network in (made["unet"], made["vae"]):
            for conv in network.modules():
                if isinstance(conv, torch.nn.Conv2d):
                    conv.padding_mode = "circular"
                    conv._reversed_padding_repeated_twice = torch.nn.modules.utils._reverse_repeat_tuple(conv.padding, 2)
    return made


def euler(pipe, case, x, sigmas, timesteps, start, blend=lambda denoised: denoised):
    """Steps `start..` from x in variance-exploding form, with guidance."""
    embeds = pipe.encode_prompt(case["prompt"], "cpu", 1, True, case.get("negative", ""))
    context = torch.cat([embeds[1], embeds[0]])
    for i in range(start, len(timesteps)):
        scaled = x / (sigmas[i] ** 2 + 1) ** 0.5
        uncond, cond = pipe.unet(torch.cat([scaled] * 2), timesteps[i], encoder_hidden_states=context).sample.chunk(2)
        denoised = blend(x - sigmas[i] * (uncond + 7.5 * (cond - uncond)))
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def blended(pipe, case, generator):
    """A1111: latents outside of the mask are the picture's after each prediction, and at the end."""
    pixels = pipe.image_processor.preprocess(picture(case["width"], case["height"]))
    init = pipe.vae.encode(pixels).latent_dist.sample(generator) * pipe.vae.config.scaling_factor
    noise = torch.randn(init.shape, generator=generator)
    small = mask(case["width"], case["height"]).resize(init.shape[:1:-1])
    new = torch.from_numpy(np.around(np.asarray(small, np.float32) / 255))[None, None]
    pipe.scheduler.set_timesteps(case["steps"])
    sigmas, timesteps = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    start = case["steps"] - int(case["strength"] * case["steps"])
    keep = lambda x: x * new + init * (1 - new)
    return keep(euler(pipe, case, init + sigmas[start] * noise, sigmas, timesteps, start, keep))


def from_picture(pipe, case, generator):
    """A1111's img2img: the seed's first noise is that over the picture, and one step more is taken, or all of them."""
    pixels = pipe.image_processor.preprocess(picture(case["width"], case["height"]))
    # There the posterior is sampled without a seed; its mean is nearest to that.
    init = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    noise = torch.randn(init.shape, generator=generator)
    strength, steps = min(case["strength"], 0.999), case["steps"]
    whole, taken = (steps, int(strength * steps) + 1) if case["rule"] == "a1111" else (int(steps / strength), steps)
    pipe.scheduler.set_timesteps(whole)
    sigmas, timesteps = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    start = whole - taken
    return euler(pipe, case, init + sigmas[start] * noise, sigmas, timesteps, start)


def enlarged(pipe, case, generator):
    """A1111's hires fix."""
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    size = lambda prefix: (1, 4, case[prefix + "height"] // scale, case[prefix + "width"] // scale)
    # In proportion until all is covered, what is too much cut off.
    (_, _, h, w), (_, _, high, wide) = size(""), size("hires_")
    large = (wide * h // w, wide) if w * high < wide * h else (high, high * w // h)
    top, left = large[0] - high, large[1] - wide
    pipe.scheduler.set_timesteps(case["steps"])
    sigmas, timesteps = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    x = euler(pipe, case, sigmas[0] * torch.randn(size(""), generator=generator), sigmas, timesteps, 0)
    antialias = "antialiased" in case["upscaler"]
    method = "bicubic" if "bicubic" in case["upscaler"] else "bilinear"
    x = torch.nn.functional.interpolate(x, large, mode=method, antialias=antialias)
    x = x[:, :, top // 2:large[0] - (top + 1) // 2, left // 2:large[1] - (left + 1) // 2]
    # All of the steps are taken, the last of more (`setup_img2img_steps`).
    whole = int(case["steps"] / min(case["strength"], 0.999))
    pipe.scheduler.set_timesteps(whole)
    sigmas, timesteps = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    noise = torch.randn(size("hires_"), generator=torch.Generator().manual_seed(case["seed"]))
    start = whole - case["steps"]
    return euler(pipe, case, x + sigmas[start] * noise, sigmas, timesteps, start)


def run(tokenizer, case):
    scheduler, config = SAMPLERS[case["sampler"]]
    made = parts(case)
    common = dict(
        **made, tokenizer=tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        scheduler=scheduler(**BETAS, **config))
    batch = case.get("batch", 1)
    generators = [torch.Generator().manual_seed(case["seed"] + k) for k in range(batch)]
    size = dict(width=case["width"], height=case["height"])
    arguments = dict(
        prompt=case["prompt"], negative_prompt=case.get("negative", ""), num_inference_steps=case["steps"],
        guidance_scale=7.5, eta=case.get("eta", 0.0), num_images_per_prompt=batch, generator=generators,
        output_type="latent")
    mode = case["mode"]
    if mode == "img2img" and "rule" not in case:
        pipe = diffusers.StableDiffusionImg2ImgPipeline(**common)
        arguments |= dict(image=picture(**size), strength=case["strength"])
    elif mode == "inpaint":
        pipe = diffusers.StableDiffusionInpaintPipeline(**common)
        arguments |= dict(image=picture(**size), mask_image=mask(**size), strength=case["strength"], **size)
    else:
        pipe = diffusers.StableDiffusionPipeline(**common)
        arguments |= size
    pipe.set_progress_bar_config(disable=True)
    if "rule" in case:
        latents = from_picture(pipe, case, generators[0])
    elif mode == "blend":
        latents = blended(pipe, case, generators[0])
    elif mode == "hires":
        latents = enlarged(pipe, case, generators[0])
    else:
        latents = pipe(**arguments).images
    golden = dict(case, latents=[float(f"{v:.9g}") for v in latents.flatten().tolist()])
    if case.get("tiling") or case.get("tiny"):
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        pixels = pipe.image_processor.postprocess(decoded, output_type="np")[0]
        golden["picture"] = (pixels * 255).round().astype("uint8").flatten().tolist()
    return golden


torch.set_num_threads(1)
with torch.no_grad():
    tokenizer = CLIPTokenizer.from_pretrained(sys.argv[1], subfolder="tokenizer")
    lines = ",\n".join(json.dumps(run(tokenizer, case)) for case in CASES)
OUT.write_text(f"[\n{lines}\n]\n")
