"""The page as a whole: keyboard, narrow windows, accessibility of all views, size, queue."""

from harness import *

VIEWS = ["create", "queue", "review", "audit", "keys", "settings"]


def unfold_all(page):
    closed = page.locator("details.fold:not([open]) > summary")
    while closed.count():
        closed.first.click()
        page.wait_for_timeout(100)


def queue(browser, server):
    """Jobs are seen, put in another order, cancelled one by one and all."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 150)
        # Large ones, so that none is done before its turn in the test.
        number(page, "Width", 320)
        number(page, "Height", 320)
        names = [f"a {colour} ball on a white background" for colour in ("red", "green", "blue", "yellow")]
        for name in names:
            write(page, name)
            page.get_by_role("button", name=re.compile("^Generate")).click()
            until(page, "name => document.querySelector('.submit button').textContent.includes('Generate') && fetch('/v1/jobs?limit=1').then(r => r.json()).then(r => r.jobs[0].request.prompt === name)", arg=name)
        page.get_by_role("link", name=re.compile("^Queue")).click()
        expect(page.get_by_role("heading", name="Now")).to_be_visible()
        rows = page.locator("h3:text-is('Next') + ul > li")
        expect(rows).to_have_count(3)
        expect(rows.nth(2)).to_contain_text("yellow")
        browser.check_axe(page, "the queue with jobs")
        browser.picture(page, "queue")
        rows.nth(2).get_by_role("button", name="Earlier").click()
        expect(rows.nth(1)).to_contain_text("yellow")
        rows.nth(1).get_by_role("button", name="Make it next").click()
        expect(rows.nth(0)).to_contain_text("yellow")
        page.wait_for_timeout(800)
        order = page.evaluate("fetch('/v1/jobs?state=queued').then(r => r.json()).then(r => r.jobs.sort((a, b) => a.position - b.position).map(job => job.request.prompt))")
        assert [name.split()[1] for name in order] == ["yellow", "green", "blue"], order
        rows.nth(0).get_by_role("button", name="Cancel this job").click()
        expect(rows).to_have_count(2)
        page.get_by_role("button", name="Cancel all").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
        expect(page.get_by_text("Nothing is being made")).to_be_visible()
        states = page.evaluate("fetch('/v1/jobs?limit=4').then(r => r.json()).then(r => r.jobs.map(job => job.state))")
        assert states == ["cancelled"] * 4, states


def keyboard(browser, server):
    """A picture without a mouse; the list of keys; every control is reached, seen and named."""
    with browser.page(server.url) as page:
        ready(page)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        browser.check_axe(page, "the list of keys")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.press("Control+a")
        page.keyboard.type("a red apple on a white background")
        page.keyboard.press("Tab")
        for _ in range(40):
            if page.evaluate("document.activeElement.getAttribute('aria-describedby') ?? '', document.activeElement.labels?.[0]?.textContent.trim()") == "Steps":
                break
            page.keyboard.press("Tab")
        page.keyboard.type("6")
        page.keyboard.press("Control+Enter")
        count = page.locator(".thumb").count()
        until(page, f"document.querySelectorAll('.thumb').length > {count}", timeout=90_000)
        assert newest(page)["request"]["num_inference_steps"] == 6, newest(page)["request"]
        for digit, tab in enumerate(VIEWS, 1):
            page.keyboard.press(f"Alt+{digit}")
            expect(page.locator("nav [aria-current=page]")).to_contain_text(tab.capitalize())
        page.keyboard.press("Alt+1")
        # Round the whole page: each stop is visible, has a name and a ring, and none holds the focus.
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        seen = []
        for _ in range(250):
            page.keyboard.press("Tab")
            stop = page.evaluate(
                """() => {
                  const node = document.activeElement;
                  if (node === document.body) return null;
                  const style = getComputedStyle(node), box = node.getBoundingClientRect();
                  const paper = node.closest(".paper");
                  const ring = style.outlineStyle !== "none" || (paper && getComputedStyle(paper).boxShadow !== "none");
                  const name = node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent || node.querySelector("img")?.alt;
                  window.stops ??= new Map();
                  if (!stops.has(node)) stops.set(node, stops.size);
                  return [stops.get(node), node.outerHTML.slice(0, 120), ring, box.width > 0 && box.height > 0, !!name?.trim()];
                }"""
            )
            if stop is None or stop[0] in [one[0] for one in seen]:
                break
            seen.append(stop)
        assert len(seen) > 30, f"only {len(seen)} stops: {seen[-1]}"
        wrong = [one[1] for one in seen if not all(one[2:])]
        assert not wrong, wrong
        reached = page.evaluate("[...document.querySelectorAll('main button:not(:disabled), main input, main select, main textarea, main summary')].filter(node => node.tabIndex >= 0 && node.checkVisibility() && !stops.has(node)).map(node => node.outerHTML.slice(0, 120))")
        assert not reached, f"not reached by Tab: {reached}"


def accessible(browser, server):
    """axe finds nothing in any view, light and dark."""
    for theme in ("light", "dark"):
        with browser.page(server.url, theme=theme) as page:
            ready(page)
            for view in VIEWS:
                page.goto(f"{server.url}#{view}")
                page.wait_for_timeout(500)
                unfold_all(page)
                browser.check_axe(page, f"{view}, {theme}")
                if view in ("create", "settings"):
                    browser.picture(page, f"{view}-{theme}")


def narrow(browser, server):
    """360 pixels, and 200 percent: nothing is cut off, and targets are large enough for a finger."""
    for width, height, what in ((360, 740, "phone"), (720, 450, "zoomed"), (1024, 768, "tablet")):
        with browser.page(server.url, width=width, height=height, has_touch=width == 360) as page:
            ready(page)
            for view in VIEWS:
                page.goto(f"{server.url}#{view}")
                page.wait_for_timeout(400)
                unfold_all(page)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{view} at {width} is {wide} wide: " + str(page.evaluate("w => [...document.querySelectorAll('main *')].filter(n => n.getBoundingClientRect().right > w + 1 && n.checkVisibility()).slice(0, 5).map(n => n.outerHTML.slice(0, 150))", width))
                if what == "phone":
                    small = page.evaluate("[...document.querySelectorAll('button, select, input:not([type=range]), summary, nav a')].filter(n => n.checkVisibility() && !n.closest('.unseen')).map(n => [n.getBoundingClientRect(), n]).filter(([b]) => b.width && (b.height < 24 || b.width < 24)).filter(([, n]) => n.type !== 'checkbox').map(([b, n]) => `${b.width}×${b.height} ${n.outerHTML.slice(0, 100)}`)")
                    assert not small, small
                    browser.check_axe(page, f"{view} at 360")
            page.goto(f"{server.url}#create")
            browser.picture(page, what)
    with browser.page(server.url, width=360, height=740, has_touch=True) as page:
        ready(page)
        write(page, "a red apple on a blue background")
        page.locator(".composer summary", has_text="Settings").first.tap()
        number(page, "Steps", 6)
        count = page.locator(".thumb").count()
        page.get_by_role("button", name=re.compile("^Generate")).tap()
        until(page, f"document.querySelectorAll('.thumb').length > {count}", timeout=90_000)
        act(page, "Paint a mask")
        dialog = page.get_by_role("dialog", name="Paint what is made anew")
        expect(dialog.get_by_role("button", name="Use this mask")).to_be_enabled()
        page.touchscreen.tap(*(lambda box: (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))(page.locator(".maskeditor canvas").bounding_box()))
        expect(dialog).to_contain_text(re.compile(r"[1-9]\d* % is masked"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        browser.picture(page, "phone-mask")


def preferences(browser, server):
    """Theme, format, blurring and keys are kept; motion stops where it is not wanted."""
    with browser.page(f"{server.url}#settings") as page:
        page.get_by_label("Theme").select_option("dark")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 18, 16)"
        page.get_by_label("Format of new pictures").select_option("webp")
        page.get_by_label("Blur pictures").select_option("always")
        page.get_by_label("Keys of one letter").uncheck()
        page.reload()
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 18, 16)"
        page.keyboard.press("Alt+1")
        ready(page)
        number(page, "Steps", 5)
        make(page, "a green leaf on a white background")
        result = newest(page)["results"][0]
        assert result["media_type"] == "image/webp", result
        assert "blur" in page.evaluate("getComputedStyle(document.querySelector('.stage .turn img')).filter")
        page.get_by_role("button", name="Show it", exact=True).click()
        assert page.evaluate("getComputedStyle(document.querySelector('.stage .turn img')).filter") == "none"
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_have_count(0)
    with browser.page(server.url, reduced_motion="reduce") as page:
        ready(page)
        moving = page.evaluate("[...document.querySelectorAll('*')].filter(node => { const s = getComputedStyle(node); return s.animationName !== 'none' || (s.transitionDuration !== '0s' && s.transitionProperty !== 'none'); }).length")
        assert moving == 0, moving


def orders(browser, server):
    """The priorities that put jobs in an order do so, for any order."""
    with browser.page(server.url) as page:
        ready(page)
        wrong = page.evaluate(
            """async () => {
              const { priorities } = await import("/web/queue.js");
              for (let round = 0; round < 2000; round++) {
                const jobs = Array.from({ length: 1 + (round % 8) }, (_, seq) => ({ id: `${seq}`, seq, priority: Math.floor(Math.random() * 3) - 1 }));
                const order = jobs.toSorted(() => Math.random() - 0.5);
                const now = Object.fromEntries(priorities(order).map((change) => [change.id, change.priority]));
                const sorted = jobs.toSorted((a, b) => (now[b.id] ?? b.priority) - (now[a.id] ?? a.priority) || a.seq - b.seq);
                if (sorted.some((job, index) => job !== order[index])) return [order, now];
              }
              return null;
            }"""
        )
        assert wrong is None, wrong


def requests(browser, server):
    """A request that was taken into the form comes out of it as it was, with members that the form has no field for."""
    request = {
        "prompt": "a fox", "negative_prompt": "blurry", "prompt_style": "plain", "num_inference_steps": 12, "guidance_scale": 3.5, "sampler": "euler_a", "schedule": "karras", "seed": 5, "n": 2,
        "width": 96, "height": 64, "clip_skip": 2, "tiling": "xy", "eta": 0, "variation_seed": 9, "variation_strength": 0.3, "model": "built-in", "rng": "nv", "seed_resize": [64, 64],
        "init": {"picture": {"blob": "a" * 64}, "strength": 0.4, "strength_rule": "a1111", "resize_mode": "fill", "inpaint": {"mask": {"blob": "b" * 64}, "mask_blur": 0, "invert_mask": True, "fill": "latent-noise", "only_masked_padding": 16, "other": 1}},
    }
    hires = {"prompt": "a fox", "seed": 5, "width": 64, "height": 64, "hires": {"width": 128, "height": 128, "strength": 0.6, "num_inference_steps": 7, "upscaler": "latent"}}
    grown = {"prompt": "a fox", "seed": 5, "init": {"picture": {"result": "j_1/0"}, "strength": 1, "resize_mode": "crop", "outpaint": {"left": 8, "right": 0, "top": 16, "bottom": 0}}}
    with browser.page(server.url) as page:
        ready(page)
        for given in (request, hires, grown):
            made = page.evaluate("async (request) => { const { fromRequest, toRequest } = await import('/web/form.js'); fromRequest(request); return toRequest(); }", given)
            for name, value in given.items():
                assert made[name] == value, (name, value, made[name])
            assert ("width" in made) == ("width" in given)


def small(browser, server):
    """What the first view loads is less than 60 KB; other views are loaded when they are shown, and again if that failed."""
    with browser.page(server.url) as page:
        ready(page)
        sizes = page.evaluate("performance.getEntries().filter(entry => entry.name.includes('/web/') || entry.entryType === 'navigation').map(entry => [entry.name, entry.encodedBodySize])")
        assert sum(size for _, size in sizes) < 60_000, (sum(size for _, size in sizes), sizes)
        assert not any("audit.js" in name for name, _ in sizes), sizes
        page.route(re.compile(r"/web/audit\.js\?0"), lambda route: route.abort())
        page.get_by_role("link", name="Audit").click()
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", name="Audit")).to_be_visible()


TESTS = [small, orders, requests, queue, keyboard, accessible, narrow, preferences]
