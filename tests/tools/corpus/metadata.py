"""Pictures with metadata and colour profiles: private, large, broken."""

import struct
from collections.abc import Iterator

from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from tools.corpus.case import LATITUDE, PICTURE, SECRETS, Entry
from tools.corpus.formats import picture, saved

CAMERA, OWNER, PLACE, NOTE = SECRETS


def exif(orientation: int = 1) -> Image.Exif:
    """Return EXIF data with an orientation and with private entries, GPS position included."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    made[ExifTags.Base.Model], made[ExifTags.Base.Artist] = CAMERA, OWNER
    position = {1: "N", 2: (52.0, 7.0, 24.4416), 3: "E", 4: (13.0, 7.0, 24.4416), 27: PLACE.encode()}
    made.get_ifd(ExifTags.IFD.GPSInfo).update(position)
    return made


def xmp() -> bytes:
    """Return XMP metadata with private entries."""
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><c>{OWNER} {PLACE} GPSLatitude={LATITUDE}</c></x:xmpmeta>'.encode()


def metadata_files() -> Iterator[Entry]:
    """Yield pictures with every EXIF orientation, with private, large and broken metadata."""
    for orientation in (*range(1, 9), 0, 9, 65535):
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"), ("avif", "AVIF")):
            if kind == "JPEG" or orientation in (3, 6, 8):
                yield f"turned-{orientation}.{suffix}", saved(picture(), kind, exif=exif(orientation)), PICTURE
    text = PngImagePlugin.PngInfo()
    for key, value in {"Author": OWNER, "Location": PLACE, "Comment": NOTE}.items():
        text.add_text(key, value)
        text.add_itxt(key, value, zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp().decode())
    yield "private.png", saved(picture(), "PNG", pnginfo=text, exif=exif()), PICTURE
    yield "private.jpg", saved(picture(), "JPEG", exif=exif(), xmp=xmp(), comment=NOTE.encode()), PICTURE
    yield "private.webp", saved(picture(), "WEBP", exif=exif().tobytes(), xmp=xmp()), PICTURE
    yield "private.avif", saved(picture(), "AVIF", exif=exif().tobytes(), xmp=xmp()), PICTURE
    yield "private.gif", saved(picture(), "GIF", comment=NOTE.encode()), PICTURE
    tags = {270: NOTE, 315: OWNER, 33723: PLACE.encode(), 700: xmp()}
    yield "private.tif", saved(picture(), "TIFF", tiffinfo=tags), PICTURE
    large = exif()
    large[ExifTags.Base.ImageDescription] = NOTE * 4000
    yield "much-exif.jpg", saved(picture(), "JPEG", exif=large), PICTURE
    large[ExifTags.Base.ImageDescription] = NOTE * 400_000
    yield "much-exif.png", saved(picture(), "PNG", exif=large), PICTURE
    yield "much-exif.webp", saved(picture(), "WEBP", exif=large.tobytes()), PICTURE
    whole = exif(6).tobytes()
    for number, broken in enumerate((b"Exif\0\0", b"Exif\0\0MM\0*" + b"\xff" * 40, whole[:30], whole[:-20],
                                     b"Exif\0\0II*\0\x08\0\0\0" + b"\xff\xff" + bytes(200))):  # fmt: skip
        yield f"broken-exif-{number}.jpg", saved(picture(), "JPEG", exif=broken), PICTURE
        yield f"broken-exif-{number}.png", saved(picture(), "PNG", exif=broken), PICTURE
    # A directory that contains itself.
    loop = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x8769, 4, 1, 8, 8)
    yield "endless-exif.jpg", saved(picture(), "JPEG", exif=loop), PICTURE


def profile(space: str = "sRGB") -> bytes:
    """Return an ICC profile without the time at which it was made."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    return made[:24] + bytes(12) + made[36:]


def profile_files() -> Iterator[Entry]:
    """Yield pictures with colour profiles that are broken, or of another kind than the picture."""
    srgb = profile()
    odd = {
        "srgb": srgb, "lab": profile("LAB"),
        "xyz": profile("XYZ"), "zero": b"\0", "text": b"icc " * 50,
        "cut": srgb[: len(srgb) // 2], "header": srgb[:128], "lying-size": b"\xff\xff\xff\xff" + srgb[4:],
        "lying-count": srgb[:128] + b"\xff\xff\xff\xff" + srgb[132:], "noise": srgb[:132] + bytes(range(256)) * 8,
        "grey": srgb[:16] + b"GRAY" + srgb[20:], "cmyk": srgb[:16] + b"CMYK" + srgb[20:],
        "link": srgb[:12] + b"link" + srgb[16:], "named": srgb[:12] + b"nmcl" + srgb[16:],
        "large": srgb + NOTE.encode() * 50_000, "sixteen-colours": srgb[:16] + b"FCLR" + srgb[20:],
    }  # fmt: skip
    for name, data in odd.items():
        yield f"icc-{name}.png", saved(picture(), "PNG", icc_profile=data), PICTURE
        yield f"icc-{name}.jpg", saved(picture(), "JPEG", icc_profile=data), PICTURE
    for mode in ("L", "CMYK"):
        for name in ("srgb", "noise", "cmyk"):
            data = saved(picture(mode=mode), "TIFF", icc_profile=odd[name])
            yield f"icc-{name}-{mode.lower()}.tif", data, PICTURE
