"""The suite's fuzzing with new examples, and many more of them."""

import os
import re
import subprocess
import sys

from tools.reliability import ROOT

MINUTES = 10
EXAMPLES = 2000


def run() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "1800", "tests/test_fuzz.py"]
    environment = os.environ | {"FUZZ_EXAMPLES": str(EXAMPLES), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]  # the failing example is in the output; add it to the test
    inputs = len(re.findall("@fuzz", (ROOT / "tests/test_fuzz.py").read_text()))
    print(f"{EXAMPLES} examples for each of {inputs} kinds of input: each used, or refused in one line")
