"""The server as it is run in production: behind nginx with TLS, by the settings of deploy/, started and stopped as systemd does it.

    python3 crates/server/tests/serving/run.py target/release/calotype
"""

import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[4]
DEPLOY = ROOT / "deploy"
PROMPT = "a fox that is in no log"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def noise(side):
    """A PNG that can't be made smaller."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + random.Random(row).randbytes(3 * side) for row in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


class Notified:
    """What systemd would be told."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.lines = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.lines += self.socket.recv(4096).decode().splitlines()

    def wait(self, line, seconds):
        end = time.monotonic() + seconds
        while line not in self.lines:
            assert time.monotonic() < end, f"{line} was not said in {seconds} s: {self.lines}"
            time.sleep(0.02)


class Client:
    """Speaks to nginx."""

    def __init__(self, port, certificate, key):
        self.port, self.key = port, key
        self.tls = ssl.create_default_context(cafile=certificate)

    def open(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.tls, timeout=120)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, body, {name: value for name, value in headers.items() if value is not None})
        return connection.getresponse()

    def send(self, method, path, body=None, headers=None, status=200):
        answer = self.open(method, path, body, headers)
        data = answer.read()
        assert answer.status == status, f"{method} {path}: {answer.status} in place of {status}: {data[:500]}"
        return answer, data


def follow(client, arrivals, is_open):
    """Notes when each event comes."""
    answer = client.open("GET", "/v1/events")
    assert answer.status == 200 and answer.getheader("content-type") == "text/event-stream"
    is_open.set()
    event = None
    while line := answer.readline().decode():
        if line.startswith("event: "):
            event = line.removeprefix("event: ").strip()
        elif line.startswith("data: "):
            arrivals.append((time.monotonic(), event, json.loads(line.removeprefix("data: "))))


