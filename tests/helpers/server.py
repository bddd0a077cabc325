"""A server under test: `python app.py` in a process of its own, visited from outside."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image

from helpers.pictures import make_picture
from helpers.shell import ENVIRONMENT, ROOT
from helpers.waiting import wait_until

START_SECONDS = 240  # importing torch and gradio takes a minute on a busy machine


@contextmanager
def run_server(folder: Path, *flags: object, **environment: str) -> Iterator["Server"]:
    """Start app.py on a free port, with its temporary files and its log in `folder`; end it with the block."""
    port = free_port()
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    environment = ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder / "temporary")} | environment
    command = [sys.executable, "app.py", "--port", str(port), *map(str, flags)]
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = Server(process, port, folder)

    def has_started() -> bool:
        assert process.poll() is None, server.log.read_text()
        return "Serving on" in server.log.read_text()

    try:
        wait_until(has_started, START_SECONDS, "the server did not start")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


class Server:
    """A server process, its folder for temporary files and its log, and the requests that a client can send to it."""

    def __init__(self, process: subprocess.Popen, port: int, folder: Path):
        self.process, self.port, self.folder = process, port, folder
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log"
        self._usage = psutil.Process(process.pid)

    # --- the process

    def memory(self) -> float:
        """Return the MB of memory that the process holds."""
        return self._usage.memory_info().rss / 1e6

    def open_files(self) -> int:
        return self._usage.num_fds()

    def connections(self) -> int:
        """Return the number of open connections to clients."""
        return sum(connection.status == psutil.CONN_ESTABLISHED for connection in self._usage.net_connections())

    def threads(self) -> int:
        return self._usage.num_threads()

    def files(self) -> list[Path]:
        """Return all temporary files. Unlike `rglob`, `os.walk` copes with folders that are deleted meanwhile."""
        paths = (Path(folder, name) for folder, _, names in os.walk(self.folder / "temporary") for name in names)
        return [path for path in paths if path.is_file()]

    def megabytes(self) -> float:
        """Return the MB that the temporary files fill."""
        sizes = []
        for path in self.files():
            try:
                sizes.append(path.stat().st_size)
            except OSError:  # deleted meanwhile
                continue
        return sum(sizes) / 1e6

    def end(self, number: int = signal.SIGTERM, seconds: float = 30) -> float:
        """Send a signal and wait for the process's end. Return the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - started

    def is_clear(self, message: str | None) -> bool:
        """Whether an error message is empty, or one line without a traceback or a path of this machine."""
        hidden = (str(self.folder), str(ROOT), "site-packages", "Traceback", "\n")
        return message is None or not any(part in message for part in hidden)

    # --- requests

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in lower case) and body of any response."""
        return self.send(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are, anything else as JSON. Return status, headers and body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | headers
        return self.send(urllib.request.Request(self.url + path, data, headers))

    def send(self, request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            response = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, response.read()

    def upload(self, data: bytes, name: str = "picture.png") -> tuple[int, bytes]:
        """Upload a file by the form that browsers send. Return status and body: a list of server paths in JSON."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, _, answer = self.send(urllib.request.Request(f"{self.url}/gradio_api/upload", body, headers))
        return status, answer

    def upload_picture(self, picture: Image.Image, name: str = "picture.png") -> dict:
        """Upload a picture as PNG. Return it as `/stylize` takes it."""
        status, answer = self.upload(png(picture), name)
        assert status == 200, answer
        return {"path": json.loads(answer)[0], "meta": {"_type": "gradio.FileData"}}

    def upload_pair(self, width: int, height: int) -> list[dict]:
        """Upload a photo and a painting of that size. Return them as `/stylize` takes them."""
        return [self.upload_picture(make_picture(width, height, seed)) for seed in (1, 2)]

    def fetch(self, file: dict) -> bytes:
        """Return the content of a file in the outputs of `/stylize`."""
        return self.get(urllib.parse.urlparse(file["url"]).path)[2]

    def begin(self, arguments: list, endpoint: str = "stylize") -> str:
        """Start a run over the plain HTTP API. Return its event's id."""
        status, _, answer = self.post(f"/gradio_api/call/{endpoint}", {"data": arguments})
        assert status == 200, answer
        return json.loads(answer)["event_id"]

    def follow(self, event: str, endpoint: str = "stylize", timeout: float = 120) -> Iterator[tuple[str, object]]:
        """Yield (kind, data) of every message of a run. Closing the generator closes the connection."""
        with urllib.request.urlopen(f"{self.url}/gradio_api/call/{endpoint}/{event}", timeout=timeout) as stream:
            kind = ""
            for line in stream:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    kind = text[7:]
                elif text.startswith("data: "):
                    yield kind, json.loads(text[6:])

    def stylize(self, arguments: list) -> tuple[str, object]:
        """Paint to the end. Return ("complete", the outputs) or ("error", the message)."""
        *_, (kind, content) = self.follow(self.begin(arguments))
        return kind, content["error"] if kind == "error" else content

    def begin_painting(self, arguments: list) -> Iterator[tuple[str, object]]:
        """Start a run and wait until it is painting. Return the rest of its messages."""
        messages = self.follow(self.begin(arguments))
        for _, content in messages:
            if is_painting(content):
                return messages
        raise AssertionError("the run did not begin")


def call_tool(url: str, arguments: dict) -> list:
    """Call the server's one tool as a language model's client does (MCP). Return the parts of the answer."""
    import anyio
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with (
            streamablehttp_client(f"{url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            answer = await session.call_tool("stylize", arguments)
            assert not answer.isError, answer.content
            return answer.content

    with ThreadPoolExecutor() as thread:  # playwright, in other tests, has an event loop in this one
        return thread.submit(anyio.run, talk).result()


def data_url(picture: Image.Image) -> str:
    """Return a picture as the tool takes it without fetching anything."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def stylize_arguments(pictures: list, **changes: object) -> list:
    """Return the arguments of `/stylize`: two pictures, then settings in the endpoint's order; None is the preset's."""
    numbers = ("size", "steps", "content_weight", "style_weight", "tv_weight", "seed")
    settings = {"preset": "quick", "size": 64, "steps": 2, "backbone": "cifar100"} | changes
    return [
        *pictures,
        settings["preset"],
        *map(settings.get, numbers),
        settings["backbone"],
        *map(settings.get, ("laplacian_weight", "strength", "style_scale", "preserve_colours")),
    ]


def is_painting(content: list | None) -> bool:
    """Whether a message of `/stylize` tells of a step."""
    return bool(content) and str(content[1]).startswith("Step")


def png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
