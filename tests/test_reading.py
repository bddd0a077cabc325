"""Reading pictures: every mode and orientation, no metadata, and refusals."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from helpers.picture_files import (
    ADOBE,
    BLACK_TO_WHITE,
    ICCP,
    SIX_COLOURS,
    SWAPPED,
    XMP,
    chunk,
    grey,
    pixels,
    png,
    save,
)
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.io.reading import load_picture

refused = functools.partial(refusal, load_picture)


# Modes and orientations


def test_rgb_is_read_unchanged(tmp_path):
    assert (pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(SIX_COLOURS)))) == SIX_COLOURS).all()


def test_a_path_as_text_and_an_image_are_read_alike(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(SIX_COLOURS))
    assert (pixels(load_picture(str(path))) == SIX_COLOURS).all()
    assert (pixels(load_picture(Image.fromarray(SIX_COLOURS))) == SIX_COLOURS).all()


def test_grey_and_bilevel_pictures_become_rgb(tmp_path):
    shades = save(tmp_path / "l.png", Image.fromarray(BLACK_TO_WHITE))
    assert (pixels(load_picture(shades)) == grey(BLACK_TO_WHITE)).all()
    bits = np.array([[True, False, True]])
    assert (pixels(load_picture(save(tmp_path / "1.png", Image.fromarray(bits)))) == grey(bits * 255)).all()


def palette_picture() -> Image.Image:
    picture = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    picture.putpalette([200, 10, 20, 30, 200, 40, 50, 60, 200])
    return picture


def test_a_palette_picture_has_the_colours_of_its_palette(tmp_path):
    expected = [[[200, 10, 20], [30, 200, 40], [50, 60, 200]]]
    assert (pixels(load_picture(save(tmp_path / "p.png", palette_picture()))) == expected).all()


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
def test_a_transparent_palette_is_laid_on_white(tmp_path, transparency, expected, profile):
    """With and without a colour profile in the same file."""
    options = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()} if profile else {}
    path = save(tmp_path / "p.png", palette_picture(), transparency=transparency, **options)
    assert abs(pixels(load_picture(path)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("low, high, ground", [(0, 150, 255), (180, 256, 0)], ids=["dark", "light"])
def test_a_dark_picture_is_laid_on_white_and_a_light_one_on_black(tmp_path, mode, suffix, low, high, ground):
    rng = np.random.default_rng(0)
    array = rng.integers(low, high, (9, 7, len(mode)), dtype=np.uint8)
    array[..., -1] = rng.integers(0, 256, (9, 7))
    array[0, :, -1], array[1, :, -1] = 0, 255
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(array, mode))
    colour, alpha = array[..., :-1].astype(float), array[..., -1:] / 255
    expected = np.broadcast_to(colour * alpha + ground * (1 - alpha), (9, 7, 3))
    assert abs(pixels(load_picture(path)) - expected).max() <= 1


@pytest.mark.parametrize("profile", [b"", chunk(b"iCCP", ICCP + zlib.compress(SWAPPED))])
def test_a_single_transparent_colour_is_white(tmp_path, profile):
    """PNG's tRNS chunk makes one RGB colour transparent. A profile must not make it visible again."""
    array = np.array([[[10, 20, 30], [0, 255, 0]]], np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(array, *filter(None, [profile, chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))])))
    result = pixels(load_picture(path))
    assert (result[0, 0] == 255).all()
    assert abs(result[0, 1] - [0, 255, 0]).max() <= 2


def test_a_single_transparent_grey_of_16_bits_is_white(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(np.array([[[0], [30000], [30001]]], np.uint16), chunk(b"tRNS", struct.pack(">H", 30000))))
    assert pixels(load_picture(path))[0, :, 0].tolist() == [0, 255, 117]


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    """Pillow writes CMYK JPEGs inverted, as Adobe does; without a profile r = 255 (1 - c)(1 - k)."""
    array = np.zeros((16, 16, 4), np.uint8)
    array[:8], array[8:] = (0, 200, 100, 0), (30, 0, 0, 120)
    result = pixels(load_picture(save(tmp_path / "a.jpg", Image.fromarray(array, "CMYK"), quality=100)))
    ink = array / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert abs(result - expected).max() <= 6  # JPEG is lossy


