"""The arithmetic of the GPU kernels without a GPU: Triton interprets them in a process of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst.engine import cuda_network
from nst.engine.hardware import choose_hardware
from nst.models.checkpoints import load_backbone
from nst.objective import build_extractor
from nst.settings import StyleSettings

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is not installed")
def test_the_interpreted_kernels_compute_what_plain_layers_compute():
    tests = Path(__file__).with_name("helpers") / "gpu_interpreted.py"
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", str(tests)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"})
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout


def test_a_processor_uses_plain_layers():
    extractor = build_extractor(load_backbone("cifar100"), StyleSettings(), choose_hardware("cpu", "float32"))
    assert extractor.cuda_network is None


def test_without_a_working_triton_there_are_no_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "nst.engine.cuda_kernels", None)  # importing it fails
    cuda_network.has_kernels.cache_clear()
    try:
        assert cuda_network.has_kernels() is False
    finally:
        cuda_network.has_kernels.cache_clear()
