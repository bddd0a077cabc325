"""A real nginx in front of servers under test."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.server import Server
from helpers.waiting import wait_until

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine")


@contextlib.contextmanager
def run_nginx(folder: Path, configuration: str, port: int, path: str = "") -> Iterator[Server]:
    """Run nginx with a configuration that listens on `port`. Yield what it serves under `path` as a server."""
    (folder / "nginx.conf").write_text(configuration)
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"])
    server = Server(process, port, folder)
    server.url += path

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return server.get("/config")[0] == 200
        return False

    try:
        wait_until(answers, 30, "nginx does not answer")
        yield server
    finally:
        process.terminate()
        process.wait(10)
