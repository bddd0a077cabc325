"""A thousand short runs through one server, each with a photo of its own."""

import io
import json
import tempfile
import time
from pathlib import Path

from helpers.pictures import make_picture
from helpers.server import Server, serving, stylize_arguments

MINUTES = 10
WARM_UP = 600  # runs until every thread of the pool has painted, and tables of fixed size and kept targets are full
RUNS = WARM_UP + 1000
GROWTH = 50  # MB of memory from then on
DISK = 10  # MB that files may fill; the server looks every ten seconds


def paint_once(server: Server, number: int) -> None:
    data = io.BytesIO()
    make_picture(96, 72, number).save(data, "PNG")
    path = json.loads(server.upload(data.getvalue())[1])[0]
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    *_, (kind, content) = server.follow(server.begin(stylize_arguments([picture, picture], size=96)))
    assert kind == "complete", content


def soak(server: Server, runs: int, warm_up: int) -> tuple[float, int, float]:
    """Growth of memory in MB and of open files after the warm-up, and the most MB on disk that were seen."""
    most = 0.0
    for number in range(runs):
        if number == warm_up:
            memory, files = server.rss(), server.open_files()
        paint_once(server, number)
        if number % 25 == 0:
            most = max(most, server.megabytes())
        if number % 200 == 0:
            print(f"{number} runs: {server.rss():.0f} MB, {server.open_files()} open files, {server.threads()} "
                  f"threads, {server.megabytes():.1f} MB on disk", flush=True)  # fmt: skip
    time.sleep(1)
    return server.rss() - memory, server.open_files() - files, most


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--disk-limit", DISK) as server:
        memory, files, disk = soak(server, RUNS, WARM_UP)
        print(f"{RUNS - WARM_UP} runs after {WARM_UP} others: memory {memory:+.0f} MB, open files {files:+d}, "
              f"at most {disk:.1f} MB on disk by a limit of {DISK}")  # fmt: skip
        assert memory < GROWTH and abs(files) <= 3 and disk < 2 * DISK
