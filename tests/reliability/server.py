"""The network surface, settings of any kind, a full disk, SIGTERM in mid-run: `tests/test_server.py`, all of it."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
MINUTES = 2


def run() -> None:
    files = [str(TESTS / name) for name in ("test_server.py", "test_hosting.py")]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *files], cwd=TESTS.parent, check=True)
