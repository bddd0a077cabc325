"""Paint the README's contact sheet: photo, painting and result of every example pair.

    python tests/tools/contact_sheet.py docs/examples.jpg [--preset balanced] [--size 512]
"""

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst import StyleSettings, stylize
from nst.examples import example_pairs

WIDTH, HEIGHT, GAP = 288, 216, 6  # px of a result; its photo and its painting have half that size


def contact_sheet(triples: list[tuple[Image.Image, Image.Image, Image.Image]], columns: int = 3) -> Image.Image:
    """Return a picture of the triples (photo, painting, result), in a grid on white."""
    rows = -(-len(triples) // columns)
    cell = WIDTH + WIDTH // 2 + 3 * GAP
    canvas = Image.new("RGB", (columns * cell + GAP, rows * (HEIGHT + 2 * GAP) + GAP), "white")
    for index, (photo, painting, result) in enumerate(triples):
        left, top = (index % columns) * cell + GAP, (index // columns) * (HEIGHT + 2 * GAP) + GAP
        small = (WIDTH // 2, (HEIGHT - GAP) // 2)
        canvas.paste(ImageOps.fit(photo, small, Image.Resampling.LANCZOS), (left, top))
        canvas.paste(ImageOps.fit(painting, small, Image.Resampling.LANCZOS), (left, top + small[1] + GAP))
        canvas.paste(ImageOps.fit(result, (WIDTH, HEIGHT), Image.Resampling.LANCZOS), (left + small[0] + GAP, top))
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    settings = StyleSettings.preset(args.preset, size=args.size)
    triples = []
    for photo, painting in example_pairs():
        *_, last = stylize(photo, painting, settings, preview_every=None)
        print(f"{Path(photo).stem} x {Path(painting).stem}: {last.seconds:.0f} s", file=sys.stderr)
        triples.append((Image.open(photo).convert("RGB"), Image.open(painting), last.image))
    contact_sheet(triples).save(args.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
