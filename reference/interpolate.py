"""Writes crates/image/tests/interpolate.txt: a row of pixels at other sizes by torch.nn.functional.interpolate."""

import pathlib

import torch
from torch.nn.functional import interpolate

OUT = pathlib.Path(__file__).parent.parent / "crates/image/tests/interpolate.txt"
X = torch.tensor([[[0.0, 1.0, -2.0, 5.0, 3.0], [2.0, -1.0, 0.5, 7.0, -4.0], [1.0, 6.0, -3.0, 0.0, 8.0]]])[None]

lines = []
for mode, antialias in [("nearest", False), ("nearest-exact", False), ("bilinear", False), ("bilinear", True),
                        ("bicubic", False), ("bicubic", True)]:
    for size in [(3, 8), (4, 10), (5, 3), (2, 2)]:
        y = interpolate(X, size, mode=mode, antialias=antialias)
        numbers = " ".join(f"{v:.7g}" for v in y.flatten().tolist())
        lines.append(f"{mode}{' antialias' if antialias else ''} | {size[0]} {size[1]} | {numbers}\n")
OUT.write_text("".join(lines))
