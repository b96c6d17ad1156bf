"""Writes crates/calotype/tests/goldens/layouts.json: how CompVis and OpenCLIP name what diffusers names, and what
diffusers' pipeline makes with two tiny models, one of Stable Diffusion 1's kind and one of 2's.

Weights are by formula (`formula.py`), so none are stored. The key map is written here a second time, and checked
against diffusers' own converters before anything is written. FOLDER is any model folder with CLIP's tokenizer in
`tokenizer`. With --out the tiny models are also written whole, in every layout, to try by hand.

    python reference/checkpoints.py FOLDER [--out DIR]
"""

import argparse
import json
import pathlib

import diffusers
import torch
from diffusers.loaders import single_file_utils as converters
from formula import fill
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

OUT = pathlib.Path(__file__).parent.parent / "crates/calotype/tests/goldens/layouts.json"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}


def sd1():
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=[32, 64, 64], layers_per_block=1, attention_head_dim=8, cross_attention_dim=64,
        down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"])
    return networks(unet, layers=2, act="quick_gelu", prediction_type="epsilon", pad=None)


def sd2():
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=[64, 128], layers_per_block=2, attention_head_dim=[1, 2],
        cross_attention_dim=128, use_linear_projection=True, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
    return networks(unet, layers=2, act="gelu", prediction_type="v_prediction", pad="!")


def networks(unet, layers, act, prediction_type, pad):
    width = unet.config.cross_attention_dim
    vae = diffusers.AutoencoderKL(
        block_out_channels=[32, 64, 64, 64], layers_per_block=1, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, sample_size=512)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, hidden_act=act, bos_token_id=49406, eos_token_id=49407,
        attn_implementation="eager"))
    return dict(
        unet=fill(unet), vae=fill(vae), text_encoder=fill(text, "text_model."), prediction_type=prediction_type, pad=pad)


def unet_names(config, name):
    """CompVis' name of a parameter of the UNet, its blocks counted through."""
    part = name.split(".")
    layers, levels = config.layers_per_block, len(config.block_out_channels)
    ends = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    if part[0] in ends:
        return f"{ends[part[0]]}.{part[1]}"
    if part[0] == "time_embedding":
        return f"time_embed.{ {'linear_1': 0, 'linear_2': 2}[part[1]]}.{part[2]}"
    resnet = lambda rest: ".".join([RESNET[rest[0]], *rest[1:]])
    if part[0] == "mid_block":
        kind, i, rest = part[1], int(part[2]), part[3:]
        return f"middle_block.{2 * i}.{resnet(rest)}" if kind == "resnets" else f"middle_block.1.{'.'.join(rest)}"
    block, kind, i, rest = int(part[1]), part[2], int(part[3]), part[4:]
    if part[0] == "down_blocks":
        first = 1 + block * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op.{rest[1]}"
        where = f"input_blocks.{first + i}"
    else:
        first = block * (layers + 1)
        if kind == "upsamplers":
            attends = config.up_block_types[block].startswith("CrossAttn")
            return f"output_blocks.{first + layers}.{2 if attends else 1}.conv.{rest[1]}"
        where = f"output_blocks.{first + i}"
    return f"{where}.0.{resnet(rest)}" if kind == "resnets" else f"{where}.1.{'.'.join(rest)}"


def vae_names(config, name):
    part = name.replace("conv_shortcut", "nin_shortcut").split(".")
    if part[0] in ("quant_conv", "post_quant_conv"):
        return name
    half, rest = part[0], part[1:]
    if rest[0] == "conv_norm_out":
        return f"{half}.norm_out.{rest[1]}"
    if rest[0] == "mid_block" and rest[1] == "resnets":
        return f"{half}.mid.block_{int(rest[2]) + 1}.{'.'.join(rest[3:])}"
    if rest[0] == "mid_block":
        attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
        return f"{half}.mid.attn_1.{attention[rest[3]]}.{rest[-1]}"
    if rest[0] in ("down_blocks", "up_blocks"):
        level = int(rest[1])
        if half == "decoder":
            level = len(config.block_out_channels) - 1 - level
        side = "down" if half == "encoder" else "up"
        if rest[2] == "resnets":
            return f"{half}.{side}.{level}.block.{'.'.join(rest[3:])}"
        return f"{half}.{side}.{level}.{side}sample.conv.{rest[-1]}"
    return name


