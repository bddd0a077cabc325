"""A thousand short runs in one process, which must not need more memory than after the warm-up."""

import gc
import json
import os
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from helpers.shell import ENVIRONMENT
from tools.reliability import run_theme

MINUTES = 6
RUNS, WARM_UP = 1000, 100
MAX_GROWTH = 50  # MB


def soak(runs: int, warm_up: int) -> dict:
    """Return figures of `runs` runs after `warm_up` others, in a process of their own.

    Raises AssertionError for a leak of memory, open files, threads or temporary files.
    """
    figures = json.loads(run_theme("soak_library", runs, warm_up, environment=ENVIRONMENT).stdout)
    assert figures["growth_mb"] < MAX_GROWTH, figures
    assert figures["files"][0] == figures["files"][1] and figures["threads"][0] == figures["threads"][1], figures
    assert not figures["left_behind"], figures
    return figures


def run() -> None:
    figures = soak(RUNS, WARM_UP)
    print(f"{figures['runs']} runs: {figures['growth_mb']:+.1f} MB, open files {figures['files'][0]} before and "
          f"{figures['files'][1]} after")  # fmt: skip


def _main(runs: int, warm_up: int) -> None:
    import nst.targets
    from nst.engine.target_cache import TargetCache

    nst.targets.TARGETS = TargetCache(8_000_000)  # full after the warm-up, because cached targets are no leak
    with tempfile.TemporaryDirectory() as folder:
        for number in range(warm_up):
            _run_once(number, Path(folder))
        before = _usage()
        for number in range(warm_up, warm_up + runs):
            _run_once(number, Path(folder))
        after = _usage()
        left_behind = sorted(set(os.listdir(folder)) - {"result.png", "state.safetensors"})
    print(json.dumps({"runs": runs, "growth_mb": round(after[0] - before[0], 1), "files": [before[1], after[1]],
                      "threads": [before[2], after[2]], "left_behind": left_behind}))  # fmt: skip


def _run_once(number: int, folder: Path) -> None:
    """Paint once. Three runs in ten are closed early, refused, or resumed with two styles; the others save a result."""
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
        state = type(step.state).load(folder / "state.safetensors")
        list(stylize(photo, style, StyleSettings(**settings.__dict__ | {"steps": 3}), resume=state))
    else:
        *_, step = stylize(photo, style, settings, preview_every=None)
        save_result(step.image, folder / "result.png", describe(photo, style, settings))
        read_recipe(folder / "result.png")


def _usage() -> tuple[float, int, int]:
    """Return the MB of memory, the open files and the threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
