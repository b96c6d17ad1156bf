"""Says in ten minutes, without a network, whether Calotype computes rightly on a graphics card, and how fast.

    cargo build --release -p calotype-cli --features gpu
    cargo test --release -p calotype-gpu --no-run
    python reference/gpu_acceptance.py --out FOLDER [--calotype PATH] [--tests PATH ...] [--device gpu:0]

It needs the card's driver and Python 3.10. `--tests` are the programs that cargo has named (`ops`, `pipeline`); the script
looks for them beside `--calotype` if the option is left out, and runs none if it has no value. Where PyTorch with CUDA and diffusers are installed, their UNet of the same shapes is
timed on the same card in the same run. A software driver goes through all of it as a dry run, and no time of it is told.

In FOLDER: a log of each step, `report.json`, and `verdict.txt`, which is printed. Exit status 0 if the verdict is ok. If time runs
out, the steps that are left are told as such; the first are those that matter most.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Guided UNet steps of Stable Diffusion v1.5 in a second, 512 x 512 (docs/gpu.md).
SHIP, GOAL = 40.0, 105.0

TORCH = r"""
import json, sys, time
import torch
from diffusers import UNet2DConditionModel
side = int(sys.argv[1])
unet = UNet2DConditionModel(sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, attention_head_dim=8,
    block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768).half().cuda().eval()
x = torch.randn(2, 4, side // 8, side // 8).half().cuda()
context = torch.randn(2, 77, 768).half().cuda()
def time_steps(run, count):
    with torch.inference_mode():
        for _ in range(3):
            run(x, 500, context)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            run(x, 500, context)
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)
found = {"torch": torch.__version__, "eager": time_steps(unet, 30)}
if "--compile" in sys.argv:
    found["compiled"] = time_steps(torch.compile(unet), 30)
print(json.dumps(found))
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of what is found")
    parser.add_argument("--calotype", type=pathlib.Path, default=ROOT / "target/release/calotype", help="the command, with the feature gpu")
    parser.add_argument("--tests", type=pathlib.Path, nargs="*", help="test programs of calotype-gpu")
    parser.add_argument("--device", default="gpu", help="as --device takes it")
    parser.add_argument("--seconds", type=float, default=600.0, help="all of it may take so long")
    parser.add_argument("--size", type=int, default=512, help="side of the image of the UNet steps")
    parser.add_argument("--arch", default="sd15", help="sd15, or builtin for the small model inside the program")
    parser.add_argument("--soak", type=int, default=20, help="how often the same image is made")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    return parser.parse_args()


