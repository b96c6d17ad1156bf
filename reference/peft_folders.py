"""Writes crates/models/tests/goldens/peft.json: adapters in folders as PEFT saves them, and what PEFT makes of them.

Networks and the form of a case are those of adapters.py; beside it a case has the text of `adapter_config.json` as
`save_pretrained` wrote it. Weights are by formula (formula.py). Everything is computed in f64.

    python reference/peft_folders.py
"""

import json
import pathlib
import tempfile

import torch
from diffusers import UNet2DConditionModel
from formula import fill, values
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.utils import set_peft_model_state_dict
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel

OUT = pathlib.Path(__file__).parent.parent / "crates/models/tests/goldens/peft.json"
SIZE = 0.4
UNET = dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
            cross_attention_dim=12, sample_size=8, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
TEXT = dict(vocab_size=100, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=8, bos_token_id=98, eos_token_id=99)
IDS = [[98, 5, 17, 42, 99, 99]]
LATENTS, CONTEXT, TIMESTEP = (1, 4, 8, 8), (1, 5, 12), 500.0
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "conv1", "proj_in"]


def network(kind):
    if kind == "unet":
        return fill(UNet2DConditionModel(**UNET))
    return fill(CLIPTextModel(CLIPTextConfig(**TEXT, attn_implementation="eager")), "text_model.")


def output(kind, model):
    model = model.double().eval()
    with torch.no_grad():
        if kind == "unet":
            return model(values("latents", LATENTS), torch.tensor([TIMESTEP]), values("context", CONTEXT)).sample.movedim(1, -1)
        return model(torch.tensor(IDS)).last_hidden_state


def case(name, kind, config):
    model = get_peft_model(network(kind), config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        text = pathlib.Path(folder, "adapter_config.json").read_text()
        with safe_open(f"{folder}/adapter_model.safetensors", "pt") as file:
            shapes = {key: list(file.get_tensor(key).shape) for key in file.keys()}
    # The values, which the program under test makes from the names too.
    tensors = {key: (values(key, tuple(shape)) * SIZE).float() for key, shape in shapes.items()}
    loaded = set_peft_model_state_dict(model, tensors)
    assert not loaded.unexpected_keys, loaded.unexpected_keys
    result = output(kind, model)
    plain = output(kind, network(kind))
    assert (result - plain).abs().max() > 1e-2 * plain.abs().max(), name
    return dict(name=name, network=kind, strength=1.0, metadata={}, config=text, tensors=shapes,
                output=[float(f"{v:.7g}") for v in result.flatten().tolist()])


def cases():
    yield case("folder patterns", "unet", LoraConfig(
        r=4, lora_alpha=6, target_modules=LAYERS, rank_pattern={"to_q": 2, "mid_block.*conv1": 3},
        alpha_pattern={"attn2.to_k": 1, "to_k": 5, r"^up_blocks\.1\..*proj": 9, "^conv1": 100}))
    yield case("folder rslora", "unet", LoraConfig(
        r=4, lora_alpha=3, target_modules=LAYERS, use_rslora=True, alpha_pattern={"attn1.to_v": 1}))
    yield case("folder dora", "unet", LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS, use_dora=True))
    yield case("folder text", "text_encoder", LoraConfig(
        r=3, lora_alpha=2, target_modules=["q_proj", "v_proj", "fc1"], rank_pattern={"layers.1.self_attn.q_proj": 1}))
    yield case("folder loha", "unet", LoHaConfig(r=2, alpha=3, target_modules=LAYERS, alpha_pattern={"to_q": 7}))
    yield case("folder lokr", "unet", LoKrConfig(
        r=2, alpha=3, target_modules=LAYERS, decompose_both=True, decompose_factor=2))
    # Both factors whole: PEFT divides by the rank of its config all the same.
    yield case("folder lokr whole", "unet", LoKrConfig(
        r=16, alpha=8, target_modules=["to_q", "conv1"], decompose_factor=4, rank_pattern={"attn1.to_q": 32}))


torch.set_num_threads(1)
OUT.write_text(json.dumps(dict(cases=list(cases())), separators=(",", ":")) + "\n")
