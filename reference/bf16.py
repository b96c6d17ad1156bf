"""How far bf16 lies from f32, in PyTorch and in Calotype: python reference/bf16.py FOLDER.

FOLDER is `sd1-tiny` of the golden data: a diffusers folder beside what it computes in f32 (`golden.safetensors`, `golden.json`).
A distance is the root mean square of the differences, relative to that of the f32 values. PyTorch's final latents are made in two ways: as
diffusers does when all of a pipeline is bf16 (latents, guidance and scheduler too), and with these in f32 and only the networks in bf16,
as Calotype does. Writes crates/calotype/tests/goldens/bf16.json and runs the test that holds Calotype to it, which finds FOLDER by
itself in ../shared/goldens beside the repository.
"""

import json
import pathlib
import re
import subprocess
import sys

import diffusers
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).parent.parent
OUT = ROOT / "crates/calotype/tests/goldens/bf16.json"
folder = pathlib.Path(sys.argv[1])
golden = load_file(folder / "golden.safetensors")
settings = json.loads((folder / "golden.json").read_text())


def distance(got, key):
    expected = golden[key].double()
    return ((got.double() - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt()).item()


def load(dtype):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def networks(pipe, dtype):
    """Each network alone, from the inputs of the f32 goldens."""
    for n in range(len(settings["prompts"])):
        yield f"context_{n}", pipe.text_encoder(golden[f"ids_{n}"].reshape(1, -1)).last_hidden_state
    x = golden["unet_x"].to(dtype)
    yield "unet_t500", pipe.unet(x, 500, golden["context_0"].to(dtype)).sample
    yield "vae_decode", pipe.vae.decode(x).sample
    moments = pipe.vae.encode(golden["vae_decode"].clamp(-1, 1).to(dtype)).latent_dist
    yield "vae_moments", torch.cat([moments.mean, moments.logvar], 1)


def runs(pipe, dtype):
    """The final latents of every sampler, from the noise of the f32 goldens in `dtype`."""
    for case in settings["cases"]:
        scheduler = settings["schedulers"][case["sampler"]]
        pipe.scheduler = getattr(diffusers, scheduler["class"]).from_config(scheduler["config"])
        yield case["key"], pipe(
            settings["prompts"][case["prompt"]], negative_prompt=settings["negative_prompt"],
            num_inference_steps=settings["steps"], guidance_scale=settings["guidance_scale"],
            width=settings["width"], height=settings["height"], latents=golden[f"noise_seed{settings['seed']}"].to(dtype),
            generator=later_noise(), output_type="latent").images


def later_noise():
    """The generator as the starting noise leaves it, for the samplers that draw more."""
    generator = torch.manual_seed(settings["seed"])
    torch.randn(golden[f"noise_seed{settings['seed']}"].shape, generator=generator)
    return generator


def networks_only(pipe):
    """Lets latents stay in f32: the UNet takes them in bf16 and gives its prediction as f32."""
    forward = pipe.unet.forward
    pipe.unet.forward = lambda x, *args, **kwargs: tuple(y.float() for y in forward(x.bfloat16(), *args, **kwargs))


with torch.no_grad():
    exact = {key: distance(value, key) for make in (networks, runs) for key, value in make(load(torch.float32), torch.float32)}
    assert max(exact.values()) < 1e-4, f"f32 does not give the goldens back: {exact}"
    pipe = load(torch.bfloat16)
    torch_bf16 = {key: distance(value, key) for key, value in networks(pipe, torch.bfloat16)}
    all_bf16 = {key: distance(value, key) for key, value in runs(pipe, torch.bfloat16)}
    networks_only(pipe)
    torch_bf16 |= {key: distance(value, key) for key, value in runs(pipe, torch.float32)}
rounded = {name: {key: float(f"{d:.3g}") for key, d in table.items()} for name, table in [("networks", torch_bf16), ("all", all_bf16)]}
OUT.write_text(json.dumps(rounded, indent=1) + "\n")

test = ["cargo", "test", "--release", "-p", "calotype", "--test", "sd1_tiny", "bf16", "--", "--nocapture"]
printed = subprocess.run(test, cwd=ROOT, capture_output=True, text=True)
ours = dict(re.findall(r"bf16 (\w+): (\S+)", printed.stdout))
print("| distance to f32 | PyTorch, networks in bf16 | PyTorch, all in bf16 | Calotype |\n|---|---|---|---|")
for key, value in torch_bf16.items():
    print(f"| {key} | {value:.2e} | {format(all_bf16[key], '.2e') if key in all_bf16 else ''} | {ours.get(key, 'not measured')} |")
if printed.returncode:
    sys.exit(f"the test failed:\n{printed.stdout}{printed.stderr}")
