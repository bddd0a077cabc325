"""The suite with the oldest versions that requirements.txt allows, in an environment made for it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MINUTES = 60  # half of it downloads


def pinned(requirements: str) -> list[str]:
    """Every `>=` made `==`: the lower bounds themselves."""
    return [re.sub(r">=([^,]+).*", r"==\1", line) for line in requirements.splitlines() if line.strip()]


def run() -> None:
    tools = [line for line in (ROOT / "tests/requirements.txt").read_text().splitlines() if not line.startswith("-r")]
    oldest = pinned((ROOT / "requirements.txt").read_text())
    with tempfile.TemporaryDirectory() as folder:
        # An earlier one can be named, which saves the download of 3 GB.
        place = Path(os.environ.get("OLDEST_VENV") or folder)
        python = place / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *oldest, *tools], check=True)
        print(f"Python {sys.version.split()[0]}, {', '.join(oldest)}", flush=True)
        done = subprocess.run([python, "-m", "pytest", "-q"], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6000:]
