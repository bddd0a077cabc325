"""What this process may use: cores and memory, by the limits of the machine and of the process's control groups."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from nst.memory_limit import room_below_limits

GROUPS = Path("/sys/fs/cgroup")  # where Linux shows control groups, of version 2 and of version 1
MEMBERSHIP = Path("/proc/self/cgroup")  # the groups of this process


def usable_cores() -> int:
    """Return the cores that this process may use: those of the machine, or its groups' share of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):  # no such file, or it says `max`: no limit
            quota, period = map(int, (group / "cpu.max").read_text().split())  # microseconds, version 2
            cores = min(cores, max(1, round(quota / period)))
        with contextlib.suppress(OSError, ValueError):
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:  # -1 is no limit
                cores = min(cores, max(1, round(quota / period)))
    return cores


def free_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes that this process can use, with those that it holds already; None if the system does not tell.

    device: a GPU: then the bytes that it can still allocate there. For the machine's memory, the smallest of the
    system's and the groups' free memory and of what `ulimit -v` leaves counts: hosts often give a container less than
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
    for group in _groups("memory"):
        for names in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError, KeyError):  # no such file, or it says `max`: no limit
                limit, used = (int((group / name).read_text()) for name in names)
                cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                free.append(limit - used + int(cached["inactive_file"]))  # given back when memory is needed
    return max(0, min(free)) + held


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups and of all groups around them, of version 2 and of version 1.

    A group may use no more than the groups around it. In a container, the folders are often those of its own group.
    """
    yield from (GROUPS, GROUPS / controller)
    with contextlib.suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():  # `0::/user/shell`, or `4:cpu,cpuacct:/container`
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                folder = GROUPS / controller if controllers else GROUPS
                inner = Path(path.lstrip("/"))
                yield from (folder / part for part in (inner, *inner.parents) if part != Path())
