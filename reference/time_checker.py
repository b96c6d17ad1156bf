"""How much longer an image takes with Stable Diffusion's safety checker: random weights of its shape, CLIP ViT-L/14, which take as long.

    pip install torch diffusers==0.42.1 transformers==5.24.0
    python reference/time_checker.py --calotype target/release/calotype [--rounds 3] [--folder FOLDER] [--bench]

In turns one and four images of 512 x 512 are made by the built-in model in one step, with the checker and without it. The difference of one is
the checker's weights read and one image judged; a third of what three more take is one image judged. --bench prints beside it what
`calotype bench --arch sd15` says of a step of Stable Diffusion v1.5's shape. Seconds of the clock, and of both processors together, which other work on the machine disturbs less.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

VISION = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224, patch_size=14)


def make_checker(folder):
    if not (folder / "config.json").exists():
        StableDiffusionSafetyChecker(CLIPConfig(vision_config=VISION, projection_dim=768)).save_pretrained(folder)
        CLIPImageProcessor().save_pretrained(folder)


def seconds(command):
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    begin, before = time.monotonic(), used()
    # Blocked images make it fail.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin, used() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calotype", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where the checker is made, or is from another run")
    parser.add_argument("--bench", action="store_true")
    args = parser.parse_args()
    folder = args.folder or pathlib.Path(tempfile.mkdtemp())
    make_checker(folder)
    times = {}
    for _ in range(args.rounds):
        for count in [1, 4]:
            for checked in [False, True]:
                command = [args.calotype, "txt2img", "a fox", "--steps", "1", "--width", "512", "--height", "512", "--quiet"]
                command += ["--batch-count", str(count), "-o", f"{tempfile.mkdtemp()}/"]
                command += ["--safety", "flag", "--safety-checker", folder] if checked else []
                times.setdefault((count, checked), []).append(seconds(command))
    median = {key: [statistics.median(column) for column in zip(*runs)] for key, runs in times.items()}
    added = {count: [b - a for a, b in zip(median[count, False], median[count, True])] for count in [1, 4]}
    judged = [(four - one) / 3 for one, four in zip(added[1], added[4])]
    print(f"reading the checker and judging an image: {added[1][0]:.2f} s of the clock, {added[1][1]:.2f} s of processors")
    print(f"judging an image: {judged[0]:.2f} s of the clock, {judged[1]:.2f} s of processors")
    print({f"{count} images, {'with' if checked else 'without'}": runs for (count, checked), runs in times.items()})
    if args.bench:
        subprocess.run([args.calotype, "bench", "--arch", "sd15"], check=True)


if __name__ == "__main__":
    main()
