"""Rounds: every contender has one turn in each, and keeps its warm process as long as memory allows."""

import json
import os
import pathlib
import statistics
import time

from peers import machine, works
from peers.process import Skipped, Worker

# Idle threads of the process before have gone to sleep after this.
PAUSE_SECONDS = 0.5


def compare(work, contenders, args):
    """Results of one work: a list of {"contender", "program", "precision", "compiled", "seconds", …}, and who was skipped."""
    print(f"\n{work.title}", flush=True)
    turns = whole_process if work.kind == "txt2img" else Turns(work, args)
    results, skipped = {}, {}
    for number in range(args.rounds):
        for contender in contenders:
            if contender in skipped or slow(results.get(contender), args):
                continue
            try:
                found = turns(contender) if work.kind != "txt2img" else turns(contender, work, args)
            except Skipped as reason:
                skipped[contender] = str(reason)
                print(f"  {contender.name}: skipped, {reason}", flush=True)
                continue
            results.setdefault(contender, []).append(found)
            print(f"  round {number + 1}: {contender.name:28} {found['seconds']:9.3f} s", flush=True)
    if work.kind != "txt2img":
        turns.close_all()
    # One that failed midway is a skipped one: its figures are not of a whole comparison.
    summaries = [summary(c, found) for c, found in results.items() if c not in skipped]
    check_parameters(summaries)
    return summaries, {contender.name: reason for contender, reason in skipped.items()}


def slow(found, args):
    """Whether a contender's turns are so long that one says enough."""
    return bool(found) and found[0]["seconds"] > args.slow


class Turns:
    """The warm processes of one work."""

    def __init__(self, work, args):
        self.work, self.args, self.live, self.ready, self.peaks = work, args, {}, {}, {}

    def __call__(self, contender):
        worker = self.live.get(contender) or self.start(contender)
        time.sleep(PAUSE_SECONDS)
        try:
            seconds = worker.turn()
        except Skipped:
            self.live.pop(contender)
            raise
        # The most memory is only known once the process has ended.
        return {"seconds": seconds, "peak": self.peaks.setdefault(contender, {}), **self.ready[contender]}

    def start(self, contender):
        # The last one started ends first, so that the others stay warm.
        while self.live and machine.meminfo("MemAvailable") < self.work.needs_bytes:
            self.close(list(self.live)[-1])
        worker = Worker(works.command(contender, self.work, self.args), environment(self.args))
        self.ready[contender] = worker.answer()["ready"]
        self.live[contender] = worker
        return worker

    def close(self, contender):
        usage = self.live.pop(contender).close()
        peak = self.peaks.setdefault(contender, {})
        peak["bytes"] = max(peak.get("bytes", 0), usage["peak_memory_bytes"])

    def close_all(self):
        for contender in list(self.live):
            self.close(contender)


def whole_process(contender, work, args):
    """One picture by one process: how long until its first step, less a step, and its most memory."""
    if not pathlib.Path(args.model).exists():
        raise Skipped(f"no model at {args.model}; a Python environment with diffusers makes it")
    worker = Worker(works.command(contender, work, args), environment(args))
    answer = worker.answer()
    if contender.ours:
        timings = answer.get("timings")
        if timings is None:
            worker.close()
            raise Skipped("this build of calotype does not print timings")
        start = timings["first_step"] - timings["step"]
    else:
        start = answer["first_step_at"] - worker.started_at - answer["step"]
    usage = worker.close()
    if usage["status"] != 0:
        raise Skipped(f"ended with status {usage['status']}: {worker.last_error()}")
    return {"seconds": start, "peak": {"bytes": usage["peak_memory_bytes"]}}


def environment(args):
    return {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def summary(contender, found):
    seconds = [turn["seconds"] for turn in found]
    return {
        "contender": contender.name,
        "program": contender.program,
        "precision": contender.precision,
        "compiled": contender.compile,
        "median": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "seconds": seconds,
        "peak_memory_bytes": max(turn["peak"].get("bytes", 0) for turn in found) or None,
        "isa": found[0].get("isa"),
        "parameters": found[0].get("parameters"),
    }


def check_parameters(summaries):
    """Contenders that count their parameters must agree, else they did not do the same work."""
    counts = {s["contender"]: s["parameters"] for s in summaries if s["parameters"]}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the networks differ in size: {json.dumps(counts)}")


def machine_load():
    """The load of the last minute, to tell a busy machine."""
    return round(os.getloadavg()[0], 2)
