"""The choice of device, precision, memory format and number of threads, and its description in words."""

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


def test_float32_on_the_processor_is_channels_last():
    hardware = choose_hardware("cpu", "float32")
    assert (hardware.device.type, hardware.dtype) == ("cpu", torch.float32)
    assert hardware.memory_format == torch.channels_last


def test_the_number_of_cores_follows_the_limit_of_a_container(tmp_path, monkeypatch):
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr("nst.engine.hardware.CPU_LIMIT", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for text, cores in (("max 100000", 16), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 16)):
        limit.write_text(text)
        assert usable_cores() == cores
    limit.unlink()
    assert usable_cores() == 16


def test_threads_are_limited_to_the_cores_unless_the_environment_sets_them(tmp_path, monkeypatch):
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


def test_the_description_names_device_precision_threads_and_format(monkeypatch):
    monkeypatch.setattr("nst.engine.hardware.usable_cores", lambda: 4)  # the threads are limited to this number
    before = torch.get_num_threads()
    try:
        for threads, words in ((1, "1 thread"), (3, "3 threads")):
            torch.set_num_threads(threads)
            assert computing("cpu", "float32") == f"cpu, float32, {words}, channels last"
    finally:
        torch.set_num_threads(before)


def test_bf16_is_channels_last():
    hardware = choose_hardware("cpu", "bf16")
    assert (hardware.dtype, hardware.memory_format) == (torch.bfloat16, torch.channels_last)
    assert str(hardware) == "cpu, bf16"


@pytest.mark.parametrize(
    "cuda, mps, device", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_chooses_the_first_available_accelerator(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_hardware("auto", "float32").device.type == device


@pytest.mark.parametrize(
    "native, seconds, dtype",
    [
        (True, {torch.bfloat16: 1.0, torch.float32: 1.9}, torch.bfloat16),
        (True, {torch.bfloat16: 1.9, torch.float32: 1.0}, torch.float32),  # AVX512-BF16 on a machine that hides AMX
        (False, {torch.bfloat16: 1.0, torch.float32: 1.9}, torch.float32),  # emulated
    ],
)
def test_auto_precision_is_bf16_only_where_it_is_native_and_faster(monkeypatch, native, seconds, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(hardware, "_product_seconds", lambda *dtypes: [seconds[dtype] for dtype in dtypes])
    hardware.computes_bf16.cache_clear()
    assert choose_hardware("cpu", "auto").dtype == dtype
    hardware.computes_bf16.cache_clear()  # no other test may see these timings


def test_the_precisions_are_timed_once(monkeypatch):
    runs = []
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(hardware, "_product_seconds", lambda *dtypes: runs.append(dtypes) or [1.0, 1.0])
    hardware.computes_bf16.cache_clear()
    for _ in range(3):
        choose_hardware("cpu", "auto")
    assert len(runs) == 1
    hardware.computes_bf16.cache_clear()


def test_a_busy_moment_does_not_decide_the_precision(monkeypatch):
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
def test_an_absent_device_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device in refusal(choose_hardware, device)


@pytest.mark.parametrize("arguments", [("tpu", "auto"), ("auto", "float16"), ("", "auto")])
def test_an_unknown_device_or_precision_is_refused(arguments):
    refusal(choose_hardware, *arguments)


@pytest.mark.skipif(os.confstr_names.get("CS_GNU_LIBC_VERSION") is None, reason="only glibc has this setting")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_from_a_process_that_has_painted_paints_too(random_checkpoint):
    """In a new process, which may use several threads: without one thread the child would wait for ever."""
    program = f"""
import multiprocessing, torch
from PIL import Image
from nst import StyleSettings, stylize
torch.set_num_threads(2)
settings = StyleSettings(size=128, steps=2, device="cpu", backbone={str(random_checkpoint)!r})

def paint():
    *_, last = stylize(Image.new("RGB", (128, 96), "teal"), Image.new("RGB", (128, 96), "red"), settings)
    print(last.step, torch.get_num_threads(), flush=True)

if __name__ == "__main__":
    paint()
    child = multiprocessing.get_context("fork").Process(target=paint)
    child.start()
    child.join(60)
    child.kill()
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert result.stdout.split() == ["2", "2", "2", "1"], result.stderr


def test_a_process_can_keep_freed_memory():
    """The test measures the memory of a process of its own, as the operating system counts it."""
    program = """
import psutil, torch
from nst.engine.hardware import keep_freed_memory
resident = lambda: psutil.Process().memory_info().rss
def growth():
    before = resident()
    torch.ones(50_000_000)
    return resident() - before
released = growth()
keep_freed_memory()
print(released, growth())
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    growth_before, growth_after = map(int, result.stdout.split())
    assert growth_before < 100e6 < 190e6 < growth_after
