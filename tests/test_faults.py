"""Faults outside the program: no memory, a full disk, a deleted checkpoint, a clock that jumps, a closed output."""

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
from tools.reliability.determinism import hash_in_fresh_processes
from tools.reliability.soak_library import soak
from tools.reliability.training import train_with_kills

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
    ids=["Python", "GPU", "CPU"],
)
def test_too_little_memory_gives_one_line_and_the_next_run_works(settings, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "evaluate", lambda *_: (_ for _ in ()).throw(error))
        message = refusal(paint, settings)
    assert "memory" in message and "smaller" in message
    assert paint(settings)[-1].step == 3


def test_torchs_own_message_about_memory_is_recognized(settings, monkeypatch):
    """The run needs more than any computer has, so that the message is that of the installed torch."""
    monkeypatch.setattr(Objective, "evaluate", lambda *_: torch.empty(1 << 50))
    assert "memory" in refusal(paint, settings)


def test_other_errors_are_not_reported_as_too_little_memory(settings, monkeypatch):
    monkeypatch.setattr(Objective, "evaluate", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        paint(settings)


# Disk


@pytest.mark.parametrize("name", ["result.png", "result.tif", "result.jpg"])
def test_a_disk_that_is_full_at_the_end_gives_one_line(random_checkpoint, tmp_path, monkeypatch, capsys, name):
    PHOTO.save(tmp_path / "photo.png")

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)
    flags = ["--size", "32", "--steps", "1", "--backbone", str(random_checkpoint), "-o", str(tmp_path / name)]
    assert main([str(tmp_path / "photo.png"), str(tmp_path / "photo.png"), *flags]) == 2
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nst: ")]
    assert messages == [f"nst: {name}: cannot be written (No space left on device)."]
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


# The checkpoint


RUNS_WITH_A_DAMAGED_CHECKPOINT = """
import os, sys
from helpers.pictures import make_picture
from nst import StyleSettings, stylize

deleted, cut = sys.argv[1:]
for path, damage in ((deleted, os.unlink), (cut, lambda path: os.truncate(path, 100))):
    settings = StyleSettings(size=32, steps=3, scales=1, style_levels=1, backbone=path)
    run = stylize(make_picture(40, 40), make_picture(40, 40, 1), settings)
    next(run)
    damage(path)
    *_, last = run
    print(last.step)
"""


@pytest.mark.slow
def test_a_run_continues_when_its_checkpoint_is_deleted_or_cut_short(random_checkpoint, tmp_path):
    """In a process of its own: if the checkpoint were still mapped into memory, cutting it short would kill that."""
    weights = {key: value.float() for key, value in load_file(random_checkpoint).items()}
    paths = [tmp_path / "deleted.safetensors", tmp_path / "cut.safetensors"]
    for path in paths:
        save_file(weights, path)
    command = [sys.executable, "-c", RUNS_WITH_A_DAMAGED_CHECKPOINT, *map(str, paths)]
    environment = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    result = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=environment)
    assert (result.returncode, result.stdout) == (0, "3\n3\n"), result.stderr
    for path in paths:
        assert path.name in refusal(load_backbone, path)


def test_a_checkpoint_that_is_deleted_while_it_is_loaded_gives_one_line(random_checkpoint, monkeypatch):
    path = random_checkpoint.with_name("gone.safetensors")
    monkeypatch.setattr("nst.models.checkpoints._checkpoint_path", lambda name: path)
    assert "gone.safetensors" in refusal(load_backbone, "gone.safetensors")


# Time


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_nothing(settings, monkeypatch, jump):
    expected = [np.asarray(step.image) for step in paint(settings)]
    clock = iter(time.time() + jump * number for number in range(10**6))
    monkeypatch.setattr("time.time", lambda: next(clock))
    steps = paint(settings, preview_every=1)
    assert all((np.asarray(step.image) == other).all() for step, other in zip(steps, expected, strict=True))
    assert all(0 <= step.seconds < 3600 for step in steps)
    assert all(0 <= step.seconds_left < 3600 for step in steps if step.step)


# The shell


@pytest.mark.slow
def test_a_closed_output_gives_no_traceback(random_checkpoint, tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "nst", tmp_path / "photo.png", tmp_path / "photo.png", "--json", "--size", "32",
               "--steps", "1", "--backbone", random_checkpoint, "-o", tmp_path / "result.png"]  # fmt: skip
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 141 and "Error" not in done.stderr and (tmp_path / "result.png").exists(), done.stderr


# Short forms of the checks in tests/tools/reliability


@pytest.mark.slow
@pytest.mark.slow
def test_a_training_killed_at_random_moments_can_be_resumed(tmp_path):
    assert train_with_kills(tmp_path, kills=2)["kills"] == 2


@pytest.mark.slow
@pytest.mark.slow
def test_short_runs_leave_nothing_behind():
    soak(runs=30, warm_up=20)


@pytest.mark.slow
@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes():
    assert len(hash_in_fresh_processes(2, size=48, steps=3)) == len(hashlib.sha256().hexdigest())
