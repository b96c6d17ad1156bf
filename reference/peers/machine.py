"""What a comparison ran on."""

import datetime
import os
import pathlib
import platform
import subprocess

INTERESTING = ("avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_tile")
PACKAGES = ("torch", "diffusers", "transformers", "openvino", "stable_diffusion_cpp_python")


def describe():
    fields = cpu_fields()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "cpu": fields.get("model name", platform.processor() or "unknown"),
        "family_model": " ".join(fields.get(key, "?") for key in ("cpu family", "model")),
        "cores": os.cpu_count(),
        "instruction_sets": [flag for flag in INTERESTING if flag in flags],
        "memory_gb": round(meminfo("MemTotal") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def cpu_fields():
    """The first processor's lines of /proc/cpuinfo; empty where there is none."""
    try:
        first = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def meminfo(name):
    """An entry of /proc/meminfo in bytes; endless where there is none."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def versions(python, calotype):
    """Of Calotype and of what the Python environment has."""
    found = {"calotype": output([calotype, "--version"]).removeprefix("calotype ")}
    commit = output(["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "--short", "HEAD"])
    found |= {"commit": commit} if commit else {}
    script = (
        "import importlib.metadata as m\n"
        f"for p in {PACKAGES}:\n"
        "    try: print(p, m.version(p))\n"
        "    except m.PackageNotFoundError: pass"
    )
    found |= dict(line.split(" ", 1) for line in output([python, "-c", script]).splitlines())
    return found


def output(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
