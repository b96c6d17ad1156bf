"""Golden values of the package invisible-watermark: what it writes into pictures that a formula makes, and reads from them.

    pip install invisible-watermark==0.2.0 opencv-python-headless PyWavelets   # and torch, which it imports
    python reference/watermark.py > crates/safety/tests/goldens/watermark.json
"""

import hashlib
import importlib.metadata
import json

import numpy as np
from imwatermark import WatermarkDecoder, WatermarkEncoder


def picture(width, height, kind):
    """RGB of smooth waves, of coarse noise, or of one grey; the test makes the same in whole numbers."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    if kind == "grey":
        return np.full((height, width, 3), 90, np.uint8)
    if kind == "waves":
        channels = [(x * x // 97 + y * (c + 2)) % 256 for c in range(3)]
        channels = [np.where(channel > 127, 255 - channel, channel) * 2 for channel in channels]
    else:
        channels = [((x // 3) * 7919 + (y // 3) * 104729 + c * 31 + (x // 3) * (y // 3) * 17) % 251 for c in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def main():
    cases = []
    for width, height, kind in [(256, 256, "waves"), (301, 262, "waves"), (320, 256, "noise"), (257, 259, "grey")]:
        rgb = picture(width, height, kind)
        for scheme in ["dwtDct", "dwtDctSvd"]:
            for text in ["StableDiffusionV1", "ab"]:
                encoder = WatermarkEncoder()
                encoder.set_watermark("bytes", text.encode())
                marked = encoder.encode(rgb[..., ::-1].copy(), scheme)[..., ::-1]
                read = WatermarkDecoder("bytes", len(text) * 8).decode(marked[..., ::-1].copy(), scheme)
                cases.append({
                    "width": width, "height": height, "kind": kind, "scheme": scheme, "text": text,
                    "sha256": hashlib.sha256(np.ascontiguousarray(marked).tobytes()).hexdigest(),
                    "read": read.hex(),
                })
    versions = {name: importlib.metadata.version(name) for name in ["invisible-watermark", "opencv-python-headless", "PyWavelets", "numpy"]}
    lines = ",\n ".join(json.dumps(case) for case in cases)
    print(f'{{"versions": {json.dumps(versions)},\n"cases": [\n {lines}\n]}}')


main()
