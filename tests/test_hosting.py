"""What the host decides and what Spaces brings: options, the folder of temporary files, ZeroGPU."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.refusals import refusal
from helpers.shell import ENVIRONMENT, ROOT, shell
from nst.web.options import Options, read_options
from nst.web.page_cache import PageCache
from nst.web.storage import delete_old_files

# --- options ----------------------------------------------------------------------------------------------------------


def test_flags_count_more_than_variables_and_these_more_than_defaults():
    environment = {"GRADIO_SERVER_PORT": "8000", "NST_TIME_LIMIT": "60", "NST_MAX_SIZE": ""}
    options = read_options(["--port", "9000", "--queue-size=5"], environment)
    assert (options.port, options.queue_size, options.time_limit) == (9000, 5, 60)
    assert options.max_size == Options().max_size  # an empty variable is none
    assert read_options([], {}) == Options()


@pytest.mark.parametrize("value", ["0", "-1", "1e3", "x", "9" * 30, "", "1.5", "٣"])
def test_what_cannot_be_used_is_refused_with_the_flag_or_variable_to_mend(value):
    assert "--queue-size must be a whole number from 1 to" in refusal(read_options, [f"--queue-size={value}"], {})
    if value:
        assert "NST_CONCURRENCY must be" in refusal(read_options, [], {"NST_CONCURRENCY": value})
    assert "--host must be" in refusal(read_options, ["--host", "two words"], {})
    assert "--nonsense" in refusal(read_options, ["--nonsense"], {})


def test_readme_lists_every_option():
    listed = (ROOT / "README.md").read_text()
    for line in shell("app.py", "--help").stdout.splitlines():
        if line.strip().startswith("--"):
            assert f"`{line.split()[0]}`" in listed, line
    for variable in ("GRADIO_SERVER_NAME", "NST_QUEUE_SIZE", "NST_DISK_LIMIT"):
        assert f"`{variable}`" in listed


def test_app_py_refuses_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for flags, folder, said in (
        (["--port", "x"], tmp_path, "--port must be"),
        ([], tmp_path / "file", "GRADIO_TEMP_DIR"),  # stands for a folder that is read-only, which root may write to
    ):
        done = shell("app.py", *flags, env=ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder)})
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert done.stderr.startswith("app.py: ") and done.stderr.count("\n") == 1


# --- temporary files --------------------------------------------------------------------------------------------------


def write(path: Path, size: int, age: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_files_go_then_the_oldest_until_the_rest_fits(tmp_path):
    old = write(tmp_path / "a" / "old", 10, age=4000)
    page = write(tmp_path / "page.png", 10, age=9000)
    future = write(tmp_path / "future", 10, age=-9000)  # the clock was set back
    third, second, first = (write(tmp_path / "b" / str(age), 100, age) for age in (30, 20, 10))
    assert delete_old_files(tmp_path, 3600, 250, frozenset([str(page)])) == (2, 200)
    assert [path.exists() for path in (old, future, third)] == [False] * 3
    assert all(path.exists() for path in (page, second, first))


def test_folders_left_empty_go_but_not_those_just_made(tmp_path):
    write(tmp_path / "old" / "file", 10, age=4000)
    (tmp_path / "new").mkdir()
    delete_old_files(tmp_path, 3600, 1000)
    os.utime(tmp_path / "old", (0, 0))
    delete_old_files(tmp_path, 3600, 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_folders_of_killed_servers_are_removed_and_those_of_living_ones_stay(tmp_path):
    open_one = "from nst.web.storage import *; storage = open_storage(); print(storage.root, flush=True); input()"
    environment = ENVIRONMENT | {"GRADIO_TEMP_DIR": str(tmp_path)}
    options = {"cwd": ROOT, "env": environment, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    killed = subprocess.Popen([sys.executable, "-c", open_one], **options)
    left = Path(killed.stdout.readline().strip())
    write(left / "upload.png", 10)
    living = subprocess.Popen([sys.executable, "-c", open_one], **options)
    there = Path(living.stdout.readline().strip())
    try:
        assert left.exists() and there.exists() and left != there
        killed.kill()
        killed.wait(30)
        shell("-c", "from nst.web.storage import *; open_storage().__exit__()", env=environment)
        assert [path for path in tmp_path.iterdir()] == [there]
    finally:
        killed.kill()
        living.kill()
        for process in (killed, living):
            process.communicate(timeout=30)


# --- ZeroGPU ----------------------------------------------------------------------------------------------------------

# As the `spaces` package does it there: each call in a forked process, arguments and steps pickled on their way.
SPACES = """
import multiprocessing, pickle

CALLS = []

def GPU(duration):
    def decorate(function):
        def run(*arguments):
            CALLS.append(duration(*arguments))
            here, there = multiprocessing.get_context("fork").Pipe()
            def work(data):
                try:
                    for one in function(*pickle.loads(data)):
                        there.send_bytes(pickle.dumps(one))
                    there.send_bytes(pickle.dumps(None))
                except BaseException as error:
                    there.send_bytes(pickle.dumps(error))
            process = multiprocessing.get_context("fork").Process(target=work, args=(pickle.dumps(arguments),))
            process.start()
            try:
                while (one := pickle.loads(here.recv_bytes())) is not None:
                    if isinstance(one, BaseException):
                        raise one
                    yield one
            finally:
                process.terminate()
                process.join()
        return run
    return decorate
