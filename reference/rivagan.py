"""RivaGAN's reader beside the Python package that has its weights, PyPI's invisible-watermark 0.2.0 (onnxruntime 1.32.0, torch 2.15.0).

    python reference/rivagan.py golden [--package FOLDER]
    python reference/rivagan.py marks OUT.json IMAGE… [--package FOLDER]

`golden` writes crates/safety/tests/goldens/rivagan.json: what the network with weights by formula gives for images by formula, computed by
torch, and what the package's own reads in them. `marks` lets the package mark image files with 32 bits, writes each as a PNG beside
OUT.json, as it is, through a JPEG of quality 75, and its middle half, and says what the package reads there. FOLDER is where the wheel is
unpacked, else pip fetches it. Then, with the package's weights:

    CALOTYPE_RIVAGAN=FOLDER/imwatermark/rivagan_decoder.onnx CALOTYPE_RIVAGAN_MARKS=OUT.json \\
        cargo test --release -p calotype-safety --test rivagan -- --nocapture
"""

import argparse
import io
import json
import pathlib

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from formula import values, weight
from open_nsfw import image
from PIL import Image
from pypi import unpacked

OUT = pathlib.Path(__file__).parent.parent / "crates/safety/tests/goldens/rivagan.json"
FORMULA = [("run", 40, 30), ("discs", 23, 61), ("noise", 33, 9), ("plain", 7, 5)]
PACKAGE = [(kind, *size) for kind in ["plain", "run", "discs", "noise"] for size in [(256, 256), (301, 257), (64, 40)]]


def frame(picture):
    """As the package's `decode` makes it of blue, green and red."""
    colours = np.asarray(picture.convert("RGB"), dtype=np.float32)[:, :, ::-1]
    return np.ascontiguousarray((colours / np.float32(127.5) - np.float32(1.0)).transpose(2, 0, 1))[None, :, None]


def formula_tensors():
    tensors = {}
    for branch in ["_attention", "_conv"]:
        for index, inputs in [(0, 3), (3, 32)]:
            name = f"{branch}.{index}"
            tensors[f"{name}.weight"] = weight(f"{name}.weight", (32, inputs, 1, 11, 11))
            tensors[f"{name}.bias"] = weight(f"{name}.bias", (32,))
        for index in [2, 5] if branch == "_attention" else [2]:
            name = f"{branch}.{index}"
            for part in ["weight", "bias", "running_mean"]:
                tensors[f"{name}.{part}"] = weight(f"{name}.{part}", (32,))
            tensors[f"{name}.running_var"] = (1 + 0.1 * values(f"{name}.running_var", (32,))).float()
    return tensors


def network(tensors, x):
    def conv(name, x):
        return F.conv3d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=(0, 5, 5))

    def norm(name, x):
        part = lambda part: tensors[f"{name}.{part}"]
        return F.batch_norm(torch.tanh(x), part("running_mean"), part("running_var"), part("weight"), part("bias"), False, 0.0, 1e-5)

    attention = norm("_attention.5", conv("_attention.3", norm("_attention.2", conv("_attention.0", x)))).softmax(1)
    content = conv("_conv.3", norm("_conv.2", conv("_conv.0", x)))
    return (attention * content).mean((2, 3, 4))[0]


def sessions(folder):
    folder = unpacked(folder, "invisible-watermark==0.2.0")
    session = lambda name: onnxruntime.InferenceSession(str(folder / f"imwatermark/rivagan_{name}.onnx"))
    return session("decoder"), session("encoder")


def read(decoder, picture):
    return decoder.run(None, {"frame": frame(picture)})[0][0].tolist()


def golden(folder):
    tensors, (decoder, _) = {name: tensor.double() for name, tensor in formula_tensors().items()}, sessions(folder)
    result = dict(formula=[], package=[])
    for kind, width, height in FORMULA:
        with torch.no_grad():
            y = network(tensors, torch.from_numpy(frame(image(width, height, kind))).double())
        result["formula"].append(dict(kind=kind, size=[width, height], values=[round(v, 7) for v in y.tolist()]))
    for kind, width, height in PACKAGE:
        found = [round(v, 5) for v in read(decoder, image(width, height, kind))]
        result["package"].append(dict(kind=kind, size=[width, height], values=found))
    OUT.write_text(json.dumps(result) + "\n")
    print(OUT.stat().st_size, "bytes")


def marks(out, files, folder):
    decoder, encoder = sessions(folder)
    result, random = [], np.random.default_rng(0)
    for number, file in enumerate(files):
        bits = random.integers(0, 2, 32)
        data = bits.astype(np.float32)[None]
        marked = np.clip(encoder.run(None, {"frame": frame(Image.open(file)), "data": data})[0], -1, 1)[0, :, 0]
        pixels = ((marked.transpose(1, 2, 0) + np.float32(1.0)) * np.float32(127.5)).astype(np.uint8)[..., ::-1]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=75)
        width, height = picture.size
        middle = picture.crop((width // 4, height // 4, width - width // 4, height - height // 4))
        for name, picture in dict(marked=picture, jpeg=Image.open(jpeg), middle=middle).items():
            path = out.resolve().parent / f"rivagan-{number}-{name}.png"
            picture.save(path)
            found = read(decoder, picture)
            right = int((np.array(found > np.float32(0.52)) == bits).sum())
            written = int("".join(map(str, bits)), 2)
            result.append(dict(file=str(path), written=f"{written:08x}", right=right, values=found))
    out.write_text(json.dumps(result, indent=1) + "\n")
    print([(row["file"].rsplit("/")[-1], row["right"]) for row in result])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["golden", "marks"])
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    parser.add_argument("--package", help="where the wheel is unpacked")
    args = parser.parse_args()
    if args.command == "golden":
        return golden(args.package)
    marks(args.paths[0], args.paths[1:], args.package)


if __name__ == "__main__":
    main()
