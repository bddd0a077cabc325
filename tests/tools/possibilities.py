"""Paint the README's pictures of what can be done with a painting: its strength, variations and regions.

    python tests/tools/possibilities.py docs [--size 512]

writes strength.jpg, variations.jpg and regions.jpg into the folder.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst import VARIATIONS, StrengthMixer, Style, StyleSettings, load_picture, stylize, vary
from nst.examples import painting_path, photo_path
from nst.output.contact_sheet import Heading, contact_sheet
from nst.tools.subject import find_subject

STRENGTHS = (0, 0.25, 0.5, 0.75, 1, 1.5)


def paint(photo: str, style, settings: StyleSettings) -> Image.Image:
    """Return the result."""
    *_, last = stylize(photo, style, settings, preview_every=None)
    return last.image


def show_strength(settings: StyleSettings) -> Image.Image:
    """Return one painting at several strengths."""
    photo = photo_path("coffee")
    mixer = StrengthMixer(photo, paint(photo, painting_path("oil"), settings))
    columns = [Heading(f"strength {strength:g}") for strength in STRENGTHS]
    return contact_sheet([[mixer.picture(strength) for strength in STRENGTHS]], [Heading("")], columns, cell_side=260)


def show_variations(settings: StyleSettings) -> Image.Image:
    """Return a photo, a painting and the four variations."""
    photo, painting = photo_path("chelsea"), painting_path("expressionist")
    cells = [photo, painting, *(paint(photo, painting, small) for small in vary(settings))]
    columns = [Heading(name) for name in ("photo", "painting", *(variation.name for variation in VARIATIONS))]
    return contact_sheet([cells], [Heading("")], columns, cell_side=260)


def show_regions(settings: StyleSettings) -> Image.Image:
    """Return a photo, the mask of its subject, a painting, and the background painted."""
    photo, painting = photo_path("astronaut"), painting_path("oil")
    mask = find_subject(load_picture(photo))
    result = paint(photo, [Style(painting, mask=ImageOps.invert(mask))], settings)
    cells = {"photo": photo, "the subject, found": mask, "painting": painting, "only the background": result}
    return contact_sheet([[*cells.values()]], [Heading("")], [Heading(name) for name in cells], cell_side=260)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    settings = StyleSettings.preset("balanced", size=args.size)
    for name, show in (("strength", show_strength), ("variations", show_variations), ("regions", show_regions)):
        show(settings).save(args.folder / f"{name}.jpg", quality=88, optimize=True)
        print(args.folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