def open_clip_names(name):
    """OpenCLIP's name, and which third of its rows."""
    name = name.removeprefix("text_model.")
    ends = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
    }
    if name in ends:
        return ends[name], None
    _, _, layer, *rest = name.split(".")
    rest = ".".join(rest)
    for third, letter in enumerate("qkv"):
        if rest.startswith(f"self_attn.{letter}_proj"):
            return f"transformer.resblocks.{layer}.attn.in_proj_{rest.split('.')[-1]}", third
    for ours, theirs in {
        "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }.items():
        rest = rest.replace(ours, theirs)
    return f"transformer.resblocks.{layer}.{rest}", None


def state(model, prefix=""):
    """By canonical names."""
    return {n if n.startswith(prefix) else prefix + n: p.data for n, p in model.named_parameters()}


def compvis(parts, family):
    """A CompVis state dict of the model, and its map: key, canonical name (and third), shape in the file."""
    tensors, rows = {}, []

    def put(key, network, name, tensor, third=None):
        tensors.setdefault(key, {})[third or 0] = tensor
        rows.append([key, network, name] + ([third] if third is not None else []))

    for name, tensor in state(parts["unet"]).items():
        put("model.diffusion_model." + unet_names(parts["unet"].config, name), "unet", name, tensor)
    for name, tensor in state(parts["vae"]).items():
        pointwise = ".attentions." in name and tensor.ndim == 2
        put("first_stage_model." + vae_names(parts["vae"].config, name), "vae", name,
            tensor[:, :, None, None] if pointwise else tensor)
    for name, tensor in state(parts["text_encoder"], "text_model.").items():
        if family == "sd1":
            put("cond_stage_model.transformer." + name, "text_encoder", name, tensor)
        else:
            key, third = open_clip_names(name)
            put("cond_stage_model.model." + key, "text_encoder", name, tensor, third)
    whole = {key: torch.cat([pieces[n] for n in sorted(pieces)]).contiguous() for key, pieces in tensors.items()}
    return whole, rows


def check(parts, family, tensors):
    """diffusers' converters must make of these tensors what they were made of."""
    def equal(got, expected):
        assert set(got) >= set(expected), set(expected) - set(got)
        for name, tensor in expected.items():
            assert torch.equal(got[name].reshape(tensor.shape), tensor), name

    equal(converters.convert_ldm_unet_checkpoint(dict(tensors), dict(parts["unet"].config)), state(parts["unet"]))
    equal(converters.convert_ldm_vae_checkpoint(dict(tensors), dict(parts["vae"].config)), state(parts["vae"]))
    text = state(parts["text_encoder"], "text_model.")
    if family == "sd1":
        got = converters.convert_ldm_clip_checkpoint(dict(tensors))
    else:
        whole = dict(tensors)
        width = parts["unet"].config.cross_attention_dim
        whole["cond_stage_model.model.text_projection"] = torch.zeros(width, width)
        got = converters.convert_open_clip_checkpoint(parts["text_encoder"], whole, prefix="cond_stage_model.model.")
    equal({n if n.startswith("text_model.") else "text_model." + n: t for n, t in got.items()}, text)


def latents(parts, folder):
    pad = {} if parts["pad"] is None else dict(pad_token=parts["pad"])
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", **pad)
    scheduler = diffusers.DDIMScheduler(
        **BETAS, clip_sample=False, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False,
        prediction_type=parts["prediction_type"])
    pipe = diffusers.StableDiffusionPipeline(
        unet=parts["unet"], vae=parts["vae"], text_encoder=parts["text_encoder"], tokenizer=tokenizer,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    got = pipe("a lighthouse in the fog", negative_prompt="people", num_inference_steps=3, width=64, height=64,
               generator=torch.Generator().manual_seed(7), output_type="latent").images
    return pipe, [float(f"{v:.9g}") for v in got.flatten().tolist()]


def write(folder, family, pipe, tensors):
    """The model in every layout; weights in the EMA are right, those beside it are not."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe.save_pretrained(folder / f"{family}-folder")
    pipe.save_pretrained(folder / f"{family}-fp16-sharded", variant="fp16", max_shard_size="1MB")
    pipe.save_pretrained(folder / f"{family}-bin", safe_serialization=False)
    save_file(tensors, folder / f"{family}-pruned.safetensors")
    save_file({k: t.half() for k, t in tensors.items()}, folder / f"{family}-half.safetensors")
    vae = {k.removeprefix("first_stage_model."): t for k, t in tensors.items() if k.startswith("first_stage_model.")}
    save_file(vae, folder / f"{family}-vae.safetensors")
    unet = "model.diffusion_model."
    full = {k: t + 0.01 if k.startswith(unet) else t for k, t in tensors.items()}
    ema = {"model_ema." + k.removeprefix("model.").replace(".", ""): t for k, t in tensors.items() if k.startswith(unet)}
    full |= ema | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    state_dict = {"state_dict": full, "global_step": 7, "epoch": 1, "optimizer_states": [{"state": {}}]}
    torch.save(state_dict, folder / f"{family}-full.ckpt")
    torch.save(state_dict, folder / f"{family}-full-old.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": tensors}, folder / f"{family}-pruned.ckpt")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder")
    arguments.add_argument("--out", type=pathlib.Path)
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    golden = {}
    for family, make in {"sd1": sd1, "sd2": sd2}.items():
        parts = make()
        tensors, rows = compvis(parts, family)
        check(parts, family, tensors)
        pipe, numbers = latents(parts, arguments.folder)
        golden[family] = dict(latents=numbers, keys=rows)
        if arguments.out:
            write(arguments.out, family, pipe, tensors)
    lines = []
    for family, value in golden.items():
        rows = ",\n".join(json.dumps(row) for row in value["keys"])
        lines.append(f'"{family}": {{"latents": {json.dumps(value["latents"])},\n"keys": [\n{rows}\n]}}')
    OUT.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
