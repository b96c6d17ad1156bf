"""Stable Diffusion v1.5's networks with random weights: their values do not change how long a step takes.

    python sd15.py FOLDER TOKENIZER_FOLDER SCHEDULER_FOLDER     writes a diffusers folder in f16
"""

import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
    "pad_token_id": 1,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
PARTS = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def unet(dtype=torch.float32):
    return filled(lambda: UNet2DConditionModel(**UNET), dtype)


def vae(dtype=torch.float32):
    return filled(lambda: AutoencoderKL(**VAE), dtype)


def filled(make, dtype):
    """A network made without its slow initialisation, then filled: weights uniform to 1/√fan_in, gains 1, offsets 0."""
    with torch.device("meta"):
        model = make().to(dtype)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1:
                bound = p[0].numel() ** -0.5
                p.uniform_(-bound, bound)
            else:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
    return model.eval()


def main(folder, tokenizer, scheduler):
    torch.manual_seed(0)
    folder = pathlib.Path(folder)
    unet(torch.float16).save_pretrained(folder / "unet")
    vae(torch.float16).save_pretrained(folder / "vae")
    # Its buffers are no parameters, so it is made the slow way.
    text = CLIPTextModel(CLIPTextConfig(**TEXT)).half()
    text.save_pretrained(folder / "text_encoder")
    # As published, with the prefix that transformers 5 leaves out and stable-diffusion.cpp looks for.
    names = ((name.removeprefix("text_model."), tensor) for name, tensor in text.state_dict().items())
    published = {f"text_model.{name}": tensor for name, tensor in names if not name.endswith("position_ids")}
    save_file(published, folder / "text_encoder" / "model.safetensors", {"format": "pt"})
    shutil.copytree(tokenizer, folder / "tokenizer", dirs_exist_ok=True)
    shutil.copytree(scheduler, folder / "scheduler", dirs_exist_ok=True)
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    index |= {"feature_extractor": [None, None], "safety_checker": [None, None], **PARTS}
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
