"""How OpenMP's threads wait: briefly, unless the user decides otherwise; and always before torch is imported."""

import os
import subprocess
import sys

import pytest

from helpers.shell import ROOT
from nst.engine.waiting import OWN_CHOICES, SPINS, wait_briefly


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    for name in OWN_CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")  # so that the end of the test removes what `wait_briefly` sets
    monkeypatch.delenv("GOMP_SPINCOUNT")


def test_threads_wait_briefly():
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == str(SPINS) and "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name, value", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_the_users_own_choice_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    wait_briefly()
    assert {key: os.environ[key] for key in OWN_CHOICES if key in os.environ} == {name: value}


@pytest.mark.parametrize(
    "start",
    [
        "from nst.cli import main; main(['no.png', 'no.png', '-o', 'no/out.png', '--size', '0'])",
        "from nst.cli import main; main(['batch', 'no', '--style', 'no.png', '--out', 'no'])",
        "from nst.web.server import main; main(['--port', '0'])",
    ],
)
def test_every_program_decides_before_torch_is_imported(start):
    """Torch's OpenMP reads the choice once: so the program may not import torch before."""
    program = f"""
import builtins, os, sys
original = builtins.__import__

def check(name, *arguments):
    if name == "torch" and "torch" not in sys.modules:
        assert os.environ.get("GOMP_SPINCOUNT") == "{SPINS}", "too late"
    return original(name, *arguments)

builtins.__import__ = check
try:
    {start}
except SystemExit:
    pass
print(os.environ["GOMP_SPINCOUNT"])
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip().splitlines()[-1:] == [str(SPINS)] and "too late" not in result.stderr, result.stderr
