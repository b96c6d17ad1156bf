"""Writes crates/train/tests/goldens/adversary.json: ten steps of an autoencoder of diffusers against PatchGAN's discriminator, with LPIPS, as
CompVis' `LPIPSWithDiscriminator` trains it, and crates/models/tests/goldens/perceptual.json: distances and their gradients.

Weights and batches come from their names by the formula of formula.py. Everything is computed in f64. CompVis' losses are sums over a
picture; here they are divided by the count of its values before anything is made small. A step is two batches whose
gradients are averaged: first the autoencoder's, then the discriminator's, with what the autoencoder makes of the same pictures then.

    pip install torchvision lpips==0.1.4 efficientnet-lite-pytorch==0.1.0
    python reference/adversary.py
"""

import json
import pathlib

import lpips
import torch
import torchvision
from diffusers import AutoencoderKL
from efficientnet_lite_pytorch import EfficientNet
from formula import fill, values
from torch import nn
from training import BATCHES, OUT, TRAIN, learning_rate, nchw

MODELS = OUT.parent.parent.parent / "models/tests/goldens"
# Of the rate of `training.py`: at the whole of it a kink comes near in step 5.
RATE = 0.25
VERSIONS = {name: module.__version__ for name, module in {"torch": torch, "torchvision": torchvision}.items()}
VERSIONS |= {"lpips": "0.1.4", "efficientnet-lite-pytorch": "0.1.0"}


