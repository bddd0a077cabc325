"""Pictures in and out: every mode, orientation and profile; refusals; the classic preprocessing."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from conftest import make_picture
from PIL import Image, ImageCms
from torchvision import transforms

from nst.errors import StyleTransferError
from nst.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    deprocess_image,
    fitted_size,
    image_processing,
    load_picture,
    resize_picture,
    to_picture,
    to_tensor,
)

SRGB_TO_XYZ = np.array(  # linear sRGB to XYZ under D50, the white of ICC profiles (Bradford-adapted; Lindbloom)
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE_TO_XYZ = np.array(  # the same for Adobe RGB (1998)
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
BLACK_TO_WHITE = np.array([[0, 64, 128, 200, 255]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 200, 90], [128, 128, 128], [250, 240, 5]]], np.uint8)


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def grey(values) -> np.ndarray:
    return np.repeat(np.asarray(values, dtype=int)[..., None], 3, axis=2)


def save(path, picture: Image.Image, **options):
    picture.save(path, **options)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array: np.ndarray, *chunks: bytes, size: tuple[int, int] | None = None) -> bytes:
    """A PNG of (H, W, channels) uint8 or uint16 from its specification; `size` is what the header claims."""
    array = np.asarray(array)
    height, width, channels = array.shape
    width, height = size or (width, height)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def icc_profile(space: bytes, curves: dict[bytes, float], colourants: dict[bytes, np.ndarray]) -> bytes:
    """An ICC version 2 display profile: gamma curves and, for RGB, the XYZ of its primaries under D50."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    white = (0.9642, 1.0, 0.8249)
    tags = {b"wtpt": xyz(white), b"cprt": b"text\0\0\0\0none\0", b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78)}
    tags |= {name: xyz(values) for name, values in colourants.items()}
    tags |= {n: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) for n, gamma in curves.items()}
    tags = {name: data + bytes(-len(data) % 4) for name, data in tags.items()}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    length = 132 + 12 * len(tags) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", length, 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + xyz(white)[8:]
    return header.ljust(128, b"\0") + table + body


def rgb_profile(to_xyz: np.ndarray, gamma: float) -> bytes:
    names = (b"r", b"g", b"b")
    columns = {name + b"XYZ": to_xyz[:, i] for i, name in enumerate(names)}
    return icc_profile(b"RGB ", {name + b"TRC": gamma for name in names}, columns)


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


ADOBE = rgb_profile(ADOBE_TO_XYZ, 563 / 256)
SWAPPED = rgb_profile(SRGB_TO_XYZ[:, [2, 1, 0]], 2.2)  # its "red" is sRGB's blue
LINEAR_GREY = icc_profile(b"GRAY", {b"kTRC": 1.0}, {})
ICCP = b"x\0\0"  # what precedes the compressed profile in a PNG: name, end of name, compression method


# What files hold


def test_rgb_is_read_unchanged(tmp_path):
    assert (pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(COLOURS)))) == COLOURS).all()


def test_path_as_text_and_image_object_are_read_alike(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(COLOURS))
    assert (pixels(load_picture(str(path))) == COLOURS).all()
    assert (pixels(load_picture(Image.fromarray(COLOURS))) == COLOURS).all()


def test_grey_and_bilevel(tmp_path):
    assert (
        pixels(load_picture(save(tmp_path / "l.png", Image.fromarray(BLACK_TO_WHITE)))) == grey(BLACK_TO_WHITE)
    ).all()
    bits = np.array([[True, False, True]])
    assert (pixels(load_picture(save(tmp_path / "1.png", Image.fromarray(bits)))) == grey(bits * 255)).all()


def indexed() -> Image.Image:
    picture = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    picture.putpalette([200, 10, 20, 30, 200, 40, 50, 60, 200])
    return picture


def test_palette(tmp_path):
    expected = [[[200, 10, 20], [30, 200, 40], [50, 60, 200]]]
    assert (pixels(load_picture(save(tmp_path / "p.png", indexed()))) == expected).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("profile", [None, "sRGB"])
