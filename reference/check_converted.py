"""Converts tiny models of every layout by Calotype and opens what it wrote with diffusers and CompVis' own code.

Folders are opened by `StableDiffusionPipeline.from_pretrained`, checkpoints in one file by `from_single_file` (with the folder as
config, so that nothing is downloaded), and, with --compvis, by `load_state_dict(strict=True)` of CompVis' UNet and autoencoder.
Every tensor must be bit-equal to the one that the models were made with. CALOTYPE is the binary, FOLDER any model folder with CLIP's
tokenizer in `tokenizer`, CHECKOUT one of CompVis/stable-diffusion.

    python reference/check_converted.py CALOTYPE FOLDER [--compvis CHECKOUT]
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
import yaml
from checkpoints import compvis, latents, sd1, sd2, state, write
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

warnings.filterwarnings("ignore")


def equal(got, expected, what, half=False):
    """`got` has each of `expected`, bit for bit, or as it is in half precision."""
    assert set(expected) <= set(got), (what, sorted(set(expected) - set(got))[:3])
    for name, tensor in expected.items():
        tensor = tensor.half() if half else tensor
        assert torch.equal(got[name].reshape(tensor.shape).float(), tensor.float()), (what, name)


def check_pipeline(pipe, parts, what, half):
    equal(state(pipe.unet), state(parts["unet"]), what, half)
    equal(state(pipe.vae), state(parts["vae"]), what, half)
    equal(state(pipe.text_encoder, "text_model."), state(parts["text_encoder"], "text_model."), what, half)


def check_compvis(checkout, file, config):
    """CompVis' UNet and autoencoder take the tensors of a file, all of them and no others."""
    sys.path.insert(0, str(checkout))
    from ldm.modules.diffusionmodules.model import Decoder, Encoder
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    params = yaml.safe_load(config.read_text())["model"]["params"]
    unet_params = dict(params["unet_config"]["params"])
    if unet_params.pop("use_linear_in_transformer", False) or "num_head_channels" in unet_params:
        return False  # CompVis' own code is before Stable Diffusion 2
    tensors = load_file(file)
    unet = UNetModel(**unet_params)
    prefix = "model.diffusion_model."
    unet.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=True)
    vae, dd = params["first_stage_config"]["params"], params["first_stage_config"]["params"]["ddconfig"]
    class Autoencoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Encoder(**dd), Decoder(**dd)
            self.quant_conv = torch.nn.Conv2d(2 * dd["z_channels"], 2 * vae["embed_dim"], 1)
            self.post_quant_conv = torch.nn.Conv2d(vae["embed_dim"], dd["z_channels"], 1)
    prefix = "first_stage_model."
    Autoencoder().load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=True)
    return True


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("calotype")
    arguments.add_argument("folder")
    arguments.add_argument("--compvis", type=pathlib.Path)
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    for family, make in {"sd1": sd1, "sd2": sd2}.items():
        parts = make()
        tensors, _ = compvis(parts, family)
        pipe, _ = latents(parts, arguments.folder)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            write(folder, family, pipe, tensors)
            v = ["--prediction-type", "v_prediction"] if family == "sd2" else []
            for source in sorted(folder.iterdir()):
                name = source.name.removeprefix(family + "-")
                if name.startswith("vae") or source.suffix == ".yaml":
                    continue
                half = "half" in name
                made, single = folder / "made", folder / "made.safetensors"
                of_file = v if source.is_file() else []
                for to, output in [("diffusers", made), ("compvis", single)]:
                    subprocess.run([arguments.calotype, "models", "convert", source, "--to", to, "--output", output, *of_file, "--quiet"], check=True)
                opened = StableDiffusionPipeline.from_pretrained(made, safety_checker=None, local_files_only=True)
                done = ["from_pretrained"]
                check_pipeline(opened, parts, name, half)
                assert opened.scheduler.config.prediction_type == parts["prediction_type"]
                assert set(load_file(single)) == set(tensors), name
                equal(load_file(single), tensors, name, half)
                done.append("keys of CompVis")
                if family == "sd1" and not half:
                    opened = StableDiffusionPipeline.from_single_file(single, config=str(made), local_files_only=True, safety_checker=None)
                    check_pipeline(opened, parts, name, half)
                    done.append("from_single_file")
                if arguments.compvis and check_compvis(arguments.compvis, single, single.with_suffix(".yaml")):
                    done.append("CompVis' load_state_dict")
                print(f"{family} {name}: {', '.join(done)}")
                subprocess.run(["rm", "-r", made, single, single.with_suffix(".yaml")], check=True)


with torch.no_grad():
    main()
