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
from formula import fill, values
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


def diffusion(file, min_snr):
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
    unet = UNet2DConditionModel(**unet_config).double()
    ids = {"pad_token_id": 1, "bos_token_id": 48, "eos_token_id": 49}
    text = CLIPTextModel(CLIPTextConfig(hidden_act="quick_gelu", **ids, **text_config)).double()
    fill(unet)
    # Newer versions of transformers leave the prefix out.
    fill(text, "text_model.")
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    alphas = schedule.alphas_cumprod.double()

    def whole(name, shape, count):
        return ((values(name, shape) + 1) / 2 * count).long()

    def loss_of(batch):
        x0, noise = (nchw(f"{name}.{batch}", 3, 4, 4, 4) for name in ("latents", "noise"))
        timesteps = whole(f"timesteps.{batch}", (3,), 1000)
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        context = text(whole(f"ids.{batch}", (3, 7), 50)).last_hidden_state
        square = (unet(noisy, timesteps, context).sample - noise) ** 2
        if min_snr:
            snr = alpha / (1 - alpha)
            square = square * snr.clamp(max=min_snr) / snr
        return square.mean()

    named = [*unet.named_parameters(), *text.named_parameters()]
    config = {"unet": unet_config, "text_encoder": text_config, "min_snr": min_snr}
    train(file, named, loss_of, 0.5, config)


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
    autoencoder("autoencoder.json")