@pytest.mark.parametrize(
    "transparency, expected",
    [
        (1, [[[200, 10, 20], [255, 255, 255], [50, 60, 200]]]),
        # 102 of 255 is two fifths: 0.4 * 200 + 0.6 * 255 = 233 and so on
        (bytes([255, 102, 0]), [[[200, 10, 20], [165, 233, 169], [255, 255, 255]]]),
    ],
)
def test_palette_with_transparency(tmp_path, transparency, expected, profile):
    """On white, with and without a profile beside it."""
    options = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()} if profile else {}
    path = save(tmp_path / "p.png", indexed(), transparency=transparency, **options)
    assert abs(pixels(load_picture(path)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_is_laid_on_white(tmp_path, mode, suffix):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (9, 7, len(mode)), dtype=np.uint8)
    array[0, :, -1], array[1, :, -1] = 0, 255
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(array, mode))
    colour, alpha = array[..., :-1].astype(float), array[..., -1:] / 255
    expected = np.broadcast_to(colour * alpha + 255 * (1 - alpha), (9, 7, 3))
    assert abs(pixels(load_picture(path)) - expected).max() <= 1


@pytest.mark.parametrize("profile", [b"", chunk(b"iCCP", ICCP + zlib.compress(SWAPPED))])
def test_single_transparent_colour_is_white(tmp_path, profile):
    """PNG's tRNS chunk makes one RGB colour transparent; a profile must not bring it back."""
    array = np.array([[[10, 20, 30], [0, 255, 0]]], np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(array, *filter(None, [profile, chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))])))
    result = pixels(load_picture(path))
    assert (result[0, 0] == 255).all()
    assert abs(result[0, 1] - [0, 255, 0]).max() <= 2


def test_single_transparent_grey_of_16_bits_is_white(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(np.array([[[0], [30000], [30001]]], np.uint16), chunk(b"tRNS", struct.pack(">H", 30000))))
    assert pixels(load_picture(path))[0, :, 0].tolist() == [0, 255, 117]


def test_cmyk_jpeg(tmp_path):
    """Pillow writes CMYK JPEGs inverted, as Adobe does; without a profile r = 255 (1 - c)(1 - k)."""
    array = np.zeros((16, 16, 4), np.uint8)
    array[:8], array[8:] = (0, 200, 100, 0), (30, 0, 0, 120)
    result = pixels(load_picture(save(tmp_path / "a.jpg", Image.fromarray(array, "CMYK"), quality=100)))
    ink = array / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert abs(result - expected).max() <= 6  # JPEG is lossy


@pytest.mark.parametrize("top", [65535, 200])
def test_16_bit_grey_png_is_scaled_not_clipped(tmp_path, top):
    """Also when all of it is dark: the scale is the format's, not the brightest value's."""
    values = np.linspace(0, top, 60).round().astype(np.uint16).reshape(6, 10, 1)
    path = tmp_path / "a.png"
    path.write_bytes(png(values))
    assert abs(pixels(load_picture(path)) - values / 257).max() <= 0.5


def test_16_bit_colour_png_is_scaled(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(values))
    assert abs(pixels(load_picture(path)) - values / 257).max() <= 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_grey_tiff_in_both_byte_orders(tmp_path, byteorder):
    values = np.linspace(0, 65535, 60).round().astype(np.uint16).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byteorder, photometric="minisblack")
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - grey(values) / 257).max() <= 1


@pytest.mark.parametrize(
    "top, white", [(1, 255), (200, 255), (255, 255), (40000, 65535), (65535, 65535), (2**30, 2**30)]
)
def test_32_bit_integers_are_scaled_by_their_range(tmp_path, top, white):
    """Mode I holds 8-bit, 16-bit or larger values; whichever it is, nothing above black or below white is lost."""
    values = np.linspace(0, top, 60).round().astype(np.int32).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert Image.open(tmp_path / "a.tif").mode == "I"
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - grey(values) * 255.0 / white).max() <= 1


@pytest.mark.parametrize("top, white", [(1.0, 1.0), (0.3, 1.0), (255.0, 255.0), (1000.0, 1000.0)])
def test_floating_point_tiff(tmp_path, top, white):
    values = np.linspace(0, top, 60, dtype=np.float32).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert Image.open(tmp_path / "a.tif").mode == "F"
    expected = np.repeat(values[..., None] * 255 / white, 3, 2)
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - expected).max() <= 0.51


