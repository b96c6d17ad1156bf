"""Times Calotype and every installed peer on the same work, in turns, and writes what docs/performance.md shows.

    cargo build --release
    python reference/compare_peers.py --python VENV/bin/python --work FOLDER

The peers are PyTorch with diffusers (also compiled with --compile, which takes minutes), OpenVINO and stable-diffusion.cpp
(`pip install torch diffusers transformers accelerate openvino stable-diffusion-cpp-python`), and candle with --candle, a
program that speaks the lines of peers/worker.py. What is not installed is skipped, and a line says so. This script itself
needs Python 3.11 and no package. Weights are random, of the shapes of Stable Diffusion v1.5, and lie in --work (2 GB, and
4 GB more for OpenVINO).

Written: docs/performance.json (everything), docs/performance.svg, and the table in docs/performance.md.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import clip_tokenizer
from peers import chart, machine, rounds, table, works

ROOT = pathlib.Path(__file__).parent.parent
KINDS = list(works.NEEDS)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    comma = lambda text: [part for part in text.split(",") if part]  # noqa: E731
    parser.add_argument("--calotype", default=str(ROOT / "target/release/calotype"), help="the command to time")
    parser.add_argument("--precisions", type=comma, default=["f32", "bf16", "f16", "int8"], help="of Calotype")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the peers' environment")
    parser.add_argument("--candle", help="a program that times candle")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, in bf16")
    parser.add_argument("--only", type=comma, help="contenders whose name has one of these, as in calotype,pytorch")
    parser.add_argument("--works", type=comma, default=KINDS, help=f"of {','.join(KINDS)}")
    parser.add_argument("--sizes", type=comma, default=["512"], help="sides in pixels, as in 256,512,768; all for UNet steps, one for the rest")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--slow", type=float, default=25.0, help="seconds from which one turn is enough")
    parser.add_argument("--steps", type=int, default=3, help="steps of whole pictures")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "data/peers", help="folder for weights")
    parser.add_argument("--model", type=pathlib.Path, help="a Stable Diffusion v1.5 folder in f16 [made in --work]")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs", help="folder of performance.md")
    parser.add_argument("--keep", action="store_true", help="keep the works of the last run that this one does not do")
    args = parser.parse_args()
    unknown = set(args.works) - set(KINDS)
    if unknown:
        parser.error(f"--works: {', '.join(unknown)} is unknown: choose from {', '.join(KINDS)}")
    # Commands are started from anywhere.
    args.work, args.output = args.work.resolve(), args.output.resolve()
    args.model = (args.model or args.work / "sd15").resolve()
    return args


def main():
    args = arguments()
    if not machine.output([args.calotype, "--version"]):
        sys.exit(f"{args.calotype}: cannot be run: build it (cargo build --release), or give --calotype")
    args.work.mkdir(parents=True, exist_ok=True)
    make_model(args)
    contenders = works.all_contenders(args)
    done = []
    for work in chosen(args):
        load = rounds.machine_load()
        results, skipped = rounds.compare(work, [c for c in contenders if works.takes_part(c, work)], args)
        entry = {"id": work.id, "title": work.title, "date": machine.now(), "load_before": load}
        done.append(entry | {"results": results, "skipped": skipped})
        # After each work, so that what was measured outlives an interruption.
        write(report(args, done), args.output)
    print(f"\nwritten: {args.output}/performance.json, .svg and .md")


def chosen(args):
    """The works in order; UNet steps at every size, the rest at 512 × 512 or, without it, at the smallest."""
    sizes = sorted({int(size) for size in args.sizes}, key=lambda size: (size != 512, size))
    for kind in args.works:
        for size in sizes if kind == "unet_step" else sizes[:1]:
            yield works.Work(kind, size, size)


def make_model(args):
    """Makes the model folder with random weights, when it is needed and Python can."""
    if args.model.exists() or (args.model != args.work / "sd15"):
        return
    print(f"making {args.model}", flush=True)
    tokenizer = clip_tokenizer.write(args.work / "clip-tokenizer")
    scheduler = ROOT / "models" / "emoji" / "scheduler"
    partial = args.work / "sd15.partial"
    command = [args.python, str(ROOT / "reference/peers/sd15.py"), partial, tokenizer, scheduler]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return print(f"{args.python} cannot be started ({error}): the peers are skipped")
    if made.returncode == 0:
        return partial.rename(args.model)
    print(f"no model is made ({(made.stderr.strip().splitlines() or ['no message'])[-1]})")


def report(args, done):
    """Everything about this run, and with --keep what the last one has beside it."""
    new = {
        "date": machine.now(),
        "machine": machine.describe(),
        "versions": machine.versions(args.python, args.calotype),
        "threads": args.threads,
        "rounds": args.rounds,
        "slow_seconds": args.slow,
        "works": done,
    }
    file = args.output / "performance.json"
    if args.keep and file.exists():
        ids = {work["id"] for work in done}
        new["works"] = [w for w in json.loads(file.read_text())["works"] if w["id"] not in ids] + done
        order = {kind: place for place, kind in enumerate(KINDS)}
        new["works"].sort(key=lambda w: next(place for kind, place in order.items() if w["id"].startswith(kind)))
    return new


def write(report, folder):
    (folder / "performance.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (folder / "performance.svg").write_text(chart.svg(report))
    page = folder / "performance.md"
    text = page.read_text() if page.exists() else "# Performance\n"
    page.write_text(table.replace(text, table.markdown(report), "performance.svg"))


if __name__ == "__main__":
    main()
