"""Writes crates/train/tests/goldens/*.json: the losses of ten training steps of small networks of diffusers and transformers.

Weights and batches are not stored: both sides make them from their names by the same formula (`values` of formula.py).
Everything is computed in f64. A step is two batches whose gradients are averaged, clipped, and given to torch's AdamW;
weights decay in convolutions and linear maps only. The last number of a file is the loss of the first batch with the
averaged weights (LitEma's rule).

    python reference/training.py
"""

import json
import math
import pathlib

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from formula import fill, values, weight
from peft import LoraConfig, inject_adapter_in_model
from transformers import CLIPTextConfig, CLIPTextModel

OUT = pathlib.Path(__file__).parent.parent / "crates/train/tests/goldens"
BATCHES = 2
TRAIN = {
    "batch_size": 3,
    "gradient_accumulation": BATCHES,
    "steps": 10,
    "learning_rate": 2e-3,
    "warmup_steps": 3,
    "decay": "cosine",
    "final_ratio": 0.1,
    "weight_decay": 0.05,
    "betas": [0.9, 0.98],
    "eps": 1e-8,
    "ema_decay": 0.9,
}


def learning_rate(step):
    """A line to the full rate at `warmup_steps`, then half a cosine to `final_ratio` of it; steps count from 1. As in diffusers'
    schedules the step after the warm-up has the full rate."""
    full, warmup = TRAIN["learning_rate"], TRAIN["warmup_steps"]
    if step < warmup:
        return full * step / warmup
    done = max(step - 1 - warmup, 0) / (TRAIN["steps"] - warmup)
    return full * (TRAIN["final_ratio"] + (1 - TRAIN["final_ratio"]) * (1 + math.cos(math.pi * done)) / 2)


def train(file, named, loss_of, clip, config):
    """`named`: pairs of name and parameter; `loss_of(batch)` is the loss of a batch by its number."""
    decayed = [p for name, p in named if p.ndim > 1 and "embedding.weight" not in name]
    others = [p for name, p in named if not (p.ndim > 1 and "embedding.weight" not in name)]
    groups = [{"params": decayed, "weight_decay": TRAIN["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=TRAIN["betas"], eps=TRAIN["eps"])
    average = [p.detach().clone() for _, p in named]
    losses, norms = [], []
    for step in range(1, TRAIN["steps"] + 1):
        optimiser.zero_grad()
        batches = [loss_of(batch) for batch in range((step - 1) * BATCHES, step * BATCHES)]
        (sum(batches) / BATCHES).backward()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], clip).item())
        losses.append(sum(loss.item() for loss in batches) / BATCHES)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step)
        optimiser.step()
        decay = min(TRAIN["ema_decay"], (1 + step) / (10 + step))
        for mean, (_, p) in zip(average, named):
            mean += (p.detach() - mean) * (1 - decay)
    for mean, (_, p) in zip(average, named):
        p.data = mean
    with torch.no_grad():
        averaged = loss_of(0).item()
    golden = {
        "config": config,
        "train": TRAIN | {"gradient_clip": clip},
        "losses": losses,
        "norms": norms,
        "averaged": averaged,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / file).write_text(json.dumps(golden, indent=1) + "\n")
    print(file, losses, norms, averaged)


def nchw(name, batch, height, width, channels):
    """Values of a channels-last batch, as torch wants them."""
    return values(name, (batch, height, width, channels)).movedim(-1, 1)


