"""Two replicas behind nginx with `docs/nginx.conf`, visited by browsers and programs: `python tests/tools/replicas.py`.

About three minutes on two cores; needs nginx and Chromium.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from helpers.nginx import run_nginx  # noqa: E402
from helpers.pictures import make_picture  # noqa: E402
from helpers.server import Server, free_port, run_server, stylize_arguments  # noqa: E402
from helpers.shell import ROOT  # noqa: E402

SECONDS = 240  # for anything on a page; generous, the machine may be busy
DOCUMENTED_PORT, DOCUMENTED_REPLICA_PORTS = 7860, (7861, 7862)


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium or not shutil.which("nginx"):
        sys.exit("replicas.py: needs nginx and Chromium, for example by apt-get install nginx chromium")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        replicas = [stack.enter_context(run_server(folder / name)) for name in ("first", "second")]
        balancer = stack.enter_context(run_balancer(folder, replicas))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(browser.close)

        pages = {}  # by replica: a page that is painting there
        for number in range(10):  # each visitor's cookie leads to either replica by chance
            page = open_page(browser, balancer.url, folder, f"visitor{number}")
            (home,) = replicas_with(replicas, f"visitor{number}-photo")
            assert replicas_with(replicas, f"visitor{number}-painting") == {home}
            print(f"browser {number}: all of it at replica {home}", flush=True)
            if home in pages:
                page.context.close()
                continue
            begin(page)
            pages[home] = page
            if len(pages) == 2:
                break
        assert len(pages) == 2, "ten visitors, and all at one replica"
        for page in pages.values():  # both were painting at once
            stop(page)
        print("two browsers painted at once, one at each replica, and both were stopped with their picture")

        for name in ("first", "second"):
            times = paint_by_program(balancer, name)
            assert len(replicas_with(replicas, f"{name}-photo") | replicas_with(replicas, f"{name}-painting")) == 1
            assert len({round(seconds, 1) for seconds in times}) > 3, f"the previews came all at once: {times}"
            print(f"program {name}: {len(times)} messages over {times[-1]:.1f} s, as they were painted", flush=True)

        begin(pages[1])
        replicas[0].end()
        stop(pages[1])
        paint_by_program(balancer, "third")
        assert replicas_with(replicas, "third-photo") == {1}
        print("the first replica ended: the second's visitor went on, and a new one came to the second")
    return 0


@contextlib.contextmanager
def run_balancer(folder: Path, replicas: list[Server]) -> Iterator[Server]:
    """Run nginx with the documented configuration, on free ports."""
    port = free_port()
    text = (ROOT / "docs" / "nginx.conf").read_text().replace("/tmp/nst-nginx.pid", str(folder / "nginx.pid"))
    real_ports = [port, *(replica.port for replica in replicas)]
    for documented, real in zip((DOCUMENTED_PORT, *DOCUMENTED_REPLICA_PORTS), real_ports, strict=True):
        assert f":{documented}" in text
        text = text.replace(f":{documented}", f":{real}")
    with run_nginx(folder, text, port) as balancer:
        yield balancer


def replicas_with(replicas: list[Server], name: str) -> set[int]:
    """Return the numbers of the replicas that have an upload of that name."""
    return {number for number, replica in enumerate(replicas) if any(path.stem == name for path in replica.files())}


def open_page(browser, url: str, folder: Path, name: str):
    """Open the page as a visitor with cookies of their own, and give it two pictures. Return the page."""
    page = browser.new_context().new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(url)
    page.locator("#stylize").wait_for()
    for target, kind, seed in (("#content", "photo", 1), ("#style", "painting", 2)):
        path = folder / f"{name}-{kind}.png"
        make_picture(512, 384, seed).save(path)
        page.locator(f"{target} input[type=file]").first.set_input_files(path)
        page.locator(f"{target} img").first.wait_for()
    return page


def begin(page) -> None:
    page.locator("#stylize").click()
    page.locator("#output img").wait_for()


def stop(page) -> None:
    page.locator("#stop").click()
    has_ended = "() => /^(Stopped at|Done)/.test(document.querySelector('#status textarea, #status input').value)"
    page.wait_for_function(has_ended)


def paint_by_program(balancer: Server, name: str, steps: int = 60) -> list[float]:
    """Paint over the API. Return the seconds at which the messages came, from the first."""
    pictures = [
        balancer.upload_picture(make_picture(512, 384, seed), f"{name}-{kind}.png")
        for kind, seed in (("photo", 1), ("painting", 2))
    ]
    times = []
    for kind, content in balancer.follow(balancer.begin(stylize_arguments(pictures, size=256, steps=steps))):
        times.append(time.monotonic())
        assert kind != "error", content
    assert kind == "complete"
    return [seconds - times[0] for seconds in times]


if __name__ == "__main__":
    sys.exit(main())
