"""Writes crates/calotype/tests/goldens/saved_configs.json: the texts of scheduler_config.json and config.json as today's diffusers
and transformers save them, with their words for no number (-Infinity), for every scheduler and text encoder there is.

    pip install torch diffusers transformers && python reference/saved_configs.py
"""

import inspect
import json
import pathlib
import tempfile

import diffusers
import transformers
from diffusers import schedulers
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/saved_configs.json"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
TEXT = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)


def saved(thing, name):
    with tempfile.TemporaryDirectory() as folder:
        thing.save_pretrained(folder)
        return (pathlib.Path(folder) / name).read_text()


def main():
    by_betas, others = {}, {}
    for name in dir(schedulers):
        kind = getattr(schedulers, name)
        if not (isinstance(kind, type) and name.endswith("Scheduler")) or getattr(kind, "_backends", None):
            continue
        takes_betas = "beta_start" in inspect.signature(kind.__init__).parameters
        try:
            scheduler = kind(**BETAS) if takes_betas else kind()
        except (TypeError, ImportError, ValueError):
            continue
        of_sd = takes_betas and not name.startswith(("CogVideoX", "RePaint"))
        (by_betas if of_sd else others)[name] = saved(scheduler, "scheduler_config.json")
    text = CLIPTextConfig(**TEXT)
    vision = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
    encoders = {
        "CLIPTextModel": CLIPTextModel(text),
        "CLIPTextModelWithProjection": CLIPTextModelWithProjection(text),
        "CLIPModel": CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision)),
    }
    golden = dict(
        diffusers=diffusers.__version__,
        transformers=transformers.__version__,
        schedulers=by_betas,
        other_schedulers=others,
        text_encoders={name: saved(model, "config.json") for name, model in encoders.items()},
    )
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
