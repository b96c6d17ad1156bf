"""Structural similarity by scikit-image 0.26.0 of pictures by formula, for crates/image/src/ssim.rs: python reference/compare.py"""

import numpy as np
from skimage.metrics import structural_similarity


def picture(width, height, kind):
    x, y, c = np.meshgrid(np.arange(width), np.arange(height), np.arange(3), indexing="xy")
    if kind == 0:
        values = (x * 7 + y * 3 + c * 40) % 256
    elif kind == 1:
        values = (x * 7 + y * 3 + c * 40 + (x * y + c) % 11) % 256
    else:
        values = ((x // 4 + y // 4 + c) % 2) * 200 + (x * 13 + y * 29) % 30
    return values.astype(np.uint8)


for size, kinds in [((40, 33), (0, 1)), ((40, 33), (0, 2)), ((11, 64), (1, 2))]:
    a, b = (picture(*size, kind) for kind in kinds)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1)
    print(size, kinds, repr(structural_similarity(a.astype(float), b.astype(float), **options)))
