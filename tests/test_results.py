"""Results as files, read by code of these tests or by libraries other than the one that wrote them."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.io.reading import load_with_opacity
from nst.output.recipe import KEY, describe, read_recipe
from nst.output.results import save_result, unrounded
from nst.settings import StyleSettings
from nst.stylization import stylize

PICTURE = make_picture(50, 37, seed=4)
SIXTEEN_BITS = np.random.default_rng(5).integers(0, 65536, (37, 50, 3), dtype=np.uint16)
UNROUNDED = (SIXTEEN_BITS / 65535).astype(np.float32)
RAMP = Image.fromarray(np.tile(np.arange(0, 250, 5, dtype=np.uint8), (37, 1)))  # it has the size of the pictures


@pytest.fixture(scope="module")
def recipe(random_checkpoint):
    return describe(PICTURE, PICTURE, StyleSettings(backbone=str(random_checkpoint)))


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Return the kind and the content of every chunk of a PNG file, and check the checksums."""
    data, result = path.read_bytes(), []
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    start = 8
    while start < len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        end = start + 8 + length
        content, checksum = data[start + 8 : end], data[end : end + 4]
        assert struct.unpack(">I", checksum) == (zlib.crc32(kind + content),)
        result.append((kind, content))
        start = end + 4
    return result


