"""Settings, recipes, saved runs, checkpoints and flags with random content: each is used, or refused in one line.

The examples are the same in every run; `python tests/tools/reliability fuzz` tries many new ones. An input that once
failed becomes an `@example`.
"""

import contextlib
import json
import os
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.training import NARROW
from nst.arguments import SETTING_FLAGS
from nst.cli import main
from nst.errors import StyleTransferError
from nst.models import checkpoints
from nst.models.checkpoints import save_checkpoint
from nst.models.vgg import VGG19
from nst.output.recipe import KEY, PaintingRecipe, RecipeStyle, read_recipe
from nst.settings import PRESETS, StyleSettings
from nst.stylization import RunState, stylize

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 60))
fuzz = hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, derandomize="FUZZ_EXAMPLES" not in os.environ, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
NAMES = [field.name for field in fields(StyleSettings)]
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from([10**400, -(2**63)]),
    st.sampled_from(["1e999", "NaN", "../x", "cuda", "conv1_1", "file", "", "\x00", "\ud800", "a" * 300]),
)  # fmt: skip
anything = st.recursive(
    plain,
    lambda value: st.lists(value, max_size=4) | st.dictionaries(st.text(max_size=8), value, max_size=4),
    max_leaves=8,
)
tables = st.dictionaries(st.sampled_from([*NAMES, "version"]) | st.text(max_size=12), anything, max_size=6)


class Odd:
    """An object that is equal to everything and has no text form."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no text form")


def use_or_refuse(call, *arguments, **options):
    """Return the result of `call`, or None if it raises a StyleTransferError, whose message must be one line."""
    try:
        return call(*arguments, **options)
    except StyleTransferError as error:
        message = str(error)
        assert message and message.isprintable() and len(message) < 700, message
        return None


# Settings


@fuzz
@given(tables)
@example({"size": 10**5000})  # Python refuses to convert so many digits to text
@example({"version": 10**5000})
@example({"init": np.array([1, 2])})  # a comparison of arrays is neither true nor false
@example({"content_layers": ["conv1_1"] * 100_000})
@example({"style_layers": np.array(["conv1_1"])})
@example({"steps": float("nan"), "version": True})
def test_settings_are_used_or_refused(values):
    settings = use_or_refuse(StyleSettings.from_dict, values)
    if settings is not None:
        assert StyleSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
        assert 32 <= settings.size <= 8192 and 1 <= settings.steps <= 10_000 and 0 < settings.learning_rate <= 1
        assert settings.stages((100, 100))[-1].long_side == settings.size


@fuzz
@given(anything)
@example({1: 2})
def test_a_value_that_is_no_dictionary_is_refused_as_settings(values):
    if not isinstance(values, dict):
        assert use_or_refuse(StyleSettings.from_dict, values) is None
        assert use_or_refuse(StyleSettings.preset, values) is None or values in PRESETS


@pytest.mark.parametrize("name", [*NAMES, "version"])
def test_a_value_without_a_text_form_is_refused(name):
    assert use_or_refuse(StyleSettings.from_dict, {name: Odd()}) is None


@fuzz
@given(st.sampled_from(NAMES), anything)
def test_changes_to_a_preset_are_used_or_refused(name, value):
    for preset in PRESETS:
        settings = use_or_refuse(StyleSettings.preset, preset, **{name: value})
        if settings is not None:
            assert settings == StyleSettings.from_dict(StyleSettings.preset(preset).to_dict() | {name: value})


# Flags


@fuzz
@given(
    st.lists(
        st.tuples(st.sampled_from([*SETTING_FLAGS, "preset", "bits", "save-every", "recipe", "film", "nonsense"]),
                  st.text(max_size=12) | st.sampled_from(["1e999", "nan", "-1", "0", "64", "classic", "conv\n1"])),
        max_size=4,
    )
)  # fmt: skip
@example([("nonsense", "two\nlines")])
@example([("seed", "9" * 5000)])
@example([("preset", "\x1b[31m")])
@example([("film", "\x00.mp4")])
@example([("recipe", "\x00.png")])
def test_wrong_flags_or_a_missing_photo_are_refused_in_one_line(flags):
    """The photo is missing, so the command refuses correct flags too and paints nothing."""
    import io

    arguments = [part for flag, value in flags for part in (f"--{flag}", value)]
    assume(not any(value.startswith("-") and value not in ("-1",) for _, value in flags))
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            status = main(["nowhere.png", "nowhere.png", "-o", "never-made.png", *arguments])
        except SystemExit as end:
            status = end.code
    line = output.getvalue()
    assert status == 2 and line.startswith("nst") and line.count("\n") == 1 and line[:-1].isprintable(), line
    assert not Path("never-made.png").exists()


# Recipes


RECIPE = PaintingRecipe(StyleSettings(steps=150), "0" * 64, "1" * 64, (RecipeStyle("2" * 64),), 150, {"nst": "1"})
GOOD = json.loads(RECIPE.to_json())
PLACES = [(key,) for key in GOOD] + [("settings", key) for key in GOOD["settings"]] + [
    ("styles", 0), ("styles", 0, "weight"), ("styles", 0, "picture"), ("versions", "nst")]  # fmt: skip


def with_text(path: Path, text: str, zipped: bool = False) -> Path:
    """Write a small PNG file with `text` in the place of its recipe. Return its path."""
    info = PngInfo()
    info.add_itxt(KEY, text, zip=zipped)
    Image.new("RGB", (2, 2)).save(path, pnginfo=info)
    return path


@fuzz
@given(st.sampled_from(PLACES), anything, st.booleans())
@example(("settings", "size"), 10**400, False)
@example(("styles",), [{}] * 1000, False)
@example(("steps_done",), True, True)
@example(("versions",), {"nst": "\ud800"}, False)
@example(("settings", "backbone"), "../../etc/passwd", False)
def test_recipes_are_read_or_refused(tmp_path, place, value, zipped):
    recipe = json.loads(json.dumps(GOOD))
    *parents, key = place
    target = recipe
    for parent in parents:
        target = target[parent]
    target[key] = value
    read = use_or_refuse(read_recipe, with_text(tmp_path / "a.png", json.dumps(recipe), zipped))
    if read is not None:
        assert PaintingRecipe.from_json(read.to_json()) == read
        assert "/etc" not in read.settings.backbone


@fuzz
@given(st.text(alphabet='{}[]",:0123456789eE+-. ntrueflas\\u', max_size=200) | st.text(max_size=50))
@example("[" * 60_000)
@example('{"a":' * 10_000)
@example("1" * 5000)
@example(json.dumps(GOOD)[:-1] + ', "settings": {}}')
@example(" " * 100_000 + "{}")
def test_a_text_that_is_no_recipe_is_refused(tmp_path, text):
    assert use_or_refuse(read_recipe, with_text(tmp_path / "a.png", text)) is None


# Files of tensors


def damaged(data: bytes, draw) -> bytes:
    """Return `data` with random bytes, cut short, longer, or with a wrong length of the header.

    Half of the random bytes go into the header.
    """
    changed = bytearray(data)
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for _ in range(draw(st.integers(0, 6))):
        end = header if draw(st.booleans()) else len(data)
        changed[draw(st.integers(0, end - 1))] = draw(st.integers(0, 255))
    kind = draw(st.sampled_from(["same length", "cut", "grown", "header length"]))
    if kind == "cut":
        return bytes(changed[: draw(st.integers(0, len(changed)))])
    if kind == "grown":
        return bytes(changed) + draw(st.binary(max_size=50))
    if kind == "header length":
        length = draw(st.sampled_from([0, 1, header, header - 9, 2**31, 2**63, 2**64 - 1, 100_000_001]))
        return struct.pack("<Q", length) + bytes(changed[8:])
    return bytes(changed)


def with_header(data: bytes, change) -> bytes:
    """Return the safetensors file `data` with its header after `change(header)`."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint with an eighth of the channels."""
    torch.manual_seed(0)
    network = VGG19(3, width=NARROW)
    return save_checkpoint(network, tmp_path / "good.safetensors", {"mean": [0.5] * 3, "std": [0.2] * 3})


