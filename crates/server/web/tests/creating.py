"""Making pictures: the twenty things that people ask for, used as a person would."""

from harness import *


def first_picture(browser, server):
    """Prompt, tokens, Ctrl+Enter, progress, live region, the picture and its alternative text."""
    with browser.page(server.url) as page:
        ready(page)
        expect(page.get_by_role("heading", name="Write what you want to see")).to_be_visible()
        browser.check_axe(page, "the empty page")
        browser.picture(page, "empty")
        expect(page.get_by_role("button", name="Generate", exact=True)).to_be_disabled()
        write(page, "a red apple on a blue background")
        expect(page.locator("#tokens")).to_contain_text(re.compile(r"[78] of 75 tokens"))
        number(page, "Steps", 100)
        page.evaluate("""() => {
          window.said = [];
          new MutationObserver(() => said.push(document.querySelector("[role=status].unseen").textContent)).observe(document.querySelector("[role=status].unseen"), {childList: true, characterData: true, subtree: true});
        }""")
        page.get_by_role("textbox", name="Prompt", exact=True).press("Control+Enter")
        bar = page.locator(".stage").get_by_role("progressbar")
        expect(bar).to_be_visible()
        until(page, "Number(document.querySelector('.stage [role=progressbar]')?.getAttribute('aria-valuenow')) > 15")
        assert "%" in page.title(), page.title()
        expect(page.locator(".stage .making img")).to_be_visible()
        expect(page.locator(".progress").first).to_contain_text("left")
        browser.check_axe(page, "the running page")
        browser.picture(page, "running")
        expect(page.get_by_role("region", name="Picture", exact=True).get_by_role("img", name="a red apple on a blue background")).to_be_visible(timeout=90_000)
        until(page, "said.some(text => /^Done/.test(text))")
        said = page.evaluate("said")
        assert sum("percent" in text for text in said) >= 3, said
        expect(page.locator(".gallery").get_by_role("img", name="a red apple on a blue background")).to_have_count(1)


def stopping(browser, server):
    """Esc and the button stop at once."""
    with browser.page(server.url) as page:
        ready(page)
        write(page, "a green tree on a white background")
        number(page, "Steps", 150)
        for way in ("key", "button"):
            page.get_by_role("button", name=re.compile("^Generate")).click()
            until(page, "Number(document.querySelector('.stage [role=progressbar]')?.getAttribute('aria-valuenow')) > 3")
            page.get_by_role("button", name="Stop", exact=True).click() if way == "button" else page.keyboard.press("Escape")
            expect(page.get_by_role("heading", name="Stopped")).to_be_visible(timeout=3000)
            assert newest(page)["state"] == "cancelled"


def gallery(browser, server):
    """It survives a reload, is walked with the arrows, and every setting of a picture is shown and used again."""
    with browser.page(server.url) as page:
        ready(page)
        write(page, "a yellow dog on a green background")
        page.get_by_role("textbox", name="Negative prompt").fill("blurry")
        number(page, "Steps", 9)
        number(page, "Guidance", 4.5)
        make(page)
        make(page, "a white cat on a red background")
        count = page.locator(".thumb").count()
        page.reload()
        ready(page)
        expect(page.locator(".thumb")).to_have_count(count)
        expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a white cat on a red background")
        assert page.locator(".thumb img").first.get_attribute("loading") == "lazy"
        page.locator(".thumb").first.click()
        page.keyboard.press("ArrowRight")
        details = page.locator(".stage .details")
        expect(details).to_contain_text("a yellow dog on a green background")
        for text in ("blurry", "4.5", "9", "64×64"):
            expect(details).to_contain_text(text)
        seed = details.locator("div", has=page.locator("dt", has_text="Seed")).locator("dd").first.inner_text()
        # Use all, by its key.
        page.keyboard.press("u")
        toast(page, "All settings")
        expect(page.get_by_role("textbox", name="Negative prompt")).to_have_value("blurry")
        expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("9")
        expect(page.get_by_role("spinbutton", name="Seed").first).to_have_value(seed)
        before = page.locator(".stage .easel img").first.get_attribute("src")
        again = make(page)
        same = page.evaluate(
            """async ([a, b]) => {
              const hash = async (url) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", await pixels(url)))].join();
              const pixels = async (url) => { const image = await createImageBitmap(await (await fetch(url)).blob()); const canvas = new OffscreenCanvas(image.width, image.height);
                const context = canvas.getContext("2d"); context.drawImage(image, 0, 0); return context.getImageData(0, 0, image.width, image.height).data.buffer; };
              return (await hash(a)) === (await hash(b));
            }""",
            [before, again],
        )
        assert same, "the same settings gave another picture"
        # The seed alone.
        write(page, "something else")
        act(page, "Use seed")
        expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("something else")
        page.get_by_role("searchbox", name="Search in the gallery").fill("yellow dog")
        expect(page.locator(".thumb")).to_have_count(2)


