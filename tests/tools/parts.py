"""Paint one example with and without the parts of the method, for docs/method.md.

    python tests/tools/parts.py docs/parts.jpg [--photo astronaut --painting ink]
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst import PRESETS, StyleSettings, stylize
from nst.examples import painting_path, photo_path
from nst.io.tensors import to_picture

HEIGHT, GAP, CAPTION = 260, 8, 22  # px
WITHOUT = {  # what is left out, by caption
    "covariances alone": vars(PRESETS["covariance"]),
    "without outlines": {"laplacian_weight": 0.0},
    "without the finish": {"match_palette": False, "sharpness": 0.0},
    "not sharpened": {"sharpness": 0.0},
    "all parts": {},
}


def paint_parts(photo: str, painting: str) -> dict[str, Image.Image]:
    """Return photo, painting, the sketch and the results, by caption."""
    pictures = {"photo": Image.open(photo).convert("RGB"), "painting": Image.open(painting).convert("RGB")}
    results = {}
    for caption, changes in WITHOUT.items():
        *_, last = stylize(photo, painting, StyleSettings(**changes), preview_every=None)
        results[caption] = last.image
    sketch = torch.from_numpy(last.state.pictures["sketch"])
    return pictures | {"the sketch": to_picture(sketch)} | results


def lay_out(pictures: dict[str, Image.Image], columns: int = 4) -> Image.Image:
    """Return the pictures in rows on white, each with its caption below."""
    scaled = [(name, x.resize((round(x.width * HEIGHT / x.height), HEIGHT))) for name, x in pictures.items()]
    rows = [scaled[begin : begin + columns] for begin in range(0, len(scaled), columns)]
    width = max(sum(picture.width + GAP for _, picture in row) for row in rows) + GAP
    sheet = Image.new("RGB", (width, (HEIGHT + CAPTION) * len(rows) + GAP), "white")
    for number, row in enumerate(rows):
        left, top = GAP, GAP + number * (HEIGHT + CAPTION)
        for name, picture in row:
            sheet.paste(picture, (left, top))
            ImageDraw.Draw(sheet).text((left + 4, top + HEIGHT + 4), name, fill="black")
            left += picture.width + GAP
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--photo", default="chelsea")
    parser.add_argument("--painting", default="oil")
    args = parser.parse_args()
    pictures = paint_parts(photo_path(args.photo), painting_path(args.painting))
    lay_out(pictures).save(args.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
