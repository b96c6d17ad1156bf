"""What the tests of the page share: the server under test, the browser, and small steps that a person does."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from playwright.sync_api import expect, sync_playwright

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
ROOT = pathlib.Path(__file__).resolve().parents[4]
BINARY = pathlib.Path(os.environ.get("CALOTYPE", ROOT / "target/release/calotype"))


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


class Server:
    """`calotype serve` on a free port with a data folder of its own, which can be killed and started again."""

    def __init__(self, *options, port=None, data=None):
        self.options = options
        self.port = port or free_port()
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="calotype-page-"))
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process = None
        self.log = open(self.data.with_suffix(".log"), "ab")

    def start(self):
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data, *self.options]
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log, start_new_session=True)
        end = time.time() + 60
        while time.time() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.url + "v1/session", timeout=2).read()
                return self
            time.sleep(0.2)
        raise AssertionError(f"the server did not start:\n{self.data.with_suffix('.log').read_text()[-2000:]}")

    def kill(self):
        """As a power cut would: no signal that it could answer."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            if self.process.poll() is None:
                self.kill()
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)


class Running:
    """A server that somebody else started, for `--url`."""

    def __init__(self, url):
        self.url = url

    def start(self):
        return self

    def stop(self):
        pass


def api(url, method, path, body=None, key=None):
    """A request as a program sends it; gives the JSON of the answer."""
    headers = {"content-type": "application/json", "origin": url.rstrip("/")}
    if key:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url.rstrip("/") + path, method=method, headers=headers, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


class Browser:
    """One Chromium; each test gets a page with a fresh profile, and no error in the console may happen."""

    def __init__(self, pictures):
        self.play = sync_playwright().start()
        self.chromium = self.play.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=ARGS)
        self.pictures = pathlib.Path(pictures)
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.axe = pathlib.Path(os.environ["AXE"]).read_text() if os.environ.get("AXE") else None
        self.complaints = []

    @contextlib.contextmanager
    def page(self, url, width=1440, height=900, theme="light", **more):
        context = self.chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme, accept_downloads=True, **more)
        context.set_default_timeout(20_000)
        page = context.new_page()
        self.complaints = []
        # What the network says of refused requests and of a server that was killed is no fault of the page.
        expected = re.compile(r"Failed to load resource|ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|net::ERR")
        page.on("console", lambda line: self.complaints.append(line.text) if line.type in ("error", "warning") and not expected.search(line.text) else None)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        try:
            page.goto(url)
            yield page
            assert not self.complaints, f"the console says: {self.complaints}"
        finally:
            context.close()

    def picture(self, page, name, **options):
        page.screenshot(path=str(self.pictures / f"page-{name}.png"), **options)

    def check_axe(self, page, where):
        """No rule of axe may be broken, those of WCAG 2.2 AA and the best practices."""
        if self.axe is None:
            return
        # The policy of the page forbids script elements; evaluating is the browser's own way.
        page.evaluate(self.axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + n.failureSummary).join(' | ')}`))")
        assert not found, f"axe in {where}: " + "\n".join(found)

    def close(self):
        self.chromium.close()
        self.play.stop()


def until(page, expression, arg=None, timeout=30_000):
    """Waits until an expression of the page is true. (Playwright's own waiting evaluates text inside the page, which its policy forbids.)"""
    end = time.time() + timeout / 1000
    while time.time() < end:
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(60)
    raise AssertionError(f"not true within {timeout / 1000:.0f} s: {expression}")


def ready(page):
    expect(page.get_by_role("button", name=re.compile("^Generate"))).to_be_visible()
    until(page, "document.querySelector('.gallery') !== null")


def write(page, prompt):
    page.get_by_role("textbox", name="Prompt", exact=True).fill(prompt)


def number(page, name, value):
    field = page.get_by_role("spinbutton", name=name).first
    field.fill(str(value))
    field.press("Tab")


def unfold(page, title):
    fold = page.locator("details.fold", has=page.locator("summary", has_text=title)).last
    if fold.get_attribute("open") is None:
        fold.locator("summary").first.click()
    return fold


def make(page, prompt=None, timeout=90_000):
    """Generates and waits for the picture; gives its address."""
    before = page.locator(".thumb").count()
    if prompt is not None:
        write(page, prompt)
    page.keyboard.press("Control+Enter")
    until(page, f"document.querySelectorAll('.thumb').length > {before}", timeout=timeout)
    expect(page.locator(".stage [role=progressbar]")).to_have_count(0, timeout=timeout)
    return page.locator(".stage .easel img:not([alt^='Preview of'])").first.get_attribute("src")


def newest(page):
    """The newest job, as the server tells it."""
    return page.evaluate("fetch('/v1/jobs?limit=1').then(r => r.json()).then(r => r.jobs[0])")


def act(page, name):
    page.get_by_role("toolbar", name="What to do with this picture").first.get_by_role("button", name=name, exact=True).click()


def toast(page, text):
    expect(page.locator(".toast", has_text=text).first).to_be_visible()


def png_bytes(width=64, height=64, colour=(200, 90, 40)):
    """A PNG of one colour, made without a library."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\0" + bytes(colour) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def drop_file(page, selector, data, name="dropped.png"):
    """Drops a file, as the browser tells the page of it."""
    page.evaluate(
        """([selector, bytes, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
          const target = document.querySelector(selector);
          for (const kind of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: transfer}));
        }""",
        [selector, list(data), name],
    )


def paste_file(page, data):
    page.evaluate(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
          document.body.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, cancelable: true, clipboardData: transfer}));
        }""",
        list(data),
    )


__all__ = [name for name in dir() if not name.startswith("_")]