def test_floating_point_below_zero_and_nan_are_black():
    values = np.array([[-3.0, np.nan, 0.5, 1.0]], np.float32)
    assert pixels(load_picture(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 128, 255]


UPRIGHT = np.arange(6).reshape(2, 3)
STORED = {  # what each EXIF orientation makes a camera store, from the names of row 0 and column 0 in the standard
    1: [[0, 1, 2], [3, 4, 5]],  # top, left
    2: [[2, 1, 0], [5, 4, 3]],  # top, right
    3: [[5, 4, 3], [2, 1, 0]],  # bottom, right
    4: [[3, 4, 5], [0, 1, 2]],  # bottom, left
    5: [[0, 3], [1, 4], [2, 5]],  # left, top
    6: [[2, 5], [1, 4], [0, 3]],  # right, top
    7: [[5, 2], [4, 1], [3, 0]],  # right, bottom
    8: [[3, 0], [4, 1], [5, 2]],  # left, bottom
}


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    """However a camera stored the scene, it is read upright."""
    blocks = np.kron(np.array(STORED[orientation]) * 45, np.ones((16, 16))).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"png": {}, "tif": {}, "webp": {"lossless": True}, "jpg": {"quality": 100}}[suffix]
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(grey(blocks).astype(np.uint8)), exif=exif, **lossless)
    expected = grey(np.kron(UPRIGHT * 45, np.ones((16, 16))))
    result = pixels(load_picture(path))
    assert result.shape == expected.shape
    assert abs(result - expected).max() <= (2 if suffix == "jpg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif",
    [b"garbage garbage", b"MM\7\x2a\0\0\0\x08\0\0", b"MM\0\x2a\0\0\0\x08\xff\xff\0\x01", b"MM\0\x2a\xff\xff\xff\xff"],
)
def test_damaged_exif_does_not_lose_the_picture(tmp_path, exif):
    picture = Image.fromarray(COLOURS)
    picture.info["exif"] = b"Exif\0\0" + exif
    path = save(tmp_path / "a.png", picture, exif=picture.info["exif"])
    assert (pixels(load_picture(path)) == COLOURS).all()
    assert (pixels(load_picture(picture)) == COLOURS).all()


def test_orientation_is_obeyed_although_other_exif_is_damaged(tmp_path):
    """As some cameras write it: numbers where the standard wants a letter, here in the GPS position."""
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    damaged = exif.tobytes().replace(b"\0\2\0\5", b"\0\3\0\5")  # the latitude's numbers under "east or west"
    assert damaged != exif.tobytes()
    path = save(tmp_path / "a.png", Image.fromarray(COLOURS), exif=damaged)
    assert (pixels(load_picture(path)) == np.rot90(COLOURS, -1)).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animation_is_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 18), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], duration=50, **lossless)
    assert Image.open(path).n_frames == 3
    assert (pixels(load_picture(path)) == [255, 0, 0]).all()


# Colour profiles


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_adobe_rgb_is_converted_to_srgb(tmp_path, suffix):
    """Against the textbook: gamma, primaries to XYZ, XYZ to sRGB, sRGB's curve."""
    colours = np.array(
        [[[200, 100, 90], [90, 160, 100], [80, 70, 190]], [[60, 200, 90], [128, 128, 128], [250, 240, 5]]]
    )
    picture = Image.fromarray(colours.astype(np.uint8))
    result = pixels(load_picture(save(tmp_path / f"a.{suffix}", picture, icc_profile=ADOBE)))
    linear = (colours / 255) ** (563 / 256)
    expected = srgb_encoded(linear @ ADOBE_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T)
    assert abs(expected - colours).max() > 20  # the profile matters
    assert abs(result - expected).max() <= 2


def test_profile_with_swapped_primaries_swaps_channels_and_keeps_alpha(tmp_path):
    colours = np.array([[[200, 100, 30, 255], [200, 100, 30, 0]]], np.uint8)
    result = pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(colours), icc_profile=SWAPPED)))
    assert abs(result[0, 0] - [30, 100, 200]).max() <= 6  # sRGB's curve is not quite gamma 2.2
    assert (result[0, 1] == 255).all()


@pytest.mark.parametrize("bits, alpha", [(8, False), (8, True), (16, False)])
def test_grey_profile(tmp_path, bits, alpha):
    """Linear light becomes sRGB's curve; transparency stays."""
    values = BLACK_TO_WHITE.astype(np.uint16) * 257 if bits == 16 else BLACK_TO_WHITE
    opacity = np.array([[255, 255, 255, 255, 0]], np.uint8)
    layers = [values, opacity] if alpha else [values]
    path = tmp_path / "a.png"
    path.write_bytes(png(np.stack(layers, 2), chunk(b"iCCP", ICCP + zlib.compress(LINEAR_GREY))))
    result = pixels(load_picture(path))
    expected = srgb_encoded(BLACK_TO_WHITE / 255)
    if alpha:
        expected[0, -1] = 255
    assert abs(result - expected[..., None]).max() <= 2


