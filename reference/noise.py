"""Golden data of calotype-diffusion: the noise of A1111's webui and of k-diffusion's Brownian trees.

Runs their own code, from checkouts that you point it at (only `modules/rng.py` and `modules/rng_philox.py` of the first and
`k_diffusion/sampling.py` of the second are loaded), with torchsde installed. Writes
crates/diffusion/tests/goldens/image_noise.txt, all numbers as the hexadecimal bits of f32.

    python reference/noise.py --webui stable-diffusion-webui --k-diffusion k-diffusion
"""

import argparse
import importlib.util
import sys
import types
from pathlib import Path

import torch
import torchsde

from samplers import OUT, bits, fnv1a


def module(name, **members):
    m = types.ModuleType(name)
    vars(m).update(members)
    sys.modules[name] = m
    return m


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    m = importlib.util.module_from_spec(spec)
    sys.modules[name] = m
    spec.loader.exec_module(m)
    return m


def load_webui(root):
    """`modules.rng` on the CPU; its settings are in the second value."""
    cpu = torch.device("cpu")
    opts = types.SimpleNamespace(randn_source="CPU", eta_noise_seed_delta=0)
    devices, shared = types.SimpleNamespace(cpu=cpu, device=cpu), types.SimpleNamespace(opts=opts, device=cpu)
    package = module("modules", devices=devices, shared=shared)
    package.rng_philox = load("modules.rng_philox", root / "modules/rng_philox.py")
    return load("modules.rng", root / "modules/rng.py"), opts


def load_k_diffusion(root):
    package = module("k_diffusion", utils=module("k_diffusion.utils"))
    package.__path__ = []
    module("torchdiffeq", odeint=None)
    return load("k_diffusion.sampling", root / "k_diffusion/sampling.py")


def nv_lines(webui):
    for seed in (0, 1234, 2**32 + 7, 2**63 + 5):
        generator = webui.rng_philox.Generator(seed)
        for n in (12, 1, 1000, 65536):
            x = generator.randn((n,))
            yield f"nv {seed} {n} {fnv1a(x)} {bits(x[:12])}"


IMAGE_CASES = (
    # rng, seeds, subseeds, strength, resize from h and w (pixels), delta, latent h and w
    ("cpu", (5, 6), None, 0.0, 0, 0, 0, 3, 5),
    ("cpu", (5, 6), None, 0.0, 0, 0, 31337, 3, 5),
    ("nv", (5, 6), None, 0.0, 0, 0, 31337, 3, 5),
    ("cpu", (5, 5), (9, 10), 0.25, 0, 0, 0, 6, 5),
    ("nv", (5, 5), (9, 10), 0.25, 0, 0, 0, 6, 5),
    ("cpu", (5, 5), (9, 10), 1.0, 0, 0, 7, 6, 5),
    ("cpu", (5,), (5,), 0.3, 0, 0, 0, 4, 4),
    ("cpu", (5,), None, 0.0, 64, 64, 0, 10, 5),
    ("cpu", (5,), None, 0.0, 24, 88, 0, 8, 8),
    ("nv", (5,), None, 0.0, 72, 24, 0, 8, 8),
    ("cpu", (5, 5), (9, 10), 0.6, 40, 40, 99, 6, 8),
)


def image_lines(webui, opts):
    """Two calls of ImageRNG: the starting noise, and that of a step."""
    for case in IMAGE_CASES:
        rng, seeds, subseeds, strength, from_h, from_w, delta, h, w = case
        opts.randn_source, opts.eta_noise_seed_delta = rng.upper(), delta
        images = webui.ImageRNG(
            (4, h, w), list(seeds), subseeds and list(subseeds), strength, seed_resize_from_h=from_h, seed_resize_from_w=from_w
        )
        start, step = images.next(), images.next()
        numbers = (rng, seeds[0], len(seeds), subseeds[0] if subseeds else "-", strength, from_h, from_w, delta, h, w)
        yield f"image {' '.join(map(str, numbers))} {bits(start)} {bits(step)}"


def brownian_lines(webui, opts, k_diffusion):
    interval = torchsde._brownian.brownian_interval
    torch_randn = interval._randn
    karras = [float(s) for s in k_diffusion.get_sigmas_karras(12, 0.0291675, 14.614642)]
    ways = {
        "karras": list(zip(karras[:-2], karras[1:-1])),
        "any": [(14.614642, 0.0291675), (3.5, 1.25), (1.25, 3.5), (0.0291675, 14.614642), (20.0, 7.0), (0.5, 0.001), (9.0, 8.999998)],
        "dyadic": [(8.0, 7.3046875), (7.3046875, 7.302734375), (7.302734375, 1.0)],
    }
    ends = {"karras": (0.0291675, 14.614642), "any": (0.0291675, 14.614642), "dyadic": (0.0078125, 8.0)}
    for rng in ("cpu", "nv"):
        opts.randn_source = rng.upper()
        interval._randn = torch_randn if rng == "cpu" else lambda size, dtype, device, seed: webui.randn_local(seed, size).to(dtype)
        for seeds in ((42, 43), (2**40 + 3,)):
            for name, pairs in ways.items():
                x = torch.zeros(len(seeds), 4, 5, 4)
                low, high = (torch.tensor(end) for end in ends[name])
                noise = k_diffusion.BrownianTreeNoiseSampler(x, low, high, seed=list(seeds))
                for a, b in pairs:
                    a, b = torch.tensor(a), torch.tensor(b)
                    # torch's own root, of MKL, is often one place off in the last digit: here it is rounded correctly.
                    w = noise.tree(a, b) / (b - a).abs().double().sqrt().float()
                    torch.testing.assert_close(w, noise(a, b), rtol=2e-7, atol=0)
                    first = f"brownian {rng} {seeds[0]} {len(seeds)} {ends[name][0]} {ends[name][1]}"
                    yield f"{first} {a.item()!r} {b.item()!r} {fnv1a(w)} {bits(w.reshape(-1)[:4])}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--webui", type=Path, required=True)
    parser.add_argument("--k-diffusion", type=Path, required=True)
    arguments = parser.parse_args()
    webui, opts = load_webui(arguments.webui)
    k_diffusion = load_k_diffusion(arguments.k_diffusion)
    lines = [f"# torch {torch.__version__}, torchsde {torchsde.__version__}"]
    lines += [*nv_lines(webui), *image_lines(webui, opts), *brownian_lines(webui, opts, k_diffusion)]
    (OUT / "image_noise.txt").write_text("\n".join(lines) + "\n")
