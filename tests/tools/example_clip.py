"""Make the example clip of the package: a camera that moves slowly towards the cat of an example photo.

python tests/tools/example_clip.py nst/examples/clips/chelsea.mp4 [--photo chelsea --side 384]
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from nst.examples import photo_path
from nst.video.encoding import write_part

FRAMES, RATE = 24, 12  # frames, and frames a second
FIRST, LAST = (0.0, 0.02, 0.86), (0.22, 0.06, 0.66)  # left, top and width of what the camera sees, as shares


def moving_camera(photo: Image.Image, side: int) -> list[Image.Image]:
    """Return the frames, whose long side has `side` px; the photo is wider than high."""
    frames = []
    for number in range(FRAMES):
        share = number / (FRAMES - 1)
        share = share * share * (3 - 2 * share)  # a soft start and a soft end
        left, top, width = ((1 - share) * first + share * last for first, last in zip(FIRST, LAST, strict=True))
        box = (left * photo.width, top * photo.height, (left + width) * photo.width, (top + width) * photo.height)
        size = side, round(side * photo.height / photo.width)
        frames.append(photo.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=None))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--photo", default="chelsea")
    parser.add_argument("--side", type=int, default=384, help="long side in px")
    args = parser.parse_args()
    frames = moving_camera(Image.open(photo_path(args.photo)).convert("RGB"), args.side)
    write_part(frames, Fraction(RATE), args.output)
    print(f"{args.output.stat().st_size / 1e3:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
