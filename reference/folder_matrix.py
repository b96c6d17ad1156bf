"""Varies what a diffusers folder of Stable Diffusion 1 may say, one thing at a time, and runs diffusers and Calotype side by side.

    python reference/folder_matrix.py CALOTYPE [WORD ...]

CALOTYPE is the binary; only rows whose names contain one of the words are run, if there are any. The model is tiny and random.
Each row has the greatest difference of the final latents after three steps, relative to the greatest value, and of the decoded
images in grey levels; or what Calotype says instead of drawing. Rows that differ without a word end in `WRONG`, and the script with status 1.

diffusers 0.42.1, transformers 5.24.0, peft 0.21.2, torch 2.15.0. Schedulers have a script of their own, scheduler_matrix.py.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import clip_tokenizer
import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import (
    BOFTConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model, get_peft_model_state_dict,
    inject_adapter_in_model,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TOKENIZER = clip_tokenizer.write(tempfile.mkdtemp())
PROMPT, NEGATIVE, STEPS, SCALE, SEED, SIZE = "a red fox, in the snow!", "blurry", 3, 5.0, 7, 64
torch.set_num_threads(1)
diffusers.logging.set_verbosity_error()
diffusers.logging.disable_progress_bar()
# Differences of float32 and of the order of sums.
CLOSE = 2e-4

UNET = dict(
    sample_size=16, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32, attention_head_dim=4,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)
VAE = dict(
    block_out_channels=(16, 16, 32), latent_channels=4, norm_num_groups=8, sample_size=64,
    down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
)
TEXT = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=49408, projection_dim=32,
    bos_token_id=49406, eos_token_id=49407,
)
SCHEDULER = dict(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1,
)


def randomize(network, seed):
    """Weights of a size at which everything counts; what diffusers begins with as zeros, too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2:
                parameter.copy_((1 if "norm" in name and name.endswith("weight") else 0) + 0.1 * noise)
            else:
                parameter.copy_(noise * (1.0 if "embedding" in name else parameter[0].numel() ** -0.5))
    return network


def pipeline(unet={}, vae={}, text={}, text_class=CLIPTextModel, tokenizer=lambda t: t):
    return StableDiffusionPipeline(
        unet=randomize(UNet2DConditionModel(**UNET | unet), 1), vae=randomize(AutoencoderKL(**VAE | vae), 2),
        text_encoder=randomize(text_class(CLIPTextConfig(**TEXT | text)), 3),
        tokenizer=tokenizer(CLIPTokenizer.from_pretrained(TOKENIZER)), scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )


def theirs(pipe, prompt):
    """Final latents, and the decoded image in 8 bits."""
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(
        prompt, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=SCALE, width=SIZE, height=SIZE,
        generator=torch.manual_seed(SEED), output_type="latent",
    ).images
    with torch.no_grad():
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
    return latents.float(), np.asarray(pipe.image_processor.postprocess(image, output_type="pil")[0], dtype=int)


def ours(binary, model, prompt, extra):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "latents.safetensors")
        options = ["--negative-prompt", NEGATIVE, "--steps", STEPS, "--guidance-scale", SCALE, "--seed", SEED, "--width", SIZE]
        options += ["--height", SIZE, "--sampler", "ddim", "--precision", "f32", "--output", pathlib.Path(folder, "a.png")]
        options += ["--save-latents", file, "--quiet", *extra]
        run = subprocess.run([binary, "txt2img", prompt, "--model", model, *map(str, options)], capture_output=True, text=True)
        if run.returncode:
            return None, run.stderr.strip()
        image = np.asarray(Image.open(pathlib.Path(folder, "a.png")), dtype=int)
        return (load_file(file)["latents"], image), run.stderr.strip()


def edit(path, **values):
    """Puts keys into a JSON file; None takes one out."""
    data = json.loads(path.read_text())
    for key, value in values.items():
        data.pop(key, None)
        if value is not None:
            data[key] = value
    path.write_text(json.dumps(data))


