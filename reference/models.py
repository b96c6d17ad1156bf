"""Writes crates/models/tests/goldens/*.json: small networks of diffusers and transformers, their outputs and gradients.

Weights and inputs are not stored: both sides make them from their names by the same formula (`values` of formula.py).
Everything is computed in f64. The loss is mean(output * values("loss")). A gradient is kept as two numbers,
its norm and its dot product with values("probe." + name), which no wrong entry leaves as it was.

    python reference/models.py
"""

import json
import pathlib

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from formula import fill, values
from transformers import CLIPTextConfig, CLIPTextModel

OUT = pathlib.Path(__file__).parent.parent / "crates/models/tests/goldens"


def channels_last(x):
    return x.detach().movedim(1, -1) if x.ndim == 4 else x.detach()


def numbers(x):
    return [float(f"{v:.9g}") for v in x.flatten().tolist()]


def golden(file, config, named, inputs, output):
    """`named`: pairs of name and tensor whose gradients are kept. Input and output are stored channels-last."""
    loss = (output * values("loss", output.shape)).mean()
    loss.backward()
    gradients = {}
    for name, p in named:
        if p.grad is not None:
            probe = (p.grad * values("probe." + name, p.shape)).sum().item()
            gradients[name] = numbers(torch.tensor([p.grad.norm().item(), probe]))
    data = dict(config=config, **inputs, shape=list(channels_last(output).shape),
                output=numbers(channels_last(output)), loss=loss.item(), gradients=gradients)
    OUT.mkdir(exist_ok=True)
    (OUT / f"{file}.json").write_text(json.dumps(data, indent=0) + "\n")


def unet(file, shape, timesteps, context_shape, **config):
    model = UNet2DConditionModel(**config).double()
    fill(model)
    latents, context = values("latents", shape).requires_grad_(), values("context", context_shape).requires_grad_()
    output = model(latents, torch.tensor(timesteps), context).sample
    named = [*model.named_parameters(), ("latents", latents), ("context", context)]
    b, c, h, w = shape
    inputs = dict(latents=[b, h, w, c], timesteps=timesteps, context=list(context_shape))
    golden(file, json.loads(model.to_json_string()), named, inputs, output)


def added(file, shape, timesteps, context_shape, **config):
    """The output with residuals for every feature map, as a ControlNet gives them, `values("residual.N")`, the last for the middle."""
    model = UNet2DConditionModel(**config).double()
    fill(model)
    latents, context = values("latents", shape), values("context", context_shape)
    with torch.no_grad():
        kept = []
        hooks = [b.register_forward_hook(lambda _, i, o: kept.append(o[1])) for b in model.down_blocks]
        hooks.append(model.conv_in.register_forward_hook(lambda _, i, o: kept.append((o,))))
        hooks.append(model.mid_block.register_forward_hook(lambda _, i, o: kept.append((o,))))
        model(latents, torch.tensor(timesteps), context)
        [h.remove() for h in hooks]
        residuals = [values(f"residual.{n}", x.shape) for n, x in enumerate(x for part in kept for x in part)]
        output = model(latents, torch.tensor(timesteps), context, down_block_additional_residuals=residuals[:-1],
                       mid_block_additional_residual=residuals[-1]).sample
    shapes = [[b, h, w, c] for b, c, h, w in (x.shape for x in residuals)]
    b, c, h, w = shape
    data = dict(config=json.loads(model.to_json_string()), latents=[b, h, w, c], timesteps=timesteps, context=list(context_shape),
                residuals=shapes, shape=list(channels_last(output).shape), output=numbers(channels_last(output)), loss=0, gradients={})
    (OUT / f"{file}.json").write_text(json.dumps(data, indent=0) + "\n")


def vae(file, pixels_shape, latents_shape, **config):
    n = len(config["block_out_channels"])
    config.update(down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n)
    for way, shape in [("encode", pixels_shape), ("decode", latents_shape)]:
        model = AutoencoderKL(**config).double()
        fill(model)
        x = values("x", shape).requires_grad_()
        output = model.encode(x).latent_dist.mean if way == "encode" else model.decode(x).sample
        b, c, h, w = shape
        named = [*model.named_parameters(), ("x", x)]
        golden(f"{file}_{way}", json.loads(model.to_json_string()), named, dict(x=[b, h, w, c]), output)


