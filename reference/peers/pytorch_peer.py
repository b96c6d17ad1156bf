"""PyTorch with diffusers, channels-last."""

import time

import torch

import sd15

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def run(spec, protocol):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    {"unet_step": unet_step, "vae_decode": vae_decode, "train": train, "txt2img": txt2img}[spec["work"]](spec, protocol)


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@torch.no_grad()
def unet_step(spec, protocol):
    dtype, (h, w) = DTYPES[spec["precision"]], (spec["height"] // 8, spec["width"] // 8)
    unet = sd15.unet(dtype).to(memory_format=torch.channels_last)
    count = parameters(unet)
    if spec["compile"]:
        unet = torch.compile(unet)
    x, context = torch.randn(2, 4, h, w).to(dtype), torch.randn(2, 77, 768).to(dtype)
    protocol.serve(lambda: unet(x, 500, context).sample, parameters=count)


@torch.no_grad()
def vae_decode(spec, protocol):
    dtype, (h, w) = DTYPES[spec["precision"]], (spec["height"] // 8, spec["width"] // 8)
    vae = sd15.vae(dtype).to(memory_format=torch.channels_last)
    count = parameters(vae)
    if spec["compile"]:
        vae.decoder = torch.compile(vae.decoder)
    z = torch.randn(1, 4, h, w).to(dtype)
    protocol.serve(lambda: vae.decode(z).sample, parameters=count)


def train(spec, protocol):
    """One step: forward, backward, clipping, AdamW and, if asked for, the moving average of the weights."""
    training = spec["training"]
    batch, side = training["batch_size"], training["latents"]
    if training["unet"] is None:
        unet, text = sd15.unet().train(), None
        unet.enable_gradient_checkpointing()
    else:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        unet = UNet2DConditionModel(**training["unet"]).train()
        text = CLIPTextModel(CLIPTextConfig(**training["text_encoder"])).train()
    unet = unet.to(memory_format=torch.channels_last)
    modules = [unet] if text is None else [unet, text]
    learned = [p for module in modules for p in module.parameters()]
    optimiser = torch.optim.AdamW(learned, lr=1e-5, betas=training["betas"], fused=True)
    average = [p.detach().clone() for p in learned] if training["ema_decay"] > 0 else None
    context = torch.randn(batch, 77, unet.config.cross_attention_dim)
    ids = torch.randint(0, 49408, (batch, 77))

    def step():
        noisy, noise = torch.randn(batch, 4, side, side), torch.randn(batch, 4, side, side)
        encoded = context if text is None else text(ids).last_hidden_state
        predicted = unet(noisy, torch.randint(0, 1000, (batch,)), encoded).sample
        optimiser.zero_grad(set_to_none=True)
        (predicted - noise).square().mean().backward()
        if training["gradient_clip"] > 0:
            torch.nn.utils.clip_grad_norm_(learned, training["gradient_clip"])
        optimiser.step()
        if average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(average, learned, 1.0 - training["ema_decay"])

    protocol.serve(step, parameters=parameters(*modules))


@torch.no_grad()
def txt2img(spec, protocol):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(spec["model"], torch_dtype=DTYPES[spec["precision"]])
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    marks = []

    def mark(_pipeline, _index, _timestep, values):
        marks.append(time.monotonic())
        return values

    size = {"width": spec["width"], "height": spec["height"]}
    pipeline("a cat", num_inference_steps=spec["steps"], guidance_scale=7.5, callback_on_step_end=mark, **size)
    protocol.say(first_step_at=marks[0], step=(marks[-1] - marks[0]) / (len(marks) - 1))