@pytest.mark.parametrize("top", [65535, 200])
def test_a_16_bit_grey_png_is_scaled_not_clipped(tmp_path, top):
    """A dark picture too: white is the highest value of the format, not the brightest value of the picture."""
    values = np.linspace(0, top, 60).round().astype(np.uint16).reshape(6, 10, 1)
    path = tmp_path / "a.png"
    path.write_bytes(png(values))
    assert abs(pixels(load_picture(path)) - values / 257).max() <= 0.5


def test_a_16_bit_colour_png_is_scaled(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(values))
    assert abs(pixels(load_picture(path)) - values / 257).max() <= 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_16_bit_grey_tiff_is_scaled_in_both_byte_orders(tmp_path, byteorder):
    values = np.linspace(0, 65535, 60).round().astype(np.uint16).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byteorder, photometric="minisblack")
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - grey(values) / 257).max() <= 1


@pytest.mark.parametrize(
    "top, white", [(1, 255), (200, 255), (255, 255), (40000, 65535), (65535, 65535), (2**30, 2**30)]
)
def test_32_bit_integers_are_scaled_by_their_range(tmp_path, top, white):
    """Mode I has values of 8, 16 or more bits. In each case nothing between black and white is lost."""
    values = np.linspace(0, top, 60).round().astype(np.int32).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert Image.open(tmp_path / "a.tif").mode == "I"
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - grey(values) * 255.0 / white).max() <= 1


@pytest.mark.parametrize("top, white", [(1.0, 1.0), (0.3, 1.0), (255.0, 255.0), (1000.0, 1000.0)])
def test_floating_point_values_are_scaled_by_their_range(tmp_path, top, white):
    values = np.linspace(0, top, 60, dtype=np.float32).reshape(6, 10)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert Image.open(tmp_path / "a.tif").mode == "F"
    expected = np.repeat(values[..., None] * 255 / white, 3, 2)
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - expected).max() <= 0.51


