"""Golden data of the calotype command: what CompVis' own scripts/txt2img.py and scripts/img2img.py make with a tiny model.

Runs the scripts of a checkout of CompVis/stable-diffusion that you point it at, on the CPU, in f32. What they import beside
torch, transformers, omegaconf and einops is replaced by what little of it they need. Weights are by formula
(`formula.py`), named as in `layouts.json` (`checkpoints.py`). TOKENIZER is a folder with CLIP's tokenizer.
The seed is set again when the model is made: on a GPU the noise does not depend on what the model's making drew.
Writes crates/cli/tests/goldens/compvis.json.

    python reference/compvis_scripts.py --stable-diffusion stable-diffusion --tokenizer TOKENIZER
"""

import argparse
import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
import types

import numpy as np
import torch
import transformers
from formula import values, weight
from omegaconf import OmegaConf
from PIL import Image
from transformers.models.auto import feature_extraction_auto

ROOT = pathlib.Path(__file__).parent.parent
OUT = ROOT / "crates/cli/tests/goldens/compvis.json"
LAYOUTS = ROOT / "crates/calotype/tests/goldens/layouts.json"
# Of `checkpoints.py`'s family sd1.
VAE = dict(
    double_z=True, z_channels=4, resolution=64, in_channels=3, out_ch=3, ch=32, ch_mult=[1, 2, 2, 2], num_res_blocks=1,
    attn_resolutions=[], dropout=0.0)
UNET = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=32, attention_resolutions=[2, 1], num_res_blocks=1,
    channel_mult=[1, 2, 2], num_heads=8, use_spatial_transformer=True, transformer_depth=1, context_dim=64,
    use_checkpoint=False, legacy=False)
MODEL = dict(target="ldm.models.diffusion.ddpm.LatentDiffusion", params=dict(
    linear_start=0.00085, linear_end=0.012, num_timesteps_cond=1, log_every_t=200, timesteps=1000, first_stage_key="jpg",
    cond_stage_key="txt", image_size=64, channels=4, cond_stage_trainable=False, conditioning_key="crossattn",
    scale_factor=0.18215, use_ema=False,
    unet_config=dict(target="ldm.modules.diffusionmodules.openaimodel.UNetModel", params=UNET),
    first_stage_config=dict(target="ldm.models.autoencoder.AutoencoderKL", params=dict(
        embed_dim=4, ddconfig=VAE, lossconfig=dict(target="torch.nn.Identity"))),
    cond_stage_config=dict(
        target="ldm.modules.encoders.modules.FrozenCLIPEmbedder", params=dict(device="cpu"))))
TEXT = dict(
    vocab_size=49408, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=1,
    hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407, attn_implementation="eager")
LINES = "a lighthouse\na red kite, flying\n\nmoss on a stone\nan old map\n\n"
# Width and height of the picture to start from.
INIT = (70, 41)
SIZE = "--H 32 --W 64"
CASES = [
    ("txt2img", f"{SIZE} --ddim_steps 7 --ddim_eta 0.6 --n_samples 2 --seed 5"),
    ("txt2img", f"{SIZE} --ddim_steps 30 --n_samples 1 --n_iter 1 --scale 1.0"),
    ("txt2img", f"{SIZE} --plms --ddim_steps 5 --n_samples 1 --n_iter 3 --scale 3.3"),
    ("txt2img", f"{SIZE} --plms --ddim_steps 1 --n_samples 1 --n_iter 1"),
    ("txt2img", f"{SIZE} --dpm_solver --ddim_steps 4 --n_samples 2 --n_iter 1 --n_rows 1"),
    ("txt2img", f"{SIZE} --dpm_solver --ddim_steps 15 --n_samples 1 --n_iter 1 --scale 0"),
    ("txt2img", f"{SIZE} --ddim_steps 4 --ddim_eta 1.0 --fixed_code --n_samples 1"),
    ("txt2img", f"{SIZE} --ddim_steps 2 --from-file lines.txt --n_samples 3 --ddim_eta 0.3"),
    ("img2img", "--init-img init.png --ddim_steps 12"),
    ("img2img", "--init-img init.png --ddim_steps 10 --strength 0.999 --ddim_eta 0.5 --n_iter 3 --n_samples 1 --n_rows 2"),
    ("img2img", "--init-img init.png --ddim_steps 30 --strength 1.0 --n_samples 1"),
    ("img2img", "--init-img init.png --ddim_steps 10 --strength 0.01 --n_samples 1"),
    ("img2img", "--init-img init.png --ddim_steps 7 --strength 0.5 --from-file lines.txt --n_samples 2"),
]


def module(name, **members):
    stub = types.ModuleType(name)
    stub.__dict__.update(members)
    sys.modules[name] = stub


