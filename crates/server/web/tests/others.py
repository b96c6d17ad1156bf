"""What needs a server of its own: one that dies, one with keys, one that holds its pictures."""

import gzip
import struct

from harness import *

ROWS = {"vit.embeddings.cls_token": [1, 1, 4], "vit.embeddings.position_embeddings": [1, 2, 4], "vit.embeddings.patch_embeddings.projection.weight": [4, 3, 8, 8],
        "vit.embeddings.patch_embeddings.projection.bias": [4], "vit.layernorm.weight": [4], "vit.layernorm.bias": [4], "classifier.weight": [2, 4], "classifier.bias": [2]}


def safetensors(path, tensors):
    """Writes tensors of f32, given as name, shape and values."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def classifier(folder):
    """A ViT that finds something in every picture: all its weights are 0 but one bias."""
    folder.mkdir(parents=True)
    layer = "vit.encoder.layer.0"
    shapes = dict(ROWS)
    for name in ("attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense", "intermediate.dense", "output.dense"):
        shapes |= {f"{layer}.{name}.weight": [4, 4], f"{layer}.{name}.bias": [4]}
    for name in ("layernorm_before", "layernorm_after"):
        shapes |= {f"{layer}.{name}.weight": [4], f"{layer}.{name}.bias": [4]}

    def count(shape):
        product = 1
        for side in shape:
            product *= side
        return product

    safetensors(folder / "model.safetensors", {name: (shape, [0.0, 5.0] if name == "classifier.bias" else [0.0] * count(shape)) for name, shape in shapes.items()})
    (folder / "config.json").write_text('{"num_attention_heads": 1, "id2label": {"0": "normal", "1": "nsfw"}}')


def power_cut(browser, _):
    """kill -9 in the middle: a line says that the server is away, and after its start the page goes on where it was."""
    server = Server().start()
    try:
        with browser.page(server.url) as page:
            ready(page)
            number(page, "Steps", 5)
            make(page, "a red apple on a blue background")
            number(page, "Steps", 150)
            number(page, "Seed", 7)
            write(page, "a green apple on a blue background")
            page.keyboard.press("Control+Enter")
            write(page, "a blue apple on a white background")
            number(page, "Steps", 6)
            page.keyboard.press("Control+Enter")
            until(page, "Number(document.querySelector('.stage [role=progressbar]')?.getAttribute('aria-valuenow')) > 10")
            server.kill()
            away = page.get_by_text("The server is away, trying again")
            expect(away).to_be_visible(timeout=15_000)
            browser.check_axe(page, "the page without its server")
            browser.picture(page, "away")
            # What is sent meanwhile is sent once the server is back, and made once.
            write(page, "a yellow apple on a white background")
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(1500)
            server.start()
            expect(away).to_have_count(0, timeout=20_000)
            expect(page.locator(".thumb")).to_have_count(4, timeout=120_000)
            expect(page.locator(".stage [role=progressbar]")).to_have_count(0, timeout=60_000)
            jobs = api(server.url, "GET", "/v1/jobs?limit=20")["jobs"]
            assert [job["state"] for job in jobs] == ["succeeded"] * 4, [(job["request"]["prompt"], job["state"]) for job in jobs]
            green = next(job for job in jobs if "green" in job["request"]["prompt"])
            assert green["request"]["seed"] == 7 and green["attempt"] >= 2, green
            page.reload()
            ready(page)
            expect(page.locator(".thumb")).to_have_count(4)
    finally:
        server.stop()


def with_keys(browser, _):
    """The login, the tabs by scope, making and revoking keys, and what happens to a page whose key is revoked."""
    server = Server()
    made = subprocess.run([str(BINARY), "keys", "new", "alice", "--scope", "generate,read,review,audit,admin", "--data", str(server.data)], capture_output=True, text=True, check=True)
    admin = re.search(r"calo_[\w-]+", made.stdout).group()
    server.start()
    try:
        with browser.page(server.url) as page:
            field = page.get_by_label("Key", exact=True)
            expect(field).to_be_visible()
            browser.check_axe(page, "the login")
            browser.picture(page, "login")
            field.fill("calo_wrong")
            field.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("does not know this key")
            field.fill(admin)
            field.press("Enter")
            ready(page)
            assert not any("calo_" in str(value) for value in page.evaluate("[document.cookie, {...localStorage}]")), "the key is readable from scripts"
            page.get_by_role("link", name="Keys").click()
            page.get_by_label("Name of the new key").fill("bob")
            browser.check_axe(page, "the keys")
            page.get_by_role("button", name="Make a key").click()
            dialog = page.get_by_role("dialog", name="The new key")
            expect(dialog).to_contain_text("calo_")
            bob = dialog.locator("code").inner_text()
            dialog.get_by_role("button", name="I have it").click()
            row = page.locator("li.card", has_text="bob")
            expect(row).to_contain_text("generate, read")
            with browser.page(server.url) as other:
                other.get_by_label("Key", exact=True).fill(bob)
                other.keyboard.press("Enter")
                ready(other)
                expect(other.get_by_role("navigation").get_by_role("link")).to_have_count(3)
                number(other, "Steps", 5)
                make(other, "a red apple on a green background")
                other.reload()
                ready(other)
                row.get_by_role("button", name="Revoke bob").click()
                page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
                expect(row).to_contain_text("revoked")
                # The page may have noticed by itself; else it does with the next request.
                other.evaluate("document.querySelector('.submit button')?.click()")
                expect(other.get_by_label("Key", exact=True)).to_be_visible()
            # Another key's pictures are not here.
            page.get_by_role("link", name="Create").click()
            expect(page.locator(".thumb")).to_have_count(0)
            page.get_by_role("link", name="Settings").click()
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_label("Key", exact=True)).to_be_visible()
    finally:
        server.stop()


def review(browser, _):
    """Held pictures: blurred, scores, the prompt behind a click, decided by keys and buttons; the log of it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="calotype-page-policy-"))
    classifier(folder / "vit")
    (folder / "policy.toml").write_text('[[classifier]]\nid = "vit"\nkind = "vit"\npath = "vit"\n[[score]]\nclassifier = "vit"\nscore = "nsfw"\nblock = 0.9\naction = "hold"\n')
    server = Server("--safety", folder / "policy.toml").start()
    try:
        with browser.page(server.url) as page:
            ready(page)
            number(page, "Steps", 5)
            for colour in ("red", "green", "blue"):
                write(page, f"a {colour} apple on a white background")
                page.keyboard.press("Control+Enter")
                until(page, "text => fetch('/v1/jobs?state=held').then(r => r.json()).then(r => r.jobs.some(job => job.request.prompt === text))", f"a {colour} apple on a white background", timeout=60_000)
            expect(page.get_by_role("heading", name="Held for review")).to_be_visible()
            expect(page.locator(".thumb")).to_have_count(0)
            link = page.get_by_role("link", name=re.compile("^Review"))
            expect(link).to_contain_text("3")
            link.click()
            expect(page.get_by_role("heading", name="Review")).to_be_visible()
            expect(page.get_by_text("1 of 3")).to_be_visible()
            image = page.locator("img.held")
            assert image.get_attribute("src").endswith("/blurred")
            until(page, "document.querySelector('img.held').naturalWidth > 0")
            expect(page.locator(".scores")).to_contain_text(re.compile("nsfw", re.I))
            expect(page.get_by_text("apple on a white background")).to_be_hidden()
            browser.check_axe(page, "the review")
            browser.picture(page, "review")
            page.get_by_text("Show the prompt").click()
            expect(page.get_by_text("a red apple on a white background")).to_be_visible()
            page.get_by_role("button", name="Show it sharp").click()
            until(page, "document.querySelector('img.held').src.endsWith('/original') && document.querySelector('img.held').naturalWidth > 0")
            page.keyboard.press("n")
            expect(page.get_by_text("2 of 3")).to_be_visible()
            assert page.locator("img.held").get_attribute("src").endswith("/blurred"), "the next one is shown sharp"
            page.keyboard.press("2")
            expect(page.get_by_text(re.compile("of 2"))).to_be_visible()
            page.get_by_label("Reason for your decision").fill("an apple")
            page.get_by_role("button", name=re.compile("^Release")).click()
            expect(page.get_by_text("1 of 1")).to_be_visible()
            page.keyboard.press("1")
            expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
            states = sorted(job["state"] for job in api(server.url, "GET", "/v1/jobs")["jobs"])
            assert states == ["rejected", "succeeded", "succeeded"], states
            page.get_by_role("link", name="Create").click()
            expect(page.locator(".thumb")).to_have_count(2)
            page.get_by_role("link", name="Audit").click()
            expect(page.locator(".cards li")).not_to_have_count(0)
            page.locator(".cards summary").first.click()
            browser.check_axe(page, "the audit log")
            browser.picture(page, "audit")
            count = page.locator(".cards li").count()
            page.get_by_role("searchbox", name="Search in the audit log").fill("an apple")
            expect(page.locator(".cards li")).not_to_have_count(count)
            expect(page.locator(".cards li")).not_to_have_count(0)
    finally:
        server.stop()
        shutil.rmtree(folder)


def size_and_policy(browser, server):
    """All files in one gzip stream are under 60 KiB, and nothing is loaded from elsewhere or inline."""
    web = ROOT / "crates/server/web"
    files = sorted(path for path in web.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg") and "tests" not in path.parts)
    size = len(gzip.compress(b"".join(path.read_bytes() for path in files), 9))
    assert size < 60 << 10, f"the page is {size} bytes, compressed in one"
    with browser.page(server.url) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        ready(page)
        assert all(url.startswith((server.url, "blob:", "data:")) for url in asked), asked
        policy = page.evaluate("fetch('/').then(r => r.headers.get('content-security-policy'))")
        assert "script-src 'self'" in policy and "unsafe" not in policy, policy
        text = page.evaluate("fetch('/').then(r => r.text())")
        assert "<style" not in text and not re.search(r"<script(?![^>]*src=)", text), "inline"


TESTS = [power_cut, with_keys, review, size_and_policy]
