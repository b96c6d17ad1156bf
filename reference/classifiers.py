"""Writes crates/safety/tests/goldens/classifiers.json: scores of small classifiers of images, weights and images by formula.

    python reference/classifiers.py

diffusers 0.42.1 (StableDiffusionSafetyChecker), transformers 5.24.0 (ViTForImageClassification, image processors on Pillow), torch 2.15.0.
"""

import json
import pathlib
import tempfile

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from formula import values, weight
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPImageProcessorPil, ViTConfig, ViTForImageClassification, ViTImageProcessorPil

OUT = pathlib.Path(__file__).parent.parent / "crates/safety/tests/goldens/classifiers.json"
SIZES = [(32, 32), (47, 80), (200, 90), (33, 31), (64, 640)]
VISION = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)


def image(width, height):
    x, y, c = np.meshgrid(np.arange(width), np.arange(height), np.arange(3), indexing="xy")
    return Image.fromarray(((x * 7 + y * 13 + c * 50 + x * y % 31 * 3) % 256).astype(np.uint8))


def names_in_file(model):
    """The names under which `save_pretrained` writes the tensors, by formula filled in."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(pathlib.Path(folder, "model.safetensors"))
        return {name: list(tensor.shape) for name, tensor in tensors.items()}


def fill(model):
    """Weights by the names in the file, which are the model's own but for their order: loaded back from there."""
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import save_file

        model.save_pretrained(folder)
        file = pathlib.Path(folder, "model.safetensors")
        tensors = {name: of_name(name, tensor.shape) for name, tensor in load_file(file).items()}
        save_file(tensors, file, {"format": "pt"})
        return type(model).from_pretrained(folder).eval()


def of_name(name, shape):
    if name == "concept_embeds_weights" or name == "special_care_embeds_weights":
        return 0.31 + 0.04 * values(name, shape).float()
    if name.endswith("embeds") or "cls_token" in name or "class_embedding" in name or "position_embeddings" in name:
        return values(name, shape).float()
    return weight(name, shape)


def main():
    images = [image(*size) for size in SIZES]
    config = CLIPConfig(vision_config=VISION, projection_dim=24)
    checker = fill(StableDiffusionSafetyChecker(config))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    clip_input = processor(images, return_tensors="pt").pixel_values
    with torch.no_grad():
        pooled = checker.vision_model(clip_input)[1]
        embeds = checker.visual_projection(pooled)
        concepts = cosine_distance(embeds, checker.concept_embeds)
        special = cosine_distance(embeds, checker.special_care_embeds)
        _, flagged = checker(clip_input=clip_input, images=np.zeros((len(images), 8, 8, 3), dtype=np.float32))
    golden = dict(
        sizes=SIZES,
        checker=dict(
            config=dict(vision_config=VISION, projection_dim=24), shapes=names_in_file(checker),
            embeddings=embeds.tolist(), concepts=concepts.tolist(), special=special.tolist(), flagged=[bool(x) for x in flagged],
        ),
        vit=[],
    )
    labels = {0: "normal", 1: "nsfw", 2: "drawing"}
    for size, resample in [(32, 2), (32, 3)]:
        vit = fill(ViTForImageClassification(ViTConfig(**VISION, id2label=labels, label2id={v: k for k, v in labels.items()})))
        processor = ViTImageProcessorPil(size={"height": size, "width": size}, resample=resample)
        with torch.no_grad():
            scores = vit(processor(images, return_tensors="pt").pixel_values).logits.softmax(-1)
        golden["vit"].append(dict(
            config=VISION | dict(id2label=labels), shapes=names_in_file(vit),
            preprocessor=json.loads(processor.to_json_string()), scores=scores.tolist(),
        ))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(golden) + "\n")
    print(golden["checker"]["flagged"], list(golden["vit"][0]["shapes"])[:6], golden["vit"][0]["scores"])
    print(json.dumps(golden["vit"][0]["preprocessor"]))
    print(list(golden["checker"]["shapes"])[:6], np.round(golden["checker"]["concepts"][0], 3))


if __name__ == "__main__":
    main()
