"""Writes crates/image/tests/resize.txt: pictures in other sizes by Pillow, of colours with LANCZOS and of grey with BICUBIC.
Pillow 13: those before go along rows first always, which changes sizes whose height shrinks by more than twice what their
width does."""

import pathlib

import numpy as np
from PIL import Image

OUT = pathlib.Path(__file__).parent.parent / "crates/image/tests/resize.txt"
SIZES = [((9, 7), (5, 4)), ((5, 4), (12, 9)), ((16, 3), (2, 8)), ((31, 20), (8, 8)), ((6, 11), (6, 3)), ((10, 4), (7, 4)),
         ((1, 1), (3, 2)), ((33, 2), (32, 1)), ((64, 48), (3, 3)), ((11, 9), (10, 7)), ((11, 10), (10, 7)), ((5, 9), (12, 8)),
         ((13, 20), (9, 11))]

lines = []
for mode, channels, method in [("RGB", 3, Image.Resampling.LANCZOS), ("L", 1, Image.Resampling.BICUBIC)]:
    for (width, height), size in SIZES:
        i = np.arange(width * height * channels)
        data = ((i * i * 37 + i * 101) // 8 % 256).astype(np.uint8).tobytes()
        resized = Image.frombytes(mode, (width, height), data).resize(size, method)
        lines.append(f"{channels} {width} {height} {size[0]} {size[1]} {resized.tobytes().hex()}\n")
OUT.write_text("".join(lines))
