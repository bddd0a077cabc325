"""What can befall a run: no memory, no disk, a checkpoint that goes, a clock that jumps, a reader that left."""

import errno
import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.shell import ENVIRONMENT, ROOT
from nst import StyleSettings, load_backbone, stylize
from nst.cli import main
from nst.objective import Objective
from tools.reliability.determinism import fresh_processes
from tools.reliability.soak_library import soak
from tools.reliability.training import killed_training

PHOTO, PAINTING = make_picture(48, 40, 1), make_picture(40, 40, 2)


@pytest.fixture
def settings(random_checkpoint) -> StyleSettings:
    return StyleSettings(size=32, steps=3, scales=1, style_levels=1, backbone=str(random_checkpoint))


def paint(settings: StyleSettings, **options) -> list:
    return list(stylize(PHOTO, PAINTING, settings, **options))


# Memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
    ids=["Python", "a graphics card", "a processor"],
)
def test_no_memory_is_one_line_and_the_next_run_works(settings, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "evaluate", lambda *_: (_ for _ in ()).throw(error))
        said = refusal(paint, settings)
    assert "memory" in said and "smaller" in said
    assert len(paint(settings)) == 3


def test_torchs_own_words_for_no_memory_are_understood(settings, monkeypatch):
    """Asked for more than any machine has, so that the words are those of the torch that is installed."""
    monkeypatch.setattr(Objective, "evaluate", lambda *_: torch.empty(1 << 50))
    assert "memory" in refusal(paint, settings)


def test_other_errors_are_not_taken_for_it(settings, monkeypatch):
    monkeypatch.setattr(Objective, "evaluate", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        paint(settings)


# Disk


@pytest.mark.parametrize("name", ["result.png", "result.tif", "result.jpg"])
def test_a_disk_that_is_full_at_the_end_is_one_line(random_checkpoint, tmp_path, monkeypatch, capsys, name):
    PHOTO.save(tmp_path / "photo.png")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    flags = ["--size", "32", "--steps", "1", "--backbone", str(random_checkpoint), "-o", str(tmp_path / name)]
    assert main([str(tmp_path / "photo.png"), str(tmp_path / "photo.png"), *flags]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nst: ")]
    assert said == [f"nst: {name}: cannot be written (No space left on device)."]
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


# The checkpoint


def test_a_checkpoint_deleted_or_cut_in_mid_run_does_not_end_the_run(random_checkpoint, tmp_path):
    """In a process of its own: a file that is still mapped and gets shorter would kill it."""
    whole = {key: value.float() for key, value in load_file(random_checkpoint).items()}
    path = tmp_path / "mine.safetensors"
    code = (
        "import sys\nfrom helpers.pictures import make_picture\nfrom nst import StyleSettings, stylize\n"
        "path, how = sys.argv[1:]\n"
        "settings = StyleSettings(size=32, steps=3, scales=1, style_levels=1, backbone=path)\n"
        "run = stylize(make_picture(40, 40), make_picture(40, 40, 1), settings)\nnext(run)\n"
        "import os\nos.unlink(path) if how == 'deleted' else os.truncate(path, 100)\n"
        "*_, last = run\nprint(last.step)\n"
    )
    for how in ("deleted", "cut"):
        save_file(whole, path)
        done = subprocess.run([sys.executable, "-c", code, str(path), how], cwd=ROOT, text=True, capture_output=True,
                              env=ENVIRONMENT | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
        assert "mine.safetensors" in refusal(load_backbone, path)


def test_a_checkpoint_that_goes_between_two_looks_is_one_line(random_checkpoint, monkeypatch):
    gone = random_checkpoint.with_name("gone.safetensors")
    monkeypatch.setattr("nst.models.checkpoints._checkpoint_path", lambda name: gone)
    assert "gone.safetensors" in refusal(load_backbone, "gone.safetensors")


# Time


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_nothing(settings, monkeypatch, jump):
    expected = [np.asarray(step.image) for step in paint(settings)]
    clock = iter(time.time() + jump * number for number in range(10**6))
    monkeypatch.setattr("time.time", lambda: next(clock))
    steps = paint(settings, preview_every=1)
    assert all((np.asarray(step.image) == other).all() for step, other in zip(steps, expected, strict=True))
    assert all(0 <= step.seconds < 3600 and 0 <= step.seconds_left < 3600 for step in steps)


# The shell


def test_a_reader_that_left_is_no_traceback(random_checkpoint, tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "nst", tmp_path / "photo.png", tmp_path / "photo.png", "--json", "--size", "32",
               "--steps", "1", "--backbone", random_checkpoint, "-o", tmp_path / "result.png"]  # fmt: skip
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 141 and "Error" not in done.stderr and (tmp_path / "result.png").exists(), done.stderr


# Short forms of what tests/tools/reliability does at length


def test_a_training_killed_at_random_moments_goes_on(tmp_path):
    assert killed_training(tmp_path, kills=2)["kills"] == 2


def test_short_runs_leave_nothing_behind():
    soak(runs=30, warm_up=20)


def test_the_same_recipe_gives_the_same_bytes():
    assert len(fresh_processes(2, size=48, steps=3)) == len(hashlib.sha256().hexdigest())
