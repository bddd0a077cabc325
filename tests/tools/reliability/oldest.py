"""The suite with the oldest versions that requirements.txt allows, in an environment made for it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MINUTES = 60  # half of it downloads


def pinned(requirements: str) -> list[str]:
    """Every `>=` made `==`: the lower bounds themselves, without extras, as pip's constraints have none."""
    lines = [re.sub(r"\[.*?\]", "", line) for line in requirements.splitlines() if line.strip()]
    return [re.sub(r">=([^,]+).*", r"==\1", line) for line in lines]


def run() -> None:
    oldest = pinned((ROOT / "requirements.txt").read_text())
    with tempfile.TemporaryDirectory() as folder:
        # An earlier one can be named, which saves the download of 3 GB.
        place = Path(os.environ.get("OLDEST_VENV") or folder)
        python = place / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
        constraints = Path(folder) / "oldest.txt"
        constraints.write_text("\n".join(oldest))
        wanted = ["-r", ROOT / "tests/requirements.txt", "-c", constraints]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{version}, {', '.join(oldest)}", flush=True)
        done = subprocess.run([python, "-m", "pytest", "-q"], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6000:]
