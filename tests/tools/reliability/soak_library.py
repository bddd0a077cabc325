"""A thousand short runs in one process: what it holds at the end must be what it held after warming up."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

MINUTES = 6
RUNS, WARM_UP = 1000, 100
GROWTH = 50  # MB


def soak(runs: int, warm_up: int) -> dict:
    """Figures of `runs` runs after `warm_up` others, in a process of their own. Raises AssertionError for a leak."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), str(runs), str(warm_up)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    assert figures["growth_mb"] < GROWTH, figures
    assert figures["files"][0] == figures["files"][1] and figures["threads"][0] == figures["threads"][1], figures
    assert not figures["left_behind"], figures
    return figures


def _one_run(number: int, folder: Path) -> None:
    """Of every kind in turn: to the end, closed early, resumed, refused, two at once; saved, and read back."""
    from helpers.pictures import make_picture
    from nst import Style, StyleSettings, StyleTransferError, stylize
    from nst.output.recipe import describe, read_recipe
    from nst.output.results import save_result

    size = 32 + 4 * (number % 9)
    settings = StyleSettings(size=size, steps=2, style_levels=1 + number % 3, init=("content", "noise")[number % 2])
    photo, style = make_picture(size + 5, size, seed=number), make_picture(48, 40, seed=number + 1)
    kind = number % 10
    if kind == 3:
        steps = stylize(photo, style, settings)
        next(steps)
        steps.close()
    elif kind == 5:
        with suppress(StyleTransferError):
            list(stylize(folder / "nowhere.png", style, settings))
    elif kind == 7:
        *_, step = stylize(photo, [Style(style), Style(photo, 0.5, mask=style)], settings)
        step.state.save(folder / "state.safetensors")
        list(stylize(photo, style, StyleSettings(**settings.__dict__ | {"steps": 3}), resume=type(step.state).load(
            folder / "state.safetensors")))  # fmt: skip
    else:
        *_, step = stylize(photo, style, settings, preview_every=None)
        save_result(step.image, folder / "result.png", describe(photo, style, settings))
        read_recipe(folder / "result.png")


def _held() -> tuple[float, int, int]:
    """MB of memory, open files, threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()


def _main(runs: int, warm_up: int) -> None:
    import nst.targets
    from nst.engine.target_cache import TargetCache

    nst.targets.TARGETS = TargetCache(8_000_000)  # full after warming up: cached targets are no leak
    with tempfile.TemporaryDirectory() as folder:
        for number in range(warm_up):
            _one_run(number, Path(folder))
        before = _held()
        for number in range(warm_up, warm_up + runs):
            _one_run(number, Path(folder))
        after = _held()
        left = sorted(set(os.listdir(folder)) - {"result.png", "state.safetensors"})
    print(json.dumps({"runs": runs, "growth_mb": round(after[0] - before[0], 1), "files": [before[1], after[1]],
                      "threads": [before[2], after[2]], "left_behind": left}))  # fmt: skip


def run() -> None:
    figures = soak(RUNS, WARM_UP)
    print(f"{figures['runs']} runs: {figures['growth_mb']:+.1f} MB, open files {figures['files'][0]} before and "
          f"{figures['files'][1]} after")  # fmt: skip


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
