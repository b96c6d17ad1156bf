"""Holds the cache that `calotype models pull` writes to that of huggingface_hub, both ways, against a hub on this machine.

    python reference/hub_cache.py target/release/calotype

1. calotype pulls a model, huggingface_hub finds it offline; huggingface_hub pulls the same model into another cache: the two
   trees have the same files, the same links and the same references, but for a note of its own that each keeps.
2. What huggingface_hub has pulled calotype finds offline, and pulling it again downloads nothing.

Needs huggingface_hub alone. Prints one line for each thing that was held, and fails at the first that differs.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading

COMMIT = "1234567890abcdef1234567890abcdef12345678"
MODEL = "org/name"
# Large files have a SHA-256, small ones git's SHA-1. No weights are read, so any bytes will do.
LARGE = {f"{part}/{name}": bytes([n]) * 5000 for n, (part, name) in enumerate(
    [("unet", "diffusion_pytorch_model.safetensors"), ("vae", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors")])}
SMALL = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "unet/config.json": b"{}", "vae/config.json": b"{}", "text_encoder/config.json": b"{ }",
    "scheduler/scheduler_config.json": b"{}", "tokenizer/vocab.json": b"{}", "tokenizer/merges.txt": b"",
}
FILES = {**LARGE, **SMALL}
# Calotype's own note of the licences that were accepted. huggingface_hub 2 has a note too, `trees/COMMIT.json`, which it does
# without where there is none.
NOTES = ".calotype-licenses.json"


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(path):
    return hashlib.sha256(FILES[path]).hexdigest() if path in LARGE else git_sha1(FILES[path])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    downloads = []

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{MODEL}/tree/"):
            entries = [{"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
                       | ({"lfs": {"oid": etag(name), "size": len(content), "pointerSize": 129}} if name in LARGE else {})
                       for name, content in FILES.items()]
            return self.answer(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())
        if path.startswith(f"/api/models/{MODEL}"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in FILES.items()]
            said = {"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": siblings, "private": False, "gated": False,
                    "disabled": False, "downloads": 0, "likes": 0, "tags": [], "cardData": {"license": "mit"},
                    "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}
            return self.answer(200, {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}, json.dumps(said).encode())
        prefix = f"/{MODEL}/resolve/{COMMIT}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in FILES:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"}, b"")
        if self.command == "GET":
            self.downloads.append(name)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(name)}"', "Accept-Ranges": "bytes"}
        if name in LARGE:
            headers |= {"X-Linked-ETag": f'"{etag(name)}"', "X-Linked-Size": str(len(FILES[name]))}
        self.answer(200, headers, FILES[name])

    do_HEAD = do_GET


def tree(home):
    """The repository of the model in a cache: what is at each path, content or link."""
    root = home / "hub" / ("models--" + MODEL.replace("/", "--"))
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file() and name != NOTES and not name.startswith("trees/"):
            found[name] = ("file", path.read_bytes())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calotype", type=pathlib.Path)
    args = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ.update(HF_ENDPOINT=address, HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_XET="1")
    os.environ.pop("HF_TOKEN", None)
    import huggingface_hub  # It reads the environment as it is imported.

    def calotype(home, *command, **more):
        env = {**os.environ, "HF_HOME": str(home), **more}
        done = subprocess.run([args.calotype.resolve(), *command], env=env, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = pathlib.Path(folder, "ours"), pathlib.Path(folder, "theirs")
        calotype(ours, "models", "pull", MODEL, "--accept-license")
        assert sorted(Handler.downloads) == sorted(set(Handler.downloads))
        found = huggingface_hub.snapshot_download(MODEL, cache_dir=ours / "hub", local_files_only=True)
        assert found == str(ours / "hub/models--org--name/snapshots" / COMMIT), found
        for name, content in FILES.items():
            assert pathlib.Path(found, name).read_bytes() == content, name
            assert huggingface_hub.try_to_load_from_cache(MODEL, name, cache_dir=ours / "hub") == str(pathlib.Path(found, name))
        print(f"huggingface_hub {huggingface_hub.__version__} finds offline what calotype pulled: {len(FILES)} files")

        scanned = huggingface_hub.scan_cache_dir(ours / "hub")
        assert [repo.repo_id for repo in scanned.repos] == [MODEL] and not scanned.warnings, scanned
        print("its scan of that cache has no warning")

        huggingface_hub.snapshot_download(MODEL, cache_dir=theirs / "hub")
        own, other = tree(ours), tree(theirs)
        for name in sorted(own.keys() | other.keys()):
            assert own.get(name) == other.get(name), (name, own.get(name), other.get(name))
        print(f"the two caches are the same: {sum(kind == 'link' for kind, _ in own.values())} links, {len(own)} entries")

        Handler.downloads.clear()
        calotype(theirs, "models", "pull", MODEL, "--accept-license")
        assert Handler.downloads == [], Handler.downloads
        listed = calotype(theirs, "models", "list", "--json", HF_HUB_OFFLINE="1")
        assert MODEL in listed, listed
        print("calotype finds what huggingface_hub pulled, and downloads nothing again")


if __name__ == "__main__":
    main()