def test_grey_picture_with_rgb_profile(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(BLACK_TO_WHITE), icc_profile=rgb_profile(SRGB_TO_XYZ, 1.0))
    assert abs(pixels(load_picture(path)) - srgb_encoded(BLACK_TO_WHITE / 255)[..., None]).max() <= 2


def test_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(COLOURS), icc_profile=profile)))
    assert abs(result - COLOURS).max() <= 1


CMYK_HEADER = LINEAR_GREY[:16] + b"CMYK" + LINEAR_GREY[20:]


@pytest.mark.parametrize("profile", [b"no profile at all", ADOBE[:150], LINEAR_GREY, CMYK_HEADER])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_broken_or_unfitting_profile_is_ignored(tmp_path, profile, mode):
    """Colours as they are, and transparency still on white."""
    picture = Image.fromarray(COLOURS).convert(mode)
    expected = COLOURS.copy()
    if mode == "RGBA":
        picture.putpixel((1, 0), (0, 255, 0, 0))
        expected[0, 1] = 255
    path = save(tmp_path / "a.png", picture, icc_profile=profile)
    assert (pixels(load_picture(path)) == expected).all()


def test_cmyk_picture_with_rgb_profile_keeps_its_colours(tmp_path):
    array = np.full((16, 16, 4), (0, 200, 100, 0), np.uint8)
    picture = Image.fromarray(array, "CMYK")
    with_profile = load_picture(save(tmp_path / "a.jpg", picture, quality=100, icc_profile=ADOBE))
    assert (pixels(with_profile) == pixels(load_picture(save(tmp_path / "b.jpg", picture, quality=100)))).all()


# Metadata


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_no_metadata_reaches_a_file_made_from_the_picture(tmp_path, suffix):
    """GPS position, camera, comments and profile of a photo must not ride along into the result."""
    exif = Image.Exif()
    exif[271] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    path = save(tmp_path / f"a.{suffix}", make_picture(32, 24), exif=exif, icc_profile=ADOBE, dpi=(301, 301))
    assert b"SecretCamera" in path.read_bytes()
    picture = load_picture(path)
    assert picture.info == {}
    assert len(picture.getexif()) == 0
    for saved in ("jpg", "png", "webp"):
        data = save(tmp_path / f"result.{saved}", picture).read_bytes()
        assert b"SecretCamera" not in data
        again = Image.open(io.BytesIO(data))
        assert not again.getexif()
        assert "icc_profile" not in again.info


def test_the_callers_image_is_left_alone():
    picture = make_picture(32, 24)
    picture.info["comment"] = "mine"
    picture.getexif()[274] = 6
    result = load_picture(picture)
    assert result.size == (24, 32)
    assert picture.size == (32, 24)
    assert picture.info["comment"] == "mine"
    assert picture.getexif()[274] == 6


# Refusals


