"""A server under test: `python app.py` in a process of its own, seen from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from helpers.shell import ENVIRONMENT, ROOT

START_SECONDS = 240  # importing torch and gradio takes a minute on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stylize_arguments(files: list, **changes: object) -> list:
    """What `/stylize` is called with: the two pictures, then settings in the endpoint's order; None is the preset's."""
    names = ("size", "steps", "content_weight", "style_weight", "tv_weight", "seed")
    given = {"preset": "quick", "size": 64, "steps": 2, "backbone": "cifar100"} | changes
    return [*files, given["preset"], *map(given.get, names), given["backbone"], given.get("laplacian_weight")]


class Server:
    def __init__(self, process: subprocess.Popen, port: int, folder: Path):
        self.process, self.port, self.folder = process, port, folder
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log"
        self._seen = psutil.Process(process.pid)

    def rss(self) -> float:
        """MB of memory that the process holds."""
        return self._seen.memory_info().rss / 1e6

    def open_files(self) -> int:
        return self._seen.num_fds()

    def threads(self) -> int:
        return self._seen.num_threads()

    def files(self) -> list[Path]:
        """Everything in its folder for temporary files. Unlike `rglob`, `walk` bears folders that go meanwhile."""
        found = (Path(where, name) for where, _, names in os.walk(self.folder / "temporary") for name in names)
        return [path for path in found if path.is_file()]

    def megabytes(self) -> float:
        sizes = []
        for path in self.files():
            try:
                sizes.append(path.stat().st_size)
            except OSError:  # swept meanwhile
                continue
        return sum(sizes) / 1e6

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body, of any status."""
        return self.send(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """`body` as JSON, or as it is if it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | headers
        return self.send(urllib.request.Request(self.url + path, data, headers))

    def send(self, request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()

    def upload(self, data: bytes, name: str = "picture.png") -> tuple[int, bytes]:
        """One file by the form that browsers send: status and answer, a list of server paths in JSON."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{mark}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        request = urllib.request.Request(f"{self.url}/gradio_api/upload", body, kind)
        status, _, answer = self.send(request)
        return status, answer

    def begin(self, data: list, name: str = "stylize") -> str:
        """Start a run over the plain HTTP API; its event's id."""
        status, _, answer = self.post(f"/gradio_api/call/{name}", {"data": data})
        assert status == 200, answer
        return json.loads(answer)["event_id"]

    def follow(self, event: str, name: str = "stylize", timeout: float = 120) -> Iterator[tuple[str, object]]:
        """(kind, data) of every message of a run; closing the generator closes the connection."""
        with urllib.request.urlopen(f"{self.url}/gradio_api/call/{name}/{event}", timeout=timeout) as stream:
            kind = ""
            for line in stream:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    kind = text[7:]
                elif text.startswith("data: "):
                    yield kind, json.loads(text[6:])

    def end(self, number: int = signal.SIGTERM, seconds: float = 30) -> float:
        """Send a signal and wait for the process's end; seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - started


@contextmanager
def serving(folder: Path, *flags: object, **environment: str) -> Iterator[Server]:
    """Start app.py on a free port, its temporary files and log in `folder`; end it, if it still runs, at the end."""
    port = free_port()
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    settings = ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder / "temporary")} | environment
    command = [sys.executable, "app.py", "--port", str(port), *map(str, flags)]
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)
    server = Server(process, port, folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Serving on" not in server.log.read_text():
            assert process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