def diffusion(file, min_snr, v_prediction=False, lora=None):
    """With `lora` changes of PEFT learn alone, named as kohya names their factors. With `v_prediction` in the form of Stable Diffusion 2: OpenCLIP's activation, linear projections, heads by the level."""
    unet_config = {
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    text_config = {
        "vocab_size": 50,
        "hidden_size": 8,
        "intermediate_size": 24,
        "projection_dim": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 7,
    }
    if v_prediction:
        unet_config |= {"use_linear_projection": True, "attention_head_dim": [2, 4]}
        text_config["hidden_act"] = "gelu"
    unet = UNet2DConditionModel(**unet_config).double()
    ids = {"pad_token_id": 1, "bos_token_id": 48, "eos_token_id": 49}
    text = CLIPTextModel(CLIPTextConfig(**({"hidden_act": "quick_gelu"} | ids | text_config))).double()
    fill(unet)
    # Newer versions of transformers leave the prefix out.
    fill(text, "text_model.")
    if lora:
        named = [*add_lora(unet, "unet", lora), *add_lora(text, "text_encoder", lora)]
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    schedule.alphas_cumprod = alphas = schedule.alphas_cumprod.double()

    def whole(name, shape, count):
        return ((values(name, shape) + 1) / 2 * count).long()

    def loss_of(batch):
        x0, noise = (nchw(f"{name}.{batch}", 3, 4, 4, 4) for name in ("latents", "noise"))
        timesteps = whole(f"timesteps.{batch}", (3,), 1000)
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        context = text(whole(f"ids.{batch}", (3, 7), 50)).last_hidden_state
        target = schedule.get_velocity(x0, noise, timesteps) if v_prediction else noise
        square = (unet(noisy, timesteps, context).sample - target) ** 2
        if min_snr:
            # As diffusers' train_text_to_image.py: base weights over SNR, or over SNR + 1.
            snr = alpha / (1 - alpha)
            square = square * snr.clamp(max=min_snr) / (snr + 1 if v_prediction else snr)
        return square.mean()

    if not lora:
        named = [*unet.named_parameters(), *text.named_parameters()]
    config = {"unet": unet_config, "text_encoder": text_config, "min_snr": min_snr}
    if v_prediction:
        config["prediction_type"] = "v_prediction"
    if lora:
        config["lora"] = lora
    train(file, named, loss_of, 0.5, config)


def add_lora(network, prefix, lora):
    """Adds PEFT's LoRA to the modules that kohya's `networks.lora` with `conv_dim` takes; their factors by formula."""
    products, wide = [], []
    for name, module in network.named_modules():
        if prefix == "unet":
            parts = (".attentions.", ".resnets.", ".downsamplers.", ".upsamplers.")
        else:
            parts = (".self_attn.", ".mlp.")
        if not any(part in f".{name}" for part in parts):
            continue
        if isinstance(module, torch.nn.Linear):
            products.append(name)
        elif isinstance(module, torch.nn.Conv2d):
            products.append(name)
            if module.kernel_size != (1, 1):
                wide.append(name)
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        target_modules=products,
        rank_pattern={name: lora["conv_rank"] for name in wide},
        alpha_pattern={name: lora["conv_alpha"] for name in wide},
    )
    model = inject_adapter_in_model(config, network)
    named = []
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name)
        if "lora_" not in name:
            continue
        path, factor = name.split(".lora_")
        if prefix == "text_encoder" and not path.startswith("text_model."):
            path = f"text_model.{path}"
        part = "lora_down.weight" if factor.startswith("A") else "lora_up.weight"
        p.data = weight(f"{prefix}.{path}.{part}", p.shape).to(torch.float64)
        named.append((f"{prefix}.{path}.{part}", p))
    return named


def autoencoder(file):
    vae_config = {
        "block_out_channels": [8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1,
        "latent_channels": 3,
        "norm_num_groups": 4,
    }
    weights = {"l1_weight": 1.0, "edge_weight": 0.5, "kl_weight": 0.01}
    vae = AutoencoderKL(**vae_config).double()
    fill(vae)

    def loss_of(batch):
        x = nchw(f"pictures.{batch}", 3, 8, 8, 3)
        posterior = vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * nchw(f"noise.{batch}", 3, 4, 4, 3)
        error = vae.decode(z).sample - x
        edge = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        kl = posterior.kl().mean() / x[0].numel()
        parts = zip(weights.values(), (error.abs().mean(), edge, kl))
        return sum(weight * part for weight, part in parts)

    train(file, list(vae.named_parameters()), loss_of, 1.0, {"vae": vae_config, "loss": weights})


if __name__ == "__main__":
    diffusion("diffusion.json", None)
    diffusion("diffusion_min_snr.json", 5.0)
    diffusion("diffusion_v.json", None, v_prediction=True)
    diffusion("diffusion_v_min_snr.json", 5.0, v_prediction=True)
    diffusion("lora.json", None, lora={"rank": 3, "alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0})
    autoencoder("autoencoder.json")