class Acceptance:
    def __init__(self, args):
        self.args, self.end = args, time.monotonic() + args.seconds
        self.report, self.failed, self.left, self.told = {}, [], [], []
        # Both are what the program compiles for the card: none from another run.
        self.environment = dict(os.environ, CALOTYPE_CACHE=str(args.out / "cache"))

    def say(self, line):
        self.told.append(line)
        print(line, flush=True)

    def run(self, name, command, most, environment=None):
        """What a command prints; none if it fails or time runs out, which is noted."""
        most = min(most, self.end - time.monotonic())
        if most < 5:
            self.left.append(name)
            return None
        log = self.args.out / f"{name}.log"
        environment = self.environment | (environment or {})
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=most, env=environment)
        except subprocess.TimeoutExpired:
            self.left.append(name)
            return None
        except OSError as error:
            self.failed.append(f"{name}: {error}")
            return None
        log.write_text(f"$ {' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}\nexit {done.returncode}\n")
        if done.returncode != 0:
            self.failed.append(f"{name}: exit {done.returncode}, see {log}")
            return None
        return done.stdout

    def choose(self):
        out = self.run("devices", [self.args.calotype, "devices", "--json"], 60)
        cards = [card for card in map(json.loads, (out or "").splitlines()) if card["device"] != "cpu" and not card.get("lacks")]
        asked = self.args.device
        fits = [card for card in cards if card["device"] == asked or (asked == "gpu" and not card["software"])]
        if not fits:
            self.failed.append(f"devices: there is no {asked} among {[card['device'] for card in cards]}")
            return None
        card = self.report["card"] = fits[0]
        told = "a software driver: a dry run, no time is told" if card["software"] else "a card"
        self.say(f"{card['device']}: {card['name']}, {card['driver']}, tier {card['tier']} ({told})")
        return card

    def tests(self, card):
        programs = self.args.tests
        if programs == []:
            return
        if programs is None:
            beside = self.args.calotype.resolve().parent / "deps"
            newest = lambda name: sorted((p for p in beside.glob(f"{name}-*") if os.access(p, os.X_OK) and not p.suffix), key=os.path.getmtime)[-1:]  # noqa: E731
            programs = newest("ops") + newest("pipeline")
        if not programs:
            self.left.append("tests: give --tests")
        for program in programs:
            name = program.name.split("-")[0]
            # The tests of a tier that the card has must run.
            if self.run(f"tests-{name}", [program, "--quiet"], 240, {"CALOTYPE_GPU_REQUIRED": card["tier"]}) is not None:
                self.say(f"tests {name}: ok, in every tier that there is")

    def bench(self, card, name, more, most):
        arch = ["--arch", "sd15"] if self.args.arch == "sd15" else []
        out = self.run(name, [self.args.calotype, "bench", *arch, "--device", card["device"], "--json", *more], most)
        found = self.report[name] = json.loads(out) if out else None
        if found is None:
            return
        step = found["work"]["unet_step"]
        self.say(f"{name}: a step is {step['dispatches']} dispatches, {step['bytes'] / 1e6:.0f} MB, {step['flops'] / 1e9:.0f} GFLOP")
        if seconds := found.get("unet_step_seconds"):
            speed = statistics.median(1 / s for s in found["unet_steps_seconds"])
            rate, moved = step["flops"] / seconds / 1e12, step["bytes"] / seconds / 1e9
            self.say(f"{name}: {speed:.1f} guided steps/s, {rate:.1f} TFLOP/s, {moved:.0f} GB/s; decode {found['vae_decode_seconds']:.3f} s")

    def speed(self, card):
        size = str(self.args.size)
        repeat = "1" if card["software"] else "30"
        self.bench(card, "bench", ["--width", size, "--height", size, "--repeat", repeat], 150)
        self.bench(card, "profile", ["--width", size, "--height", size, "--repeat", "1" if card["software"] else "3", "--profile"], 100)

    def torch(self, card):
        if card["software"]:
            return
        has = subprocess.run([sys.executable, "-c", "import torch, diffusers; assert torch.cuda.is_available()"], capture_output=True)
        if has.returncode != 0:
            self.say("PyTorch with CUDA and diffusers: not installed here")
            return
        more = ["--compile"] if self.args.compile else []
        out = self.run("torch", [sys.executable, "-c", TORCH, self.args.size, *more], 200)
        if out:
            found = self.report["torch"] = json.loads(out.splitlines()[-1])
            self.say(f"PyTorch {found['torch']}: " + ", ".join(f"{k} {v:.1f} steps/s" for k, v in found.items() if k != "torch"))

    def soak(self, card):
        """The same image again and again: the same bytes, and like the processor's."""
        folder = self.args.out / "images"
        folder.mkdir(exist_ok=True)
        make = [self.args.calotype, "txt2img", "a fox", "--steps", "4", "--no-watermark", "--no-metadata"]
        digests = set()
        for n in range(2 if card["software"] else self.args.soak):
            file = folder / f"card-{n}.png"
            file.unlink(missing_ok=True)
            if self.run("soak", [*make, "--device", card["device"], "-o", file], 60) is None:
                return
            digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
        self.report["soak"] = sorted(digests)
        if len(digests) != 1:
            self.failed.append(f"soak: {len(digests)} different images of one seed")
        else:
            self.say("soak: the same bytes each time")

    def verdict(self, card):
        bench = self.report.get("bench") or {}
        if card and not card["software"] and self.args.arch == "sd15" and self.args.size == 512 and bench.get("unet_step_seconds"):
            speed = 1 / bench["unet_step_seconds"]
            reached = "the goal is reached" if speed >= GOAL else "worth shipping" if speed >= SHIP else f"below {SHIP:.0f}, which is worth shipping"
            self.say(f"speed: {speed:.1f} guided steps/s, {reached} (on an H200)")
        for line in self.failed:
            self.say(f"FAILED {line}")
        for line in self.left:
            self.say(f"NOT DONE {line}")
        dry = " (dry run on a software driver)" if card and card["software"] else ""
        verdict = "failed" if self.failed else "incomplete" if self.left else "ok"
        self.say(f"verdict: {verdict}{dry}")
        self.report["verdict"] = verdict
        (self.args.out / "report.json").write_text(json.dumps(self.report, indent=2) + "\n")
        (self.args.out / "verdict.txt").write_text("\n".join(self.told) + "\n")
        return verdict == "ok"


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    acceptance = Acceptance(args)
    card = acceptance.choose()
    if card:
        acceptance.soak(card)
        acceptance.speed(card)
        acceptance.tests(card)
        acceptance.torch(card)
    sys.exit(0 if acceptance.verdict(card) else 1)


if __name__ == "__main__":
    main()
