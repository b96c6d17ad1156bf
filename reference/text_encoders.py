"""Writes crates/models/tests/goldens/text_encoders.json: transformers' CLIPTextModel under each activation that a config may
name, and with the tokenizer's attention mask, as diffusers' pipelines give it where the config has `use_attention_mask`.

Weights are made by formula (formula.py). Everything is computed in f64.

    pip install torch transformers && python reference/text_encoders.py
"""

import json
import pathlib

import torch
import transformers
from formula import fill
from transformers import CLIPTextConfig, CLIPTextModel

OUT = pathlib.Path(__file__).parent.parent / "crates/models/tests/goldens/text_encoders.json"
IDS = [[98, 5, 17, 42, 99, 99], [98, 99, 99, 99, 99, 99], [98, 1, 2, 3, 4, 99]]
SIZES = dict(vocab_size=100, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=8, bos_token_id=98, eos_token_id=99)


def run(masked=False, **config):
    config = CLIPTextConfig(**SIZES, **config, attn_implementation="eager")
    model = CLIPTextModel(config).double()
    fill(model, "text_model.")
    ids = torch.tensor(IDS)
    # A tokenizer's: 1 up to the first end, which fills up as well.
    mask = (torch.cumsum((ids == 99).long(), 1) - (ids == 99).long() == 0).long() if masked else None
    with torch.no_grad():
        output = model(ids, attention_mask=mask).last_hidden_state
    config = config.to_dict()
    if masked:
        config["use_attention_mask"] = True
    return dict(config=config, output=[float(f"{v:.9g}") for v in output.flatten().tolist()])


torch.set_num_threads(1)
ACTIVATIONS = ["quick_gelu", "gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh",
               "gelu_accurate", "silu", "swish"]
cases = {name: run(hidden_act=name) for name in ACTIVATIONS}
cases["masked"] = run(masked=True)
OUT.write_text(json.dumps(dict(transformers=transformers.__version__, ids=IDS, cases=cases), indent=0) + "\n")