"""

PAINT = """
import json, sys
from PIL import Image
from nst import StyleSettings
from nst.web import zerogpu
import spaces

zerogpu.SECONDS_TO_START, zerogpu.MAX_SECONDS = int(sys.argv[6]), 200
settings = StyleSettings.preset("quick", size=64, steps=int(sys.argv[1]), backbone=sys.argv[2])
stop_at, photo, style = int(sys.argv[3]), Image.open(sys.argv[4]).convert("RGB"), Image.open(sys.argv[5]).convert("RGB")
seen = []
flag = lambda: bool(seen) and seen[-1] >= stop_at
def paint(settings, resume=None):
    for step in zerogpu.stylize(photo, style, settings, preview_every=0.001, should_stop=flag, resume=resume):
        seen.append(step.step)
    return step
last = paint(settings)
resumed = paint(StyleSettings.preset("quick", size=64, steps=last.step + 2, backbone=sys.argv[2]), last.state) \\
    if last.step < last.steps and not seen.append(0) else None
print(json.dumps({"step": last.step, "size": last.image.size, "state": last.state.step, "calls": spaces.CALLS,
                  "pixels": last.state.arrays["pixels"].shape, "resumed": resumed and resumed.step}))
"""


@pytest.fixture
def on_zerogpu(tmp_path, pictures, random_checkpoint):
    (tmp_path / "spaces.py").write_text(SPACES)
    (tmp_path / "paint.py").write_text(textwrap.dedent(PAINT))
    environment = ENVIRONMENT | {"SPACES_ZERO_GPU": "true", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def run(steps: int, stop_at: int, seconds_to_start: int = 100) -> dict:  # that many on a busy machine
        asked = steps, random_checkpoint, stop_at, *pictures, seconds_to_start
        done = shell(tmp_path / "paint.py", *asked, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_zerogpu_paints_in_another_process_for_a_time_from_the_settings(on_zerogpu):
    short, long = on_zerogpu(3, 99), on_zerogpu(60, 999)
    assert (short["step"], short["state"], short["size"]) == (3, 3, [64, 48])
    assert 100 < short["calls"][0] < long["calls"][0] <= 200


def test_zerogpu_run_too_long_for_the_machine_ends_with_the_picture_so_far(on_zerogpu):
    ended = on_zerogpu(9000, 99_999, seconds_to_start=-190)  # its time is over as it begins
    assert 1 <= ended["step"] < 9000 and ended["state"] == ended["step"]


def test_zerogpu_stop_keeps_the_latest_preview_and_can_go_on_from_it(on_zerogpu):
    stopped = on_zerogpu(5000, 4)
    assert 4 <= stopped["step"] < 5000 and stopped["state"] == stopped["step"]
    assert stopped["pixels"] == [1, 3, 48, 64] and stopped["resumed"] == stopped["step"] + 2


def asked(pages: PageCache, path: str = "/", host: str = "a", query: bytes = b"") -> bytes:
    """The body of one answer, through the middleware alone."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "scheme": "http",
             "headers": [(b"host", host.encode()), (b"cookie", b"another each time")]}  # fmt: skip
    sent = []

    async def send(message):
        sent.append(message)

    with ThreadPoolExecutor() as another_thread:  # this one may have a browser's event loop
        another_thread.submit(asyncio.run, pages(scope, None, send)).result()
    assert sent[0]["type"] == "http.response.start"
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("status", "cookie", "kept"), [(200, [], True), (500, [], False), (200, [(b"set-cookie", b"x")], False)]
)
def test_a_page_is_made_once_for_each_address(status, cookie, kept):
    made = []

    async def app(scope, receive, send):
        made.append(dict(scope["headers"])[b"host"])
        await send({"type": "http.response.start", "status": status, "headers": list(cookie)})
        await send({"type": "http.response.body", "body": b"page %d " % len(made), "more_body": True})
        await send({"type": "http.response.body", "body": b"for " + made[-1]})

    pages = PageCache(app)
    assert asked(pages) == b"page 1 for a"
    assert asked(pages) == (b"page 1 for a" if kept else b"page 2 for a")
    if kept:
        assert asked(pages, host="b") == b"page 2 for b"  # a page holds its own address
        assert asked(pages, path="/config") == b"page 3 for a"
        assert asked(pages) == b"page 1 for a"
        assert [asked(pages, query=b"size=300") for _ in range(2)] == [b"page 4 for a", b"page 5 for a"]
        assert [asked(pages, path="/gradio_api/info") for _ in range(2)] == [b"page 6 for a", b"page 7 for a"]
        for number in range(200):
            asked(pages, host=str(number))
        assert len(pages) < 60