def reading_files(browser, server):
    """A picture that is dropped, pasted or opened tells its settings."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 7)
        url = make(page, "a purple fish on a white background")
        seed = str(newest(page)["results"][0]["seed"])
        data = bytes(page.evaluate("url => fetch(url).then(r => r.arrayBuffer()).then(b => [...new Uint8Array(b)])", url))
        path = browser.pictures / "reading.tmp.png"
        path.write_bytes(data)
        for way in ("drop", "paste", "choose"):
            number(page, "Steps", 30)
            write(page, "")
            if way == "drop":
                drop_file(page, "body", data)
            elif way == "paste":
                paste_file(page, data)
            else:
                with page.expect_file_chooser() as chooser:
                    page.get_by_role("button", name="Open a picture").click()
                chooser.value.set_files(path)
            dialog = page.get_by_role("dialog", name="What is it for?")
            expect(dialog).to_contain_text("a purple fish on a white background")
            expect(dialog).to_contain_text(seed)
            browser.check_axe(page, "the dialog about a file")
            dialog.get_by_role("button", name="Use its settings").click()
            expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a purple fish on a white background")
            expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("7")
            expect(page.get_by_role("spinbutton", name="Seed").first).to_have_value(seed)
        path.unlink()
        paste_file(page, png_bytes())
        dialog = page.get_by_role("dialog", name="What is it for?")
        expect(dialog).to_contain_text("no settings")
        expect(dialog.get_by_role("button", name="Use its settings")).to_be_disabled()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


def seeds_and_sizes(browser, server):
    """Seed lock, plus, minus, random; size presets, swap, the kept shape; what can't be is told."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 5)
        make(page, "a blue whale on a white background")
        last = newest(page)["results"][0]["seed"]
        seed = page.get_by_role("spinbutton", name="Seed").first
        expect(seed).to_have_value("")
        page.get_by_role("button", name="Lock the last seed").click()
        expect(seed).to_have_value(str(last))
        page.get_by_role("button", name="Seed plus 1").click()
        page.get_by_role("button", name="Seed plus 1").click()
        page.get_by_role("button", name="Seed minus 1").click()
        expect(seed).to_have_value(str(last + 1))
        make(page)
        assert newest(page)["results"][0]["seed"] == last + 1
        page.get_by_role("button", name="Random seed each time").click()
        expect(seed).to_have_value("")
        width, height = (page.get_by_role("spinbutton", name=name, exact=True) for name in ("Width", "Height"))
        page.get_by_role("button", name="2:3").click()
        tall = (int(width.input_value()), int(height.input_value()))
        assert tall[0] < tall[1], tall
        page.get_by_role("button", name="Swap width and height").click()
        expect(width).to_have_value(str(tall[1]))
        page.get_by_role("button", name="1:1").click()
        page.get_by_role("button", name="Keep the shape").click()
        number(page, "Width", 128)
        expect(height).to_have_value("128")
        page.get_by_role("button", name="Keep the shape").click()
        number(page, "Width", 99)
        page.get_by_role("button", name=re.compile("^Take ")).click()
        assert int(width.input_value()) % 4 == 0
        page.get_by_role("button", name="Reset all settings").click()
        expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("30")


