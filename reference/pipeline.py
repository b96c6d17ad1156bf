"""Writes crates/calotype/tests/goldens/pipeline.json: what diffusers' StableDiffusionPipeline makes with a tiny model.

Weights are not stored: both sides make them from their names by the formula of `reference/models.py` (`fill` here).
FOLDER is any model folder with CLIP's tokenizer in `tokenizer`.

    python reference/pipeline.py FOLDER
"""

import json
import pathlib
import sys

import diffusers
import torch
from formula import fill
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/pipeline.json"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
LEADING = dict(timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False)
SAMPLERS = {
    "ddim": (diffusers.DDIMScheduler, dict(clip_sample=False, **LEADING)),
    "plms": (diffusers.PNDMScheduler, dict(skip_prk_steps=True, **LEADING)),
    "euler": (diffusers.EulerDiscreteScheduler, dict(timestep_spacing="linspace")),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, dict(timestep_spacing="linspace")),
    "heun": (diffusers.HeunDiscreteScheduler, dict(timestep_spacing="linspace")),
    "lms": (diffusers.LMSDiscreteScheduler, dict(timestep_spacing="linspace")),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, dict(timestep_spacing="linspace")),
}
CASES = [
    dict(sampler="ddim", steps=7, eta=0.6, prompt="a lighthouse in the fog", negative="people", width=40, height=24, seed=7),
    dict(sampler="plms", steps=9, prompt="ein Haus am See, 1923", width=32, height=32, seed=123456789012, guidance=3.0),
    dict(sampler="euler", steps=5, prompt="", negative="anything at all", width=24, height=48, seed=0),
    dict(sampler="euler_a", steps=6, prompt="two \N{CAT} and a dog", width=32, height=16, seed=99, batch=2),
    dict(sampler="heun", schedule="karras", steps=4, prompt="a bowl of soup", width=16, height=32, seed=5, guidance=1.0),
    dict(sampler="lms", schedule="karras", steps=8, prompt="an old map", width=32, height=24, seed=31, batch=2),
    dict(sampler="dpmpp_2m", schedule="karras", steps=10, prompt="moss", width=32, height=24, seed=8, prediction_type="v_prediction"),
    dict(sampler="ddim", steps=11, prompt="a red kite", width=24, height=24, seed=4, prediction_type="v_prediction", decode=True),
]


def model():
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=8, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
    vae = diffusers.AutoencoderKL(
        block_out_channels=[8, 8, 12], norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=49406, eos_token_id=49407, attn_implementation="eager"))
    return dict(unet=fill(unet), vae=fill(vae), text_encoder=fill(text, "text_model."))


def run(parts, tokenizer, case):
    scheduler, config = SAMPLERS[case["sampler"]]
    karras = dict(use_karras_sigmas=True) if case.get("schedule") == "karras" else {}
    prediction_type = case.get("prediction_type", "epsilon")
    pipe = diffusers.StableDiffusionPipeline(
        **parts, tokenizer=tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        scheduler=scheduler(**BETAS, **config, **karras, prediction_type=prediction_type))
    pipe.set_progress_bar_config(disable=True)
    batch = case.get("batch", 1)
    latents = pipe(
        case["prompt"], negative_prompt=case.get("negative", ""), num_inference_steps=case["steps"],
        guidance_scale=case.get("guidance", 7.5), eta=case.get("eta", 0.0), width=case["width"], height=case["height"],
        num_images_per_prompt=batch, generator=[torch.Generator().manual_seed(case["seed"] + k) for k in range(batch)],
        output_type="latent").images
    golden = dict(case, latents=[float(f"{v:.9g}") for v in latents.flatten().tolist()])
    if case.get("decode"):
        picture = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        pixels = pipe.image_processor.postprocess(picture, output_type="np")[0]
        golden["picture"] = (pixels * 255).round().astype("uint8").flatten().tolist()
    return golden


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        tokenizer, parts = CLIPTokenizer.from_pretrained(sys.argv[1], subfolder="tokenizer"), model()
        lines = ",\n".join(json.dumps(run(parts, tokenizer, case)) for case in CASES)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(f"[\n{lines}\n]\n")
