"""Reads signed images with c2pa-python, which is none of ours: they must be valid, and trusted with their root as the anchor.

    python reference/c2pa_reader.py path/to/calotype

of a build with `--features c2pa`. Needs c2pa-python from PyPI (0.38.1); `.ci/run` calls it.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import c2pa

WORDS = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def read(file: pathlib.Path, root: str | None) -> tuple[str, dict]:
    """The state that the reader gives a file, and what it reads."""
    settings = {"trust": {"user_anchors": root}} if root else {"verify": {"verify_trust": True}}
    context = c2pa.Context.from_dict(settings)
    with c2pa.Reader(file, context=context) as reader:
        return reader.get_validation_state(), json.loads(reader.json())


def main() -> None:
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)

        def run(*args: str) -> None:
            subprocess.run([program, *args], cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("keys", "signing", "--output", "keys")
        root = (folder / "keys/root.pem").read_text()
        key = ["--sign-key", "keys/key.pem", "--sign-cert", "keys/chain.pem", "--steps", "2"]
        checked = 0
        for ending in ["png", "jpg", "webp"]:
            made, changed, bare = f"made.{ending}", f"changed.{ending}", f"bare.{ending}"
            run("txt2img", "a fox", "--width", "128", "--height", "128", "-o", made, *key)
            run("img2img", "a fox", "--init-img", made, "-o", changed, *key)
            run("txt2img", "a fox", "--no-watermark", "-o", bare, *key)
            for name, source, manifests in [
                (made, "trainedAlgorithmicMedia", 1),
                (changed, "compositeWithTrainedAlgorithmicMedia", 2),
                (bare, "trainedAlgorithmicMedia", 1),
            ]:
                state, _ = read(folder / name, None)
                assert state == "Valid", f"{name}: {state}"
                state, report = read(folder / name, root)
                assert state == "Trusted", f"{name}: {state} {report.get('validation_status')}"
                manifest = report["manifests"][report["active_manifest"]]
                text = json.dumps(manifest)
                assert f"{WORDS}{source}" in text and "Calotype" in text, text
                assert len(report["manifests"]) == manifests, report["manifests"].keys()
                assert ("calotype.tiled.1" in text) == (name != bare), text
                checked += 1

                data = bytearray((folder / name).read_bytes())
                data[-40 if ending != "webp" else 60] ^= 1
                broken = folder / f"broken.{ending}"
                broken.write_bytes(data)
                try:
                    state, _ = read(broken, root)
                except c2pa.C2paError as error:
                    state = f"Invalid: {error}"
                assert state.startswith("Invalid"), f"{name} with a flipped bit: {state}"
        print(f"c2pa-python with c2pa-rs {c2pa.sdk_version()}: {checked} signed images are valid, and trusted by their root")


if __name__ == "__main__":
    main()