def test_floating_point_below_zero_and_nan_are_black():
    values = np.array([[-3.0, np.nan, 0.5, 1.0]], np.float32)
    assert pixels(load_picture(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 128, 255]


UPRIGHT = np.arange(6).reshape(2, 3)
STORED = {  # as a camera stores it for each EXIF orientation; the standard names the sides of row 0 and column 0
    1: [[0, 1, 2], [3, 4, 5]],  # top, left
    2: [[2, 1, 0], [5, 4, 3]],  # top, right
    3: [[5, 4, 3], [2, 1, 0]],  # bottom, right
    4: [[3, 4, 5], [0, 1, 2]],  # bottom, left
    5: [[0, 3], [1, 4], [2, 5]],  # left, top
    6: [[2, 5], [1, 4], [0, 3]],  # right, top
    7: [[5, 2], [4, 1], [3, 0]],  # right, bottom
    8: [[3, 0], [4, 1], [5, 2]],  # left, bottom
}


@pytest.mark.parametrize("suffix", ["png", "avif", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_exif_orientation_says(tmp_path, orientation, suffix):
    blocks = np.kron(np.array(STORED[orientation]) * 45, np.ones((16, 16))).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"png": {}, "tif": {}, "avif": {"quality": 100}, "jpg": {"quality": 100}}[suffix]
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(grey(blocks).astype(np.uint8)), exif=exif, **lossless)
    expected = grey(np.kron(UPRIGHT * 45, np.ones((16, 16))))
    result = pixels(load_picture(path))
    assert result.shape == expected.shape
    assert abs(result - expected).max() <= {"jpg": 2, "avif": 4}.get(suffix, 0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_xmp_turns_no_picture(tmp_path, suffix):
    """Browsers look only at EXIF."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {"png": {"pnginfo": text}, "tif": {"tiffinfo": {700: XMP}}}.get(suffix, {"xmp": XMP})
    path = save(tmp_path / f"a.{suffix}", make_picture(48, 32), **options)
    with Image.open(path) as image:
        assert image.getexif()[274] == 6  # Pillow looks at XMP too
    assert load_picture(path).size == (48, 32)
    if suffix != "tif":  # which Pillow turns as soon as it is loaded
        with Image.open(path) as image:
            assert load_picture(image).size == (48, 32)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "avif"])
def test_exif_turns_a_picture_that_has_xmp_too(tmp_path, suffix):
    exif = Image.Exif()
    exif[274] = 6
    options = {} if suffix == "tif" else {"xmp": XMP.replace(b"6", b"3")}
    if suffix == "tif":
        exif[700] = XMP.replace(b"6", b"3")
    assert load_picture(save(tmp_path / f"a.{suffix}", make_picture(48, 32), exif=exif, **options)).size == (32, 48)


def test_a_webp_picture_is_shown_as_it_is_stored(tmp_path):
    """As in Chromium: see `tests/test_browser_pictures.py`."""
    exif = Image.Exif()
    exif[274] = 6
    assert load_picture(save(tmp_path / "a.webp", make_picture(48, 32), exif=exif)).size == (48, 32)


def test_exif_behind_the_pixels_and_in_a_text_turns_no_png_picture(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    data = save(tmp_path / "a.png", make_picture(48, 32)).read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:])
    assert load_picture(tmp_path / "a.png").size == (48, 32)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}\n")
    path = save(tmp_path / "b.png", make_picture(48, 32), pnginfo=text)
    assert Image.open(path).getexif()[274] == 6
    assert load_picture(path).size == (48, 32)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif",
    [b"garbage garbage", b"MM\7\x2a\0\0\0\x08\0\0", b"MM\0\x2a\0\0\0\x08\xff\xff\0\x01", b"MM\0\x2a\xff\xff\xff\xff"],
)
def test_damaged_exif_does_not_lose_the_picture(tmp_path, exif):
    picture = Image.fromarray(SIX_COLOURS)
    picture.info["exif"] = b"Exif\0\0" + exif
    path = save(tmp_path / "a.png", picture, exif=picture.info["exif"])
    assert (pixels(load_picture(path)) == SIX_COLOURS).all()
    assert (pixels(load_picture(picture)) == SIX_COLOURS).all()


def test_the_orientation_is_read_although_other_exif_is_damaged(tmp_path):
    """Some cameras write numbers where the standard wants a letter, here in the GPS position."""
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    damaged = exif.tobytes().replace(b"\0\2\0\5", b"\0\3\0\5")  # the latitude's numbers under "east or west"
    assert damaged != exif.tobytes()
    path = save(tmp_path / "a.png", Image.fromarray(SIX_COLOURS), exif=damaged)
    assert (pixels(load_picture(path)) == np.rot90(SIX_COLOURS, -1)).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_gives_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 18), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], duration=50, **lossless)
    assert Image.open(path).n_frames == 3
    assert (pixels(load_picture(path)) == [255, 0, 0]).all()


# Metadata


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_no_metadata_reaches_a_file_made_from_the_picture(tmp_path, suffix):
    """The GPS position, camera, comments and profile of a photo must not be written into the result."""
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


def test_the_callers_image_stays_unchanged():
    picture = make_picture(32, 24)
    picture.info["comment"] = "mine"
    picture.getexif()[274] = 6
    result = load_picture(picture)
    assert result.size == (24, 32)
    assert picture.size == (32, 24)
    assert picture.info["comment"] == "mine"
    assert picture.getexif()[274] == 6


# Refusals


def test_a_missing_file_is_refused_by_its_name_without_its_folder(tmp_path):
    message = refused(tmp_path / "nowhere.png")
    assert "nowhere.png" in message
    assert str(tmp_path) not in message


def test_messages_use_the_name_that_the_caller_gives(tmp_path):
    assert refused(tmp_path / "a.png", name="The photo").startswith("The photo:")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    assert "empty" in refused(tmp_path / "a.png")


def test_a_folder_is_refused(tmp_path):
    assert tmp_path.name in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp"])
@pytest.mark.parametrize("fraction", [0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, fraction):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = save(tmp_path / f"a.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    assert f"a.{suffix}" in refused(path)


def test_a_text_file_with_a_pictures_suffix_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("Dear diary,\nno picture here.\n" * 40)
    assert "not a picture" in refused(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 12_000, 20_000, 60_000])
def test_too_many_pixels_are_refused_from_the_header(tmp_path, side):
    """The sizes are below, between and above the two limits at which Pillow itself warns and raises."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(np.zeros((1, 1, 3), np.uint8), size=(side, side)))
    message = refused(path)
    assert "bomb.png" in message
    assert "100 megapixels" in message


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
def test_heic_is_refused_and_the_message_names_the_format(tmp_path, brand):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200))
    assert "HEIC" in refused(tmp_path / "a.jpg")


@pytest.mark.parametrize("wrong", [None, 3, b"bytes.png", np.zeros((4, 4, 3), np.uint8), ["a.png"]])
def test_a_value_of_a_wrong_type_is_refused(wrong):
    assert type(wrong).__name__ in refused(wrong)


def test_a_path_with_a_null_byte_is_refused():
    assert refused("a\0b.png")
