"""Previews of uploads that browsers cannot show, or would show otherwise than they are painted.

The upload field's value stays the uploaded file: only the address that the browser shows is the preview's.
"""

from PIL import Image

from nst.io.sizes import fitted_size
from nst.web.storage import new_result

MAX_SIDE = 768  # px of a preview; the field is about 300 px wide, on phones with three screen pixels for each
SHOWN_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF", "BMP")  # MPO: a JPEG with more pictures behind it
HDR_CURVES = (16, 18)  # code points of PQ and HLG, whose white each browser puts elsewhere
# Show the preview that has been made, if the field still holds the file that it was made of.
SHOW_PREVIEW = """(value, preview) => {
  if (!value || !preview || value.path !== preview.of) return value;
  return {...value, url: value.url.slice(0, value.url.indexOf("/file=")) + "/file=" + preview.path};
}"""


def is_shown_as_painted(image: Image.Image) -> bool:
    """Return whether browsers show a file as this program reads it. image: the opened file, not yet decoded."""
    try:
        return (
            image.format in SHOWN_FORMATS
            and image.mode != "CMYK"  # which browsers convert each in their own way
            and (image.format == "MPO" or not getattr(image, "is_animated", False))  # the first frame is painted
            and image.info.get("cicp", (0, 0))[1] not in HDR_CURVES
        )
    except Exception:  # Pillow's readers raise errors of every kind for damaged parts, such as a second frame
        return False


def write_preview(picture: Image.Image) -> str:
    """Write a PNG of a decoded picture, at most `MAX_SIDE` on its long side; return its path."""
    if max(picture.size) > MAX_SIDE:
        picture = picture.resize(fitted_size(picture.size, MAX_SIDE), Image.Resampling.LANCZOS)
    path = new_result("preview.png")
    picture.save(path)
    return str(path)
