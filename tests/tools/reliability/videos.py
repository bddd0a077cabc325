"""A video whose process is killed at random moments: the same command goes on, and the frames are the same."""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.reliability import ROOT

MINUTES = 6
KILLS, FRAMES, SIDE = 20, 12, 64


def paint_with_kills(folder: Path, kills: int, rng: random.Random, flags: tuple[str, ...] = ()) -> int:
    """Paint one clip without a stop, and once with `kills` SIGKILLs. Return after how many starts it was whole.

    Raises AssertionError if the files differ or something is left over.
    """
    from helpers.clips import pan, write_clip
    from helpers.pictures import make_picture

    clip = write_clip(folder / "clip.mp4", pan(FRAMES, (SIDE, 48), cut=7), sound="aac")
    make_picture(80, 80, seed=2).save(folder / "painting.png")
    started = time.monotonic()
    assert _start(folder, clip, "undisturbed.mp4", flags).wait() == 0
    seconds = time.monotonic() - started
    starts = killed = 0
    while True:
        starts += 1
        process = _start(folder, clip, "killed.mp4", flags)
        try:
            wait = rng.uniform(0.3, 1.0) * seconds if killed < kills else None
            assert process.wait(timeout=wait) == 0, process.stderr.read()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            continue
        if killed >= kills:
            break
        (folder / "killed.mp4").unlink()  # it was whole before its kill: once more
    assert (folder / "killed.mp4").read_bytes() == (folder / "undisturbed.mp4").read_bytes(), "other frames"
    left = {path.name for path in folder.iterdir()} - {"clip.mp4", "painting.png", "killed.mp4", "undisturbed.mp4"}
    assert not left, f"left over: {left}"
    return starts


def _start(folder: Path, clip: Path, output: str, flags: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-m", "nst", "video", clip, "--style", folder / "painting.png", "-o", folder / output]
    command += ["--size", SIDE, "--preset", "quick", *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)


def run() -> None:
    """Kill a run 20 times."""
    with tempfile.TemporaryDirectory() as folder:
        starts = paint_with_kills(Path(folder), KILLS, random.Random(0))
    print(f"    {KILLS} kills, {starts} starts, {FRAMES} frames: the same bytes, nothing left over")
