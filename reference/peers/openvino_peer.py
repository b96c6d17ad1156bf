"""OpenVINO, from diffusers' networks converted once into the work folder."""

import pathlib

import numpy as np
import openvino as ov


def run(spec, protocol):
    network = {"unet_step": unet, "vae_decode": decoder}.get(spec["work"])
    if network is None:
        protocol.say(skipped="does no such work")
        return
    file, shapes, inputs = network(pathlib.Path(spec["folder"]), spec["height"] // 8, spec["width"] // 8)
    core = ov.Core()
    model = core.read_model(file)
    model.reshape(shapes)
    options = {"INFERENCE_PRECISION_HINT": spec["precision"], "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", options | {"INFERENCE_NUM_THREADS": spec["threads"]})
    protocol.serve(lambda: compiled(inputs))


def convert(file, module, example, shapes):
    """Writes the module with the height and width of the latents open."""
    model = ov.convert_model(module, example_input=example, input=shapes)
    file.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, file, compress_to_fp16=False)


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def unet(folder, h, w):
    file = folder / "openvino" / "unet.xml"
    if not file.exists():
        import torch

        import sd15

        class UNet(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.unet = sd15.unet()

            def forward(self, x, t, context):
                return self.unet(x, t, context, return_dict=False)[0]

        example = (torch.randn(2, 4, 64, 64), torch.tensor([500, 500]), torch.randn(2, 77, 768))
        convert(file, UNet(), example, [[2, 4, -1, -1], [2], [2, 77, 768]])
    inputs = [floats(2, 4, h, w), np.array([500, 500], dtype=np.int64), floats(2, 77, 768)]
    return file, {0: [2, 4, h, w], 1: [2], 2: [2, 77, 768]}, inputs


def decoder(folder, h, w):
    file = folder / "openvino" / "vae_decoder.xml"
    if not file.exists():
        import torch

        import sd15

        class Decoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.vae = sd15.vae()

            def forward(self, z):
                return self.vae.decode(z, return_dict=False)[0]

        convert(file, Decoder(), (torch.randn(1, 4, 64, 64),), [[1, 4, -1, -1]])
    return file, {0: [1, 4, h, w]}, [floats(1, 4, h, w)]
