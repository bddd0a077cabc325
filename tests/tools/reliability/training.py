"""A training killed at random moments, again and again, among them in the middle of writing its state."""

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

MINUTES = 8
KILLS = 20
SEED = 7
OFTEN = """
import itertools, time
import nst.training.trainer

hours = itertools.count(0, 3600)
time.monotonic = lambda: next(hours)  # so that the state is saved after every step: most of the time goes there
step = nst.training.trainer.Trainer.train_step
nst.training.trainer.Trainer.train_step = lambda *arguments: (time.sleep(0.05), step(*arguments))[1]
"""
IN_A_WRITE = """
import io, os, signal
import torch

def half(state, path):
    whole = io.BytesIO()
    save(state, whole)
    open(path, "wb").write(whole.getvalue()[: len(whole.getvalue()) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

save, torch.save = torch.save, half
"""


def make_pictures(folder: Path) -> Path:
    """Three kinds of 16 noisy pictures of 32 px, and four of each to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for kind, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                pixels = (np.array(colour) + rng.normal(0, 30, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / kind / f"{number}.png")
    return folder


def killed_training(folder: Path, kills: int, seed: int = SEED) -> dict:
    """Kill -9 at `kills` random moments, every fourth in the middle of a write, then let it end.

    Raises AssertionError unless it could go on each time, no export was there before the end, and the last one equals,
    bit for bit, that of a run nobody killed. Returns the figures.
    """
    data = make_pictures(folder / "data")
    moments = random.Random(seed)
    plain = write_narrow_program(folder / "plain.py")
    often = write_narrow_program(folder / "often.py", OFTEN)
    torn = write_narrow_program(folder / "torn.py", OFTEN + IN_A_WRITE)
    whole, broken = folder / "whole.safetensors", folder / "broken.safetensors"
    settings = ["--data", data, *SMALL_TRAINING, "--epochs", 3]
    assert _wait(_start(plain, *settings, "--run", folder / "whole", "--output", whole)) == 0
    arguments = [*settings, "--run", folder / "broken", "--output", broken]
    state, steps, in_a_write = folder / "broken" / "state.pt", [], 0
    for kill in range(kills):
        resume = ["--resume"] if state.exists() else []
        before = state.read_bytes() if state.exists() else b""
        tear = kill % 4 == 3 and bool(resume)
        process = _start(torn if tear else often, *arguments, *resume)
        if tear:
            assert _wait(process) == -signal.SIGKILL
            assert list(state.parent.glob(".state-*.pt")) and state.read_bytes() == before
            in_a_write += 1
        else:
            _first_save(process, state)
            time.sleep(moments.uniform(0, 1.5))
            process.kill()
            assert _wait(process) in (-signal.SIGKILL, 0)
        steps.append(_saved_step(state))
        if steps[-1] == 9:  # nothing is left to kill: from the start again
            for path in (state, broken, folder / "broken" / "metrics.jsonl"):
                path.unlink(missing_ok=True)
        else:
            assert not broken.exists()
    assert _wait(_start(plain, *arguments, *(["--resume"] if state.exists() else []))) == 0
    first, second = load_file(whole), load_file(broken)
    assert first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)
    assert sorted(path.name for path in state.parent.iterdir()) == ["metrics.jsonl", "state.pt"]
    return {"kills": kills, "in a write": in_a_write, "steps": steps}


def _start(*arguments: object) -> subprocess.Popen:
    # Small networks start faster without asking every core.
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, env=ENVIRONMENT | {"PYTHONHASHSEED": "0"},
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip


def _wait(process: subprocess.Popen) -> int:
    _, said = process.communicate(timeout=300)
    assert "Traceback" not in said, said
    return process.returncode


def _first_save(process: subprocess.Popen, state: Path) -> None:
    """Wait until this process, not an earlier one, has written the state: before that it only imports torch."""
    begun = time.time_ns() if not state.exists() else state.stat().st_mtime_ns
    while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == begun):
        time.sleep(0.02)


def _saved_step(state: Path) -> int:
    import torch

    return torch.load(state, weights_only=True)["step"]


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = killed_training(Path(folder), KILLS, seed=int(os.environ.get("SEED", SEED)))
    print(f"killed {figures['kills']} times, {figures['in a write']} in the middle of writing the state, at steps "
          f"{figures['steps']} of 9: went on each time; the same weights as undisturbed")
