"""Find the colours of a picture in its file, and convert them to sRGB."""

import contextlib
import io

from PIL import Image, ImageCms

from nst.io.colour_spaces import ColourSpace, from_code_points, from_gamma

GREY_MODES = ("1", "L", "LA")


def find_colours(image: Image.Image) -> bytes | ColourSpace | None:
    """Return the ICC profile or the colour space that an image's file states; None for sRGB.

    They count in the order that the PNG specification (third edition, 4.3) gives: code points, profile, sRGB, gamma.
    """
    info = image.info
    if "cicp" in info:
        return from_code_points(*info["cicp"])
    if info.get("icc_profile") and (image.format != "PNG" or _is_a_profile(info["icc_profile"])):
        return info["icc_profile"]
    if image.format != "PNG" or "srgb" in info or "gamma" not in info:
        return None
    return from_gamma(info["gamma"], info.get("chromaticity"))


def _is_a_profile(data: bytes) -> bool:
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return bool(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    return False


def to_srgb(image: Image.Image, colours: bytes | ColourSpace | None) -> Image.Image:
    """Return a new image in mode RGB, converted from an ICC profile or a colour space to sRGB.

    A profile that is broken, or made for another kind of image, is ignored, as browsers do.
    """
    if isinstance(colours, ColourSpace):
        return colours.to_srgb(image)
    if not colours:
        return image.convert("RGB")
    kind = "L" if image.mode in GREY_MODES else "CMYK" if image.mode == "CMYK" else "RGB"
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(colours))
        space = source.profile.xcolor_space.strip()
        profile_mode = "L" if space == "GRAY" else space
        if (kind, profile_mode) in (("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")):
            fitting = image if image.mode == profile_mode else image.convert(profile_mode)
            return ImageCms.profileToProfile(fitting, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB")
