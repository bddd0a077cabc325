"""Turn pictures upright as their EXIF data says."""

import contextlib

from PIL import ExifTags, Image

ORIENTATION = ExifTags.Base.Orientation
TRANSPOSITIONS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow looks too if the EXIF data has no orientation. Browsers do not, and show such a picture as it is stored.
OTHER_PLACES = {"xmp", "XML:com.adobe.xmp", "Raw profile type exif"}


def turn_upright(image: Image.Image) -> Image.Image:
    """Return `image` turned and mirrored as its EXIF orientation says.

    `ImageOps.exif_transpose` gives up if any other part of the EXIF data is damaged, and turns pictures that browsers
    do not turn.
    """
    if image.format == "WEBP":  # browsers show it as it is stored
        return image
    orientation = None
    with contextlib.suppress(Exception):  # a picture is still a picture if all of its EXIF data is damaged
        orientation = _read_orientation(image)
    return image.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else image


def _read_orientation(image: Image.Image) -> int | None:
    if not OTHER_PLACES & image.info.keys():
        return image.getexif().get(ORIENTATION)
    if hasattr(image, "tag_v2"):
        return image.tag_v2.get(ORIENTATION)
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return exif.get(ORIENTATION)
