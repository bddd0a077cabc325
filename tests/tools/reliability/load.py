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

from helpers.server import Server, serving, stylize_arguments

MINUTES = 4
VISITORS = 50
COLOURS = [colour for colour in product((30, 95, 160, 225), repeat=3)][:VISITORS]  # no two nearer than 65
PAGE = ("/", "/config", "/theme.css")
PAGE_SECONDS = 2.0


@dataclass
class Round:
    """What became of one round: visitors served, told that it is full, and lost; how long the page took meanwhile."""

    served: int = 0
    full: int = 0
    wrong: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    seconds: float = 0.0


def one_colour(colour: tuple[int, int, int]) -> bytes:
    noise = np.random.default_rng(0).integers(-8, 9, (48, 64, 3))
    data = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(data, "PNG")
    return data.getvalue()


def visit(server: Server, colour: tuple[int, int, int], seen: Round) -> None:
    started = time.monotonic()
    try:
        for path in PAGE:
            assert server.get(path)[0] == 200, path
        upload = json.loads(server.upload(one_colour(colour))[1])[0]
        picture = {"path": upload, "meta": {"_type": "gradio.FileData"}}
        body = {"data": stylize_arguments([picture, picture], steps=3)}
        status, _, answer = server.post("/gradio_api/call/stylize", body)
        if status == 503:
            seen.full += 1
            return
        *_, (kind, content) = server.follow(json.loads(answer)["event_id"], timeout=300)
        assert kind == "complete", content
        result = server.get(urllib.parse.urlparse(content[2]["url"]).path)[2]
        shown = np.asarray(Image.open(io.BytesIO(result)).convert("RGB")).mean((0, 1))
        assert abs(shown - np.array(colour)).max() < 30, f"{shown} is not the picture of {colour}"
    except (AssertionError, OSError, ValueError, urllib.error.URLError) as error:
        seen.wrong.append(f"{colour}: {type(error).__name__} {error}")
    else:
        seen.served += 1
        seen.waited.append(time.monotonic() - started)


def play(server: Server, visitors: int = VISITORS) -> Round:
    """All at once, while somebody else loads the page again and again."""
    seen, done = Round(), threading.Event()

    def load_pages() -> None:
        while not done.is_set():
            started = time.monotonic()
            for path in PAGE:
                server.get(path)
            seen.page.append(time.monotonic() - started)
            done.wait(0.3)

    started = time.monotonic()
    prober = threading.Thread(target=load_pages)
    prober.start()
    with ThreadPoolExecutor(visitors) as pool:
        for colour in COLOURS[:visitors]:
            pool.submit(visit, server, colour, seen)
    done.set()
    prober.join()
    seen.seconds = time.monotonic() - started
    return seen


def told(seen: Round) -> str:
    waited = f"{statistics.median(seen.waited):.1f} s, longest {max(seen.waited):.1f} s" if seen.waited else "nobody"
    return (f"{seen.served} served (median {waited}), {seen.full} told it is full, {len(seen.wrong)} lost, in "
            f"{seen.seconds:.0f} s; page loads {len(seen.page)}, slowest {max(seen.page):.2f} s")  # fmt: skip


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--queue-size", VISITORS + 10) as server:
        figures = []
        for number in range(3):
            seen = play(server)
            time.sleep(3)
            figures.append((server.rss(), server.threads(), server.open_files()))
            print(f"round {number}: {told(seen)}; {figures[-1][0]:.0f} MB, {figures[-1][1]} threads, "
                  f"{figures[-1][2]} open files", flush=True)  # fmt: skip
            assert seen.served == VISITORS and not seen.wrong, seen.wrong[:3]
            assert max(seen.page) < PAGE_SECONDS, f"a page load took {max(seen.page):.2f} s"
        warm, last = figures[0], figures[-1]
        assert last[0] <= 1.1 * warm[0], f"{last[0]:.0f} MB after {warm[0]:.0f}"
        assert last[1] <= warm[1] + 2 and last[2] <= warm[2] + 5, figures
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        seen = play(server)
        print(f"with the default queue: {told(seen)}")
        assert seen.served + seen.full == VISITORS and seen.full and not seen.wrong, seen.wrong[:3]
