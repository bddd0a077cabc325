"""Runs on ZeroGPU, with a stand-in for the `spaces` package that forks and pickles as it does."""

import json
import os
import shutil

import pytest

from helpers.clips import pan, write_clip
from helpers.pictures import make_picture
from helpers.shell import ENVIRONMENT, ROOT, shell

# Paint once for every scenario (name, steps, seconds to start, step at which to stop) and print what came of it.
PAINT = """
import json, sys
import spaces
from PIL import Image
from nst import StyleSettings, load_backbone
from nst.variations import vary
from nst.video.clips import Clip
from nst.web import zerogpu

scenarios, backbone, photo, style, clip = json.loads(sys.argv[1]), *sys.argv[2:]
photo, style = Image.open(photo), Image.open(style)
zerogpu.MAX_SECONDS = 200
load_backbone(backbone)  # the forked processes inherit it

def paint(steps, stop_at=None, resume=None):
    settings = StyleSettings.preset("quick", size=64, steps=steps, backbone=backbone, strength=0.5)
    step = None
    def should_stop():
        return stop_at is not None and step is not None and step.step >= stop_at
    for step in zerogpu.stylize(photo, style, settings, preview_every=0.001, should_stop=should_stop, resume=resume):
        pass
    return step

results = {}
for name, steps, seconds_to_start, stop_at in scenarios:
    zerogpu.SECONDS_TO_START = seconds_to_start
    last = paint(steps, stop_at)
    results[name] = {
        "step": last.step, "size": last.image.size, "state_step": last.state.step,
        "duration": spaces.DURATIONS[-1], "pixels": last.state.arrays["pixels"].shape,
        "pictures": sorted(last.state.pictures),
    }
    if stop_at:
        results[name]["resumed_to"] = paint(last.step + 2, resume=last.state).step
small = vary(StyleSettings.preset("quick", size=64, steps=3, backbone=backbone))
for name, should_stop in (("together", lambda: False), ("together, stopped", lambda: True)):
    *_, steps = zerogpu.paint_together(photo, style, small, preview_every=0.001, should_stop=should_stop)
    results[name] = {"steps": [step.step if step else None for step in steps], "duration": spaces.DURATIONS[-1]}
for name, limit in (("film", None), ("film, stopped", 2)):
    pictures = []
    stop = lambda: len(pictures) >= (limit or 99)
    clip_settings = StyleSettings.preset("quick", size=64, steps=3, backbone=backbone)
    for picture in zerogpu.paint_video(Clip(clip), 4, style, clip_settings, should_stop=stop):
        pictures.append(picture)
    results[name] = {"frames": len(pictures), "size": pictures[-1].size, "duration": spaces.DURATIONS[-1]}
zerogpu.SECONDS_TO_START = 0  # with this start its time is over as it begins
zerogpu.MARGIN_SECONDS = 300
results["film, out of time"] = {"frames": len(list(zerogpu.paint_video(
    Clip(clip), 4, style, clip_settings, should_stop=lambda: False)))}
print(json.dumps(results))
"""

SCENARIOS = [
    ("short", 3, 100, None),  # a start of 100 s, so that a busy machine does not run out of time
    ("out of time", 9000, -190, None),  # its time is over as it begins
    ("stopped", 5000, 100, 4),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory, random_checkpoint) -> dict[str, dict]:
    """The last step of each scenario, all painted in one process."""
    folder = tmp_path_factory.mktemp("zerogpu")
    shutil.copy(ROOT / "tests" / "helpers" / "spaces_stand_in.py", folder / "spaces.py")
    (folder / "paint.py").write_text(PAINT)
    make_picture(96, 72, seed=1).save(folder / "photo.png")
    make_picture(80, 80, seed=2).save(folder / "painting.png")
    environment = ENVIRONMENT | {"SPACES_ZERO_GPU": "true", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    write_clip(folder / "clip.mp4", pan(6))
    files = (folder / name for name in ("photo.png", "painting.png", "clip.mp4"))
    done = shell(folder / "paint.py", json.dumps(SCENARIOS), random_checkpoint, *files, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_run_paints_in_another_process_for_a_time_that_depends_on_its_settings(results):
    short, long = results["short"], results["stopped"]
    assert (short["step"], short["state_step"], short["size"]) == (3, 3, [64, 48])
    assert 100 < short["duration"] < long["duration"] <= 200


@pytest.mark.slow
def test_a_run_too_long_for_the_machine_ends_with_the_picture_so_far(results):
    last = results["out of time"]
    assert 1 <= last["step"] < 9000 and last["state_step"] == last["step"]


@pytest.mark.slow
def test_stop_keeps_the_latest_preview_and_a_run_can_resume_from_it(results):
    last = results["stopped"]
    assert 4 <= last["step"] < 5000 and last["state_step"] == last["step"]
    assert last["pictures"] == ["mixed"]  # what is continued has full strength
    assert last["pixels"] == [1, 3, 48, 64] and last["resumed_to"] == last["step"] + 2


@pytest.mark.slow
def test_variations_paint_in_another_process_and_can_be_stopped(results):
    assert results["together"] == {"steps": [3, 3, 3, 3], "duration": 200}  # the longest time that may be asked for
    assert results["together, stopped"]["steps"][1:] == [None] * 3


@pytest.mark.slow
def test_films_paint_in_another_process_and_can_be_stopped(results):
    assert (results["film"]["frames"], results["film"]["size"]) == (4, [64, 48])
    assert 100 < results["film"]["duration"] <= 200
    assert results["film, stopped"]["frames"] == 2
    assert results["film, out of time"]["frames"] == 1