def read_by_libpng(path: Path) -> np.ndarray:
    """Return (H, W, C) with all bits of the file."""
    return decode_image(str(path), mode=ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()


def read_tiff_by_hand(path: Path) -> np.ndarray:
    """Return (H, W, C) of a TIFF file in Deflate-compressed strips with differences between neighbours."""
    data = path.read_bytes()
    with Image.open(path) as image:
        tags = dict(image.tag_v2)
    assert (tags[259], tags[317], tags[284]) == (8, 2, 1)
    depth, shape = tags[258][0], (tags[257], tags[256], tags[277])
    strips = zip(tags[273], tags[279], strict=True)
    raw = b"".join(zlib.decompress(data[start : start + length]) for start, length in strips)
    order = "<" if data[:2] == b"II" else ">"
    values = np.frombuffer(raw, f"{order}u{depth // 8}").reshape(shape)
    return np.cumsum(values, axis=1, dtype=values.dtype.newbyteorder("="))


# Eight bits


def test_a_png_is_lossless_and_has_the_recipe_before_the_pixels(recipe, tmp_path):
    path = save_result(PICTURE, tmp_path / "new" / "out.png", recipe)
    assert (read_by_libpng(path) == np.asarray(PICTURE)).all()
    kinds = [kind for kind, _ in chunks(path)]
    assert kinds == [b"IHDR", b"tEXt", *[b"IDAT"] * (len(kinds) - 3), b"IEND"]
    assert dict(chunks(path))[b"tEXt"] == KEY.encode() + b"\0" + recipe.to_json().encode()
    assert read_recipe(path) == recipe


def test_a_tiff_is_lossless_and_has_the_recipe(recipe, tmp_path):
    path = save_result(PICTURE, tmp_path / "out.tiff", recipe)
    with Image.open(path) as image:
        assert (image.mode, image.tag_v2[270]) == ("RGB", recipe.to_json())
        assert (np.asarray(image) == np.asarray(PICTURE)).all()
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_a_result_saved_without_a_recipe_has_none(tmp_path, name):
    path = save_result(PICTURE, tmp_path / name)
    assert "no recipe" in refusal(read_recipe, path)


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.bmp"])
def test_other_formats_are_written_without_the_recipe(recipe, tmp_path, name):
    path = save_result(PICTURE, tmp_path / name, recipe)
    with Image.open(path) as image:
        assert image.size == PICTURE.size
    assert KEY.encode() not in path.read_bytes()


# Formats that lose something


def painted() -> np.ndarray:
    """Return (96, 128, 3) uint8: blobs under strokes of 3 px in strong colours, which suffer most."""
    strokes = np.random.default_rng(1).integers(0, 2, (32, 43, 3)).repeat(3, 0).repeat(3, 1)[:, :128]
    return (np.asarray(make_picture(128, 96), int) * 0.6 + strokes * 100).clip(0, 255).astype(np.uint8)


def decibels(array: np.ndarray, path: Path) -> float:
    """Return the peak signal-to-noise ratio of the picture in the file; infinite without any difference."""
    data = path.read_bytes()
    if path.suffix == ".pdf":  # the picture in it is a whole JPEG file
        data = data[data.index(b"\xff\xd8\xff") : data.rindex(b"\xff\xd9") + 2]
    with Image.open(io.BytesIO(data)) as image:
        error = np.square(array.astype(float) - np.asarray(image.convert("RGB"))).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jpe", "jfif", "mpo", "pdf", "webp", "avif", "jp2"])
def test_formats_with_losses_keep_the_strokes(tmp_path, suffix):
    array = painted()
    path = save_result(Image.fromarray(array), tmp_path / f"out.{suffix}")
    assert decibels(array, path) > 34
    Image.fromarray(array).save(tmp_path / f"plain.{suffix}")  # what Pillow writes without options
    assert decibels(array, tmp_path / f"plain.{suffix}") < 26 or suffix == "jp2"


def test_a_jpeg_has_all_its_colours_and_a_webp_loses_nothing(tmp_path):
    array = painted()
    data = save_result(Image.fromarray(array), tmp_path / "out.jpg").read_bytes()
    frame = data.index(b"\xff\xc0")  # start of frame: length, depth, height, width, then 3 bytes for each component
    components = data[frame + 9]
    sampling = [data[frame + 11 + 3 * number] for number in range(components)]
    assert sampling == [0x11] * 3  # every component has one value for each pixel
    assert decibels(array, save_result(Image.fromarray(array), tmp_path / "out.webp")) == np.inf


# Sixteen bits


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
@pytest.mark.parametrize("opacity", [None, RAMP], ids=["RGB", "RGBA"])
def test_all_sixteen_bits_are_written(recipe, tmp_path, name, opacity):
    path = save_result(UNROUNDED, tmp_path / name, recipe, opacity=opacity)
    array = read_by_libpng(path) if path.suffix == ".png" else read_tiff_by_hand(path)
    assert array.dtype == np.uint16 and array.shape == (37, 50, 3 if opacity is None else 4)
    assert (array[..., :3] == SIXTEEN_BITS).all()
    if opacity is not None:
        assert (array[..., 3] == np.asarray(RAMP) * np.uint16(257)).all()
    assert read_recipe(path) == recipe
    with Image.open(path) as image:  # most programs read eight bits
        assert np.abs(np.asarray(image.convert("RGB"), int) - (SIXTEEN_BITS >> 8)).max() <= 1
    if path.suffix == ".png":
        assert [kind for kind, _ in chunks(path)][:2] == [b"IHDR", b"tEXt"]


def test_values_outside_0_to_1_are_clamped(tmp_path):
    values = np.array([[[-0.5, 0.0, 1.0], [1.5, 0.5, 1 / 65535]]], np.float32)
    path = save_result(values, tmp_path / "out.png")
    assert read_by_libpng(path).tolist() == [[[0, 0, 65535], [65535, 32768, 1]]]


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
@pytest.mark.parametrize("picture", [PICTURE, UNROUNDED], ids=["8", "16"])
def test_the_same_result_gives_the_same_bytes(recipe, tmp_path, name, picture):
    first = save_result(picture, tmp_path / name, recipe, opacity=RAMP).read_bytes()
    assert save_result(picture, tmp_path / "another" / name, recipe, opacity=RAMP).read_bytes() == first
    assert b"another" not in first and str(tmp_path).encode() not in first


# Transparency


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_the_result_gets_the_photos_transparency_at_its_own_size(tmp_path, name):
    half = np.zeros((74, 100), np.uint8)
    half[:, :50] = 255
    photo = PICTURE.resize((100, 74)).convert("RGBA")
    photo.putalpha(Image.fromarray(half))
    photo.save(tmp_path / "photo.png")
    picture, opacity = load_with_opacity(tmp_path / "photo.png")
    assert picture.mode == "RGB" and (np.asarray(opacity) == half).all()
    path = save_result(PICTURE, tmp_path / name, opacity=opacity)
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        array = np.asarray(image)
    assert (array[..., :3] == np.asarray(PICTURE)).all()
    assert (array[:, :24, 3] == 255).all() and (array[:, 26:, 3] == 0).all()


def test_opacity_is_turned_upright_like_the_photo_and_is_none_without_transparency(tmp_path):
    stored = np.zeros((30, 40), np.uint8)
    stored[:10] = 255
    image = make_picture(40, 30).convert("RGBA")
    image.putalpha(Image.fromarray(stored))
    exif = Image.Exif()
    exif[0x0112] = 6  # the photo must be turned right
    image.save(tmp_path / "photo.png", exif=exif)
    _, opacity = load_with_opacity(tmp_path / "photo.png")
    assert (np.asarray(opacity) == np.rot90(stored, -1)).all()
    make_picture(40, 30).save(tmp_path / "opaque.jpg")
    assert load_with_opacity(tmp_path / "opaque.jpg")[1] is None


# The unrounded picture


@pytest.fixture(scope="module")
def settings(random_checkpoint):
    return StyleSettings(
        size=128, steps=4, scales=2, content_layers=("conv2_1",), style_layers=("conv1_1",),
        sketch=False, backbone=str(random_checkpoint), device="cpu", precision="float32",
    )  # fmt: skip


def test_the_unrounded_picture_is_that_of_the_last_step_before_rounding(settings):
    steps = list(stylize(PICTURE, PICTURE, settings))
    pixels = unrounded(steps[-1])
    assert (pixels.dtype, pixels.shape) == (np.float32, (95, 128, 3))
    assert (np.round(pixels * 255) == np.asarray(steps[-1].image)).all()
    assert not np.array_equal(pixels * 255, np.round(pixels * 255))
    assert "last step" in refusal(unrounded, steps[0])


def test_the_unrounded_picture_of_a_run_stopped_in_a_coarse_stage_has_the_final_size(settings):
    # Scaling 8 bits up clips values beyond black and white. Without noise and with a short step there are few of them.
    settings = replace(settings, start_noise=0.0, learning_rate=0.03, match_palette=False)
    (step,) = stylize(make_picture(80, 80), PICTURE, settings, should_stop=lambda: True)
    assert step.state.arrays["pixels"].shape[-1] == 64
    pixels = unrounded(step)
    assert pixels.shape == (128, 128, 3) and pixels.min() >= 0 and pixels.max() <= 1
    # The image is rounded before and after it is scaled up.
    assert np.abs(pixels * 255 - np.asarray(step.image, float)).max() <= 2


def test_sixteen_bits_have_many_more_values_than_eight(settings, tmp_path):
    *_, step = stylize(PICTURE, PICTURE, settings, preview_every=None)
    sixteen = read_by_libpng(save_result(unrounded(step), tmp_path / "16.png"))
    eight = read_by_libpng(save_result(step.image, tmp_path / "8.png"))
    assert np.abs(sixteen / 257 - eight).max() <= 0.51
    assert len(np.unique(sixteen)) > 5 * len(np.unique(eight))
    assert torch.from_numpy(sixteen.astype(np.int32)).remainder(257).ne(0).float().mean() > 0.9


# Refusals


@pytest.mark.parametrize("name", ["out.jpg", "out.webp"])
def test_formats_without_16_bits_or_opacity_are_refused(tmp_path, name):
    assert ".png or .tif" in refusal(save_result, UNROUNDED, tmp_path / name)
    assert ".png or .tif" in refusal(save_result, PICTURE, tmp_path / name, opacity=RAMP)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folders_and_unknown_formats_are_refused(tmp_path, recipe):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(save_result, PICTURE, tmp_path / "file" / "out.png", recipe)
    assert "out.xyz" in refusal(save_result, PICTURE, tmp_path / "out.xyz", recipe)
    assert "cannot be written" in refusal(save_result, UNROUNDED, tmp_path / "file" / "out.tif", recipe)
