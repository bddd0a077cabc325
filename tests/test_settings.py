"""Settings: their dictionary form, the values that they refuse, the presets, and the stages of a run."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import nst.canvas
from helpers.refusals import refusal
from helpers.shell import ROOT
from nst.errors import StyleTransferError
from nst.layers import LAYERS
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings
from nst.stage_plan import SHORTEST_STAGE

NAN, INFINITY = float("nan"), float("inf")
without_deadline = hypothesis_settings(deadline=None)  # a slow machine must not fail the test
layer_lists = st.lists(st.sampled_from(LAYERS), min_size=1, max_size=16)
valid_fields = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(32, 8192),
        "detail_above": st.integers(16, 8192),
        "keep_aspect": st.booleans(),
        "steps": st.integers(1, 10_000),
        "scales": st.integers(1, 6),
        "content_weight": st.floats(0, 1e9),
        "style_weight": st.floats(1e-9, 1e9),  # above 0, because both weights must not be 0
        "tv_weight": st.integers(0, 10**9),
        "content_layers": layer_lists,
        "style_layers": layer_lists,
        "learning_rate": st.floats(0, 1, exclude_min=True),
        "style_scale": st.floats(0.25, 2),
        "preserve_colours": st.booleans(),
        "start_noise": st.floats(0, 1),
        "strength": st.floats(0, 1.5),
        "sharpness": st.floats(0, 3),
        "style_statistic": st.sampled_from(["gram", "covariance"]),
        "canvas": st.sampled_from(list(nst.canvas.KINDS)),
        "init": st.sampled_from(["content", "style", "noise"]),
        "pooling": st.sampled_from(["backbone", "max", "average"]),
        "seed": st.integers(0, 2**31 - 1),
        "backbone": st.text(min_size=1, max_size=30),
        "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
        "precision": st.sampled_from(["auto", "float32", "bf16"]),
    },
)


# The dictionary form


@without_deadline
@given(valid_fields)
def test_settings_survive_json(values):
    settings = StyleSettings(**values)
    text = json.dumps(settings.to_dict(), allow_nan=False)
    assert StyleSettings.from_dict(json.loads(text)) == settings


@without_deadline
@given(valid_fields)
def test_values_stay_as_they_are_passed(values):
    settings = StyleSettings(**values)
    for name, value in values.items():
        assert getattr(settings, name) == (tuple(value) if isinstance(value, list) else value)


def test_the_dictionary_contains_every_field_and_the_version():
    values = StyleSettings().to_dict()
    assert values.pop("version") == 6
    assert list(values) == [f.name for f in fields(StyleSettings)]


def test_fields_left_out_take_their_defaults():
    assert StyleSettings.from_dict({}) == StyleSettings()
    assert StyleSettings.from_dict({"steps": 3, "version": 6}) == StyleSettings(steps=3)


def test_fields_that_version_1_lacks_take_the_values_that_version_1_painted_with():
    old = StyleSettings.from_dict({"steps": 3, "version": 1})
    plain = {"style_statistic": "gram", "canvas": "pixels", "start_noise": 0, "laplacian_weight": 0}
    assert old == StyleSettings(steps=3, sketch=False, match_palette=False, sharpness=0, detail_above=8192, **plain)
    for fields_set in ({"canvas": "pyramid"}, {"start_noise": 0.2}):
        expected = replace(old, steps=StyleSettings().steps, **fields_set)
        assert StyleSettings.from_dict(fields_set | {"version": 1}) == expected


@pytest.mark.parametrize(("version", "palette"), [(2, False), (3, True)])
def test_earlier_versions_made_no_sketch_and_version_2_did_not_set_the_palette(version, palette):
    old = StyleSettings.from_dict({"size": 96, "version": version})
    plain = {"sketch": False, "sharpness": 0, "detail_above": 8192, "canvas": "pyramid"}
    assert old == StyleSettings(size=96, match_palette=palette, **plain)


def test_version_5_did_not_sharpen():
    assert StyleSettings.from_dict({"size": 96, "version": 5}) == StyleSettings(size=96, sharpness=0)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_in_earlier_versions_every_stage_painted_strokes_of_its_own(version):
    stages = StyleSettings.from_dict({"size": 4096, "steps": 11, "scales": 3, "version": version}).stages((3000, 2000))
    assert [(stage.long_side, stage.steps) for stage in stages] == [(1024, 4), (2048, 4), (4096, 3)]
    assert not any(stage.adds_detail for stage in stages)


def test_version_3_could_match_strokes_and_such_settings_are_refused():
    assert StyleSettings.from_dict({"match_strokes": False, "version": 3}).sketch is False
    with pytest.raises(StyleTransferError, match="match strokes"):
        StyleSettings.from_dict({"match_strokes": True, "version": 3})
    with pytest.raises(StyleTransferError, match="Unknown setting"):
        StyleSettings.from_dict({"match_strokes": False, "version": 4})


def test_from_dict_leaves_its_argument_alone():
    values = StyleSettings().to_dict()
    before = dict(values)
    StyleSettings.from_dict(values)
    assert values == before


def test_settings_are_immutable():
    with pytest.raises(FrozenInstanceError):
        StyleSettings().steps = 3


def test_lists_from_json_become_tuples_so_that_settings_are_hashable():
    settings = StyleSettings.from_dict({"style_layers": ["conv1_1"]})
    assert settings.style_layers == ("conv1_1",)
    assert isinstance(hash(settings), int)


def test_whole_floats_are_accepted_as_integers():
    """Sliders and the JSON of other programs write 512.0."""
    settings = StyleSettings(size=512.0, steps=10.0, scales=2.0, seed=7.0, style_weight=3)
    for name, value in {"size": 512, "steps": 10, "scales": 2, "seed": 7}.items():
        assert type(getattr(settings, name)) is int
        assert getattr(settings, name) == value
    assert type(settings.style_weight) is float


# Refusals


@pytest.mark.parametrize("wrong", [NAN, INFINITY, -INFINITY, True, "5", None, [1], 10**400, -(10**400), 1j])
@pytest.mark.parametrize(
    "name", ["size", "steps", "scales", "seed", "content_weight", "style_weight", "tv_weight", "learning_rate"]
)
def test_a_value_that_is_no_finite_number_is_refused_with_the_name_of_its_field(name, wrong):
    assert refusal(StyleSettings, **{name: wrong}).startswith(f"{name} ")


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("size", 32, 8192),
        ("detail_above", 16, 8192),
        ("steps", 1, 10_000),
        ("scales", 1, 6),
        ("seed", 0, 2**31 - 1),
        ("content_weight", 0, 1e9),
        ("style_weight", 0, 1e9),
        ("tv_weight", 0, 1e9),
        ("strength", 0, 1.5),
        ("sharpness", 0, 3),
    ],
)
def test_the_ends_of_a_range_are_accepted_and_values_beyond_are_refused(name, low, high):
    for value in (low, high):
        assert getattr(StyleSettings(**{name: value}), name) == value
    for value in (low - 1, high + 1, -(10**6), math.nextafter(low, -INFINITY)):
        assert refusal(StyleSettings, **{name: value}).startswith(f"{name} ")


@pytest.mark.parametrize("name", ["size", "steps", "scales", "seed"])
def test_fractions_are_refused_where_a_whole_number_is_needed(name):
    assert "whole" in refusal(StyleSettings, **{name: getattr(StyleSettings(), name) + 0.5})


@pytest.mark.parametrize("wrong", [0, -0.1, 1.0001])
def test_the_learning_rate_is_above_0_and_at_most_1(wrong):
    assert StyleSettings(learning_rate=1).learning_rate == 1
    assert refusal(StyleSettings, learning_rate=wrong).startswith("learning_rate ")


def test_two_weights_of_0_are_refused():
    message = refusal(StyleSettings, content_weight=0, style_weight=0)
    assert "content_weight" in message
    assert "style_weight" in message


@pytest.mark.parametrize("name", ["init", "pooling", "device", "precision"])
@pytest.mark.parametrize("wrong", ["", "Nonsense", None, 1, ["max"], {"a": 1}])
def test_an_unknown_choice_is_refused(name, wrong):
    assert refusal(StyleSettings, **{name: wrong}).startswith(f"{name} ")


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize(
    "wrong",
    [[], (), "conv1_1", None, 4, [4], [None], ["conv1_1", 2], {"conv1_1": 1}, ["relu1_1"], ["conv1_3"], ["conv6_1"],
     ["conv1_1\n"], ["CONV1_1"], [""], [["conv1_1"]], np.array([["conv1_1"], ["conv2_1"]])],
)  # fmt: skip
def test_a_value_that_is_no_list_of_layers_is_refused(name, wrong):
    assert refusal(StyleSettings, **{name: wrong}).startswith(f"{name} ")


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
def test_every_layer_of_the_network_is_accepted(name):
    assert getattr(StyleSettings(**{name: list(LAYERS)}), name) == LAYERS


@pytest.mark.parametrize("wrong", [0, 1, "false", None])
def test_keep_aspect_is_true_or_false(wrong):
    assert refusal(StyleSettings, keep_aspect=wrong).startswith("keep_aspect ")


@pytest.mark.parametrize("wrong", ["", None, 5])
def test_the_backbone_is_a_name(wrong):
    assert refusal(StyleSettings, backbone=wrong).startswith("backbone ")


@pytest.mark.parametrize("unknown", ["stepz", "Steps", "", "a" * 1000, 7, None])
def test_an_unknown_field_is_refused(unknown):
    message = refusal(StyleSettings.from_dict, {"steps": 3, unknown: 1})
    assert str(unknown)[:20] in message


@pytest.mark.parametrize("version", [0, 7, "1", None, NAN, [1], True])
def test_an_unknown_version_is_refused(version):
    assert "version" in refusal(StyleSettings.from_dict, {"version": version})


@pytest.mark.parametrize("wrong", [None, [], "steps", 3, [("steps", 3)]])
def test_a_value_that_is_no_dictionary_is_refused(wrong):
    refusal(StyleSettings.from_dict, wrong)


def test_a_wrong_value_in_a_dictionary_is_refused_as_in_the_constructor():
    assert refusal(StyleSettings.from_dict, json.loads('{"style_weight": NaN}')).startswith("style_weight ")


# Presets


def test_classic_is_the_plain_recipe_of_the_literature():
    classic = StyleSettings.preset("classic")
    assert (classic.size, classic.keep_aspect) == (224, False)
    assert (classic.steps, classic.scales) == (100, 1)
    assert classic.content_layers == ("conv4_2",)
    assert classic.style_layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert classic.init == "content"
    assert classic.tv_weight == 0
    (stage,) = classic.stages((4000, 30))
    assert (stage.long_side, stage.steps) == (224, 100)


def test_the_default_preset_equals_the_default_settings():
    assert StyleSettings.preset(DEFAULT_PRESET) == StyleSettings()


@pytest.mark.parametrize("name", PRESETS)
def test_changes_to_a_preset_change_nothing_else(name):
    changed = StyleSettings.preset(name, steps=5, style_layers=["conv3_1"])
    assert (changed.steps, changed.style_layers) == (5, ("conv3_1",))
    original = StyleSettings.preset(name)
    assert {k: v for k, v in changed.to_dict().items() if k not in ("steps", "style_layers")} == {
        k: v for k, v in original.to_dict().items() if k not in ("steps", "style_layers")
    }


@pytest.mark.parametrize("unknown", ["", "Classic", None, 3, ["classic"]])
def test_an_unknown_preset_is_refused(unknown):
    message = refusal(StyleSettings.preset, unknown)
    assert all(name in message for name in PRESETS)


def test_wrong_changes_to_a_preset_are_refused():
    assert "stepz" in refusal(StyleSettings.preset, "quick", stepz=1)
    assert refusal(StyleSettings.preset, "quick", steps=0).startswith("steps ")


# Stages

sizes = st.none() | st.tuples(st.integers(1, 10_000), st.integers(1, 10_000))


@without_deadline
@given(valid_fields, sizes)
def test_the_stages_share_all_steps_and_end_at_the_final_size(values, content_size):
    settings = StyleSettings(**values)
    stages = settings.stages(content_size)
    assert sum(stage.steps for stage in stages) == settings.steps
    assert min(stage.steps for stage in stages) >= 1
    assert stages[-1].long_side == settings.size
    for coarse, fine in itertools.pairwise(stage.long_side for stage in stages):
        assert abs(coarse - fine / 2) <= 0.5
    painted = [stage for stage in stages if not stage.adds_detail]
    assert list(stages[: len(painted)]) == painted  # detail comes last
    assert len(painted) <= settings.scales
    steps = [stage.steps for stage in painted]
    assert max(steps) - min(steps) <= 1
    assert steps == sorted(steps, reverse=True)  # the remainder goes to the coarse stages


@without_deadline
@given(valid_fields, sizes)
def test_only_coarse_stages_that_would_be_too_small_are_dropped(values, content_size):
    settings = StyleSettings(**values)
    stages = [stage for stage in settings.stages(content_size) if not stage.adds_detail]
    steps = sum(stage.steps for stage in stages)
    aspect = min(content_size) / max(content_size) if content_size and settings.keep_aspect else 1
    for stage in stages[:-1]:
        assert stage.long_side * aspect >= SHORTEST_STAGE
    if len(stages) < min(settings.scales, steps):
        assert round(stages[0].long_side / 2) * aspect < SHORTEST_STAGE


@without_deadline
@given(valid_fields, sizes)
def test_stages_above_the_limit_add_detail_in_about_a_seventh_of_the_other_steps(values, content_size):
    settings = StyleSettings(**values)
    stages = settings.stages(content_size)
    details = [stage for stage in stages if stage.adds_detail]
    steps = settings.steps - sum(stage.steps for stage in details)
    assert all(stage.long_side > settings.detail_above for stage in details)
    assert len({stage.steps for stage in details}) <= 1
    for stage in details:  # 15 %, rounded up, of all others but those that are left over
        assert math.ceil((steps - len(details)) * 15 / 100) <= stage.steps <= math.ceil(steps * 15 / 100)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"size": 768}, [(384, 20), (768, 20)]),
        ({"size": 1024}, [(256, 17), (512, 17), (1024, 6)]),
        ({"size": 2048}, [(256, 15), (512, 15), (1024, 5), (2048, 5)]),
        ({"size": 2048, "steps": 12}, [(256, 4), (512, 4), (1024, 2), (2048, 2)]),
        ({"size": 2048, "steps": 1}, [(2048, 1)]),
        ({"size": 2048, "steps": 2}, [(1024, 1), (2048, 1)]),
    ],
)
def test_large_pictures_have_these_stages(changes, expected):
    stages = StyleSettings(**changes).stages((3000, 2000))
    assert [(stage.long_side, stage.steps) for stage in stages] == expected


@pytest.mark.parametrize(
    "content_size, sides",
    [
        (None, [128, 256, 512]),
        ((400, 300), [128, 256, 512]),  # 128 px wide means 96 px high
        ((300, 400), [128, 256, 512]),
        ((800, 200), [256, 512]),  # 128 px would be 32 px high, 256 px are 64 px high
        ((1000, 100), [512]),
    ],
)
def test_the_stages_have_the_sides_of_these_examples(content_size, sides):
    assert [stage.long_side for stage in StyleSettings(size=512, scales=3).stages(content_size)] == sides


def test_the_aspect_ratio_changes_no_stage_unless_it_is_preserved():
    assert len(StyleSettings(size=512, scales=3, keep_aspect=False).stages((1000, 100))) == 3


def test_the_remainder_of_the_steps_goes_to_the_coarsest_stages():
    assert [stage.steps for stage in StyleSettings(size=512, scales=3, steps=11).stages()] == [4, 4, 3]


def test_fewer_steps_than_scales_leave_out_the_coarsest_stages():
    stages = StyleSettings(size=512, scales=3, steps=2).stages()
    assert [(stage.long_side, stage.steps) for stage in stages] == [(256, 1), (512, 1)]


def test_settings_import_no_torch():
    """The command line must answer --help and mistyped flags without a wait."""
    code = "import sys, nst; nst.StyleSettings(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_settings_accept_every_kind_of_canvas_and_no_other():
    for kind in nst.canvas.KINDS:
        StyleSettings(canvas=kind)
    with pytest.raises(StyleTransferError, match=", ".join(nst.canvas.KINDS)):
        StyleSettings(canvas="cloth")
