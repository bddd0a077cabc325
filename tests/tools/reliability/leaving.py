"""Ways to leave a run: each frees the slot for the next visitor."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import psutil  # noqa: E402

from helpers.pictures import make_picture  # noqa: E402
from helpers.server import Server, serving, stylize_arguments  # noqa: E402

MINUTES = 4
LONG = {"size": 512, "steps": 10_000}  # for an hour, if nothing ends it
SILENCE = 30  # seconds until the slot must be free


def pictures(server: Server) -> list[dict]:
    found = []
    for seed in (1, 2):
        data = io.BytesIO()
        make_picture(512, 384, seed).save(data, "PNG")
        found.append({"path": json.loads(server.upload(data.getvalue())[1])[0], "meta": {"_type": "gradio.FileData"}})
    return found


def begin(server: Server, files: list[dict]):
    """A long run that is painting: its stream, and seconds that its steps take."""
    stream = server.follow(server.begin(stylize_arguments(files, **LONG)))
    times = []
    for _, content in stream:
        if content and str(content[1]).startswith("Step"):
            times.append(time.monotonic())
        if len(times) == 4:
            return stream, (times[-1] - times[0]) / 3
    raise AssertionError("it did not begin")


def seconds_until_next(server: Server, files: list[dict]) -> float:
    """Until another visitor's run of one small step has ended."""
    started = time.monotonic()
    *_, (kind, content) = server.follow(server.begin(stylize_arguments(files, steps=1)))
    assert kind == "complete", content
    return time.monotonic() - started


def in_browser(server: Server, files: list[dict], leave: Callable, folder: Path) -> None:
    """Begin a long run on the page, and leave it by `leave(page)`."""
    from playwright.sync_api import sync_playwright

    for name, seed in (("photo", 1), ("painting", 2)):
        make_picture(512, 384, seed).save(folder / f"{name}.png")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
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
        print(f"    next visitor done after {seconds_until_next(server, files):.1f} s", flush=True)
        browser.close()


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--time-limit", 3600) as server:
        files = pictures(server)
        alone = min(seconds_until_next(server, files) for _ in range(3))
        stream, step = begin(server, files)
        stream.close()
        took = seconds_until_next(server, files)
        print(f"closed connection: {took:.1f} s to the next visitor's end; {alone:.1f} s alone, {step:.1f} s a step")
        assert took < alone + 2 * step + 3
        if shutil.which("chromium") or shutil.which("google-chrome"):
            for name, leave in (
                ("Stop", lambda page: page.locator("#stop").click()),
                ("reload", lambda page: page.reload()),
                ("closed tab", lambda page: page.close()),
                ("another page", lambda page: page.goto("about:blank")),
            ):
                print(name, flush=True)
                in_browser(server, files, leave, Path(folder))
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        # A network of its own, so that it can be switched off.
        command = ["unshare", "--net", sys.executable, str(Path(__file__).resolve())]
        subprocess.run(command, check=True, timeout=600)
    else:
        print("silent connection: not tried, it needs root and a Linux with unshare and ip")


def silent_connection() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--time-limit", 3600) as server:
        files = pictures(server)
        seconds_until_next(server, files)
        stream, step = begin(server, files)
        reader = threading.Thread(target=_read_to_the_end, args=(stream,), daemon=True)
        reader.start()
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        ended = seconds_until_idle(server)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        took = seconds_until_next(server, files)
        print(f"silent connection: painted for {ended:.0f} s more; the next visitor took {took:.1f} s")
        assert took < 2 * step + 10


def seconds_until_idle(server: Server) -> float:
    """Until the server computes for less than a tenth of a second in one."""
    process, started = psutil.Process(server.process.pid), time.monotonic()
    while process.cpu_percent(interval=1) > 10:
        assert time.monotonic() - started < SILENCE, f"still painting after {SILENCE} s"
    return time.monotonic() - started


def _read_to_the_end(stream) -> None:
    with contextlib.suppress(Exception):
        for _ in stream:
            pass


if __name__ == "__main__":
    silent_connection()
