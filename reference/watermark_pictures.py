"""Pictures of 256 x 256 for reference/watermark_bench.py that no model has made: photographs out of Python packages, and drawings.

    pip install scikit-image scikit-learn resvg-py pillow numpy
    npm install @iconify-json/noto @iconify-json/fluent-emoji-flat
    python reference/watermark_pictures.py OUT --icons node_modules/@iconify-json [--most 250]

`OUT/photographs` gets squares of the photographs of scikit-image 0.26 and scikit-learn 1.9, at full and at half size, overlapping; those that
are all but one colour are left out. `OUT/drawings` gets pages of emoji of both sets, one large or nine small, on white and on colours.
"""

import argparse
import io
import json
import pathlib

import numpy as np
import resvg_py
import skimage
import sklearn
from PIL import Image

SIDE = 256
PHOTOGRAPHS = [
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "ihc", "moon", "motorcycle_left",
    "retina", "rocket", "cell",
]  # fmt: skip
COLOURS = ["#ffffff", "#87ceeb", "#202020", "#ffd166", "#06d6a0", "#ef476f", "#8d99ae"]


def photographs(most):
    files = [next((pathlib.Path(skimage.__file__).parent / "data").glob(f"{name}.*")) for name in PHOTOGRAPHS]
    files += sorted((pathlib.Path(sklearn.__file__).parent / "datasets/images").glob("*.jpg"))
    squares = []
    for file in files:
        whole = Image.open(file).convert("RGB")
        for picture in [whole, whole.resize((whole.width // 2, whole.height // 2), Image.LANCZOS)]:
            for y in range(0, picture.height - SIDE + 1, 96):
                for x in range(0, picture.width - SIDE + 1, 96):
                    square = picture.crop((x, y, x + SIDE, y + SIDE))
                    if np.asarray(square).std() > 4:
                        squares.append(square)
    chosen = np.linspace(0, len(squares) - 1, most).astype(int)
    return [squares[i] for i in chosen]


def drawings(folder, most):
    random = np.random.default_rng(0)
    sets = [json.loads((folder / name / "icons.json").read_text()) for name in ["noto", "fluent-emoji-flat"]]

    def icon(side):
        icons = sets[random.integers(len(sets))]
        name = random.choice(sorted(icons["icons"]))
        size = icons["icons"][name].get("width", icons.get("width", 32))
        body = icons["icons"][name]["body"]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {size} {size}">{body}</svg>'
        return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side)))).convert("RGBA")

    pages = []
    for number in range(most):
        page = Image.new("RGB", (SIDE, SIDE), COLOURS[number % len(COLOURS)])
        across = 1 if number % 2 else 3
        side = SIDE // across - 16
        for cell in range(across * across):
            picture = icon(side)
            page.paste(picture, (cell % across * SIDE // across + 8, cell // across * SIDE // across + 8), picture)
        pages.append(page)
    return pages


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--icons", type=pathlib.Path, required=True)
    parser.add_argument("--most", type=int, default=250)
    args = parser.parse_args()
    for name, pictures in dict(photographs=photographs(args.most), drawings=drawings(args.icons, args.most)).items():
        (args.out / name).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            picture.save(args.out / name / f"{number:03}.png")
        print(f"{len(pictures)} {name}")


if __name__ == "__main__":
    main()
