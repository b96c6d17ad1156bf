"""The mask: by mouse, by keys, saved, loaded, and used."""

from harness import *

SHARE = """() => {
  const canvas = document.querySelector(".maskeditor canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i] / 255;
  return sum / (canvas.width * canvas.height);
}"""


def share(page):
    return page.evaluate(SHARE)


def opened(page):
    number(page, "Steps", 8)
    make(page, "a yellow star on a blue background")
    act(page, "Paint a mask")
    dialog = page.get_by_role("dialog", name="Paint what is made anew")
    expect(dialog.get_by_role("button", name="Use this mask")).to_be_enabled()
    return dialog


def by_mouse(browser, server):
    """Brush, eraser, size by keys and wheel, undo, redo, invert, clear, save, load, use, and a picture from it."""
    with browser.page(server.url) as page:
        ready(page)
        dialog = opened(page)
        canvas = page.locator(".maskeditor canvas")
        box = canvas.bounding_box()

        def drag(x0, y0, x1, y1):
            page.mouse.move(box["x"] + x0 * box["width"], box["y"] + y0 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + x1 * box["width"], box["y"] + y1 * box["height"], steps=8)
            page.mouse.up()

        assert share(page) == 0
        size = dialog.get_by_role("spinbutton", name="Size")
        before = int(size.input_value())
        page.keyboard.press("]")
        larger = int(size.input_value())
        assert larger > before
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.wheel(0, -100)
        expect(size).not_to_have_value(str(larger))
        page.keyboard.press("[")
        drag(0.2, 0.3, 0.8, 0.3)
        one = share(page)
        assert 0.02 < one < 0.6, one
        drag(0.2, 0.7, 0.8, 0.7)
        two = share(page)
        assert two > one * 1.5
        browser.check_axe(page, "the mask editor")
        browser.picture(page, "mask")
        page.keyboard.press("Control+z")
        assert abs(share(page) - one) < 1e-9
        page.keyboard.press("Control+Shift+z")
        assert abs(share(page) - two) < 1e-9
        dialog.get_by_role("button", name="Invert").click()
        assert abs(share(page) - (1 - two)) < 0.01
        dialog.get_by_role("button", name="Undo").click()
        dialog.get_by_role("button", name="Eraser").click()
        drag(0.2, 0.7, 0.8, 0.7)
        assert abs(share(page) - one) < 0.02, (share(page), one)
        with page.expect_download() as download:
            dialog.get_by_role("button", name="Save the mask").click()
        saved = download.value.path()
        kept = share(page)
        dialog.get_by_role("button", name="Clear").click()
        assert share(page) == 0
        with page.expect_file_chooser() as chooser:
            dialog.get_by_role("button", name="Load a mask").click()
        chooser.value.set_files({"name": "mask.png", "mimeType": "image/png", "buffer": pathlib.Path(saved).read_bytes()})
        until(page, f"({SHARE})() > 0")
        assert abs(share(page) - kept) < 0.01, (share(page), kept)
        dialog.get_by_role("button", name="Use this mask").click()
        expect(page.get_by_role("img", name=re.compile("^The mask"))).to_be_visible()
        init = page.get_by_role("img", name=re.compile("The picture to start from")).get_attribute("src")
        number(page, "Soft edge", 0)
        number(page, "Strength", 1)
        made = make(page, "a yellow star on a red background")
        inpaint = newest(page)["request"]["init"]["inpaint"]
        assert inpaint["mask"].get("blob"), inpaint
        # What is not masked is the same as before; what is masked is not.
        same = page.evaluate(
            """async ([a, b]) => {
              const pixels = async (url) => { const image = await createImageBitmap(await (await fetch(url)).blob()); const canvas = new OffscreenCanvas(image.width, image.height);
                const context = canvas.getContext("2d"); context.drawImage(image, 0, 0); return [...context.getImageData(0, 0, image.width, image.height).data]; };
              const [x, y] = [await pixels(a), await pixels(b)];
              const far = (row) => { let sum = 0; for (let i = row * 64 * 4; i < (row + 1) * 64 * 4; i++) sum += Math.abs(x[i] - y[i]); return sum / 256; };
              return [far(19), far(62)];
            }""",
            [init, made],
        )
        assert same[0] > 5 * max(same[1], 0.5), same


def by_keys(browser, server):
    """The whole way without a mouse."""
    with browser.page(server.url) as page:
        ready(page)
        opened(page)
        canvas = page.locator(".maskeditor canvas")
        canvas.focus()
        page.keyboard.down(" ")
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        page.keyboard.up(" ")
        line = share(page)
        assert line > 0, "Space and arrows painted nothing"
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press(" ")
        assert share(page) > line
        page.keyboard.press("i")
        assert share(page) > 0.5
        page.keyboard.press("x")
        assert share(page) == 0
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        page.keyboard.press("e")
        expect(page.get_by_role("button", name="Eraser")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("dialog", name="Paint what is made anew")).to_have_count(0)
        expect(page.get_by_role("img", name=re.compile("^The mask"))).to_be_visible()
        page.reload()
        ready(page)
        expect(page.get_by_role("img", name=re.compile("^The mask"))).to_be_visible()


TESTS = [by_mouse, by_keys]
