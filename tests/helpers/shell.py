"""Run Python in a process of its own, in the project's folder."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# One thread: on a busy machine, threads that wait for each other make pictures as small as the tests' ten times slower.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def shell(*arguments: object, env: dict = ENVIRONMENT, **options) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` in the project's folder, for five minutes at most. Return its status and text output."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, **options)
