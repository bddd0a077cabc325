"""Ways to leave a run: each frees the slot for the next visitor."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from helpers.pictures import make_picture
from helpers.server import Server, is_painting, run_server, stylize_arguments
from tools.reliability import run_theme

MINUTES = 4
LONG = {"size": 512, "steps": 10_000}  # a run of about an hour, unless something ends it
SILENCE_SECONDS = 30  # until the slot of a silent connection must be free
FLAGS = ["--time-limit", 3600]


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder), *FLAGS) as server:
        pictures = server.upload_pair(512, 384)
        alone = min(seconds_until_next(server, pictures) for _ in range(3))
        messages, step_seconds = begin(server, pictures)
        messages.close()
        seconds = seconds_until_next(server, pictures)
        print(f"closed connection: {seconds:.1f} s to the next visitor's end; {alone:.1f} s alone, "
              f"{step_seconds:.1f} s a step")  # fmt: skip
        assert seconds < alone + 2 * step_seconds + 3
        if chromium():
            for name, leave in (
                ("Stop", lambda page: page.locator("#stop").click()),
                ("reload", lambda page: page.reload()),
                ("closed tab", lambda page: page.close()),
                ("another page", lambda page: page.goto("about:blank")),
            ):
                print(name, flush=True)
                leave_in_browser(server, pictures, leave, Path(folder))
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        # In a network namespace of its own, whose network can be switched off.
        print(run_theme("leaving", before=("unshare", "--net", sys.executable)).stdout, end="")
    else:
        print("silent connection: not tried, it needs root and a Linux with unshare and ip")


def begin(server: Server, pictures: list[dict]) -> tuple[Iterator, float]:
    """Start a long run and wait for its fourth step. Return its further messages and the seconds of a step."""
    messages = server.follow(server.begin(stylize_arguments(pictures, **LONG)))
    times = []
    for _, content in messages:
        if is_painting(content):
            times.append(time.monotonic())
        if len(times) == 4:
            return messages, (times[-1] - times[0]) / 3
    raise AssertionError("the run did not begin")


def seconds_until_next(server: Server, pictures: list[dict]) -> float:
    """Return the seconds until another visitor's run of one small step has ended."""
    started = time.monotonic()
    kind, content = server.stylize(stylize_arguments(pictures, steps=1))
    assert kind == "complete", content
    return time.monotonic() - started


def leave_in_browser(server: Server, pictures: list[dict], leave: Callable, folder: Path) -> None:
    """Begin a long run on the page and leave it by `leave(page)`."""
    from playwright.sync_api import sync_playwright

    for name, seed in (("photo", 1), ("painting", 2)):
        make_picture(512, 384, seed).save(folder / f"{name}.png")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context().new_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.locator("#stylize").wait_for()
        for target, name in (("#content", "photo"), ("#style", "painting")):
            page.locator(f"{target} input[type=file]").first.set_input_files(folder / f"{name}.png")
            page.locator(f"{target} img").first.wait_for()
        page.locator("#stylize").click()
        page.locator("#output img").wait_for()
        leave(page)
        print(f"    next visitor done after {seconds_until_next(server, pictures):.1f} s", flush=True)
        browser.close()


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _main() -> None:
    """Let a visitor's connection fall silent: switch this network namespace's network off while a run paints."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder), *FLAGS) as server:
        pictures = server.upload_pair(512, 384)
        seconds_until_next(server, pictures)
        messages, step_seconds = begin(server, pictures)
        threading.Thread(target=_read_to_the_end, args=(messages,), daemon=True).start()
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        idle_after = _seconds_until_idle(server)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        seconds = seconds_until_next(server, pictures)
        print(f"silent connection: painted for {idle_after:.0f} s more; the next visitor took {seconds:.1f} s")
        assert seconds < 2 * step_seconds + 10


def _seconds_until_idle(server: Server) -> float:
    """Return the seconds until the server computes for less than a tenth of a second in one second."""
    process, started = psutil.Process(server.process.pid), time.monotonic()
    while process.cpu_percent(interval=1) > 10:
        assert time.monotonic() - started < SILENCE_SECONDS, f"still painting after {SILENCE_SECONDS} s"
    return time.monotonic() - started


def _read_to_the_end(messages: Iterator) -> None:
    with contextlib.suppress(Exception):
        for _ in messages:
            pass


if __name__ == "__main__":
    _main()
