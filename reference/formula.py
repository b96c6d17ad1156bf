"""Weights and inputs by formula, so that no golden needs them stored: Rust's tests make the same from the same names."""

import math

import numpy as np
import torch


def values(name, shape):
    """Pseudo-random numbers in -1..1 of 24 bits: FNV-1a of the name, then SplitMix64."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return torch.from_numpy(2 * u - 1).reshape(shape)


def weight(name, shape):
    """A network's parameter, rounded to f32."""
    x = values(name, shape)
    if "embedding.weight" in name:
        pass
    elif len(shape) > 1:
        x = x * math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        x = 1 + 0.1 * x
    else:
        x = 0.1 * x
    return x.float()


def fill(model, prefix=""):
    """Weights by formula. Names without `prefix` get it, whatever version of the library named them."""
    for name, p in model.named_parameters():
        if not name.startswith(prefix):
            name = prefix + name
        p.data = weight(name, p.shape).to(p.dtype)
    return model.eval()
