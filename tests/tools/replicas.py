"""Two replicas behind nginx with `docs/nginx.conf`, visited by browsers and programs: `python tests/tools/replicas.py`.

About three minutes on two cores; needs nginx and Chromium.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from helpers.pictures import make_picture  # noqa: E402
from helpers.server import Server, free_port, serving, stylize_arguments  # noqa: E402
from helpers.shell import ROOT  # noqa: E402

SECONDS = 240  # for anything on a page; generous, the machine may be busy


@contextlib.contextmanager
def balancer(folder: Path, replicas: list[Server]):
    """nginx with the documented configuration, on free ports."""
    port = free_port()
    text = (ROOT / "docs" / "nginx.conf").read_text().replace("/tmp/nst-nginx.pid", str(folder / "nginx.pid"))
    for documented, real in ((7860, port), *zip((7861, 7862), (one.port for one in replicas), strict=True)):
        assert f":{documented}" in text
        text = text.replace(f":{documented}", f":{real}")
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"])
    front = Server(process, port, folder)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                front.get("/config")
                break
            time.sleep(0.1)
        yield front
    finally:
        process.terminate()
        process.wait(10)


def picture(folder: Path, name: str, seed: int) -> Path:
    make_picture(512, 384, seed).save(folder / f"{name}.png")
    return folder / f"{name}.png"


def homes(replicas: list[Server], name: str) -> set[int]:
    """Which replicas have an upload of that name."""
    return {number for number, one in enumerate(replicas) if any(path.stem == name for path in one.files())}


def arrive(browser, url: str, folder: Path, name: str):
    """A visitor with cookies of their own gives two pictures; the page."""
    page = browser.new_context().new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(url)
    page.locator("#stylize").wait_for()
    for target, kind, seed in (("#content", "photo", 1), ("#style", "painting", 2)):
        page.locator(f"{target} input[type=file]").first.set_input_files(picture(folder, f"{name}-{kind}", seed))
        page.locator(f"{target} img").first.wait_for()
    return page


def begin(page) -> None:
    page.locator("#stylize").click()
    page.locator("#output img").wait_for()


def finish(page) -> None:
    page.locator("#stop").click()
    ended = "() => /^(Stopped at|Done)/.test(document.querySelector('#status textarea, #status input').value)"
    page.wait_for_function(ended)


def program(front: Server, name: str, steps: int = 60) -> list[float]:
    """A program paints over the API; when its messages came, in seconds from the first."""
    files = []
    for kind, seed in (("photo", 1), ("painting", 2)):
        data = io.BytesIO()
        make_picture(512, 384, seed).save(data, "PNG")
        path = json.loads(front.upload(data.getvalue(), f"{name}-{kind}.png")[1])[0]
        files.append({"path": path, "meta": {"_type": "gradio.FileData"}})
    times = []
    for kind, content in front.follow(front.begin(stylize_arguments(files, size=256, steps=steps))):
        times.append(time.monotonic())
        assert kind != "error", content
    assert kind == "complete"
    return [one - times[0] for one in times]


def main() -> int:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium or not shutil.which("nginx"):
        sys.exit("replicas.py: needs nginx and Chromium, for example by apt-get install nginx chromium")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        replicas = [stack.enter_context(serving(folder / name)) for name in ("first", "second")]
        front = stack.enter_context(balancer(folder, replicas))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(browser.close)

        visitors = {}  # by replica: a page that is painting there
        for number in range(10):  # a cookie falls to either replica by chance
            page = arrive(browser, front.url, folder, f"visitor{number}")
            (home,) = homes(replicas, f"visitor{number}-photo")
            assert homes(replicas, f"visitor{number}-painting") == {home}
            print(f"browser {number}: all of it at replica {home}", flush=True)
            if home in visitors:
                page.context.close()
                continue
            begin(page)
            visitors[home] = page
            if len(visitors) == 2:
                break
        assert len(visitors) == 2, "ten visitors, and all at one replica"
        for page in visitors.values():  # both were painting at once
            finish(page)
        print("two browsers painted at once, one at each replica, and both were stopped with their picture")

        for name in ("first", "second"):
            times = program(front, name)
            assert len(homes(replicas, f"{name}-photo") | homes(replicas, f"{name}-painting")) == 1
            assert len({round(one, 1) for one in times}) > 3, f"the previews came all at once: {times}"
            print(f"program {name}: {len(times)} messages over {times[-1]:.1f} s, as they were painted", flush=True)

        begin(visitors[1])
        replicas[0].end()
        finish(visitors[1])
        program(front, "third")
        assert homes(replicas, "third-photo") == {1}
        print("the first replica ended: the second's visitor went on, and a new one came to the second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
