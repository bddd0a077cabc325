"""What this machine has, and which device, precision and memory layout follow from it."""

import contextlib
import functools
import logging
import platform
from dataclasses import dataclass

import torch

from nst.engine.limits import usable_cores
from nst.engine.threads import limited_threads
from nst.errors import StyleTransferError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16")

logger = logging.getLogger(__name__)


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


def choose_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Return the hardware to use. `auto` takes an accelerator if there is one, and bf16 where it is native and faster.

    bf16 is about twice as fast as float32 on most processors with AVX512-BF16 and on all with AMX. Elsewhere it is
    emulated, and slower than float32. channels_last is faster for both, with the convolutions of `nst.engine.winograd`.

    Raises StyleTransferError for a device that this machine does not have.
    """
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
    layout = torch.contiguous_format if device == "mps" else torch.channels_last
    return Hardware(torch.device(device), dtype, layout)


@functools.cache
def computes_bf16(device: str) -> bool:
    """Return whether this kind of device multiplies in bf16 natively, and faster than in float32; log the reason.

    Emulated bf16 takes many times as long as float32. On processors the instruction AVX512-BF16 alone is not enough:
    see `_hides_amx`. Nothing is timed, so that a busy moment cannot decide for the rest of the process's life.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    unit = _bf16_unit()
    if unit == "AVX512-BF16" and _hides_amx():
        unit, reason = "", "this processor hides its AMX, and its AVX512-BF16 takes twice as long as float32"
    else:
        reason = f"the processor has {unit}" if unit else "the processor would only emulate bf16"
    logger.info("Paint in %s: %s.", "bf16" if unit else "float32", reason)
    return bool(unit)


def _bf16_unit() -> str:
    """Return the name of the processor's fastest unit for bf16; empty if it has none."""
    # torch has no public name for this before 2.10 (torch.cpu.get_capabilities); these exist from 2.8 on.
    units = (("AMX", torch.cpu._is_amx_tile_supported()), ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported()))
    return next((name for name, is_there in units if is_there), "")


def _hides_amx() -> bool:
    """Return whether this is an Intel processor with AMX on a machine that hides it. Ask only where AMX is not seen.

    Intel's processors with AVX512-BF16 have AMX too, and compute bf16 fast only there: the one exception is Cooper Lake
    (model 85), which came before AMX. AMD's processors have no AMX, and a fast AVX512-BF16 (measured: twice as fast as
    float32).
    """
    return _cpu_info("vendor_id") == "GenuineIntel" and _cpu_info("model") != "85"


def computing(device: str = "auto", precision: str = "auto") -> str:
    """Describe in plain words how a run with these settings computes: `2 processor cores, 16-bit numbers`.

    Raises StyleTransferError as `choose_hardware` does.
    """
    hardware = choose_hardware(device, precision)
    with limited_threads() as count:
        pass
    processor = f"{count} processor core{'s' * (count > 1)}"
    unit = processor if hardware.device.type == "cpu" else f"a graphics card ({hardware.device.type})"
    return f"{unit}, {8 * hardware.dtype.itemsize}-bit numbers"


def describe_machine(hardware: Hardware) -> str:
    """Describe the machine in one line, to quote beside figures: processor, cores, precision, versions."""
    if hardware.device.type == "cuda":
        name = torch.cuda.get_device_name(hardware.device)
    else:
        name = f"{usable_cores()} cores of {_processor()}"
    return f"{name}, {str(hardware).rpartition(' ')[2]}, torch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    name = _cpu_info("model name") or platform.processor() or platform.machine()
    return " with ".join(filter(None, (name, _bf16_unit())))


def _cpu_info(key: str) -> str:
    """Return what Linux says of the first processor under `key`; empty if it says nothing."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
