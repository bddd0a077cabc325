"""A server that runs out of disk or time, and the end of a server."""

import io
import re
import signal
import socket
import threading

import psutil
import pytest
from PIL import Image

from helpers.server import is_painting, run_server, stylize_arguments
from helpers.shell import shell

TIME_LIMIT = 3  # seconds

# Writing a longer file fails, as on a full disk.
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"


@pytest.fixture(scope="module")
def limited_server(tmp_path_factory):
    """A server whose disk is full after 40 kB a file, and whose runs end after `TIME_LIMIT`."""
    folder = tmp_path_factory.mktemp("limited")
    (folder / "sitecustomize.py").write_text(FULL_DISK)
    flags = ["--max-size", 256, "--time-limit", TIME_LIMIT]
    with run_server(folder, *flags, PYTHONPATH=str(folder)) as server:
        yield server


@pytest.mark.slow
def test_a_full_disk_is_an_error_of_one_line_and_the_next_visitor_is_served(limited_server):
    pictures = limited_server.upload_pair(64, 48)
    status, answer = limited_server.upload(bytes(60_000))
    assert (status, answer) == (507, b"The server cannot keep files now. Try again later.")
    kind, content = limited_server.stylize(stylize_arguments(pictures, size=256, steps=1))  # its PNG is longer
    assert kind == "error" and limited_server.is_clear(content)
    assert limited_server.stylize(stylize_arguments(pictures, steps=1))[0] == "complete"


@pytest.mark.slow
def test_a_run_past_its_time_ends_with_the_picture_so_far(limited_server):
    pictures = limited_server.upload_pair(64, 48)
    kind, (_, status, result) = limited_server.stylize(stylize_arguments(pictures, steps=10_000))
    assert kind == "complete"
    assert re.match(rf"Stopped at step \d+ of 10000, by the limit of {TIME_LIMIT} s a run", status), status
    assert Image.open(io.BytesIO(limited_server.fetch(result))).size == (64, 48)


# --- the end ----------------------------------------------------------------------------------------------------------

LOG_CALLS = """
import socket

def logged(function, position):
    def call(*arguments, **options):
        with open({log!r}, "a") as file:
            print(function.__name__, arguments[position], file=file)
        return function(*arguments, **options)
    return call

socket.getaddrinfo = logged(socket.getaddrinfo, 0)
socket.socket.connect = logged(socket.socket.connect, 1)
socket.socket.connect_ex = logged(socket.socket.connect_ex, 1)
"""


@pytest.mark.slow
def test_sigterm_ends_runs_with_their_picture_and_the_server_without_a_trace(tmp_path):
    """And while it ran, the server called no other machine."""
    calls = tmp_path / "calls"
    (tmp_path / "sitecustomize.py").write_text(LOG_CALLS.format(log=str(calls)))
    with run_server(tmp_path, PYTHONPATH=str(tmp_path)) as server:
        event = server.begin(stylize_arguments(server.upload_pair(96, 72), steps=10_000))
        messages, is_running = [], threading.Event()

        def follow():
            for kind, content in server.follow(event):
                messages.append((kind, content))
                if is_painting(content):
                    is_running.set()

        follower = threading.Thread(target=follow)
        follower.start()
        assert is_running.wait(60)
        children = psutil.Process(server.process.pid).children(recursive=True)
        seconds = server.end(signal.SIGTERM)
        follower.join(30)
    assert server.process.returncode == 0 and seconds < 15
    kind, content = messages[-1]
    assert kind == "complete" and content[1].startswith("Stopped at step"), messages[-1]
    assert not list((tmp_path / "temporary").rglob("*"))
    assert not [child for child in children if child.is_running()]
    local = re.compile(r"127\.0\.0\.1|localhost|'/|::1")
    assert [line for line in calls.read_text().splitlines() if not local.search(line)] == []


@pytest.mark.slow
def test_a_port_in_use_is_refused_in_one_line():
    with socket.socket() as other_server:
        other_server.bind(("127.0.0.1", 0))
        other_server.listen()
        port = other_server.getsockname()[1]
        done = shell("app.py", "--port", port)
    assert done.returncode == 1 and f"port {port}: cannot be served on" in done.stderr, done.stderr
    assert done.stderr.startswith("app.py: ") and done.stderr.count("\n") == 1
