"""Which device, precision, memory format and number of threads are chosen, and how they are told."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from helpers.refusals import refusal
from helpers.shell import ROOT
from nst.engine import hardware
from nst.engine.hardware import choose_hardware, computing, usable_cores


def test_processor_with_float32_is_channels_last():
    hardware = choose_hardware("cpu", "float32")
    assert (hardware.device.type, hardware.dtype) == ("cpu", torch.float32)
    assert hardware.memory_format == torch.channels_last


def test_threads_follow_what_a_container_may_use(tmp_path, monkeypatch):
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr("nst.engine.hardware.CPU_LIMIT", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for text, cores in (("max 100000", 16), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 16)):
        limit.write_text(text)
        assert usable_cores() == cores
    limit.unlink()
    assert usable_cores() == 16


def test_no_more_threads_than_cores_unless_told(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("100000 100000")
    monkeypatch.setattr("nst.engine.hardware.CPU_LIMIT", tmp_path / "cpu.max")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        choose_hardware("cpu")
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        choose_hardware("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_how_it_computes_is_told_in_words(monkeypatch):
    monkeypatch.setattr("nst.engine.hardware.usable_cores", lambda: 4)  # more threads than cores are not taken
    before = torch.get_num_threads()
    try:
        for threads, said in ((1, "1 thread"), (3, "3 threads")):
            torch.set_num_threads(threads)
            assert computing("cpu", "float32") == f"cpu, float32, {said}, channels last"
    finally:
        torch.set_num_threads(before)


def test_bf16_is_channels_last():
    hardware = choose_hardware("cpu", "bf16")
    assert (hardware.dtype, hardware.memory_format) == (torch.bfloat16, torch.channels_last)
    assert str(hardware) == "cpu, bf16"


@pytest.mark.parametrize(
    "cuda, mps, chosen", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_first_accelerator_there_is(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_hardware("auto", "float32").device.type == chosen


@pytest.mark.parametrize(
    "native, seconds, dtype",
    [
        (True, {torch.bfloat16: 1.0, torch.float32: 1.9}, torch.bfloat16),
        (True, {torch.bfloat16: 1.9, torch.float32: 1.0}, torch.float32),  # AVX512-BF16 where AMX is hidden
        (False, {torch.bfloat16: 1.0, torch.float32: 1.9}, torch.float32),  # emulated
    ],
)
def test_auto_precision_is_bf16_only_where_it_is_native_and_faster(monkeypatch, native, seconds, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(hardware, "_product_seconds", lambda *dtypes: [seconds[dtype] for dtype in dtypes])
    hardware.computes_bf16.cache_clear()
    assert choose_hardware("cpu", "auto").dtype == dtype
    hardware.computes_bf16.cache_clear()  # what was made up is forgotten


def test_the_race_is_run_once(monkeypatch):
    runs = []
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(hardware, "_product_seconds", lambda *dtypes: runs.append(dtypes) or [1.0, 1.0])
    hardware.computes_bf16.cache_clear()
    for _ in range(3):
        choose_hardware("cpu", "auto")
    assert len(runs) == 1
    hardware.computes_bf16.cache_clear()


def test_a_busy_moment_does_not_decide_the_race(monkeypatch):
    now = 0.0

    def multiply(a, b):
        nonlocal now
        busy = 3 if now < 130 else 1
        now += busy * {torch.bfloat16: 8, torch.float32: 22}[a.dtype]

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr(hardware, "time", SimpleNamespace(perf_counter=lambda: now))
    hardware.computes_bf16.cache_clear()
    assert choose_hardware("cpu", "auto").dtype == torch.bfloat16
    hardware.computes_bf16.cache_clear()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_absent_device_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device in refusal(choose_hardware, device)


@pytest.mark.parametrize("arguments", [("tpu", "auto"), ("auto", "float16"), ("", "auto")])
def test_unknown_device_or_precision_is_refused(arguments):
    refusal(choose_hardware, *arguments)


@pytest.mark.skipif(os.confstr_names.get("CS_GNU_LIBC_VERSION") is None, reason="only glibc is told")
def test_freed_memory_can_be_kept():
    """As the system counts it, of a process of its own."""
    program = """
import psutil, torch
from nst.engine.hardware import keep_freed_memory
held = lambda: psutil.Process().memory_info().rss
def cost():
    before = held()
    torch.ones(50_000_000)
    return held() - before
given_back = cost()
keep_freed_memory()
print(given_back, cost())
"""
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    given_back, kept = map(int, found.stdout.split())
    assert given_back < 100e6 < 190e6 < kept
