"""Marks by the package invisible-watermark and by calotype on the same images, after the same attacks, side by side.

    pip install invisible-watermark==0.2.0 opencv-python-headless PyWavelets pillow   # and torch, which the package imports
    python reference/watermark_bench.py FOLDER --calotype target/release/calotype [--side 256] [--most 100]

Squares of --side pixels are cut out of the folder's images. A mark counts as read when all of it is right: 17 bytes of the package,
64 bits of ours. Attacks are Pillow's (libjpeg-turbo, libwebp), not calotype's own.
"""

import argparse
import io
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from imwatermark import WatermarkDecoder, WatermarkEncoder
from PIL import Image

TEXT = b"StableDiffusionV1"


def through(image, **options):
    """The image written to a file and read again."""
    file = io.BytesIO()
    image.save(file, **options)
    return Image.open(file).convert("RGB")


def cropped(image, share):
    x, y = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


def scaled(image, share):
    return image.resize((round(image.width * share), round(image.height * share)), Image.LANCZOS)


def there_and_back(image, share):
    return scaled(image, share).resize(image.size, Image.BICUBIC)


ATTACKS = {
    "none": lambda image: image,
    "PNG": lambda image: through(image, format="PNG"),
    "WebP 80": lambda image: through(image, format="WEBP", quality=80),
    "WebP 50": lambda image: through(image, format="WEBP", quality=50),
    "JPEG 95": lambda image: through(image, format="JPEG", quality=95),
    "JPEG 85": lambda image: through(image, format="JPEG", quality=85),
    "JPEG 75": lambda image: through(image, format="JPEG", quality=75),
    "JPEG 50": lambda image: through(image, format="JPEG", quality=50),
    "resize 75 % and back": lambda image: there_and_back(image, 0.75),
    "resize 50 % and back": lambda image: there_and_back(image, 0.5),
    "resize to 75 %": lambda image: scaled(image, 0.75),
    "resize to 50 %": lambda image: scaled(image, 0.5),
    "crop 5 %": lambda image: cropped(image, 0.05),
    "crop 5 %, JPEG 75": lambda image: through(cropped(image, 0.05), format="JPEG", quality=75),
    "brightness x1.1": lambda image: image.point(lambda x: x * 1.1),
    "brightness x0.9": lambda image: image.point(lambda x: x * 0.9),
    "gamma 1.1": lambda image: image.point(lambda x: 255 * (x / 255) ** (1 / 1.1) + 0.5),
    "rotation 3 degrees": lambda image: image.rotate(3, Image.BICUBIC),
}


def squares(folder, side, most):
    found = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        try:
            image = Image.open(path).convert("RGB")
        except OSError:
            continue
        for x in range(0, image.width - side + 1, side):
            for y in range(0, image.height - side + 1, side):
                found.append(image.crop((x, y, x + side, y + side)))
    step = max(1, len(found) // most)
    return found[::step][:most]


def psnr(a, b):
    error = np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


def package_write(image, scheme):
    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", TEXT)
    return Image.fromarray(encoder.encode(np.asarray(image)[..., ::-1].copy(), scheme)[..., ::-1].copy())


def package_reads(image, scheme):
    if image.width * image.height < 65536:
        return False
    return WatermarkDecoder("bytes", 8 * len(TEXT)).decode(np.asarray(image)[..., ::-1].copy(), scheme) == TEXT


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--calotype", required=True)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--most", type=int, default=100)
    args = parser.parse_args()
    images = squares(args.folder, args.side, args.most)
    right = {name: {"dwtDct": 0, "dwtDctSvd": 0, "tiled": 0} for name in ATTACKS}
    distances = {"dwtDct": [], "dwtDctSvd": [], "tiled": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, image in enumerate(images):
            identity = f"{(number + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}"
            image.save(folder / "plain.png")
            command = [args.calotype, "watermark", "write", folder / "plain.png", "-o", folder / "marked.png", "--id", identity]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            marked = {scheme: package_write(image, scheme) for scheme in ["dwtDct", "dwtDctSvd"]}
            marked["tiled"] = Image.open(folder / "marked.png").convert("RGB")
            for scheme, picture in marked.items():
                distances[scheme].append(psnr(image, picture))
            files = []
            for index, (name, attack) in enumerate(ATTACKS.items()):
                for scheme in ["dwtDct", "dwtDctSvd"]:
                    right[name][scheme] += package_reads(attack(marked[scheme]), scheme)
                files.append(folder / f"{index}.png")
                attack(marked["tiled"]).save(files[-1])
            # Its exit status says that some have none.
            output = subprocess.run([args.calotype, "watermark", "read", "--json", *files], capture_output=True).stdout
            for name, read in zip(ATTACKS, json.loads(output), strict=True):
                right[name]["tiled"] += any(mark.get("id") == identity for mark in read["watermarks"])
    print(f"{len(images)} images of {args.side} x {args.side}")
    print("PSNR, median and lowest: " + ", ".join(
        f"{scheme} {np.median(values):.1f} and {min(values):.1f} dB" for scheme, values in distances.items()))
    print("| attack | tiled | dwtDctSvd | dwtDct |\n|---|---|---|---|")
    for name, counts in right.items():
        print(f"| {name} | " + " | ".join(str(counts[scheme]) for scheme in ["tiled", "dwtDctSvd", "dwtDct"]) + " |")


main()