def make_grid(pictures, nrow, padding=2):
    """torchvision's, of pictures `(N, C, H, W)`."""
    count, channels, height, width = pictures.shape
    if count == 1:
        return pictures[0]
    columns = min(nrow, count)
    rows = -(-count // columns)
    height, width = height + padding, width + padding
    sheet = torch.zeros(channels, rows * height + padding, columns * width + padding)
    for k, picture in enumerate(pictures):
        y, x = k // columns * height + padding, k % columns * width + padding
        sheet[:, y:y + height - padding, x:x + width - padding] = picture
    return sheet


def stand_ins(tokenizer):
    """Modules that the scripts import, and do little with."""
    class Lightning(torch.nn.Module):
        device = torch.device("cpu")

    class Nothing:
        from_pretrained = classmethod(lambda cls, *_: cls())
        set_watermark = lambda self, *_: None
        encode = lambda self, picture, _: picture
        __call__ = lambda self, *inputs, images=None, **_: (
            types.SimpleNamespace(pixel_values=None) if images is None else (images, [False] * len(images)))

    module("pytorch_lightning", LightningModule=Lightning, seed_everything=torch.manual_seed)
    module("pytorch_lightning.utilities")
    module("pytorch_lightning.utilities.distributed", rank_zero_only=lambda f: f)
    for name in ("taming", "taming.modules", "taming.modules.vqvae", "clip", "kornia", "torchvision"):
        module(name)
    module("taming.modules.vqvae.quantize", VectorQuantizer2=None)
    module("torchvision.utils", make_grid=make_grid)
    module("cv2", COLOR_RGB2BGR=None, cvtColor=lambda picture, _: picture[:, :, ::-1])
    module("imwatermark", WatermarkEncoder=Nothing)
    module("diffusers.pipelines.stable_diffusion.safety_checker", StableDiffusionSafetyChecker=Nothing)
    feature_extraction_auto.AutoFeatureExtractor.from_pretrained = Nothing.from_pretrained
    torch.nn.Module.cuda = lambda self: self
    read = transformers.CLIPTokenizer.from_pretrained(tokenizer)
    transformers.CLIPTokenizer.from_pretrained = lambda _: read
    transformers.CLIPTextModel.from_pretrained = lambda _: transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT))


def model():
    """Their model with weights by formula: every parameter of it."""
    from ldm.util import instantiate_from_config

    model = instantiate_from_config(OmegaConf.create(MODEL)).eval()
    parameters = dict(model.named_parameters())
    for key, _, name in json.loads(LAYOUTS.read_text())["sd1"]["keys"]:
        # transformers 5 has no `text_model` in the names of a text model.
        parameter = parameters.pop(key, None)
        if parameter is None:
            parameter = parameters.pop(key.replace("transformer.text_model.", "transformer."))
        parameter.data = weight(name, parameter.shape)
    assert set(parameters) <= {"logvar"}, sorted(parameters)
    return model


def script(folder, name, model, latents):
    spec = importlib.util.spec_from_file_location(name, folder / f"scripts/{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    seeds = []

    def load_model(config, file):
        torch.manual_seed(seeds[-1])
        return model

    def decode(z, decode=model.decode_first_stage):
        latents.append(z)
        return decode(z)

    script.load_model_from_config = load_model
    script.seed_everything = seeds.append
    model.decode_first_stage = decode
    return script


def pictures(folder):
    return [np.array(Image.open(file)).astype(np.int64) for file in sorted(folder.glob("*.png"))]


def run(script, arguments, latents, config):
    latents.clear()
    with tempfile.TemporaryDirectory() as out:
        rest = ["--outdir", out, "--config", config, "--precision", "full"]
        sys.argv = ["", *arguments.split(" "), *rest, "--prompt", "a lighthouse in the fog"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            script.main()
        samples, [grid] = pictures(pathlib.Path(out) / "samples"), pictures(pathlib.Path(out))
    numbers = [float(f"{x:.6g}") for x in torch.cat(latents).flatten().tolist()]
    sums = [int(picture.sum()) for picture in samples]
    return dict(latents=numbers, pictures=sums, grid=[*grid.shape[:2], int(grid.sum())])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stable-diffusion", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    arguments = parser.parse_args()
    folder = arguments.stable_diffusion.resolve()
    torch.set_num_threads(1)
    sys.path.insert(0, str(folder))
    stand_ins(arguments.tokenizer)
    from ldm.models.diffusion import ddim, plms
    from ldm.models.diffusion.dpm_solver import sampler as dpm_solver
    for sampler in (ddim.DDIMSampler, plms.PLMSSampler, dpm_solver.DPMSolverSampler):
        # Theirs moves everything to a GPU.
        sampler.register_buffer = lambda self, name, value: setattr(self, name, value)

    goldens = []
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        pathlib.Path("lines.txt").write_text(LINES)
        pathlib.Path("config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(dict(model=MODEL))))
        width, height = INIT
        pixels = ((values("init.png", (height, width, 3)) + 1) * 128).numpy().astype(np.uint8)
        Image.fromarray(pixels).save("init.png")
        with contextlib.redirect_stdout(io.StringIO()):
            made = model()
        decode = made.decode_first_stage
        for name, options in CASES:
            latents, made.decode_first_stage = [], decode
            golden = run(script(folder, name, made, latents), options, latents, "config.yaml")
            goldens.append(dict(script=name, options=options, **golden))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(map(json.dumps, goldens)) + "\n]\n")


if __name__ == "__main__":
    main()
