"""Measure how a run fares beside other work, by how OpenMP's threads wait: see `nst.engine.waiting`.

`python -m nst.tools.benchmark.waiting SIDE` prints the seconds of runs in this process.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from nst.engine.waiting import OWN_CHOICES, SPINS
from nst.settings import StyleSettings

WAYS = {  # of waiting: the environment of the process
    "brief": {"GOMP_SPINCOUNT": str(SPINS)},
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
RUNS = 3  # in each process; the first one also warms up
BUSY = "while True: pass"


def compare_ways_of_waiting(side: int, turns: int, busy_processes: int) -> dict[str, float]:
    """Return the median seconds of the preset quick at `side` px in fresh processes, by the way of waiting.

    The ways take turns, beside so many processes that compute without end.
    """
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with _busy(busy_processes):
        for _ in range(turns):
            for name, environment in WAYS.items():
                seconds[name] += _paint_in_fresh_process(side, environment)
    return {name: statistics.median(values) for name, values in seconds.items()}


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def _paint_in_fresh_process(side: int, environment: dict[str, str]) -> list[float]:
    others = {name: value for name, value in os.environ.items() if name not in (*OWN_CHOICES, "OMP_NUM_THREADS")}
    command = [sys.executable, "-m", "nst.tools.benchmark.waiting", str(side)]
    result = subprocess.run(command, env=others | environment, capture_output=True, text=True, check=True)
    return list(map(float, result.stdout.split()))


def main(side: int) -> None:
    """Paint in this process, and print the seconds of each run but the first."""
    from nst.stylization import stylize
    from nst.tools.benchmark.pictures import example_pair

    settings = StyleSettings.preset("quick", size=side)
    photo, painting = example_pair()
    for number in range(RUNS):
        started = time.perf_counter()
        for _ in stylize(photo, painting, settings, preview_every=0.25):
            pass
        if number:
            print(time.perf_counter() - started)


if __name__ == "__main__":
    main(int(sys.argv[1]))
