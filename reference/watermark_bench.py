"""Marks by the package invisible-watermark and by calotype on the same images, after the same attacks, side by side.

    pip install invisible-watermark==0.2.0 opencv-python-headless PyWavelets pillow scikit-image   # and torch, which the package imports
    python reference/watermark_bench.py FOLDER… --calotype target/release/calotype [--side 256] [--most 100] [--only WORDS] [--ours]
    python reference/watermark_bench.py FOLDER… --calotype target/release/calotype --unmarked 10000 [--quick]

Squares of --side pixels are cut out of the images of each folder, --most of each. A mark counts as read when all of it is right: 17 bytes
of the package, 64 bits of ours. Attacks are Pillow's (libjpeg-turbo, libwebp), not calotype's own. --only takes the attacks whose names have
one of these words, separated by commas; --ours leaves the package out. --unmarked counts marks that nobody wrote in so many random pieces
of the images, brought to --side; a thorough reading takes two seconds of a processor each, one with --quick looks at the image as it is.
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
from skimage.metrics import structural_similarity

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
    "crop odd": lambda image: image.crop((3, 7, 3 + image.width * 85 // 100, 7 + image.height * 85 // 100)),
    "crop 5 %, JPEG 75": lambda image: through(cropped(image, 0.05), format="JPEG", quality=75),
    "brightness x1.1": lambda image: image.point(lambda x: x * 1.1),
    "brightness x0.9": lambda image: image.point(lambda x: x * 0.9),
    "brightness +25": lambda image: image.point(lambda x: x + 25),
    "gamma 1.1": lambda image: image.point(lambda x: 255 * (x / 255) ** (1 / 1.1) + 0.5),
    "gamma 0.9": lambda image: image.point(lambda x: 255 * (x / 255) ** (1 / 0.9) + 0.5),
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


def similarity(a, b):
    return structural_similarity(np.asarray(a), np.asarray(b), channel_axis=2)


def ids(calotype, files, *options):
    """The ids that calotype reads in each file. Its exit status says that some have none."""
    output = subprocess.run([calotype, "watermark", "read", "--json", *options, *files], capture_output=True).stdout
    return [[mark["id"] for mark in read["watermarks"] if mark["scheme"] == "tiled"] for read in json.loads(output)]


def count_false_reads(args):
    random, found = np.random.default_rng(1), 0
    images = [Image.open(file).convert("RGB") for name in args.folders for file in sorted(pathlib.Path(name).iterdir())]
    for start in range(0, args.unmarked, 500):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number in range(start, min(start + 500, args.unmarked)):
                image = images[number % len(images)]
                side = random.integers(96, min(image.size) + 1)
                x, y = random.integers(image.width - side + 1), random.integers(image.height - side + 1)
                piece = image.crop((x, y, x + side, y + side)).resize((args.side, args.side), Image.LANCZOS)
                files.append(pathlib.Path(folder) / f"{number}.png")
                piece.save(files[-1], compress_level=1)
            found += sum(map(bool, ids(args.calotype, files, *["--quick"] if args.quick else [])))
            print(f"{found} false reads in {start + len(files)} pieces of {len(images)} images", flush=True)


def measure(args, name, attacks):
    """Of a folder's images how many, of each attack and scheme how many marks were read, and of each scheme PSNR and SSIM."""
    images, schemes = squares(name, args.side, args.most), [] if args.ours else ["dwtDctSvd", "dwtDct"]
    right = {attack: dict.fromkeys(["tiled", *schemes], 0) for attack in attacks}
    distances = {scheme: [] for scheme in ["tiled", *schemes]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, image in enumerate(images):
            identity = f"{(number + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}"
            image.save(folder / "plain.png")
            command = [args.calotype, "watermark", "write", folder / "plain.png", "-o", folder / "marked.png", "--id", identity]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            marked = {"tiled": Image.open(folder / "marked.png").convert("RGB")}
            marked |= {scheme: package_write(image, scheme) for scheme in schemes}
            for scheme, picture in marked.items():
                distances[scheme].append((psnr(image, picture), similarity(image, picture)))
            files = []
            for index, (attack, change) in enumerate(attacks.items()):
                for scheme in schemes:
                    right[attack][scheme] += package_reads(change(marked[scheme]), scheme)
                files.append(folder / f"{index}.png")
                change(marked["tiled"]).save(files[-1])
            for attack, read in zip(attacks, ids(args.calotype, files), strict=True):
                right[attack]["tiled"] += identity in read
    return len(images), right, distances


def table(name, count, right, distances):
    print(f"\n{name}: {count} images")
    for scheme, values in distances.items():
        noise, alike = np.array(values).T
        print(f"{scheme}: PSNR median {np.median(noise):.1f}, lowest {noise.min():.1f} dB; SSIM median {np.median(alike):.4f}, lowest {alike.min():.4f}")
    print("| attack | " + " | ".join(distances) + " |\n|---|" + "---|" * len(distances))
    for attack, counts in right.items():
        print(f"| {attack} | " + " | ".join(f"{100 * counts[scheme] / count:.1f}" for scheme in distances) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--calotype", required=True)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--only", default="")
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--unmarked", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.unmarked:
        return count_false_reads(args)
    attacks = {name: attack for name, attack in ATTACKS.items() if any(word in name for word in args.only.split(","))}
    total, all_right, all_distances = 0, {}, {}
    for name in args.folders:
        count, right, distances = measure(args, name, attacks)
        table(name, count, right, distances)
        total += count
        for attack, counts in right.items():
            for scheme, found in counts.items():
                all_right.setdefault(attack, {}).setdefault(scheme, 0)
                all_right[attack][scheme] += found
        for scheme, values in distances.items():
            all_distances.setdefault(scheme, []).extend(values)
    table("all", total, all_right, all_distances)


if __name__ == "__main__":
    main()
