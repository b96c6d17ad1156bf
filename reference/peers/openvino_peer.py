"""OpenVINO, from diffusers' networks converted once into the work folder."""

import pathlib
import subprocess
import sys

import numpy as np
import openvino as ov


def run(spec, protocol):
    network = {"unet_step": "unet", "vae_decode": "decoder"}.get(spec["work"])
    if network is None:
        protocol.say(skipped="does no such work")
        return
    folder = pathlib.Path(spec["folder"]) / f"openvino-{network}"
    if not folder.exists():
        # In a process of its own, whose memory is not counted.
        subprocess.run([sys.executable, __file__, network, str(folder)], check=True)
    h, w = spec["height"] // 8, spec["width"] // 8
    if network == "unet":
        inputs = [floats(2, 4, h, w), np.array([500, 500], dtype=np.int64), floats(2, 77, 768)]
    else:
        inputs = [floats(1, 4, h, w)]
    core = ov.Core()
    model = core.read_model(folder / "model.xml")
    model.reshape({place: list(value.shape) for place, value in enumerate(inputs)})
    options = {"INFERENCE_PRECISION_HINT": spec["precision"], "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", options | {"INFERENCE_NUM_THREADS": spec["threads"]})
    protocol.serve(lambda: compiled(inputs))


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def convert(network, folder):
    """Writes a network with the height and width of the latents open."""
    import torch

    import sd15

    class UNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = sd15.unet()

        def forward(self, x, t, context):
            return self.unet(x, t, context, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = sd15.vae()

        def forward(self, z):
            return self.vae.decode(z, return_dict=False)[0]

    if network == "unet":
        module, shapes = UNet(), [[2, 4, -1, -1], [2], [2, 77, 768]]
        example = (torch.randn(2, 4, 16, 16), torch.tensor([500, 500]), torch.randn(2, 77, 768))
    else:
        module, shapes, example = Decoder(), [[1, 4, -1, -1]], (torch.randn(1, 4, 16, 16),)
    with torch.no_grad():
        model = ov.convert_model(module, example_input=example, input=shapes)
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, partial / "model.xml", compress_to_fp16=False)
    partial.rename(folder)


if __name__ == "__main__":
    convert(sys.argv[1], pathlib.Path(sys.argv[2]))
