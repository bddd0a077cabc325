"""What this machine has, and which device, precision and memory layout follow from it."""

import contextlib
import ctypes
import functools
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from nst.errors import StyleTransferError
from nst.memory_limit import room_below_limits

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16")
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # microseconds of computing time, and the period they are allowed in


@dataclass(frozen=True)
class Hardware:
    """The device, precision and memory layout to compute with.

    dtype: of the network; pixels, losses and the optimizer stay float32.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    def __str__(self) -> str:
        return f"{self.device.type}, {'bf16' if self.dtype is torch.bfloat16 else 'float32'}"


_has_computed = False  # whether this process may have started OpenMP's threads


def _use_one_thread_after_fork() -> None:
    """Let a forked child compute with one thread: the others exist only in its parent, and it would wait for them."""
    if _has_computed:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_use_one_thread_after_fork)


def choose_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Return the hardware to use. `auto` takes an accelerator if there is one, and bf16 where it is native and faster.

    bf16 is about twice as fast as float32 on most processors with AVX512-BF16 and on all with AMX. Elsewhere it is
    emulated, and slower than float32. channels_last is faster for both, with the convolutions of `nst.engine.winograd`.

    This function also limits torch to as many threads as cores, unless OMP_NUM_THREADS is set.

    Raises StyleTransferError for a device that this machine does not have.
    """
    global _has_computed
    _has_computed = True
    if device not in DEVICES:
        raise StyleTransferError(f"Unknown device {device!r}: choose from {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise StyleTransferError(f"Unknown precision {precision!r}: choose from {', '.join(PRECISIONS)}.")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[device]:
        raise StyleTransferError(f"This machine has no {device} device; use cpu or auto.")
    if precision == "auto":
        precision = "bf16" if computes_bf16(device) else "float32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())  # more threads than cores wait for each other
    layout = torch.contiguous_format if device == "mps" else torch.channels_last
    return Hardware(torch.device(device), dtype, layout)


@functools.cache
def computes_bf16(device: str) -> bool:
    """Return whether this kind of device multiplies in bf16 natively, and faster than in float32.

    Emulated bf16 takes many times as long as float32. The instruction alone is not enough on processors: some with AMX
    hide it from their virtual machines, and the AVX512-BF16 that remains takes twice as long as float32. So both are
    measured once.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public name for this before 2.10 (torch.cpu.get_capabilities); these exist from 2.8 on.
    if device != "cpu" or not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    bf16, float32 = _product_seconds(torch.bfloat16, torch.float32)
    return bf16 < 0.8 * float32


def _product_seconds(*dtypes: torch.dtype, side: int = 768, turns: int = 8) -> list[float]:
    """Return the shortest time of a matrix product in each type, in seconds.

    Each is measured several times, because the first products also choose kernels. The types take turns, so that a busy
    moment, or a core that is still waking up, slows all of them alike.
    """
    matrices = [torch.ones(side, side, dtype=dtype) for dtype in dtypes]

    def seconds(matrix: torch.Tensor) -> float:
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        return time.perf_counter() - start

    return [min(times) for times in zip(*([seconds(m) for m in matrices] for _ in range(turns)), strict=True)]


def usable_cores() -> int:
    """Return the cores that this process may use: those of the machine, or its container's share of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no such group, or it says `max`: no limit
        quota, period = CPU_LIMIT.read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation, until the process ends; other C libraries are unchanged.

    Otherwise large blocks go back to the system, which clears them again at every step. That takes a sixth of a
    training step.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no separate mappings for large blocks
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: give nothing back


def free_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes that this process can use, with those that it holds already; None if the system does not tell.

    device: a GPU: then the bytes that it can still allocate there. For the machine's memory, the smaller of the
    system's and the container's free memory counts, and what `ulimit -v` leaves: hosts often give a container less than
    the machine has.
    """
    if device is not None and device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # for the next allocations
        return torch.cuda.mem_get_info(device)[0] + reserved
    try:
        with open("/proc/meminfo") as file:
            table = dict(line.split(":", 1) for line in file)
        with open("/proc/self/statm") as file:
            pages, page_bytes = file.read().split(), os.sysconf("SC_PAGE_SIZE")
        held = int(pages[1]) * page_bytes
        free = [int(table["MemAvailable"].split()[0]) * 1024, *room_below_limits(pages, page_bytes)]
    except (OSError, KeyError, ValueError):
        return None
    groups = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    for folder, names in groups.items():  # cgroup v2, and v1 of older systems
        with contextlib.suppress(OSError, ValueError, KeyError):  # there is no such group, or it says `max`: no limit
            group = Path("/sys/fs/cgroup", folder)
            limit, used = (int((group / name).read_text()) for name in names)
            cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
            free.append(limit - used + int(cached))  # the file cache is given back when memory is needed
    return max(0, min(free)) + held


def computing(device: str = "auto", precision: str = "auto") -> str:
    """Describe how a run with these settings computes: `cpu, float32, 2 threads, channels last`.

    Raises StyleTransferError as `choose_hardware` does.
    """
    hardware = choose_hardware(device, precision)
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' * (count > 1)}" if hardware.device.type == "cpu" else ""
    layout = ", channels last" if hardware.memory_format is torch.channels_last else ""
    return f"{hardware}{threads}{layout}"


def describe_machine(hardware: Hardware) -> str:
    """Describe the machine in one line, to quote beside figures: processor, cores, precision, versions."""
    if hardware.device.type == "cuda":
        name = torch.cuda.get_device_name(hardware.device)
    else:
        name = f"{usable_cores()} cores of {_processor()}"
    return f"{name}, {str(hardware).rpartition(' ')[2]}, torch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    units = [unit for unit, is_there in (("AMX", torch.cpu._is_amx_tile_supported()),
                                      ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported())) if is_there]  # fmt: skip
    return " with ".join([names[0] if names else platform.processor() or platform.machine(), *units[:1]])
