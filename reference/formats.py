"""Writes crates/image/tests/formats: small pictures in the formats that cameras and other programs write, as Pillow writes them, and
`pixels.txt`: for each the name, width, height and, in hexadecimal, the RGBA values that Pillow reads, turned as the file says.

    python reference/formats.py
"""

import pathlib

from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).parent.parent / "crates/image/tests/formats"
WIDTH, HEIGHT = 9, 5


def picture(mode):
    values = {
        "RGB": lambda x, y: (x * 28, y * 60, (x * y * 7) % 256),
        "RGBA": lambda x, y: (x * 28, y * 60, 200 - x * 9, 255 if x < 5 else 60 * y),
        "L": lambda x, y: (x * 20 + y * 9) % 256,
        "CMYK": lambda x, y: (x * 28, y * 60, 30, x + y),
        "I;16": lambda x, y: x * 7000 + y * 257,
        "1": lambda x, y: 255 * ((x + y) % 2),
    }[mode]
    made = Image.new(mode, (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            made.putpixel((x, y), values(x, y))
    return made


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rgb, rgba, grey = picture("RGB"), picture("RGBA"), picture("L")
    palette = rgb.quantize(16)
    rgb.save(OUT / "rgb.bmp")
    palette.save(OUT / "palette.bmp")
    picture("1").save(OUT / "bits.bmp")
    palette.save(OUT / "palette.gif")
    see_through = palette.copy()
    see_through.info["transparency"] = palette.getpixel((4, 2))
    see_through.save(OUT / "transparent.gif", transparency=palette.getpixel((4, 2)))
    grey.convert("P").save(OUT / "animated.gif", save_all=True, append_images=[palette], duration=100, loop=0)
    for compression in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        rgb.save(OUT / f"{compression}.tif", compression=compression)
    rgba.save(OUT / "rgba.tif")
    picture("CMYK").save(OUT / "cmyk.tif")
    picture("I;16").save(OUT / "grey16.tif")
    picture("1").save(OUT / "bits.tif")
    rgb.save(OUT / "turned.tif", tiffinfo={274: 6})
    grey.save(OUT / "pages.tif", save_all=True, append_images=[rgb])
    lines = []
    for file in sorted(file for file in OUT.iterdir() if file.suffix in [".bmp", ".gif", ".tif"]):
        with Image.open(file) as read:
            if read.mode == "I;16":
                grey = bytes((value + 128) // 257 for value in read.get_flattened_data())
                read = Image.frombytes("L", read.size, grey)
            read = ImageOps.exif_transpose(read)
            values = read.convert("RGB" if read.mode == "CMYK" else "RGBA").convert("RGBA").tobytes()
        lines.append(f"{file.name} {read.width} {read.height} {values.hex()}\n")
    (OUT / "pixels.txt").write_text("".join(lines))


main()
