"""Colours of a picture with an ICC profile, in sRGB."""

import contextlib
import io

from PIL import Image, ImageCms

GREY_MODES = ("1", "L", "LA")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a new image in mode RGB, converted from the ICC profile to sRGB.

    A profile that is broken, or made for another kind of image, is ignored, as browsers do.
    """
    if not profile:
        return image.convert("RGB")
    kind = "L" if image.mode in GREY_MODES else "CMYK" if image.mode == "CMYK" else "RGB"
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        profile_mode = "L" if space == "GRAY" else space
        if (kind, profile_mode) in (("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")):
            fitting = image if image.mode == profile_mode else image.convert(profile_mode)
            return ImageCms.profileToProfile(fitting, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB")