def rows():
    """Name; how to make the pipeline; how to save it; what to do with the folder; the prompt; what else Calotype is told."""

    def row(name, make=pipeline, save={}, change=None, prompt=PROMPT, extra=None, **parts):
        return name, (lambda: make(**parts)), save, change, prompt, extra

    yield row("as it is")
    for act in ("SiLU", "swish", "gelu", "mish", "relu"):
        yield row(f"unet act_fn {act}", unet=dict(act_fn=act))
    for key, values in dict(
        attention_head_dim=[8, (4, 8)], num_attention_heads=[4], center_input_sample=[True], class_embed_type=["timestep"],
        conv_in_kernel=[5], conv_out_kernel=[5], cross_attention_dim=[(32, 32)], dropout=[0.1], dual_cross_attention=[True],
        downsample_padding=[0], flip_sin_to_cos=[False], freq_shift=[1], layers_per_block=[2, (1, 2)], mid_block_scale_factor=[0.5],
        mid_block_type=["UNetMidBlock2D", None, "UNetMidBlock2DSimpleCrossAttn"], norm_eps=[1e-3], norm_num_groups=[4, None],
        only_cross_attention=[True], resnet_out_scale_factor=[2.0], resnet_skip_time_act=[True],
        resnet_time_scale_shift=["scale_shift"], sample_size=[(16, 16), 32], time_cond_proj_dim=[8],
        time_embedding_act_fn=["gelu"], time_embedding_dim=[64], time_embedding_type=["fourier"], timestep_post_act=["silu"],
        transformer_layers_per_block=[2, (1, 2)], upcast_attention=[True], use_linear_projection=[True], attention_type=["gated"],
    ).items():
        for value in values:
            yield row(f"unet {key} {value}", unet={key: value})
    yield row("unet addition_embed_type text", unet=dict(addition_embed_type="text", addition_embed_type_num_heads=2))
    yield row("unet encoder_hid_dim_type text_proj", unet=dict(encoder_hid_dim=32, encoder_hid_dim_type="text_proj"))
    for types in (("DownBlock2D", "CrossAttnDownBlock2D"), ("DownBlock2D", "DownBlock2D"), ("AttnDownBlock2D", "DownBlock2D")):
        ups = tuple(kind.replace("Down", "Up") for kind in reversed(types))
        yield row(f"unet blocks {types}", unet=dict(down_block_types=types, up_block_types=ups))
    for key, values in dict(
        act_fn=["SiLU", "gelu"], force_upcast=[False], latents_mean=[[0.1] * 4], layers_per_block=[2], mid_block_add_attention=[False],
        norm_num_groups=[4], sample_size=[[64, 64], 128], scaling_factor=[0.13], shift_factor=[0.1],
    ).items():
        for value in values:
            yield row(f"vae {key} {value}", vae={key: value})
    yield row("vae without quant convs", vae=dict(use_quant_conv=False, use_post_quant_conv=False))
    yield row("8 latent channels", vae=dict(latent_channels=8), unet=dict(in_channels=8, out_channels=8))
    for act in ("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"):
        yield row(f"text hidden_act {act}", text=dict(hidden_act=act))
    for key, value in dict(layer_norm_eps=1e-3, eos_token_id=2, max_position_embeddings=248, attention_dropout=0.1).items():
        yield row(f"text {key} {value}", text={key: value})
    yield row("text use_attention_mask", text=dict(use_attention_mask=True))
    yield row("text CLIPTextModelWithProjection", text_class=CLIPTextModelWithProjection)

    def added(tokenizer):
        tokenizer.add_tokens(["<fox-toy>", "snow"])
        return tokenizer

    yield row("tokenizer added tokens", tokenizer=added, text=dict(vocab_size=49410), prompt="a <fox-toy>_1 in the Snow")
    for length in (32, 248):

        def cut(tokenizer, length=length):
            tokenizer.model_max_length = length
            return tokenizer

        yield row(f"tokenizer model_max_length {length}", tokenizer=cut, text=dict(max_position_embeddings=max(77, length)))

    def padded(tokenizer):
        tokenizer.pad_token = "!"
        return tokenizer

    yield row("tokenizer pad token !", tokenizer=padded)
    yield row("saved as .bin", save=dict(safe_serialization=False))
    yield row("saved in shards", save=dict(max_shard_size="200KB"))
    yield row("saved as variant fp16", save=dict(variant="fp16"))
    yield row("saved as variant ema", save=dict(variant="ema"))
    yield row("saved in shards, variant", save=dict(variant="fp16", max_shard_size="200KB"))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        yield row(f"saved in {dtype}", make=lambda dtype=dtype, **parts: pipeline(**parts).to(dtype))
    index, unet = "model_index.json", "unet/config.json"
    yield row("without _class_name", change=lambda folder: edit(folder / index, _class_name=None))
    yield row("unet without _class_name", change=lambda folder: edit(folder / unet, _class_name=None))
    old = lambda folder: edit(folder / unet, _diffusers_version="0.8.0")
    yield row("unet of diffusers 0.8", change=old)

    def buffer(folder):
        file = folder / "text_encoder/model.safetensors"
        save_file(load_file(file) | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, file, {"format": "pt"})

    yield row("text position_ids", change=buffer)

    def fused(**parts):
        pipe = pipeline(**parts)
        pipe.fuse_qkv_projections()
        return pipe

    yield row("fused projections", make=fused)
    yield from adapters(row)


