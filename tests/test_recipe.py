"""Recipes: their contents, the private things that are never in them, and files without a usable recipe."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.output.recipe import (
    KEY,
    MAX_LENGTH,
    PaintingRecipe,
    describe,
    find_differences,
    pixel_hash,
    public_name,
    read_recipe,
)
from nst.settings import PRESETS, StyleSettings
from nst.stylization import Style

CONTENT, STYLE, MASK = make_picture(80, 60, seed=1), make_picture(50, 70, seed=2), make_picture(40, 30, seed=3)


@pytest.fixture(scope="module")
def recipe(random_checkpoint) -> PaintingRecipe:
    """A recipe with two styles, one of them with a mask and a part."""
    settings = StyleSettings.preset("quick", seed=7, init="noise", backbone=str(random_checkpoint))
    return describe(CONTENT, [Style(STYLE, 2.0), Style(MASK, 0.5, mask=CONTENT, part=STYLE)], settings)


def expected_hash(picture: Image.Image) -> str:
    array = np.asarray(picture)
    return hashlib.sha256(b"%dx%d:" % (array.shape[1], array.shape[0]) + array.tobytes()).hexdigest()


# Contents


def test_a_recipe_has_settings_versions_and_checksums(recipe, random_checkpoint):
    values = json.loads(recipe.to_json())
    assert list(values) == [KEY, "settings", "backbone_sha256", "content", "styles", "steps_done", "versions",
                            "repeatable"]  # fmt: skip
    expected = StyleSettings.preset("quick", seed=7, init="noise", backbone="file").to_dict()
    assert values["settings"] == json.loads(json.dumps(expected))
    assert values["backbone_sha256"] == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()
    assert values["content"] == expected_hash(CONTENT)
    assert values["styles"] == [
        {"picture": expected_hash(STYLE), "weight": 2.0, "mask": None, "part": None},
        {"picture": expected_hash(MASK), "weight": 0.5, "mask": expected_hash(CONTENT), "part": expected_hash(STYLE)},
    ]
    assert values["steps_done"] == 12
    assert sorted(values["versions"]) == ["nst", "python", "torch"]


def test_only_the_pixels_of_a_picture_count(tmp_path, random_checkpoint):
    settings = StyleSettings(backbone=str(random_checkpoint))
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a comment")
    CONTENT.save(tmp_path / "a.png", pnginfo=text, exif=exif)
    CONTENT.save(tmp_path / "another name.bmp")
    turned = Image.Exif()
    turned[0x0112] = 6  # the file is stored turned to the left, and says so
    CONTENT.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    recipes = {describe(path, STYLE, settings).to_json() for path in tmp_path.iterdir()}
    assert recipes == {describe(CONTENT, STYLE, settings).to_json()}
    other = CONTENT.copy()
    other.putpixel((3, 4), (1, 2, 3))
    assert describe(other, STYLE, settings) != describe(CONTENT, STYLE, settings)


def test_pictures_with_the_same_bytes_but_another_shape_have_other_checksums():
    grey = np.arange(72, dtype=np.uint8)
    shapes = [Image.fromarray(grey.reshape(shape)) for shape in ((4, 6, 3), (6, 4, 3), (2, 12, 3))]
    assert len(set(map(pixel_hash, shapes))) == 3


def test_a_recipe_contains_no_names_no_paths_and_no_time(tmp_path, random_checkpoint):
    folder = tmp_path / "somebody's folder"
    folder.mkdir()
    CONTENT.save(folder / "holiday.png")
    STYLE.save(folder / "picasso.png")
    checkpoint = shutil.copy(random_checkpoint, folder / "secret-weights.safetensors")
    settings = StyleSettings(backbone=str(checkpoint))
    first = describe(folder / "holiday.png", folder / "picasso.png", settings)
    text = first.to_json()
    for word in ("holiday", "picasso", "secret", "somebody", "tmp", str(tmp_path), random_checkpoint.name):
        assert word not in text
    assert text.isascii() and "\n" not in text
    assert describe(folder / "holiday.png", folder / "picasso.png", settings).to_json() == text


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("cifar100", "cifar100"),
        ("imagenet", "imagenet"),
        ("owner/name", "owner/name"),
        ("owner/name@v1.0", "owner/name@v1.0"),
        ("owner/name@refs/pr/1", "owner/name@refs/pr/1"),
        ("weights.safetensors", "file"),
        ("folder/weights.safetensors", "file"),
        ("folder/weights.pt", "file"),
        ("/home/somebody/weights.pth", "file"),
        ("../name", "file"),
        ("C:\\Users\\somebody\\weights.safetensors", "file"),
        ("somebody", "file"),
        ("file", "file"),
    ],
)
def test_the_name_of_a_backbone_never_contains_a_path(backbone, name):
    assert public_name(backbone) == name


def test_recipes_of_other_versions_are_equal_and_of_other_runs_are_not(recipe):
    assert replace(recipe, versions={"nst": "0.0.1"}) == recipe
    assert replace(recipe, steps_done=3) != recipe
    assert replace(recipe, settings=replace(recipe.settings, seed=8)) != recipe


def test_differing_inputs_are_named(recipe, random_checkpoint):
    other = describe(STYLE, [Style(STYLE, 2.0), Style(MASK, 0.5)], StyleSettings(backbone=str(random_checkpoint)))
    assert find_differences(recipe, recipe) == []
    assert find_differences(recipe, other) == ["content picture", "style picture"]
    assert find_differences(recipe, replace(recipe, backbone_sha256="0" * 64)) == ["backbone"]


# Reading


@pytest.fixture
def write(tmp_path):
    """Write a picture with a text as its recipe, by Pillow alone, and return the path."""

    def write(text: str, suffix: str = ".png"):
        path = tmp_path / f"result{suffix}"
        info = PngImagePlugin.PngInfo()
        info.add_text(KEY, text)
        options = {"pnginfo": info} if suffix == ".png" else {"tiffinfo": {270: text}}
        CONTENT.save(path, **options)
        return path

    return write


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_recipe_is_read_from_a_picture(recipe, write, suffix):
    result = read_recipe(write(recipe.to_json(), suffix))
    assert result == recipe and result.versions == recipe.versions
    assert result.to_json() == recipe.to_json()


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_recipe_is_read_and_is_equal_to_todays(recipe, version):
    """As it was written before styles had parts and, in version 1, before `repeatable` existed."""
    styles = [replace(style, part=None) for style in recipe.styles]
    older = json.loads(replace(recipe, styles=tuple(styles)).to_json()) | {KEY: version}
    older["styles"] = [{key: style[key] for key in ("picture", "weight", "mask")} for style in older["styles"]]
    if version == 1:
        del older["repeatable"]
    assert PaintingRecipe.from_json(json.dumps(older)) == replace(recipe, styles=tuple(styles))
    assert json.loads(PaintingRecipe.from_json(json.dumps(older)).to_json())[KEY] == 3


def test_international_text_chunks_are_read_too(recipe, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, recipe.to_json(), zip=True)
    CONTENT.save(tmp_path / "result.png", pnginfo=info)
    assert read_recipe(tmp_path / "result.png") == recipe


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_the_same_after_json(recipe, preset):
    other = replace(recipe, settings=PRESETS[preset], steps_done=PRESETS[preset].steps)
    assert PaintingRecipe.from_json(other.to_json()) == other


def test_a_recipe_with_ten_styles_is_far_below_the_limit(recipe):
    assert len(replace(recipe, styles=recipe.styles * 5).to_json()) < MAX_LENGTH / 10


def changed(recipe: PaintingRecipe, **changes) -> str:
    """Return the recipe as JSON with some values changed; `...` removes one."""
    values = json.loads(recipe.to_json())
    return json.dumps({key: value for key, value in (values | changes).items() if value is not ...})


STYLE_VALUES = {"picture": "a" * 64, "weight": 1, "mask": None, "part": None}
CASES = {
    "not JSON": (lambda r: "paint it black", "damaged"),
    "cut short": (lambda r: r.to_json()[:-20], "damaged"),
    "nested deeply": (lambda r: "[" * 60_000, "damaged"),
    "too large": (lambda r: changed(r, versions={"nst": "1" * MAX_LENGTH}), "64 KB"),
    "a list": (lambda r: "[1]", "exactly the fields"),
    "no version": (lambda r: changed(r, **{KEY: ...}), "exactly the fields"),
    "a later version": (lambda r: changed(r, **{KEY: 4}), "version 4"),
    "an unknown field": (lambda r: changed(r, path="/etc/passwd"), "exactly the fields"),
    "no content": (lambda r: changed(r, content=...), "exactly the fields"),
    "settings of a later version": (lambda r: changed(r, settings={"version": 9}), "version 9"),
    "an unknown setting": (lambda r: changed(r, settings={"version": 1, "colour": 1}), "'colour'"),
    "a setting out of range": (lambda r: changed(r, settings={"version": 1, "size": 10**9}), "size"),
    "settings of a wrong type": (lambda r: changed(r, settings="fine"), "table"),
    "a backbone's path": (lambda r: changed(r, settings={"backbone": "/x/y.safetensors"}), "backbone"),
    "a wrong hash": (lambda r: changed(r, content="../../x"), "content"),
    "a short hash": (lambda r: changed(r, backbone_sha256="abc"), "backbone_sha256"),
    "no styles": (lambda r: changed(r, styles=[]), "style"),
    "styles of a wrong type": (lambda r: changed(r, styles={"picture": "a" * 64}), "styles"),
    "a style of a wrong type": (lambda r: changed(r, styles=["a" * 64]), "exactly the fields"),
    "a wrong weight": (lambda r: changed(r, styles=[STYLE_VALUES | {"weight": -1}]), "weight must be"),
    "infinity": (lambda r: changed(r, styles=[STYLE_VALUES | {"weight": 1e999}]), "weight must be"),
    "NaN": (lambda r: changed(r, styles=[STYLE_VALUES | {"weight": float("nan")}]), "weight must be"),
    "a wrong mask": (lambda r: changed(r, styles=[STYLE_VALUES | {"mask": 0}]), "mask must be"),
    "a wrong part": (lambda r: changed(r, styles=[STYLE_VALUES | {"part": "../x"}]), "part must be"),
    "too many steps": (lambda r: changed(r, steps_done=61), "steps_done"),
    "no steps": (lambda r: changed(r, steps_done=0), "steps_done"),
    "half a step": (lambda r: changed(r, steps_done=1.5), "steps_done"),
    "a wrong version": (lambda r: changed(r, versions={"nst": 1}), "versions"),
    "a wrong repeatable": (lambda r: changed(r, repeatable=1), "repeatable"),
}


@pytest.mark.parametrize(("make", "expected"), CASES.values(), ids=CASES)
def test_an_unusable_recipe_is_refused_in_one_line(recipe, write, make, expected):
    message = refusal(read_recipe, write(make(recipe)))
    assert expected in message and message.startswith("result.png: ") and len(message) < 400


def test_pictures_without_a_recipe_are_refused(tmp_path, write):
    CONTENT.save(tmp_path / "plain.png")
    CONTENT.save(tmp_path / "plain.jpg")
    CONTENT.save(tmp_path / "plain.tif")
    for path in (*tmp_path.iterdir(), write("ImageJ=1.54f", ".tif"), write('{"shape": [60, 80, 3]}', ".tif")):
        assert refusal(read_recipe, path) == f"{path.name}: there is no recipe in it."


def test_files_that_are_not_pictures_are_refused(tmp_path, recipe, write):
    (tmp_path / "recipe.png").write_text(recipe.to_json())
    assert "not a picture" in refusal(read_recipe, tmp_path / "recipe.png")
    assert "no such file" in refusal(read_recipe, tmp_path / "missing.png")
    path = write(recipe.to_json())
    path.write_bytes(path.read_bytes()[:60])  # in the middle of the recipe
    assert path.name in refusal(read_recipe, path)
