"""A training that is killed at random moments, some of them in the middle of writing its state."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from helpers.shell import ENVIRONMENT, ROOT
from helpers.training import SMALL_TRAINING, write_narrow_program
from helpers.waiting import wait_until

MINUTES = 8
KILLS = 20
SEED = 7
TOTAL_STEPS = 9  # of the whole training
# The state is saved after every step, because an hour seems to pass: most of the time goes into writing it.
SAVE_OFTEN = """
import itertools, time
import nst.training.trainer

hours = itertools.count(0, 3600)
time.monotonic = lambda: next(hours)
step = nst.training.trainer.Trainer.train_step
nst.training.trainer.Trainer.train_step = lambda *arguments: (time.sleep(0.05), step(*arguments))[1]
"""
DIE_IN_A_WRITE = """
import io, os, signal
import torch

def save_half(state, path):
    whole = io.BytesIO()
    save(state, whole)
    open(path, "wb").write(whole.getvalue()[: len(whole.getvalue()) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

save, torch.save = torch.save, save_half
"""


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = train_with_kills(Path(folder), KILLS, seed=int(os.environ.get("SEED", SEED)))
    print(f"killed {figures['kills']} times, {figures['in a write']} in the middle of writing the state, at steps "
          f"{figures['steps']} of {TOTAL_STEPS}: resumed each time; the same weights as undisturbed")  # fmt: skip


def train_with_kills(folder: Path, kills: int, seed: int = SEED) -> dict:
    """Kill a training at `kills` random moments, every fourth in the middle of a write, then let it end.

    Return the figures. Raises AssertionError unless the training resumed each time, no export existed before the end,
    and the export has, bit for bit, the weights of a training that nobody killed.
    """
    data = make_pictures(folder / "data")
    moments = random.Random(seed)
    plain = write_narrow_program(folder / "plain.py")
    often = write_narrow_program(folder / "often.py", SAVE_OFTEN)
    torn = write_narrow_program(folder / "torn.py", SAVE_OFTEN + DIE_IN_A_WRITE)
    undisturbed, killed = folder / "undisturbed.safetensors", folder / "killed.safetensors"
    settings = ["--data", data, *SMALL_TRAINING, "--epochs", 3]
    assert _wait(_start(plain, *settings, "--run", folder / "undisturbed", "--output", undisturbed)) == 0
    arguments = [*settings, "--run", folder / "killed", "--output", killed]
    state, steps, kills_in_a_write = folder / "killed" / "state.pt", [], 0
    for kill in range(kills):
        resume = ["--resume"] if state.exists() else []
        state_before = state.read_bytes() if state.exists() else b""
        dies_in_a_write = kill % 4 == 3 and bool(resume)
        process = _start(torn if dies_in_a_write else often, *arguments, *resume)
        if dies_in_a_write:
            assert _wait(process) == -signal.SIGKILL
            assert list(state.parent.glob(".state-*.pt")) and state.read_bytes() == state_before
            kills_in_a_write += 1
        else:
            _wait_for_first_save(process, state)
            time.sleep(moments.uniform(0, 1.5))  # the random moment
            process.kill()
            assert _wait(process) in (-signal.SIGKILL, 0)
        steps.append(_saved_step(state))
        if steps[-1] == TOTAL_STEPS:  # nothing is left to kill: begin again
            for path in (state, killed, folder / "killed" / "metrics.jsonl"):
                path.unlink(missing_ok=True)
        else:
            assert not killed.exists()
    assert _wait(_start(plain, *arguments, *(["--resume"] if state.exists() else []))) == 0
    first, second = load_file(undisturbed), load_file(killed)
    assert first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)
    assert sorted(path.name for path in state.parent.iterdir()) == ["metrics.jsonl", "state.pt"]
    return {"kills": kills, "in a write": kills_in_a_write, "steps": steps}


def make_pictures(folder: Path) -> Path:
    """Write 16 noisy training pictures and 4 test pictures of 32 px for each of three classes. Return the folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for name, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = (np.array(colour) + rng.normal(0, 30, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def _start(*arguments: object) -> subprocess.Popen:
    environment = ENVIRONMENT | {"PYTHONHASHSEED": "0"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)  # fmt: skip


def _wait(process: subprocess.Popen) -> int:
    """Wait for the end. Return the exit status; raise AssertionError for a traceback."""
    _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors
    return process.returncode


def _wait_for_first_save(process: subprocess.Popen, state: Path) -> None:
    """Wait until this process has written the state or has ended. Before, it only imports torch."""
    before = state.stat().st_mtime_ns if state.exists() else None

    def has_saved() -> bool:
        return process.poll() is not None or (state.exists() and state.stat().st_mtime_ns != before)

    wait_until(has_saved, 300, "the training has not saved its state")


def _saved_step(state: Path) -> int:
    import torch

    return torch.load(state, weights_only=True)["step"]
