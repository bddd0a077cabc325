"""Make the animation of a painted video for the docs: a camera that circles over an example photo, and its painting.

python tests/tools/video_animation.py docs/video.webp [--photo chelsea --painting oil --side 240]
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from nst import StyleSettings, stylize_video
from nst.examples import painting_path, photo_path

FRAMES, FRAME_MS = 24, 80
WINDOW, RADIUS = 0.8, 0.09  # of the photo's sides: what the camera sees, and how far it moves


def circle(photo: Image.Image, side: int) -> list[Image.Image]:
    """Return the frames of a camera that moves once around the photo's middle."""
    width, height = (WINDOW * length for length in photo.size)
    frames = []
    for number in range(FRAMES):
        angle = 2 * math.pi * number / FRAMES
        left = photo.width / 2 - width / 2 + RADIUS * photo.width * math.cos(angle)
        top = photo.height / 2 - height / 2 + RADIUS * photo.height * math.sin(angle)
        box = (left, top, left + width, top + height)
        size = side, round(side * height / width)
        frames.append(photo.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=None))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--photo", default="chelsea")
    parser.add_argument("--painting", default="oil")
    parser.add_argument("--side", type=int, default=240, help="long side in px; the file must stay under 1 MB")
    args = parser.parse_args()
    frames = circle(Image.open(photo_path(args.photo)).convert("RGB"), args.side)
    settings = StyleSettings.preset("quick", size=args.side)
    pairs = []
    for frame, painted in zip(frames, stylize_video(frames, painting_path(args.painting), settings), strict=True):
        pair = Image.new("RGB", (2 * frame.width + 4, frame.height), "white")
        pair.paste(frame, (0, 0))
        pair.paste(painted, (frame.width + 4, 0))
        pairs.append(pair)
    options = {"duration": FRAME_MS, "loop": 0, "quality": 75, "method": 6}
    pairs[0].save(args.output, "WEBP", save_all=True, append_images=pairs[1:], **options)
    print(f"{Path(args.output).stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
