"""The suite with the oldest versions that requirements.txt allows, in an environment made for it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.reliability import ROOT

MINUTES = 60  # half of it downloads


def pin_lower_bounds(requirements: str) -> list[str]:
    """Return the requirements with every `>=` made `==`, and without extras, which pip's constraints do not have."""
    lines = [re.sub(r"\[.*?\]", "", line) for line in requirements.splitlines() if line.strip()]
    return [re.sub(r">=([^,]+).*", r"==\1", line) for line in lines]


def run() -> None:
    oldest = pin_lower_bounds((ROOT / "requirements.txt").read_text())
    with tempfile.TemporaryDirectory() as folder:
        # OLDEST_VENV names an environment that an earlier run made, which saves the download of 3 GB.
        environment = Path(os.environ.get("OLDEST_VENV") or folder)
        python = environment / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        constraints = Path(folder) / "oldest.txt"
        constraints.write_text("\n".join(oldest))
        requirements = ["-r", ROOT / "tests/requirements.txt", "-c", constraints]
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{version}, {', '.join(oldest)}", flush=True)
        done = subprocess.run([python, "-m", "pytest", "-q"], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6000:]