def tiny(file, pixels_shape, latents_shape, **config):
    for way, shape in [("encode", pixels_shape), ("decode", latents_shape)]:
        model = AutoencoderTiny(**config).double()
        fill(model)
        x = values("x", shape).requires_grad_()
        output = model.encode(x).latents if way == "encode" else model.decode(x).sample
        b, c, h, w = shape
        named = [*model.named_parameters(), ("x", x)]
        golden(f"{file}_{way}", json.loads(model.to_json_string()), named, dict(x=[b, h, w, c]), output)


def text(file, ids, **config):
    config = CLIPTextConfig(**config, attn_implementation="eager")
    model = CLIPTextModel(config).double()
    named = [("text_model." + name.removeprefix("text_model."), p) for name, p in model.named_parameters()]
    fill(model, "text_model.")
    output = model(torch.tensor(ids))
    pooled = numbers(output.pooler_output)
    golden(file, config.to_dict(), named, dict(ids=ids, pooled=pooled), output.last_hidden_state)


torch.set_num_threads(1)
unet("unet_v1", (2, 4, 8, 16), [981.0, 20.0], (2, 5, 12),
     block_out_channels=[8, 16, 16, 16], norm_num_groups=4, attention_head_dim=2, cross_attention_dim=12, sample_size=8)
unet("unet_linear", (1, 4, 12, 8), [499.5], (1, 7, 10),
     block_out_channels=[8, 16, 32], norm_num_groups=4, norm_eps=1e-6, attention_head_dim=[2, 4, 8], cross_attention_dim=10,
     layers_per_block=1, use_linear_projection=True, transformer_layers_per_block=[1, 2, 1], flip_sin_to_cos=False, freq_shift=1,
     center_input_sample=True, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
     up_block_types=["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"])
unet("unet_lists", (1, 3, 4, 4), [0.0], (1, 3, 6),
     in_channels=3, out_channels=5, block_out_channels=[12, 8], norm_num_groups=2, attention_head_dim=[3, 1], cross_attention_dim=[6, 6],
     layers_per_block=[1, 2], mid_block_type="UNetMidBlock2D", down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
     up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"])
added("unet_added", (1, 4, 8, 8), [300.0], (1, 5, 12), block_out_channels=[8, 16], norm_num_groups=4, attention_head_dim=2,
      cross_attention_dim=12, layers_per_block=1, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
vae("vae_f4", (1, 3, 8, 12), (1, 4, 2, 3), block_out_channels=[8, 16, 16], layers_per_block=1, norm_num_groups=4)
vae("vae_plain", (2, 1, 6, 4), (2, 3, 3, 2), in_channels=1, out_channels=2, latent_channels=3, block_out_channels=[8, 12],
    layers_per_block=2, norm_num_groups=2, mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False)
tiny("tiny_f8", (1, 3, 16, 24), (1, 4, 2, 3), encoder_block_out_channels=[8] * 4, decoder_block_out_channels=[12] * 4)
tiny("tiny_plain", (2, 1, 6, 4), (2, 3, 3, 2), in_channels=1, out_channels=2, latent_channels=3,
     encoder_block_out_channels=[8, 8], decoder_block_out_channels=[6, 6], num_encoder_blocks=[0, 2], num_decoder_blocks=[1, 0])
text("text_quick_gelu", [[98, 5, 17, 42, 99, 99], [98, 99, 99, 99, 99, 99]], vocab_size=100, hidden_size=16, intermediate_size=40,
     num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=8, bos_token_id=98, eos_token_id=99)
text("text_gelu", [[98, 3, 2, 1, 0, 7, 99]], vocab_size=100, hidden_size=12, intermediate_size=24, hidden_act="gelu",
     layer_norm_eps=1e-6, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=7, bos_token_id=98, eos_token_id=99)