def load_checkpoint(path: Path):
    return checkpoints._load_file(str(path), path)


@fuzz
@given(data=st.data())
def test_checkpoints_are_loaded_or_refused(checkpoint, data):
    path = checkpoint.with_name("damaged.safetensors")
    path.write_bytes(damaged(checkpoint.read_bytes(), data.draw))
    backbone = use_or_refuse(load_checkpoint, path)
    if backbone is not None:
        assert all(value.isfinite().all() for value in backbone.network.state_dict().values())
        assert backbone.network.pooling in ("max", "average")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["features.0.weight"].update(shape=[2**40, 3, 3, 3]),
        lambda header: header["features.0.weight"].update(shape=[-1, 3, 3, 3]),
        lambda header: header["features.0.weight"].update(data_offsets=[0, 2**62]),
        lambda header: header["features.0.weight"].update(data_offsets=[100, 50]),
        lambda header: header["features.0.weight"].update(dtype="F64"),
        lambda header: header["features.0.weight"].update(dtype="I8"),
        lambda header: header["features.0.bias"].update(data_offsets=header["features.0.weight"]["data_offsets"]),
        lambda header: header.pop("features.0.weight"),
        lambda header: header.update({"features.0.weight": None}),
        lambda header: header.update({"../../escape": header.pop("features.0.weight")}),
        lambda header: header["__metadata__"].update(pooling='"exec"'),
        lambda header: header["__metadata__"].update(mean="[NaN, 1, 1]"),
        lambda header: header["__metadata__"].update(std="[1e999, 1, 1]"),
        lambda header: header["__metadata__"].update(pooling="[" * 50_000),
        lambda header: header["__metadata__"].update(mean=f"[{'9' * 5000}, 1, 1]"),
    ],
)
def test_a_wrong_header_is_refused_with_the_name_of_the_file(checkpoint, change):
    path = checkpoint.with_name("wrong.safetensors")
    path.write_bytes(with_header(checkpoint.read_bytes(), change))
    with pytest.raises(StyleTransferError, match=r"^wrong\.safetensors: ") as caught:
        load_checkpoint(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


@pytest.fixture(scope="module")
def saved_run(random_checkpoint, tmp_path_factory) -> tuple[Path, StyleSettings]:
    settings = StyleSettings(size=32, steps=2, scales=1, style_levels=1, backbone=str(random_checkpoint))
    *_, step = stylize(make_picture(32, 32), make_picture(32, 32, 1), settings)
    path = tmp_path_factory.mktemp("state") / "run.safetensors"
    step.state.save(path)
    return path, settings


@fuzz
@given(data=st.data())
def test_saved_runs_are_loaded_or_refused(saved_run, tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged(saved_run[0].read_bytes(), data.draw))
    state = use_or_refuse(RunState.load, path)
    if state is not None:
        assert state.arrays["pixels"].dtype == np.float32 and state.arrays["pixels"].shape[:2] == (1, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e30])
def test_a_saved_run_with_impossible_pixels_is_refused_in_one_line(saved_run, value):
    path, settings = saved_run
    state = RunState.load(path)
    state.arrays["pixels"] = np.full_like(state.arrays["pixels"], value)
    more = StyleSettings(**settings.__dict__ | {"steps": 4})
    steps = stylize(make_picture(32, 32), make_picture(32, 32, 1), more, resume=state)
    assert "no longer finite" in refusal(list, steps)
