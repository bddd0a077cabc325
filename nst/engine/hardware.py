"""What the processor has, and what follows for device, precision and memory layout."""

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

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16")
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # microseconds of computing, and of every how many


@dataclass(frozen=True)
class Hardware:
    """Where and how to compute. `dtype` is the networks'; pixels, losses and optimiser stay float32."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    def __str__(self) -> str:
        return f"{self.device.type}, {'bf16' if self.dtype is torch.bfloat16 else 'float32'}"


def choose_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Resolve `auto`: the first accelerator there is, and bf16 where the processor computes it natively.

    bf16 runs about twice as fast as float32 on most processors with AVX512-BF16 and on all with AMX; elsewhere it is
    emulated and slower than float32. channels_last suits both, with the wide convolutions of `nst.engine.winograd`.

    As many threads as cores, unless OMP_NUM_THREADS says otherwise.

    Raises StyleTransferError for a device that is not there.
    """
    if device not in DEVICES:
        raise StyleTransferError(f"Unknown device {device!r}: choose from {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise StyleTransferError(f"Unknown precision {precision!r}: choose from {', '.join(PRECISIONS)}.")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[device]:
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
    """Whether that kind of device multiplies in bf16 itself, and faster than in float32.

    Emulated, it takes many times float32's time. Having the instruction is not enough on processors: where one with AMX
    hides it from its virtual machines, AVX512-BF16 is left and takes twice float32's time. So both are tried once.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public name for this before 2.10 (torch.cpu.get_capabilities); these exist from 2.8 on.
    if device != "cpu" or not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    bf16, float32 = _product_seconds(torch.bfloat16, torch.float32)
    return bf16 < 0.8 * float32


def _product_seconds(*dtypes: torch.dtype, side: int = 768, turns: int = 8) -> list[float]:
    """The shortest matrix product of each type, a few milliseconds; the first ones also choose kernels.

    They take turns: a moment in which the machine is busy, or still waking a core, then slows all of them alike.
    """
    matrices = [torch.ones(side, side, dtype=dtype) for dtype in dtypes]

    def seconds(matrix: torch.Tensor) -> float:
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        return time.perf_counter() - start

    return [min(times) for times in zip(*([seconds(m) for m in matrices] for _ in range(turns)), strict=True)]


def usable_cores() -> int:
    """Cores that this process may use: those of the machine, or what its container is allowed of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such group, or `max`: no limit
        quota, period = CPU_LIMIT.read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is asked for next, where it is glibc; until the process ends.

    It gives large blocks back to the system, which clears them anew at every step: a sixth of a training step's time.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no blocks of their own
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: give nothing back


def free_memory(device: torch.device | None = None) -> int | None:
    """Bytes that this process could still take, with what it holds already; None where the system does not say.

    device: a GPU, whose memory is meant then. Of the machine's, the least of the system's and the container's: hosts
    give a container less than the machine has.
    """
    if device is not None and device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # for what is asked for next
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        with open("/proc/meminfo") as file:
            table = dict(line.split(":", 1) for line in file)
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        free = [int(table["MemAvailable"].split()[0]) * 1024]
    except (OSError, KeyError, ValueError):
        return None
    groups = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    for folder, names in groups.items():  # the second as older systems have it
        with contextlib.suppress(OSError, ValueError, KeyError):  # no such group, or `max`: no limit
            group = Path("/sys/fs/cgroup", folder)
            limit, used = (int((group / name).read_text()) for name in names)
            cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
            free.append(limit - used + int(cached))  # what files fill is given back when it is needed
    return max(0, min(free)) + held


def computing(device: str = "auto", precision: str = "auto") -> str:
    """How a run with these settings computes, for people: `cpu, float32, 2 threads, channels last`.

    Raises StyleTransferError as `choose_hardware` does.
    """
    hardware = choose_hardware(device, precision)
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' * (count > 1)}" if hardware.device.type == "cpu" else ""
    layout = ", channels last" if hardware.memory_format is torch.channels_last else ""
    return f"{hardware}{threads}{layout}"


def machine(hardware: Hardware) -> str:
    """What computed, in one line for whoever reads the figures: processor, cores, precision, versions."""
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
    units = [unit for unit, there in (("AMX", torch.cpu._is_amx_tile_supported()),
                                      ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported())) if there]  # fmt: skip
    return " with ".join([names[0] if names else platform.processor() or platform.machine(), *units[:1]])
