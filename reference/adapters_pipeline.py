"""Writes crates/calotype/tests/goldens/adapters.json: what diffusers' StableDiffusionPipeline makes of a tiny model with a LoRA in
kohya's form, one in diffusers' form and two textual inversion embeddings.

The model is `reference/pipeline.py`'s. The values of adapters are `values(key) * SIZE`, so neither is stored.
FOLDER is any model folder with CLIP's tokenizer in `tokenizer`.

    python reference/adapters_pipeline.py FOLDER
"""

import json
import pathlib
import sys

import diffusers
import torch
from formula import values
from pipeline import BETAS, LEADING, model
from transformers import CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/adapters.json"
SIZE = 0.4
PROMPT, NEGATIVE = "a <cat-toy>, in the style of inkwash", "blurry"


def tensors(shapes):
    return {key: (values(key, shape) * SIZE).float() for key, shape in shapes.items()}


def layers(network, kinds):
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, kinds)]


def kohya(parts):
    """Every linear map of both networks, rank 2, without alpha."""
    shapes = {}
    for prefix, network in [("lora_unet", parts["unet"]), ("lora_te", parts["text_encoder"])]:
        for name, layer in layers(network, torch.nn.Linear):
            if prefix == "lora_te" and not name.startswith("text_model."):
                name = "text_model." + name
            key = f"{prefix}_{name.replace('.', '_')}"
            o, i = layer.weight.shape
            shapes |= {f"{key}.lora_down.weight": (2, i), f"{key}.lora_up.weight": (o, 2)}
    return shapes


def peft(parts):
    """Keys and values of the UNet's attentions, rank 1."""
    shapes = {}
    for name, layer in layers(parts["unet"], torch.nn.Linear):
        if name.endswith(("to_k", "to_v")):
            o, i = layer.weight.shape
            shapes |= {f"unet.{name}.lora_A.weight": (1, i), f"unet.{name}.lora_B.weight": (o, 1)}
    return shapes


def run(tokenizer_folder, loras, embeddings):
    parts = model()
    pipe = diffusers.StableDiffusionPipeline(
        **parts, tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder, subfolder="tokenizer"), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False, scheduler=diffusers.DDIMScheduler(clip_sample=False, **BETAS, **LEADING))
    pipe.set_progress_bar_config(disable=True)
    for name, (shapes, _) in loras.items():
        pipe.load_lora_weights(tensors(shapes), adapter_name=name)
    if loras:
        pipe.set_adapters(list(loras), [strength for _, strength in loras.values()])
    for token, vectors in embeddings.items():
        pipe.load_textual_inversion({token: values(token, (vectors, 8)).float()}, token=token)
    latents = pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=4, width=32, height=32,
                   generator=[torch.Generator().manual_seed(3)], output_type="latent").images
    return [float(f"{v:.7g}") for v in latents.flatten().tolist()]


torch.set_num_threads(1)
with torch.no_grad():
    parts = model()
    loras = {"kohya": (kohya(parts), 0.5), "peft": (peft(parts), 1.25)}
    embeddings = {"<cat-toy>": 1, "inkwash": 3}
    folder = sys.argv[1]
    data = dict(
        size=SIZE, prompt=PROMPT, negative=NEGATIVE, loras=loras, embeddings=embeddings,
        plain=run(folder, {}, {}), kohya=run(folder, {"kohya": loras["kohya"]}, {}), both=run(folder, loras, {}),
        with_embeddings=run(folder, {}, embeddings), everything=run(folder, loras, embeddings))
OUT.write_text(json.dumps(data, separators=(",", ":")) + "\n")