def batches(browser, server):
    """Several pictures at once are seen as a grid, and one is taken from it."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 6)
        number(page, "Pictures", 4)
        write(page, "a red car on a white background")
        page.get_by_role("button", name="Generate 4").click()
        cells = page.locator(".sheetgrid .cell")
        expect(cells).to_have_count(4, timeout=120_000)
        browser.check_axe(page, "the grid of a batch")
        browser.picture(page, "batch")
        cells.nth(2).click()
        expect(page.locator(".stage .details")).to_contain_text(str(newest(page)["results"][2]["seed"]))
        page.get_by_role("button", name="All pictures of this run").click()
        expect(cells).to_have_count(4)


def pickers(browser, server):
    """Model, VAE, sampler and scheduler are found by typing, with keys alone."""
    with browser.page(server.url) as page:
        ready(page)
        sampler = page.get_by_role("combobox", name="Sampler")
        sampler.focus()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("listbox", name="Sampler")).to_be_visible()
        page.keyboard.type("euler a")
        browser.check_axe(page, "an open picker")
        page.keyboard.press("Enter")
        expect(sampler).to_have_value(re.compile("Euler a"))
        page.get_by_role("combobox", name="Scheduler").click()
        page.get_by_role("option", name=re.compile("^Karras")).click()
        expect(page.get_by_role("combobox", name="Scheduler")).to_have_value("Karras")
        page.get_by_role("combobox", name="Model").click()
        page.keyboard.type("no such model")
        expect(page.get_by_text("Nothing has this name")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("combobox", name="Model")).to_have_value("built-in")
        unfold(page, "More settings")
        page.get_by_role("combobox", name="VAE").click()
        page.get_by_role("option", name=re.compile("The model's own")).click()
        number(page, "Steps", 5)
        make(page, "a green frog on a white background")
        request = newest(page)["request"]
        assert (request["sampler"], request["schedule"]) == ("euler_a", "karras"), request


def styles_and_words(browser, server):
    """Own styles and presets, earlier prompts, and adapters by name."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 5)
        write(page, "on a yellow background")
        page.get_by_role("button", name="Styles and presets").click()
        dialog = page.get_by_role("dialog", name="Styles and presets")
        browser.check_axe(page, "the dialog of styles")
        dialog.get_by_label("Name").fill("Sunny")
        dialog.get_by_role("button", name="Save", exact=True).click()
        dialog.get_by_role("button", name=re.compile("^Sunny")).click()
        dialog.get_by_label("Name").fill("Quick")
        dialog.get_by_label("All settings instead of the text").check()
        dialog.get_by_role("button", name="Save", exact=True).click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Leave out the style Sunny")).to_be_visible()
        make(page, "a pink pig")
        assert newest(page)["request"]["prompt"] == "a pink pig, on a yellow background", newest(page)["request"]
        page.get_by_role("button", name="Leave out the style Sunny").click()
        page.get_by_role("button", name="Reset all settings").click()
        page.get_by_role("button", name="Styles and presets").click()
        dialog.get_by_role("button", name=re.compile("^Quick")).click()
        dialog.get_by_role("button", name="Drop Sunny").click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("5")
        # Earlier prompts: by the list, and from within the prompt.
        make(page, "a grey mouse on a white background")
        write(page, "")
        page.get_by_role("textbox", name="Prompt", exact=True).press("Alt+ArrowUp")
        expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a grey mouse on a white background")
        page.get_by_role("button", name="Earlier prompts").click()
        page.get_by_role("searchbox", name="Search in earlier prompts").fill("pink")
        page.get_by_role("button", name=re.compile("^a pink pig")).first.click()
        expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value(re.compile("^a pink pig"))
        adapters = page.evaluate("fetch('/v1/adapters').then(r => r.json())")["adapters"]
        page.get_by_role("button", name="Add a LoRA or embedding").click()
        browser.check_axe(page, "the dialog of adapters")
        if adapters:
            page.get_by_role("combobox", name="Name").click()
            page.get_by_role("option", name=re.compile(adapters[0]["name"])).first.click()
            number(page, "Weight", 0.6)
            page.get_by_role("button", name="Put into the prompt").click()
            expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value(re.compile(r":0\.6"))
        else:
            expect(page.get_by_role("dialog")).to_contain_text("The server has none")
            page.keyboard.press("Escape")