def refused(*arguments, call=load_picture, **options) -> str:
    with pytest.raises(StyleTransferError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_file_is_refused_by_name_without_its_folder(tmp_path):
    message = refused(tmp_path / "nowhere.png")
    assert "nowhere.png" in message
    assert str(tmp_path) not in message


def test_the_callers_name_is_used(tmp_path):
    assert refused(tmp_path / "a.png", name="The photo").startswith("The photo:")


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    assert "empty" in refused(tmp_path / "a.png")


def test_folder_is_refused(tmp_path):
    assert tmp_path.name in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_file_is_refused(tmp_path, suffix, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = save(tmp_path / f"a.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert f"a.{suffix}" in refused(path)


def test_text_renamed_to_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("Dear diary,\nno picture here.\n" * 40)
    assert "not a picture" in refused(tmp_path / "a.png")


@pytest.mark.parametrize("side", [10_001, 12_000, 20_000, 60_000])
def test_too_many_pixels_are_refused_from_the_header(tmp_path, side):
    """Below, between and above the two limits at which Pillow itself warns and raises."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(np.zeros((1, 1, 3), np.uint8), size=(side, side)))
    message = refused(path)
    assert "bomb.png" in message
    assert "100 megapixels" in message


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
def test_heic_is_refused_by_name_of_the_format(tmp_path, brand):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200))
    assert "HEIC" in refused(tmp_path / "a.jpg")


@pytest.mark.parametrize("wrong", [None, 3, b"bytes.png", np.zeros((4, 4, 3), np.uint8), ["a.png"]])
def test_wrong_type_is_refused(wrong):
    assert type(wrong).__name__ in refused(wrong)


def test_path_with_a_null_byte_is_refused():
    assert refused("a\0b.png")


# Sizes


@pytest.mark.parametrize(
    "size, long_side, expected",
    [
        ((400, 300), 100, (100, 75)),
        ((300, 400), 100, (75, 100)),
        ((50, 50), 224, (224, 224)),
        ((4000, 1), 100, (100, 1)),
    ],
)
def test_fitted_size_keeps_the_aspect(size, long_side, expected):
    assert fitted_size(size, long_side) == expected


def test_resizing_by_long_side_or_exactly():
    picture = make_picture(120, 80)
    assert resize_picture(picture, 60).size == (60, 40)
    assert resize_picture(picture, 240).size == (240, 160)
    assert resize_picture(picture, (33, 77)).size == (33, 77)


def test_resizing_keeps_the_content():
    """Left half black, right half white stays so; the mean colour stays."""
    array = np.zeros((64, 96, 3), np.uint8)
    array[:, 48:] = 255
    result = pixels(resize_picture(Image.fromarray(array), 48))
    assert result.shape == (32, 48, 3)
    assert result[:, :20].max() <= 2
    assert result[:, 28:].min() >= 253
    assert abs(result.mean() - 127.5) < 1


@pytest.mark.parametrize(
    "size, fits", [(64, True), (63, True), (60, False), (32, False), ((16, 16), True), ((15, 64), False)]
)
def test_short_side_under_16_is_refused(size, fits):
    picture = make_picture(400, 100)
    if fits:
        assert min(resize_picture(picture, size).size) >= 16
    else:
        message = refused(picture, size, "The photo", call=resize_picture)
        assert message.startswith("The photo:")
        assert "at least 16 px" in message


# Tensors


def test_to_tensor_is_rgb_in_zero_to_one():
    result = to_tensor(Image.fromarray(COLOURS))
    assert result.shape == (1, 3, 2, 3)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result[0].numpy(), np.moveaxis(COLOURS / 255.0, 2, 0), atol=1e-7)


def test_to_picture_clamps_and_rounds():
    values = (
        torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 7.0]).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    )
    assert pixels(to_picture(values))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]
    assert pixels(to_picture(values[0]))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]


def test_image_processing_equals_torchvision(tmp_path):
    """ToTensor and Normalize of the classic recipe, on a picture that needs no resizing."""
    path = save(tmp_path / "a.png", make_picture(224, 224, seed=3))
    recipe = transforms.Compose([transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(image_processing(path), recipe(Image.open(path))[None], atol=1e-5, rtol=0)


def test_image_processing_resizes_like_torchvision(tmp_path):
    path = save(tmp_path / "a.png", make_picture(300, 200, seed=3))
    lanczos = transforms.Resize((224, 224), transforms.InterpolationMode.LANCZOS)
    recipe = transforms.Compose([lanczos, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(image_processing(path), recipe(Image.open(path))[None], atol=1e-5, rtol=0)


def test_imagenet_statistics_are_the_published_ones():
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("size, shape", [((40, 30), (30, 40)), (60, (40, 60))])
def test_image_processing_sizes(size, shape):
    picture = make_picture(90, 60)
    assert image_processing(picture).shape == (1, 3, 224, 224)
    assert image_processing(picture, size).shape == (1, 3, *shape)


@pytest.mark.parametrize("batched", [True, False])
def test_deprocess_image_undoes_image_processing(batched):
    picture = make_picture(48, 32, seed=5)
    tensor = image_processing(picture, 48)
    result = deprocess_image(tensor if batched else tensor[0])
    assert abs(pixels(result) - pixels(picture)).max() <= 1


def test_deprocess_image_accepts_a_tensor_that_is_being_optimised():
    tensor = image_processing(make_picture(48, 32), 48).requires_grad_()
    assert deprocess_image(tensor * 1).size == (48, 32)
