"""A thousand short runs through one server, each with a photo of its own."""

import tempfile
from pathlib import Path

from helpers.pictures import make_picture
from helpers.server import Server, run_server, stylize_arguments
from helpers.waiting import wait_until

MINUTES = 10
WARM_UP = 600  # runs until every thread of the pool has painted, and tables of fixed size and cached targets are full
RUNS = WARM_UP + 1000
MAX_GROWTH = 50  # MB of memory after the warm-up
MAX_NEW_FILES = 3  # open files after the warm-up
DISK_LIMIT = 10  # MB that temporary files may fill; the server looks every ten seconds


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder), "--disk-limit", DISK_LIMIT) as server:
        growth, new_files, disk = soak(server, RUNS, WARM_UP)
        print(f"{RUNS - WARM_UP} runs after {WARM_UP} others: memory {growth:+.0f} MB, open files {new_files:+d}, "
              f"at most {disk:.1f} MB on disk by a limit of {DISK_LIMIT}")  # fmt: skip
        assert growth < MAX_GROWTH and abs(new_files) <= MAX_NEW_FILES and disk < 2 * DISK_LIMIT


def soak(server: Server, runs: int, warm_up: int) -> tuple[float, int, float]:
    """Return the growth of memory in MB and of open files after the warm-up, and the most MB on disk."""
    disk = 0.0
    for number in range(runs):
        if number == warm_up:
            memory, files = server.memory(), server.open_files()
        paint_once(server, number)
        if number % 25 == 0:
            disk = max(disk, server.megabytes())
        if number % 200 == 0:
            print(f"{number} runs: {server.memory():.0f} MB, {server.open_files()} open files, {server.threads()} "
                  f"threads, {server.megabytes():.1f} MB on disk", flush=True)  # fmt: skip
    wait_until(lambda: server.connections() == 0, 10, "the last run's connection is still open")
    return server.memory() - memory, server.open_files() - files, disk


def paint_once(server: Server, number: int) -> None:
    picture = server.upload_picture(make_picture(96, 72, number))
    kind, content = server.stylize(stylize_arguments([picture, picture], size=96))
    assert kind == "complete", content
