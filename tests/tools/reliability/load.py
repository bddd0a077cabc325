"""Fifty visitors at once, each with a colour of their own."""

import io
import json
import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.server import Server, run_server, stylize_arguments
from helpers.waiting import wait_until

MINUTES = 4
VISITORS = 50
COLOURS = list(product((30, 95, 160, 225), repeat=3))[:VISITORS]  # no two nearer than 65
PAGE = ("/", "/config", "/theme.css")
MAX_PAGE_SECONDS = 2.0


@dataclass
class Round:
    """The visitors of one round: served, refused because the queue was full, and lost; seconds of waits and pages."""

    served: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    wait_seconds: list[float] = field(default_factory=list)
    page_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        waits = self.wait_seconds
        wait = f"{statistics.median(waits):.1f} s, longest {max(waits):.1f} s" if waits else "nobody"
        return (f"{self.served} served (median {wait}), {self.refused} refused by a full queue, "
                f"{len(self.failures)} lost, in {self.seconds:.0f} s; page loads {len(self.page_seconds)}, "
                f"slowest {max(self.page_seconds):.2f} s")  # fmt: skip


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder), "--queue-size", VISITORS + 10) as server:
        figures = []
        for number in range(3):
            result = play(server)
            wait_until(lambda: server.connections() == 0, 10, "connections of visitors who left are still open")
            figures.append((server.memory(), server.threads(), server.open_files()))
            memory, threads, files = figures[-1]
            print(f"round {number}: {result}; {memory:.0f} MB, {threads} threads, {files} open files", flush=True)
            assert result.served == VISITORS and not result.failures, result.failures[:3]
            slowest = max(result.page_seconds)
            assert slowest < MAX_PAGE_SECONDS, f"a page load took {slowest:.2f} s"
        first_memory, first_threads, first_files = figures[0]
        assert memory <= 1.1 * first_memory, f"{memory:.0f} MB after {first_memory:.0f}"
        assert threads <= first_threads + 2 and files <= first_files + 5, figures
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        result = play(server)
        print(f"with the default queue: {result}")
        assert result.served + result.refused == VISITORS and result.refused, result
        assert not result.failures, result.failures[:3]


def play(server: Server, visitors: int = VISITORS) -> Round:
    """Let all visitors come at once, while somebody else loads the page again and again."""
    result, is_over = Round(), threading.Event()

    def load_pages() -> None:
        while not is_over.is_set():
            started = time.monotonic()
            for path in PAGE:
                server.get(path)
            result.page_seconds.append(time.monotonic() - started)
            is_over.wait(0.3)

    started = time.monotonic()
    loader = threading.Thread(target=load_pages)
    loader.start()
    with ThreadPoolExecutor(visitors) as pool:
        for colour in COLOURS[:visitors]:
            pool.submit(visit, server, colour, result)
    is_over.set()
    loader.join()
    result.seconds = time.monotonic() - started
    return result


def visit(server: Server, colour: tuple[int, int, int], result: Round) -> None:
    """Load the page, paint a picture of one colour, and check that the result has that colour."""
    started = time.monotonic()
    try:
        for path in PAGE:
            assert server.get(path)[0] == 200, path
        picture = server.upload_picture(noisy_picture(colour))
        body = {"data": stylize_arguments([picture, picture], steps=3)}
        status, _, answer = server.post("/gradio_api/call/stylize", body)
        if status == 503:
            result.refused += 1
            return
        *_, (kind, content) = server.follow(json.loads(answer)["event_id"], timeout=300)
        assert kind == "complete", content
        painted = server.get(urllib.parse.urlparse(content[2]["url"]).path)[2]
        mean = np.asarray(Image.open(io.BytesIO(painted)).convert("RGB")).mean((0, 1))
        assert abs(mean - np.array(colour)).max() < 30, f"{mean} is not the picture of {colour}"
    except (AssertionError, OSError, ValueError, urllib.error.URLError) as error:
        result.failures.append(f"{colour}: {type(error).__name__} {error}")
    else:
        result.served += 1
        result.wait_seconds.append(time.monotonic() - started)


def noisy_picture(colour: tuple[int, int, int]) -> Image.Image:
    noise = np.random.default_rng(0).integers(-8, 9, (48, 64, 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
