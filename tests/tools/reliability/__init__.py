"""Reliability checks, a module for each theme. `python tests/tools/reliability` runs their long forms."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
ROOT = TESTS.parent


def run_theme(
    name: str,
    *arguments: object,
    before: tuple[object, ...] = (sys.executable,),
    environment: Mapping[str, str] = os.environ,
    input: str | None = None,
) -> subprocess.CompletedProcess:
    """Run the theme's module as a program in a process of its own, with `arguments`. Return its output as text.

    before: the interpreter, with flags or a wrapping command. Raises AssertionError for an exit status other than 0.
    """
    command = [*before, "-m", f"{__name__}.{name}", *arguments]
    environment = {**environment, "PYTHONPATH": f"{TESTS}{os.pathsep}{ROOT}"}
    done = subprocess.run([str(part) for part in command], env=environment, input=input, capture_output=True, text=True)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return done
