"""The same recipe gives the same bytes: in fresh processes, with runs taking turns, and on threads that race."""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

MINUTES = 4
PROCESSES = 8


def fresh_processes(count: int, size: int, steps: int) -> str:
    """The SHA-256 of the result that all `count` processes found, however they ran. Raises AssertionError otherwise."""
    found = set()
    for number in range(count):
        environment = os.environ | {"PYTHONHASHSEED": str(number)}
        command = [sys.executable, str(Path(__file__).resolve()), str(size), str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        found |= set(done.stdout.split())
    assert len(found) == 1, f"{len(found)} different results"
    return found.pop()


def _main(size: int, steps: int) -> None:
    """Print the SHA-256 of the saved file for a run alone, three runs that take turns, and three that race."""
    from helpers.pictures import make_picture
    from nst import StyleSettings, stylize
    from nst.output.recipe import describe
    from nst.output.results import save_result

    settings = StyleSettings(size=size, steps=steps, init="noise", seed=5)
    photo, style = make_picture(96, 72, seed=1), make_picture(80, 80, seed=2)
    others = [StyleSettings(size=size + 16 * n, steps=steps, seed=n) for n in (1, 2)]

    def file_hash(image) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = save_result(image, Path(folder) / "result.png", describe(photo, style, settings))
            return hashlib.sha256(path.read_bytes()).hexdigest()

    *_, last = stylize(photo, style, settings)
    print(file_hash(last.image))
    mine, *theirs = (stylize(photo, style, one) for one in (settings, *others))
    for last, *_ in zip(mine, *theirs, strict=True):  # noqa: B007
        pass
    print(file_hash(last.image))
    results = []

    def painted(one) -> None:
        *_, last = stylize(photo, style, one)
        results.append((one, last.image))

    threads = [threading.Thread(target=painted, args=[one]) for one in (settings, *others, settings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, image in results:
        if one == settings:
            print(file_hash(image))


def run() -> None:
    for size, steps in ((64, 6), (256, 12)):
        found = fresh_processes(PROCESSES, size, steps)
        print(f"{PROCESSES} fresh processes, 4 runs in each, {size} px: one result, {found[:12]}")


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
