"""Saved styles: they hold what a run takes from a painting, paint the same picture, and are read strictly."""

import json
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from helpers.refusals import refusal
from helpers.runs import refused_run
from nst import cli, load_picture, load_style, save_style
from nst.examples import painting_path, photo_path
from nst.finish import PALETTE_SIDE, picture_tensor
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.output.recipe import describe, read_recipe
from nst.palette import sample_palette
from nst.patches import MOST_PATCHES
from nst.pictures import Style
from nst.saved_style import KEY, MAX_BYTES, PATCH_SIDES, to_bytes
from nst.settings import StyleSettings
from nst.sketch import PATCHES, level_sides
from nst.stylization import stylize
from nst.tools import style_files
from nst.tools.style_files import make_style


def example(path: Path, width: int, height: int) -> Image.Image:
    return load_picture(path).resize((width, height), Image.Resampling.LANCZOS)


# Not the blobs of the other tests: in those, many patches are alike but for the last bits.
PAINTING, OTHER = example(painting_path("waves"), 150, 110), example(painting_path("oil"), 90, 120)
PHOTO = example(photo_path("chelsea"), 96, 72)


@pytest.fixture(scope="module")
def settings(random_checkpoint) -> StyleSettings:
    return StyleSettings(
        size=128, steps=3, scales=2, content_layers=("conv2_1",), style_layers=("conv1_1", "conv2_1"),
        backbone=str(random_checkpoint), device="cpu", precision="float32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def style_file(settings, tmp_path_factory) -> Path:
    """A saved style of `PAINTING`, for results of at most 128 px."""
    return save_style([PAINTING], tmp_path_factory.mktemp("styles") / "p.style", settings, 128)


@pytest.fixture
def saved(style_file):
    return load_style(style_file)


def last(content, style, settings):
    *_, step = stylize(content, style, settings, preview_every=None)
    return step


def distance(a: Image.Image, b: Image.Image) -> float:
    """Return the mean difference of two pictures in grey levels."""
    return float(np.abs(np.float32(a) - np.float32(b)).mean())


# What it holds


@pytest.mark.parametrize("statistic", ["covariance", "gram"])
def test_the_statistics_are_those_of_the_features(settings, statistic):
    settings = replace(settings, style_statistic=statistic)
    saved = make_style([PAINTING], settings, 128)
    picture = to_tensor(PAINTING.resize((128, 94), Image.Resampling.LANCZOS))
    extractor = load_backbone(settings.backbone).extractor(settings.style_layers)
    table = saved.statistics_at(128, settings.style_layers, torch.device("cpu"))
    assert set(table) == {(level, layer) for level in (0, 1) for layer in settings.style_layers}
    for level, pixels in enumerate((picture, F.avg_pool2d(picture, 2))):
        for layer, features in extractor.extract_features(pixels).items():
            rows = features[0].flatten(1).double()
            if statistic == "gram":
                expected = rows @ rows.T / rows.shape[1]
            else:
                expected = torch.cat([torch.cov(rows, correction=0), rows.mean(1, keepdim=True)], 1)
            torch.testing.assert_close(table[level, layer][0].double(), expected, rtol=1e-4, atol=1e-5)


def test_the_file_has_patches_of_all_sizes_of_the_sketch():
    assert set(PATCH_SIDES) == {side for sides in PATCHES for side in sides}


@pytest.mark.parametrize("side", [9, 13, 21, 33])
def test_the_patches_are_those_that_a_sketch_takes_from_the_painting(saved, settings, side):
    long_side = level_sides(settings, PAINTING.size)[-1]
    picture = to_tensor(PAINTING.resize((long_side, round(long_side * 110 / 150)), Image.Resampling.LANCZOS))
    area = (picture.shape[-2] - side + 1) * (picture.shape[-1] - side + 1)
    step = max(2, side // 4, int(np.ceil(np.sqrt(area / MOST_PATCHES))))
    expected = F.unfold(picture, side, stride=step)[0].T
    rows = saved.patches_at(long_side).by_side[side].rows(side, torch.device("cpu"))
    assert rows.shape == expected.shape
    assert not torch.equal(rows, expected)  # they are in another order

    def in_order(x: Tensor) -> Tensor:
        return x[np.lexsort(x.numpy().T)]

    assert torch.equal(in_order(rows), in_order(expected))


@pytest.mark.parametrize(("count", "exponent"), [(16_384, 0.7), (16_384, 1.0), (1000, 0.7), (7, 1.0)])
def test_the_palette_is_exactly_that_of_the_painting(saved, count, exponent):
    painting = picture_tensor(PAINTING, PALETTE_SIDE, torch.device("cpu"))
    assert torch.equal(sample_palette(saved.colours, count, exponent), sample_palette(painting, count, exponent))


def test_the_nearest_size_is_used(saved):
    assert sorted(saved.statistics) == [64, 96, 128]
    for size, nearest in ((32, 64), (78, 64), (79, 96), (110, 96), (112, 128), (4096, 128)):
        table = saved.statistics_at(size, ("conv1_1",), torch.device("cpu"))
        assert torch.equal(table[0, "conv1_1"], saved.statistics[nearest][0, "conv1_1"])


def test_several_paintings_are_one_style(settings):
    one, two = make_style([PAINTING], settings, 64), make_style([OTHER], settings, 64)
    both = make_style([PAINTING, OTHER], settings, 64)
    for key, value in both.statistics[64].items():
        torch.testing.assert_close(value, (one.statistics[64][key] + two.statistics[64][key]) / 2)
    assert both.colours.shape[-1] == one.colours.shape[-1] + two.colours.shape[-1]
    settings = replace(settings, size=64, steps=12, sketch=False)
    expected = last(PHOTO, [Style(PAINTING), Style(OTHER)], settings).image
    distances = [distance(last(PHOTO, style, settings).image, expected) for style in (both, one, two)]
    assert 2 * distances[0] < min(distances[1:])


def test_many_patches_are_thinned_out_evenly(settings, monkeypatch):
    def total(saved) -> int:
        return sum(x.blocks.numel() for patches in saved.patches.values() for x in patches.by_side.values())

    whole = make_style([PAINTING], settings, 128)
    monkeypatch.setattr(style_files, "PATCH_BYTES", total(whole) // 2)
    assert total(whole) * 0.4 < total(make_style([PAINTING], settings, 128)) <= total(whole) // 2


# Painting


CHANGES = {
    "no sketch": {"match_palette": False},
    "palette": {},
    "start from the style": {"init": "style"},
    "fewer layers and levels": {"style_layers": ("conv1_1",), "style_levels": 1},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_saved_style_paints_the_same_picture_as_the_painting(saved, settings, changes):
    settings = replace(settings, sketch=False, **changes)
    painted, expected = (last(PHOTO, style, settings) for style in (saved, PAINTING))
    assert painted.image.size == expected.image.size
    is_near = settings.init == "style"  # the colours are counted at another size
    assert painted.style_loss == pytest.approx(expected.style_loss, rel=0.1 if is_near else 1e-4)
    assert distance(painted.image, expected.image) < (3 if is_near else 0.05)
    assert distance(painted.image, last(PHOTO, OTHER, settings).image) > 5


@pytest.mark.slow
def test_a_saved_style_makes_the_same_sketch_as_the_painting(settings):
    """In smaller sketches there are fewer patches than components, and their order decides between equals."""
    settings = replace(settings, size=256, steps=1, scales=1)
    photo, painting = photo_path("chelsea"), painting_path("waves")
    saved = make_style([painting], settings, 256)
    painted, expected, other = (last(photo, style, settings).image for style in (saved, painting, OTHER))
    assert distance(painted, expected) < 0.5
    assert distance(painted, other) > 5


def test_a_saved_style_has_weights_and_masks_like_a_painting(saved, settings):
    mask = Image.new("RGB", (96, 72))
    mask.paste("white", (0, 0, 48, 72))
    pairs = [[Style(style, 2.0, mask), Style(OTHER)] for style in (saved, PAINTING)]
    painted, expected = (last(PHOTO, styles, replace(settings, sketch=False)) for styles in pairs)
    assert distance(painted.image, expected.image) < 0.5


def test_the_file_gives_the_same_style(style_file, saved, settings):
    made = make_style([PAINTING], settings, 128)
    assert to_bytes(made) == style_file.read_bytes() == to_bytes(saved)
    assert last(PHOTO, style_file, settings).image.tobytes() == last(PHOTO, made, settings).image.tobytes()


def test_the_recipe_names_the_file_by_its_checksum(style_file, settings):
    import hashlib

    recipe = describe(PHOTO, style_file, settings)
    assert recipe.styles[0].picture == hashlib.sha256(style_file.read_bytes()).hexdigest()


MISFITS = {
    "preserve_colours": ({"preserve_colours": True}, "no picture to compare in grey"),
    "statistic": ({"style_statistic": "gram"}, "another style_statistic"),
    "layers": ({"style_layers": ("conv1_1", "conv3_1")}, "another style_layers"),
    "levels": ({"style_levels": 3}, "another style_levels"),
    "pooling": ({"pooling": "max"}, "another pooling"),
    "shape": ({"keep_aspect": False}, "another keep_aspect"),
    "several": ({"pooling": "max", "style_levels": 4}, "another style_levels and pooling"),
    "backbone": ({"backbone": "cifar100"}, "saved with another backbone (file)"),
}


@pytest.mark.parametrize(("changes", "message"), MISFITS.values(), ids=MISFITS)
def test_settings_that_do_not_fit_are_refused(style_file, settings, changes, message):
    settings = replace(settings, **changes)
    refusals = refused_run(PHOTO, style_file, settings), refusal(describe, PHOTO, style_file, settings)
    assert all(text.startswith("p.style: ") and message in text for text in refusals)


def test_a_style_without_patches_needs_a_run_without_a_sketch(settings):
    saved = make_style([PAINTING], replace(settings, sketch=False), 64)
    assert "another sketch" in refused_run(PHOTO, saved, settings)
    assert last(PHOTO, saved, replace(settings, sketch=False)).image


def test_paintings_and_files_that_cannot_be_used_are_refused(settings, tmp_path):
    assert "16 px" in refusal(make_style, [Image.new("RGB", (900, 20))], settings, 128)
    assert "1 to 16 paintings" in refusal(make_style, [], settings)
    assert "preserve" in refusal(make_style, [PAINTING], replace(settings, preserve_colours=True))
    assert "suffix .style" in refusal(save_style, [PAINTING], tmp_path / "a.png", settings)
    assert "no such file" in refusal(load_style, tmp_path / "missing.style")
    assert "not a file" in refusal(load_style, tmp_path)
    assert "download the style first" in refusal(load_style, "https://example.com/a.style")


# Files that are damaged or forged


def forged(path: Path, changes: dict, folder: Path) -> Path:
    """Write a copy of a saved style with other tensors (None: without it) and other metadata (under `KEY`)."""
    tensors = safetensors.torch.load(path.read_bytes())
    data = path.read_bytes()
    metadata = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][KEY])
    metadata |= changes.pop(KEY, {})
    tensors = {name: x for name, x in (tensors | changes).items() if x is not None}
    (folder / "forged.style").write_bytes(safetensors.torch.save(tensors, {KEY: json.dumps(metadata)}))
    return folder / "forged.style"


STATISTIC, BLOCKS, COUNTS = "statistics.96.0.conv1_1", "blocks.96.9", "counts.96.9"
FORGERIES = {
    "not finite": lambda x: {STATISTIC: x[STATISTIC] * float("nan")},
    "other type": lambda x: {STATISTIC: x[STATISTIC].half()},
    "too short": lambda x: {STATISTIC: x[STATISTIC][:-1].clone()},
    "missing": lambda x: {STATISTIC: None},
    "unknown tensor": lambda x: {"weights": torch.zeros(3)},
    "unknown layer": lambda x: {"statistics.96.0.conv9_9": x[STATISTIC]},
    "unknown level": lambda x: {"statistics.96.7.conv1_1": x[STATISTIC]},
    "size zero": lambda x: {"statistics.00.0.conv1_1": x[STATISTIC]},
    "no colours": lambda x: {"colours": torch.zeros(3, 0, dtype=torch.uint8)},
    "two channels": lambda x: {"colours": torch.zeros(2, 5, dtype=torch.uint8)},
    "no counts": lambda x: {COUNTS: None},
    "count zero": lambda x: {COUNTS: x[COUNTS] * 0},
    "count of 200": lambda x: {COUNTS: x[COUNTS] * 0 + 200},
    "blocks of floats": lambda x: {BLOCKS: x[BLOCKS].float()},
    "flat blocks": lambda x: {BLOCKS: x[BLOCKS][:, :, :1].clone()},
    "small blocks": lambda x: {BLOCKS: x[BLOCKS][..., :9, :9].clone()},
    "size of patches": lambda x: {"blocks.96.8": x[BLOCKS], "counts.96.8": x[COUNTS]},
    "huge value": lambda x: {STATISTIC: x[STATISTIC] * 0 + 1e30},
    "many blocks": lambda x: {BLOCKS: x[BLOCKS][:1].repeat(2001, 1, 1, 1), COUNTS: x[COUNTS][:1].repeat(2001, 1)},
    "no patches": lambda x: {name: None for name in x if name.startswith(("blocks.96", "counts.96"))},
    "statistic": lambda x: {KEY: {"statistic": "mean"}},
    "levels": lambda x: {KEY: {"levels": 10**9}},
    "layers": lambda x: {KEY: {"layers": ["conv1_1", 5]}},
    "shapes as a list": lambda x: {KEY: {"shapes": [[5, 5]]}},
    "shapes": lambda x: {KEY: {"shapes": {"96": [0, 5]}}},
    "shapes of zero": lambda x: {KEY: {"shapes": {"0": [5, 5]}}},
    "aspect": lambda x: {KEY: {"keep_aspect": 1}},
    "backbone": lambda x: {KEY: {"backbone": ["cifar100"]}},
    "extra": lambda x: {KEY: {"extra": 1}},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_file_is_refused(style_file, tmp_path, forgery):
    path = forged(style_file, forgery(safetensors.torch.load(style_file.read_bytes())), tmp_path)
    assert "forged.style: not a saved style, or a damaged one" in refusal(load_style, path)


def test_the_forgeries_start_from_a_file_that_is_read(style_file, tmp_path):
    assert load_style(forged(style_file, {}, tmp_path)).form.levels == 2


def test_statistics_of_another_width_are_refused_before_painting(style_file, tmp_path, settings):
    names = [name for name in safetensors.torch.load(style_file.read_bytes()) if name.endswith("conv1_1")]
    path = forged(style_file, {name: torch.zeros(8 * 11 // 2) for name in names}, tmp_path)
    assert "damaged" in refused_run(PHOTO, path, settings)


def test_a_newer_version_is_named(style_file, tmp_path):
    path = forged(style_file, {KEY: {"version": 9}}, tmp_path)
    assert "its version 9 is not known here" in refusal(load_style, path)


def test_other_files_are_refused(style_file, tmp_path):
    path = tmp_path / "a.style"
    contents = [b"", b"\x89PNG", pickle.dumps({"a": 1}), b"\xff" * 64, style_file.read_bytes()[:-1]]
    contents += [safetensors.torch.save({"x": torch.zeros(3)}), (1 << 60).to_bytes(8, "little") + b"{}"]
    for content in contents:
        path.write_bytes(content)
        assert "a.style: not a saved style" in refusal(load_style, path)
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "over the limit of 64 MB" in refusal(load_style, path)


def test_a_file_with_random_damage_is_refused_or_still_a_style(style_file, tmp_path, rng: random.Random):
    data, path = style_file.read_bytes(), tmp_path / "a.style"
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(header)] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            load_style(path)
        except Exception as error:
            assert type(error).__name__ == "StyleTransferError", error


# The command


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_the_command_saves_a_style_that_every_command_can_use(tmp_path, random_checkpoint, capfd):
    PAINTING.save(tmp_path / "painting.png")
    (tmp_path / "photos").mkdir()
    PHOTO.save(tmp_path / "photos" / "photo.png")
    style, photo = tmp_path / "new" / "p.style", tmp_path / "photos" / "photo.png"
    network = ["--size", 64, "--backbone", random_checkpoint, "--device", "cpu"]
    assert run("style", "save", tmp_path / "painting.png", "-o", style, *network) == 0
    assert capfd.readouterr().out == f"{style}: {style.stat().st_size / 1e6:.1f} MB\n"
    flags = ["--steps", 2, "--precision", "float32", "--no-sketch", *network]
    assert run(photo, style, "-o", tmp_path / "a.png", *flags) == 0
    assert run(photo, tmp_path / "painting.png", "-o", tmp_path / "b.png", *flags) == 0
    assert run("batch", tmp_path / "photos", "--style", style, "--out", tmp_path / "out", *flags) == 0
    assert run("grid", photo, style, "-o", tmp_path / "grid.png", "--rows", "seed=1,2", *flags) == 0
    pictures = [Image.open(tmp_path / name) for name in ("a.png", "b.png", "out/photo.png")]
    assert distance(*pictures[:2]) < 0.5 and pictures[0].tobytes() == pictures[2].tobytes()
    assert read_recipe(tmp_path / "a.png") == read_recipe(tmp_path / "out" / "photo.png")
    assert run(photo, style, "-o", tmp_path / "c.png", *flags[2:], "--recipe", tmp_path / "a.png") == 0
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("style", "the following arguments are required"),
        ("style load {painting} -o a.style", "invalid choice: 'load'"),
        ("style save {painting} -o {folder}/a.png", "suffix .style"),
        ("style save missing.png -o {folder}/a.style", "missing.png: no such file"),
        ("style save {painting} -o {folder}/a.style --preset best", "Unknown preset 'best'"),
        ("style save {painting} -o {folder}/a.style --size 9", "size must be"),
        ("{painting} {folder}/missing.style -o {folder}/a.png", "missing.style: no such file"),
        ("{painting} {folder}/text.style -o {folder}/a.png", "text.style: not a saved style"),
        ("batch {folder}/photos --style {folder}/text.style --out {folder}/out", "text.style: not a saved style"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, capfd, arguments, message):
    PAINTING.save(tmp_path / "painting.png")
    (tmp_path / "photos").mkdir()
    PHOTO.save(tmp_path / "photos" / "photo.png")
    (tmp_path / "text.style").write_text("no style")
    words = arguments.format(painting=tmp_path / "painting.png", folder=tmp_path).split()
    assert run(*words) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and message in error and "Traceback" not in error
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("a.", "out"))]