def discriminator(channels, layers):
    """taming-transformers' NLayerDiscriminator with batch norms."""
    width = [channels * min(2**i, 8) for i in range(layers + 1)]
    main = [nn.Conv2d(3, width[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for i in range(1, layers + 1):
        stride = 2 if i < layers else 1
        main += [nn.Conv2d(width[i - 1], width[i], 4, stride, 1, bias=False), nn.BatchNorm2d(width[i]), nn.LeakyReLU(0.2)]
    net = nn.Module()
    net.main = nn.Sequential(*main, nn.Conv2d(width[-1], 1, 4, 1, 1))
    net.forward = lambda x: net.main(x)
    net = net.double()
    fill(net)
    return net.train()


def perceptual(torchvision_names=False):
    """LPIPS with weights by formula, none of its heads below 0."""
    net = lpips.LPIPS(pretrained=False, pnet_rand=True, net="vgg", verbose=False).double()
    with torch.no_grad():
        for name, p in net.net.named_parameters():
            slice_name, place, kind = name.split(".")
            name = f"features.{place}.{kind}" if torchvision_names else f"net.{name}"
            x = values(name, tuple(p.shape))
            p.copy_(x * (3 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.1 * x)
        for i in range(5):
            weight = getattr(net, f"lin{i}").model[1].weight
            weight.copy_(values(f"lin{i}.model.1.weight", tuple(weight.shape)).abs())
    return net.eval()


def efficientnet():
    """EfficientNet-lite0 with weights by formula, its padding by the size of the input; variances and gains are around 1."""
    net = EfficientNet.from_name("efficientnet-lite0", image_size=None).double().eval()
    with torch.no_grad():
        for name, x in net.state_dict().items():
            if x.ndim == 0:
                continue
            v = values(name, tuple(x.shape))
            if x.ndim > 1:
                x.copy_(v * (6 / x[0].numel()) ** 0.5)
            else:
                around_one = name.endswith("running_var") or name.endswith("weight")
                x.copy_(1 + 0.1 * v if around_one else 0.1 * v)
    return net


def stages(net, x):
    """The results of the first five stages; the network takes (v - 127) / 128 of bytes."""
    x = (x + 1) * 127.5
    x = net._swish(net._bn0(net._conv_stem((x - 127) / 128)))
    features = []
    for i, block in enumerate(net._blocks):
        x = block(x)
        if i in (0, 2, 4, 7, 10):
            features.append(x)
    return features, x


def unit(x):
    return x / (x.norm(dim=1, keepdim=True) + 1e-10)


def distances(file):
    x, y = (nchw(name, 2, 32, 40, 3) for name in ("x", "y"))
    networks = {"lpips": perceptual(), "torchvision": perceptual(True)}
    distance = {name: lambda a, b, net=net: net(a, b).mean() for name, net in networks.items()}
    lite = efficientnet()
    distance["efficientnet_lite0"] = lambda a, b: sum(
        ((unit(p) - unit(q)) ** 2).sum(1).mean() for p, q in zip(stages(lite, a)[0], stages(lite, b)[0])
    )
    golden = {"versions": VERSIONS}
    for name, of in distance.items():
        made = y.clone().requires_grad_(True)
        value = of(made, x)
        (gradient,) = torch.autograd.grad(value, made)
        rows = gradient.movedim(1, -1).flatten()
        golden[name] = {
            "distance": value.item(),
            "gradient_norm": rows.norm().item(),
            "gradient": rows[:: rows.numel() // 12][:12].tolist(),
        }
    with torch.no_grad():
        last = stages(lite, x)[1]
        pooled = lite._swish(lite._bn1(lite._conv_head(last))).mean((2, 3))
    golden["pooled"] = {"sum": pooled.sum().item(), "first": pooled[:, :4].tolist()}
    MODELS.mkdir(parents=True, exist_ok=True)
    (MODELS / file).write_text(json.dumps(golden, indent=1) + "\n")
    print(file, golden)


def training(file):
    vae_config = {
        "block_out_channels": [8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1,
        "latent_channels": 3,
        "norm_num_groups": 4,
    }
    weights = {"l1_weight": 1.0, "kl_weight": 0.01, "perceptual_weight": 0.7}
    judge = {"start": 3, "weight": 0.5, "channels": 4, "layers": 2}
    # With eps = 1e-8 Adam makes whole steps of gradients near 0, and PyTorch in f32 is 1e-3 off PyTorch in f64 after five steps, for random
    # weights see kinks at every place; with 1e-2 the two agree to 1e-7.
    train = TRAIN | {"betas": [0.5, 0.9], "weight_decay": 0.0, "gradient_clip": 0.0, "steps": 10, "eps": 1e-2}
    train["learning_rate"] = RATE * TRAIN["learning_rate"]
    vae, net, net_perceptual = AutoencoderKL(**vae_config).double(), discriminator(4, 2), perceptual()
    fill(vae)
    adam = [
        torch.optim.AdamW(m.parameters(), lr=1.0, betas=train["betas"], eps=train["eps"], weight_decay=0.0)
        for m in (vae, net)
    ]
    last = vae.decoder.conv_out.weight

    def reconstruct(x, noise):
        posterior = vae.encode(x).latent_dist
        return posterior, vae.decode(posterior.mean + posterior.std * nchw(noise, 3, 8, 8, 3)).sample

    golden = {"config": {"vae": vae_config, "loss": weights | {"discriminator": judge}}, "train": train, "versions": VERSIONS}
    golden |= {"losses": [], "norms": [], "adaptive_weights": [], "discriminator": []}
    for step in range(1, train["steps"] + 1):
        factor = float(step > judge["start"])
        batches = range((step - 1) * BATCHES, step * BATCHES)
        for group in [g for optimiser in adam for g in optimiser.param_groups]:
            group["lr"] = RATE * learning_rate(step)
        adam[0].zero_grad()
        losses, adaptive = [], []
        for batch in batches:
            x = nchw(f"pictures.{batch}", 3, 16, 16, 3)
            posterior, made = reconstruct(x, f"noise.{batch}")
            values_of_one = x[0].numel()
            error = (x - made).abs() + weights["perceptual_weight"] * net_perceptual(x, made)
            nll = error.sum() / len(x)
            kl = posterior.kl().sum() / len(x)
            verdict = -net(made).mean()
            of_nll, of_verdict = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (nll, verdict))
            balance = (of_nll.norm() / (of_verdict.norm() + 1e-4)).clamp(0, 1e4).detach() * judge["weight"]
            loss = (nll + weights["kl_weight"] * kl + balance * factor * verdict) / values_of_one
            (loss / BATCHES).backward()
            losses.append(loss.item())
            adaptive.append(balance.item() * factor)
        grads = torch.cat([p.grad.flatten() for p in vae.parameters()])
        adam[0].step()
        adam[1].zero_grad()
        hinges = []
        for batch in batches:
            x = nchw(f"pictures.{batch}", 3, 16, 16, 3)
            with torch.no_grad():
                _, made = reconstruct(x, f"noise.discriminator.{batch}")
            hinge = 0.5 * ((1 - net(x)).relu().mean() + (1 + net(made)).relu().mean()) * factor
            (hinge / BATCHES).backward()
            hinges.append(hinge.item())
        adam[1].step()
        for key, numbers in {"losses": losses, "adaptive_weights": adaptive, "discriminator": hinges}.items():
            golden[key].append(sum(numbers) / BATCHES)
        golden["norms"].append(grads.norm().item())
    (OUT / file).write_text(json.dumps(golden, indent=1) + "\n")
    print(file, golden)


if __name__ == "__main__":
    torch.manual_seed(0)
    distances("perceptual.json")
    training("adversary.json")