def adapters(row):
    """Adapters of PEFT and diffusers: the pipeline has it, and Calotype is told of its file."""
    layers = ["to_q", "to_k", "to_v", "to_out.0"]

    def with_lora(form, text=False, **config):
        def make(**parts):
            pipe = pipeline(**parts)
            pipe.unet.add_adapter(LoraConfig(**{"r": 4, "target_modules": layers} | config))
            factors(pipe.unet)
            if text:
                # transformers' own way asks for a newer PEFT.
                pipe.text_config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"]} | config)
                inject_adapter_in_model(pipe.text_config, pipe.text_encoder)
                factors(pipe.text_encoder)
            pipe.adapter_form = form
            return pipe

        return make

    def with_peft(config):
        def make(**parts):
            pipe = pipeline(**parts)
            pipe.unet = get_peft_model(pipe.unet, config)
            factors(pipe.unet)
            pipe.adapter_form = "peft"
            return pipe

        return make

    for name, config in dict(
        plain={}, alpha=dict(lora_alpha=7), rslora=dict(use_rslora=True, lora_alpha=3), dora=dict(use_dora=True),
        convolutions=dict(target_modules=["conv1", "conv2", "conv_in"]), bias=dict(bias="lora_only"), lora_bias=dict(lora_bias=True),
        patterns=dict(rank_pattern={"to_k": 2}, alpha_pattern={"to_v": 9}),
    ).items():
        for form in ("pipeline", "network"):
            yield row(f"lora {name}, saved by {form}", make=with_lora(form, **config))
    yield row("lora of both networks", make=with_lora("pipeline", text=True, lora_alpha=6))
    for start in ("pissa", "olora", "orthogonal"):
        yield row(f"peft lora {start}", make=with_peft(LoraConfig(r=4, target_modules=layers, init_lora_weights=start)))
    for name, config in dict(
        lora=LoraConfig(r=4, lora_alpha=6, target_modules=layers), bias=LoraConfig(r=4, target_modules=layers, bias="all"),
        saved=LoraConfig(r=4, target_modules=layers, modules_to_save=["conv_out"]),
        loha=LoHaConfig(r=4, alpha=6, target_modules=layers), lokr=LoKrConfig(r=4, alpha=6, target_modules=layers),
        oft=OFTConfig(oft_block_size=8, r=0, target_modules=layers), boft=BOFTConfig(boft_block_size=8, target_modules=layers),
        ia3=IA3Config(target_modules=["to_k", "to_v"], feedforward_modules=[]),
    ).items():
        yield row(f"peft {name}", make=with_peft(config))


def lora_state(network):
    return {name.replace(".default.", "."): value for name, value in network.state_dict().items() if "lora_" in name}


def factors(network):
    """Adapters' weights begin as nothing; here they count."""
    generator = torch.Generator().manual_seed(4)
    marks = ("lora_", "hada_", "lokr_", "oft_", "boft_", "ia3_", "modules_to_save")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if any(mark in name for mark in marks) and "magnitude" not in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif parameter.requires_grad and name.endswith("bias"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def save_adapter(pipe, folder):
    """Saves the pipeline's adapter as its form says, and gives Calotype's option; the folder then has the bare networks."""
    adapter = folder.with_name("adapter")
    shutil.rmtree(adapter, ignore_errors=True)
    if pipe.adapter_form == "network":
        pipe.unet.save_lora_adapter(adapter)
    elif pipe.adapter_form == "pipeline":
        from diffusers.utils import convert_state_dict_to_diffusers

        text = getattr(pipe, "text_config", None)
        StableDiffusionPipeline.save_lora_weights(
            adapter, get_peft_model_state_dict(pipe.unet),
            convert_state_dict_to_diffusers(lora_state(pipe.text_encoder)) if text else None,
            unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
            text_encoder_lora_adapter_metadata=text.to_dict() if text else None,
        )
    else:
        pipe.unet.save_pretrained(adapter)
    return ["--lora", adapter]


def main():
    binary, words = sys.argv[1], sys.argv[2:]
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "model")
        for name, make, save, change, prompt, extra in rows():
            if words and not any(word in name for word in words):
                continue
            shutil.rmtree(folder, ignore_errors=True)
            options = []
            try:
                pipe = make()
                if hasattr(pipe, "adapter_form"):
                    options = save_adapter(pipe, folder)
                    # An adapter may have changed the weights that it was put around: the model is the one before.
                    pipeline().save_pretrained(folder)
                    expected = theirs(pipe, prompt)
                else:
                    pipe.save_pretrained(folder, **save)
                    if change:
                        change(folder)
                    again = StableDiffusionPipeline.from_pretrained(
                        folder, safety_checker=None, variant=save.get("variant"), torch_dtype=torch.float32
                    ) if "_class_name" not in name else pipe
                    expected = theirs(again.to(torch.float32), prompt)
            except Exception as error:
                print(f"{name:40} not made by diffusers: {str(error).splitlines()[0][:90] if str(error) else type(error)}")
                continue
            got, said = ours(binary, folder, prompt, options)
            if got is None:
                print(f"{name:40} refused: {said[:200]}")
                continue
            difference = ((got[0] - expected[0]).abs().max() / expected[0].abs().max()).item()
            levels = abs(got[1] - expected[1]).max()
            mark = "" if difference < CLOSE and levels <= 1 else "  differs, as said" if said else "  WRONG"
            wrong += mark.endswith("WRONG")
            print(f"{name:40} {difference:.1e}, {levels} levels{mark}{'  said: ' + said.splitlines()[0][:110] if said else ''}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
