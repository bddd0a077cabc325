"""The page's parts without a browser: links, controls, the loss plot, the session, the status."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image, ImageChops

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst import PRESETS, PaintingRecipe, RunState, StyleSettings, describe, load_picture, stylize
from nst.web.controls import CONTROLS, check_offered, control_values, settings_from
from nst.web.links import settings_from_query, settings_to_query
from nst.web.loss_plot import MAX_POINTS, loss_table
from nst.web.session import MAX_ITEMS, Run, Session
from nst.web.status import progress_line, recipe_warning


def as_query(text: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(text))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_link_restores_the_settings(preset):
    settings = StyleSettings.preset(
        preset, size=96, seed=7, content_weight=0.1, keep_aspect=False, style_layers=("conv1_2", "conv5_4")
    )
    for name in (preset, None):
        assert settings_from_query(as_query(settings_to_query(settings, name)), 1024) == settings
    assert settings_to_query(PRESETS[preset], None) == f"preset={preset}"
    assert settings_from_query({"theme": "dark", "__theme": "dark"}, 1024) is None


@pytest.mark.parametrize(
    "query",
    ["size=x", "keep_aspect=maybe", "preset=none", "size=1e9", "seed=-1", "style_layers=conv9_1", "backbone=/x.pt"],
)
def test_a_wrong_value_in_a_link_is_refused_by_its_name(query):
    assert query.partition("=")[0] in refusal(settings_from_query, as_query(query), 1024)


def test_the_controls_show_and_return_the_settings_of_every_preset():
    assert set(CONTROLS) <= {field.name for field in fields(StyleSettings)}
    for settings in PRESETS.values():
        assert settings_from(StyleSettings(), control_values(settings)).content_layers == settings.content_layers
        assert settings_from(settings, control_values(settings)) == settings == check_offered(settings, 1024)
    assert check_offered(StyleSettings(device="cuda"), 1024).device == "auto"


@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 1000])
def test_the_loss_curve_has_few_points_and_includes_the_latest(count):
    table = loss_table([(step, 1.0, 2.0) for step in range(1, count + 1)])
    assert len(table) <= 2 * MAX_POINTS
    assert list(table["step"])[-2:] == ([count, count] if count else [])
    assert {str(table[name].dtype) for name in ("step", "loss")} == {"int64", "float64"}


def test_a_sketch_is_shown_without_losses_and_is_a_part_of_the_film(random_checkpoint, tmp_path):
    settings = StyleSettings(size=64, steps=2, scales=1, backbone=str(random_checkpoint))
    run = Run(tmp_path / "photo.png", settings, describe(make_picture(64, 64), make_picture(64, 64), settings))
    steps = list(stylize(make_picture(64, 64), make_picture(64, 64), settings))
    sketches = [step for step in steps if step.step == 0]
    assert sketches and all(progress_line(step).startswith("Sketching") for step in sketches)
    for step in steps:
        run.add(step)
    assert [number for number, _, _ in run.losses] == [1, 2]
    assert len(run.film.stored) == len(steps)


def test_a_session_can_be_pickled_and_keeps_few_pictures(random_checkpoint, tmp_path):
    settings = StyleSettings(size=64, steps=2, scales=1, backbone=str(random_checkpoint), style_levels=1)
    photo, painting = make_picture(64, 64), make_picture(64, 64, seed=2)
    *_, step = stylize(photo, painting, settings)
    session = Session()
    photo.save(tmp_path / "photo.png")
    for _ in range(MAX_ITEMS + 2):
        run = Run(tmp_path / "photo.png", settings, describe(photo, painting, settings))
        run.add(step)
        session.finish(run)
    assert len(session.existing_items()) == MAX_ITEMS
    session.items[0].path.unlink()  # as the app's cleaner does
    assert len(pickle.loads(pickle.dumps(session)).existing_items()) == MAX_ITEMS - 1
    longer = run.continued(settings, run.recipe, step.state)
    longer.add(step)
    assert len(run.film.stored) == 1 and len(longer.film.stored) == 2
    assert longer.recipe.repeatable
    from_preview = run.continued(settings, run.recipe, RunState.at_picture(photo, 2, 0))
    assert not from_preview.recipe.repeatable
    states = [item.path.with_name("state.safetensors").exists() for item in session.existing_items()]
    assert not any(states[1:])  # only the latest run can be continued


@pytest.mark.slow
def test_a_session_is_small_and_its_run_continues_bit_for_bit(random_checkpoint, tmp_path):
    make_picture(4000, 3000, seed=3).save(tmp_path / "photo.jpg")
    settings = StyleSettings(size=512, steps=2, scales=1, backbone=str(random_checkpoint), style_levels=1)
    photo, painting = load_picture(tmp_path / "photo.jpg"), make_picture(64, 64, seed=2)
    *_, step = stylize(photo, painting, settings)
    session, run = Session(), Run(tmp_path / "photo.jpg", settings, describe(photo, painting, settings))
    rng = np.random.default_rng(0)
    for _ in range(60):  # with grain, as paintings have
        grain = rng.integers(0, 60, (384, 512, 3), dtype=np.uint8)
        picture = Image.fromarray(np.asarray(make_picture(512, 384), np.uint8) // 2 + grain)
        run.add(replace(step, image=picture, state=None))
    run.add(step)
    session.finish(run)
    assert len(run.film.stored) > 20 and len(pickle.dumps(session)) < 12_000_000
    longer = replace(settings, steps=3)
    restored = pickle.loads(pickle.dumps(session)).latest_run()
    *_, expected = stylize(photo, painting, longer, resume=step.state)
    *_, result = stylize(restored.read_photo(), painting, longer, resume=restored.read_last_step().state)
    assert ImageChops.difference(expected.image, result.image).getbbox() is None
    run.photo.unlink()
    assert "deleted" in refusal(run.read_photo)
    run.result.unlink()
    assert "deleted" in refusal(run.read_last_step) and "deleted" in refusal(run.export)


def test_a_run_continued_with_other_settings_cannot_be_repeated(random_checkpoint):
    settings = StyleSettings(size=64, steps=4, backbone=str(random_checkpoint))
    photo, painting = make_picture(64, 64), make_picture(64, 64, seed=2)
    started = replace(describe(photo, painting, settings), steps_done=2)
    same = describe(photo, painting, settings).continued(started)
    other = replace(same, settings=replace(same.settings, style_weight=9.0)).continued(started)
    assert same.repeatable and recipe_warning(same) == ""
    assert not other.repeatable and "cannot repeat" in recipe_warning(other)
    assert not same.continued(other).repeatable  # one such change is enough
    assert not PaintingRecipe.from_json(other.to_json()).repeatable
    assert not describe(photo, photo, settings).continued(started).repeatable