def configure(folder, port, tls_port):
    """The files of deploy/, with the paths and ports of this run and nothing else changed."""
    config = (DEPLOY / "calotype.toml").read_text()
    config = config.replace("127.0.0.1:7860", f"127.0.0.1:{port}").replace('"/var/lib/calotype"', f'"{folder}/data"')
    config = config.replace('"images.example.org"', '"localhost"').replace("[limits]", "disk_floor_mb = 0\n[limits]")
    config = re.sub(r"max_steps = \d+", "max_steps = 150", config)
    (folder / "calotype.toml").write_text(config + "[http]\nwrong_keys_per_minute = 5\n")
    (folder / "rules.toml").write_text((DEPLOY / "rules.toml").read_text())
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    certificate += ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(certificate, check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text()
    site = re.sub(r"listen \[::\].*\n", "", site).replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    site = site.replace("listen 443 ssl", f"listen 127.0.0.1:{tls_port} ssl").replace("images.example.org;", "localhost;")
    site = site.replace("127.0.0.1:7860", f"127.0.0.1:{port}")
    site = re.sub(r"/etc/letsencrypt\S*/fullchain.pem", f"{folder}/cert.pem", site)
    site = re.sub(r"/etc/letsencrypt\S*/privkey.pem", f"{folder}/key.pem", site)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{main}http {{\naccess_log off;\n{paths}{site}}}\n")


def check(client, folder):
    """Everything that goes through the proxy."""
    page, html = client.send("GET", "/", headers={"Authorization": None})
    assert b"<script" in html and "max-age" in page.getheader("strict-transport-security")
    client.send("GET", "/v1/jobs", headers={"Authorization": None}, status=401)
    for path in ("/metrics", "/readyz", "/livez", "/startupz"):
        client.send("GET", path, status=404)

    # The page's own requests come from this site; another's do not pass.
    own = {"Origin": f"https://localhost:{client.port}"}
    login, _ = client.send("POST", "/v1/session", json.dumps({"key": client.key}), {**own, "Authorization": None})
    cookie = login.getheader("set-cookie")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=Strict")), cookie
    cookie = {"Authorization": None, "Cookie": cookie.split(";")[0]}
    client.send("POST", "/v1/jobs/estimate", json.dumps({"prompt": PROMPT}), {**own, **cookie})
    client.send("POST", "/v1/jobs/estimate", "{}", {**cookie, "Origin": "https://evil.example"}, status=403)
    client.send("GET", "/", headers={"Host": "evil.example"}, status=421)

    # Wrong keys count by the address that nginx saw, not by what a client makes up; the right one goes on working.
    statuses = []
    for n in range(8):
        headers = {"Authorization": "Bearer calo_wrong", "X-Forwarded-For": f"192.0.2.{n}"}
        statuses.append(client.open("GET", "/v1/jobs", None, headers).status)
    assert statuses[0] == 401 and statuses[-1] == 429, statuses

    # Events come when they happen, not when the stream ends.
    arrivals, is_open = [], threading.Event()
    threading.Thread(target=follow, args=(client, arrivals, is_open), daemon=True).start()
    assert is_open.wait(20)
    body = json.dumps({"prompt": PROMPT, "steps": 100, "seed": 1})
    asked = {"Prefer": "wait=100", "Idempotency-Key": "one", "X-Request-Id": None}
    answer, data = client.send("POST", "/v1/jobs", body, asked)
    done, job = time.monotonic(), json.loads(data)
    assert job["state"] == "succeeded" and re.fullmatch(r"[0-9a-f]{32}", answer.getheader("x-request-id")), job
    time.sleep(0.5)
    states = [(at, data["state"]) for at, event, data in arrivals if event == "state"]
    assert [state for _, state in states] == ["queued", "leased", "running", "checking", "succeeded"], states
    assert sum(event == "progress" for _, event, _ in arrivals) >= 3
    assert states[0][0] < done - 0.3, "the first event came with the last"
    again, data = client.send("POST", "/v1/jobs", body, asked)
    assert json.loads(data)["id"] == job["id"]
    _, image = client.send("GET", job["results"][0]["url"])
    assert image.startswith(b"\x89PNG")

    # A large upload, and one that is too large.
    picture = noise(1600)
    assert len(picture) > 7 << 20
    binary = {"Content-Type": "application/octet-stream"}
    _, data = client.send("POST", "/v1/blobs", picture, binary, status=201)
    assert json.loads(data)["width"] == 1600
    try:
        client.send("POST", "/v1/blobs", bytes(70 << 20), binary, status=413)
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        pass  # it need not be read to the end

    # The rules of deploy/ stand in the way.
    _, data = client.send("POST", "/v1/jobs", json.dumps({"prompt": "Somebody on a horse"}), status=403)
    assert json.loads(data)["code"] == "prompt_refused"
    return arrivals


def main(program):
    with tempfile.TemporaryDirectory(prefix="calotype-serving-") as name:
        folder = pathlib.Path(name)
        port, tls_port = free_port(), free_port()
        configure(folder, port, tls_port)
        keys = [program, "keys", "new", "alice", "--data", folder / "data"]
        key = subprocess.run(keys, check=True, capture_output=True, text=True).stdout.strip()

        notified = Notified(folder / "notify")
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1500000"}
        with open(folder / "log", "wb") as log:
            command = [program, "serve", "--config", folder / "calotype.toml", "--log-json"]
            server = subprocess.Popen(command, stderr=log, env=environment)
        nginx = None
        try:
            notified.wait("READY=1", 60)
            nginx_command = ["nginx", "-p", folder, "-e", folder / "nginx.log", "-c", folder / "nginx.conf"]
            subprocess.run([*nginx_command, "-t"], check=True, stderr=subprocess.PIPE)
            nginx = subprocess.Popen(nginx_command)
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", tls_port)) == 0:
                        break
                time.sleep(0.05)
            arrivals = check(Client(tls_port, folder / "cert.pem", key), folder)
            health = [program, "health", "--url", f"http://127.0.0.1:{port}"]
            subprocess.run(health, check=True, stdout=subprocess.DEVNULL)
            notified.wait("WATCHDOG=1", 5)

            # With a stream open it ends in good order, and says so.
            begin = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert server.wait(40) == 0
            assert time.monotonic() - begin < 10, "it took long to end"
            notified.wait("STOPPING=1", 5)
            time.sleep(0.2)
            assert arrivals[-1][1] == "bye", arrivals[-1]
            assert subprocess.run(health, capture_output=True).returncode == 1
        finally:
            for process in (nginx, server):
                if process and process.poll() is None:
                    process.terminate()
                    process.wait(20)

        # What a log must not have; what it must.
        text = (folder / "log").read_text()
        for secret in (key, PROMPT, "calo_wrong", "Somebody"):
            assert secret not in text, f"{secret} is in the log"
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        made = [line for line in lines if line.get("route") == "/v1/jobs" and line.get("status") == 200]
        assert made and all(line["key"].startswith("k_") and line["request"] and line["ms"] > 0 for line in made), text
        assert not [line for line in lines if line["level"] == "ERROR"], text
    print("serving: behind nginx, and as systemd runs it: passed")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
