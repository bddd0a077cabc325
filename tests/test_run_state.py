"""Runs that are stopped, saved and resumed."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint, refused_run, stopped_after
from nst.errors import StyleTransferError
from nst.stylization import RunState, stylize

pytestmark = pytest.mark.usefixtures("small_levels")


@pytest.mark.parametrize("stop", [1, 2, 3], ids=["inside the first stage", "between stages", "inside the last stage"])
@pytest.mark.parametrize("init", ["content", "noise"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(two_stages, tmp_path, stop, init):
    settings = replace(two_stages, init=init, tv_weight=2.0)
    whole = list(stylize(CONTENT, STYLE, settings, preview_every=None))
    stopped_after(stop, settings).state.save(tmp_path / "run.safetensors")
    state = RunState.load(tmp_path / "run.safetensors")
    rest = list(stylize(CONTENT, STYLE, settings, preview_every=None, resume=state))
    expected, numbers = ([(s.step, s.steps, s.stage, s.total_loss) for s in steps] for steps in (whole[stop:], rest))
    assert numbers == expected
    assert rest[-1].image.tobytes() == whole[-1].image.tobytes()
    for name, array in whole[-1].state.arrays.items():
        np.testing.assert_array_equal(rest[-1].state.arrays[name], array, strict=name != "step")
    np.testing.assert_array_equal(rest[-1].state.random_state, whole[-1].state.random_state)


def test_a_run_stopped_twice_in_one_stage_is_the_same_in_the_default_precision(two_stages):
    settings = replace(two_stages, steps=6, precision="auto")
    whole = paint(settings)
    state = stopped_after(1, settings).state
    before = pickle.dumps(state)
    second = paint(settings, resume=state, should_stop=lambda: True)
    assert (second.step, second.stage, second.state.stage_step) == (2, 0, 2)
    assert pickle.dumps(state) == before  # the state can be used again
    third, *_, last = stylize(CONTENT, STYLE, settings, resume=second.state)
    assert (third.step, third.stage) == (3, 0)
    assert last.image.tobytes() == whole.image.tobytes()
    assert paint(settings, resume=state).image.tobytes() == whole.image.tobytes()


def test_a_finished_run_can_be_resumed_with_more_steps(fast):
    half = paint(replace(fast, steps=2))
    steps = list(stylize(CONTENT, STYLE, replace(fast, steps=5), resume=half.state))
    assert [(s.step, s.steps) for s in steps] == [(3, 5), (4, 5), (5, 5)]
    assert steps[-1].image.tobytes() == paint(replace(fast, steps=5)).image.tobytes()


def test_steps_added_to_a_run_of_two_stages_have_the_final_size(two_stages):
    finished = paint(two_stages)
    added = list(stylize(CONTENT, STYLE, replace(two_stages, steps=7), resume=finished.state))
    assert [(s.step, s.stage) for s in added] == [(5, 1), (6, 1), (7, 1)]
    assert added[-1].state.arrays["pixels"].shape == (1, 3, 128, 128)


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_a_run_resumed_with_few_steps_left_still_ends_at_the_final_size(two_stages, steps):
    """The run has three stages and stops at step 3 of 12. The first two stages alone would use up so few steps."""
    three_stages = replace(two_stages, size=256, scales=3, steps=12)
    stopped = stopped_after(3, three_stages)
    *_, last = stylize(CONTENT, STYLE, replace(three_stages, steps=steps), resume=stopped.state)
    assert (last.step, last.stage, last.image.size) == (steps, 2, (256, 256))


def test_a_state_that_does_not_fit_the_run_is_refused(fast, two_stages):
    state = paint(fast).state
    assert "3 steps already" in refused_run(settings=fast, resume=state)
    longer = replace(fast, steps=9)
    assert "64x64" in refused_run(settings=replace(longer, size=72), resume=state)
    assert "64x48" in refused_run(content=make_picture(80, 60), settings=longer, resume=state)
    assert "stages" in refused_run(settings=longer, resume=paint(two_stages).state)


def test_a_loaded_state_equals_the_saved_one(fast, tmp_path):
    state = paint(fast).state
    state.save(tmp_path / "new" / "run.safetensors")
    loaded = RunState.load(tmp_path / "new" / "run.safetensors")
    assert (loaded.step, loaded.stage, loaded.stage_step) == (3, 0, 3)
    np.testing.assert_array_equal(loaded.random_state, state.random_state)
    assert set(loaded.arrays) == set(state.arrays)
    for name, array in state.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == np.float32
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["run.safetensors"]


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "another kind of file": lambda data: b"steps: 3",
    "header": lambda data: data[:50] + b"\0" + data[51:],
    "without a count": lambda data: data.replace(b"stage_step", b"stage_stop"),
    "a negative count": lambda data: data.replace(b'stage_step\\": 3', b'stage_step\\":-3'),
    "a count that is no number": lambda data: data.replace(b'\\"step\\": 3', b'\\"step\\":[]'),
    "without pixels": lambda data: data.replace(b"canvas.pixels", b"canvas.pickle"),
    "without a moment": lambda data: data.replace(b"canvas.exp_avg_sq", b"canvas.exp_avg_pq"),
    "pixels of another shape": lambda data: data.replace(b"[1,3,64,64]", b"[1,6,64,32]"),
    "without the generator": lambda data: data.replace(b"random_state", b"random_stage"),
    "a broken generator": lambda data: data.replace(b'"U8","shape":[', b'"I8","shape":['),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_state_is_refused_in_one_line(fast, tmp_path, damage):
    path = tmp_path / "run.safetensors"
    paint(fast).state.save(path)
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(StyleTransferError, match=r"^run\.safetensors: not a saved run\.$"):
        RunState.load(path)


def test_other_files_are_no_saved_runs(random_checkpoint, tmp_path):
    for path in (random_checkpoint, tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(StyleTransferError, match="not a saved run"):
            RunState.load(path)
