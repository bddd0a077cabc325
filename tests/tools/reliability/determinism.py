"""The same recipe gives the same bytes: in fresh processes, in runs that take turns, and in threads that race."""

import hashlib
import os
import sys
import tempfile
import threading
from pathlib import Path

from tools.reliability import run_theme

MINUTES = 4
PROCESSES = 8


def hash_in_fresh_processes(count: int, size: int, steps: int) -> str:
    """Return the SHA-256 of the result, the same in all `count` processes. Raises AssertionError if one differs."""
    hashes = set()
    for number in range(count):
        environment = os.environ | {"PYTHONHASHSEED": str(number)}
        hashes |= set(run_theme("determinism", size, steps, environment=environment).stdout.split())
    assert len(hashes) == 1, f"{len(hashes)} different results"
    return hashes.pop()


def _main(size: int, steps: int) -> None:
    """Print the SHA-256 of the results of four runs: alone, among runs that take turns, and two in racing threads."""
    from helpers.pictures import make_picture
    from nst import StyleSettings, stylize
    from nst.output.recipe import describe
    from nst.output.results import save_result

    settings = StyleSettings(size=size, steps=steps, init="noise", seed=5)
    photo, style = make_picture(96, 72, seed=1), make_picture(80, 80, seed=2)
    others = [StyleSettings(size=size + 16 * n, steps=steps, seed=n) for n in (1, 2)]

    def print_hash(image) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = save_result(image, Path(folder) / "result.png", describe(photo, style, settings))
            print(hashlib.sha256(path.read_bytes()).hexdigest())

    *_, last = stylize(photo, style, settings)
    print_hash(last.image)

    run, *other_runs = (stylize(photo, style, each, preview_every=None) for each in (settings, *others))
    for last, *_ in zip(run, *other_runs, strict=True):  # noqa: B007
        pass
    print_hash(last.image)

    results = []

    def paint(each: StyleSettings) -> None:
        *_, last = stylize(photo, style, each)
        results.append((each, last.image))

    threads = [threading.Thread(target=paint, args=[each]) for each in (settings, *others, settings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, image in results:
        if each == settings:
            print_hash(image)


def run() -> None:
    for size, steps in ((64, 6), (256, 12)):
        result = hash_in_fresh_processes(PROCESSES, size, steps)
        print(f"{PROCESSES} fresh processes, 4 runs in each, {size} px: one result, {result[:12]}")


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
