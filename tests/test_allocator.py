"""What the C library does with freed memory, as the operating system counts it in a process of its own."""

import os
import subprocess
import sys

import pytest

from helpers.shell import ROOT


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only glibc has this setting")
def test_a_process_can_keep_freed_memory():
    """The test measures the memory of a process of its own, as the operating system counts it."""
    program = """
import psutil, torch
from nst.engine.allocator import keep_freed_memory
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


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only glibc has this setting")
def test_many_threads_share_two_pools_of_memory():
    """The C library lists its pools itself."""
    program = """
import ctypes, threading
from nst.engine import allocator

allocator.limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
everybody = threading.Barrier(40)

def allocate():
    everybody.wait()
    libc.malloc(60_000)
    everybody.wait()

threads = [threading.Thread(target=allocate) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
output = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, output)
libc.fclose(output)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 1 <= result.stdout.count("<heap nr=") <= 2