def from_a_picture(browser, server):
    """Enlarging, variations, starting from a picture of the gallery, a file and the clipboard, before and after."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 8)
        make(page, "a brown bear on a green background")
        before = page.locator(".thumb").count()
        act(page, "Enlarge")
        until(page, f"document.querySelectorAll('.thumb').length > {before}", timeout=120_000)
        job = newest(page)
        assert (job["results"][0]["width"], job["results"][0]["height"]) == (128, 128), job["results"]
        assert job["request"]["hires"]["width"] == 2 * job["request"]["width"], job["request"]
        page.locator(".thumb").nth(1).click()
        act(page, "Variations")
        expect(page.locator(".sheetgrid .cell")).to_have_count(4, timeout=120_000)
        request = newest(page)["request"]
        assert request["variation_strength"] == 0.2 and request["seed"] == job["request"]["seed"], request
        page.locator(".sheetgrid .cell").first.click()
        act(page, "Start from it")
        expect(page.get_by_role("img", name=re.compile("The picture to start from"))).to_be_visible()
        number(page, "Strength", 0.6)
        make(page, "a brown bear on a blue background")
        init = newest(page)["request"]["init"]
        assert init["strength"] == 0.6, init
        act(page, "Before and after")
        slider = page.get_by_role("slider", name=re.compile("How much is shown"))
        slider.fill("80")
        expect(page.get_by_role("img", name="What it began with")).to_be_visible()
        browser.check_axe(page, "before and after")
        browser.picture(page, "before-after")
        page.get_by_role("button", name="Start without a picture").click()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a picture").click()
        chooser.value.set_files({"name": "one.png", "mimeType": "image/png", "buffer": png_bytes()})
        expect(page.get_by_text("one.png").first).to_be_visible()
        page.reload()
        ready(page)
        expect(page.get_by_role("img", name=re.compile("one.png"))).to_be_visible()
        make(page)
        page.get_by_role("button", name="Start without a picture").click()
        drop_file(page, ".dropzone", png_bytes(colour=(20, 90, 200)), "two.png")
        expect(page.get_by_text("two.png").first).to_be_visible()
        paste_file(page, png_bytes(colour=(20, 200, 90)))
        page.get_by_role("dialog").get_by_role("button", name="Start from it").click()
        expect(page.get_by_text("pasted.png").first).to_be_visible()


def new_sides(browser, server):
    """Sides are added by numbers and by handles."""
    with browser.page(server.url) as page:
        ready(page)
        number(page, "Steps", 6)
        make(page, "a red rose on a white background")
        act(page, "Add sides")
        sides = unfold(page, "New sides")
        expect(sides.get_by_role("spinbutton", name="Left")).to_have_value("16")
        number(page, "Top", 16)
        number(page, "Left", 0)
        handle = sides.locator(".handle.right").bounding_box()
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y, steps=4)
        page.mouse.up()
        right = int(sides.get_by_role("spinbutton", name="Right").input_value())
        assert right > 16 and right % 8 == 0, right
        number(page, "Right", 32)
        make(page)
        job = newest(page)
        assert job["request"]["init"]["outpaint"] == {"left": 0, "right": 32, "top": 16, "bottom": 0}, job["request"]["init"]
        size = (job["results"][0]["width"], job["results"][0]["height"])
        assert size == (96, 80), size


def comparing_settings(browser, server):
    """A table over two settings."""
    with browser.page(server.url) as page:
        ready(page)
        write(page, "a blue bird on a white background")
        page.get_by_role("button", name="Compare settings").click()
        dialog = page.get_by_role("dialog", name="Compare settings")
        browser.check_axe(page, "the dialog of compared settings")
        dialog.get_by_label("Values, with commas").fill("4, 8")
        dialog.get_by_label("Down").select_option(label="Guidance")
        dialog.get_by_label("Values, with commas").nth(1).fill("2, x")
        expect(dialog.get_by_role("button", name="Make them")).to_be_disabled()
        dialog.get_by_label("Values, with commas").nth(1).fill("2, 8")
        dialog.get_by_role("button", name="Make them").click()
        expect(page.locator(".xy img")).to_have_count(4, timeout=120_000)
        expect(page.get_by_role("columnheader", name="Steps 8")).to_be_visible()
        browser.check_axe(page, "compared settings")
        browser.picture(page, "compared")


def taking_and_deleting(browser, server):
    """Download, copy, delete and undo, the viewer with its keys."""
    with browser.page(server.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        ready(page)
        number(page, "Steps", 5)
        make(page, "an orange carrot on a white background")
        make(page, "a green pear on a white background")
        with page.expect_download() as download:
            act(page, "Download")
        assert download.value.suggested_filename.endswith(".png"), download.value.suggested_filename
        assert pathlib.Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"
        act(page, "Copy")
        toast(page, "Copied")
        types = page.evaluate("navigator.clipboard.read().then(items => items[0].types)")
        assert "image/png" in types, types
        count = page.locator(".thumb").count()
        job = newest(page)["id"]
        act(page, "Delete")
        expect(page.locator(".thumb")).to_have_count(count - 1)
        page.get_by_role("button", name="Undo", exact=True).click()
        expect(page.locator(".thumb")).to_have_count(count)
        page.locator(".thumb").first.click()
        page.keyboard.press("Delete")
        expect(page.locator(".thumb")).to_have_count(count - 1)
        page.keyboard.press("z")
        expect(page.locator(".thumb")).to_have_count(count)
        page.locator(".thumb").first.focus()
        page.keyboard.press("Delete")
        page.wait_for_timeout(6000)
        assert page.evaluate("id => fetch('/v1/jobs?limit=200').then(r => r.json()).then(r => r.jobs.some(job => job.id === id))", job) is False
        page.reload()
        ready(page)
        expect(page.locator(".thumb")).to_have_count(count - 1)
        page.locator(".thumb").first.focus()
        page.keyboard.press("Enter")
        viewer = page.get_by_role("dialog", name="Picture")
        expect(viewer).to_contain_text(f"1 of {count - 1}")
        browser.check_axe(page, "the viewer")
        page.keyboard.press("ArrowRight")
        expect(viewer).to_contain_text(f"2 of {count - 1}")
        viewer.get_by_role("button", name="Settings of this picture").click()
        expect(viewer.get_by_text("Prompt", exact=True)).to_be_visible()
        page.keyboard.press("Escape")
        expect(viewer).to_have_count(0)


def faults(browser, server):
    """What the server refuses is said where it is, in its words."""
    with browser.page(server.url) as page:
        ready(page)
        write(page, "a red kite on a white background")
        number(page, "Width", 67)
        expect(page.locator(".settings .fault")).to_contain_text(re.compile("width|multiple", re.I))
        page.get_by_role("button", name=re.compile("^Generate")).click()
        expect(page.locator(".toast.error")).to_be_visible()
        browser.check_axe(page, "a refused form")
        page.get_by_role("button", name=re.compile("^Take ")).click()
        expect(page.locator(".settings .fault")).to_have_count(0)


TESTS = [first_picture, stopping, gallery, reading_files, seeds_and_sizes, batches, pickers, styles_and_words, from_a_picture, new_sides, comparing_settings, taking_and_deleting, faults]
