"""Cores and memory that a process may use, by its control groups. The files of the groups are faked."""

import io
import os
from pathlib import Path

import pytest

from nst.engine import limits
from nst.engine.limits import free_memory, usable_cores


@pytest.fixture
def groups(tmp_path, monkeypatch) -> Path:
    """Return the folder that takes the place of the system's groups, on a machine with 16 cores."""
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(limits, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups"


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_groups_all_cores_are_usable(groups):
    assert usable_cores() == 16


@pytest.mark.parametrize(
    "text, cores", [("max 100000", 16), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 16)]
)
def test_the_number_of_cores_follows_the_limit_of_a_container(groups, text, cores):
    write(groups / "cpu.max", text)
    assert usable_cores() == cores


@pytest.mark.parametrize("quota, cores", [(-1, 16), (150_000, 2), (400_000, 4), (10_000, 1)])
def test_limits_of_version_1_of_the_groups_count_too(groups, quota, cores):
    write(groups / "cpu" / "cpu.cfs_quota_us", quota)
    write(groups / "cpu" / "cpu.cfs_period_us", 100_000)
    assert usable_cores() == cores


@pytest.mark.parametrize(
    "membership, folder",
    [("0::/user/shell", "user/shell"), ("3:memory:/x\n4:cpu,cpuacct:/user/shell", "cpu/user/shell")],
)
def test_the_limit_of_the_own_group_and_of_those_around_it_counts(groups, membership, folder):
    write(limits.MEMBERSHIP, membership)
    own = groups / folder
    if folder.startswith("cpu"):
        write(own.parent / "cpu.cfs_quota_us", 300_000)
        write(own.parent / "cpu.cfs_period_us", 100_000)
    else:
        write(own.parent / "cpu.max", "300000 100000")
        write(own / "cpu.max", "max 100000")
    assert usable_cores() == 3


NAMES = {
    "": ("memory.max", "memory.current"),  # version 2 of the groups
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),  # version 1
}


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="only Linux tells how much memory is free")
def test_free_memory_is_at_most_that_of_the_machine():
    assert 0 < free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 1.05


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="only Linux tells how much memory is free")
@pytest.mark.parametrize("folder", ["", "memory", "own", "memory/own"])
def test_free_memory_is_the_smaller_of_system_and_group_plus_what_the_process_holds(groups, monkeypatch, folder):
    files = {"/proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable: 4000000 kB\n", "/proc/self/statm": "900 250 100\n"}
    monkeypatch.setattr(limits, "open", lambda path: io.StringIO(files[path]), raising=False)
    write(limits.MEMBERSHIP, "5:cpuset,memory:/own\n0::/own")
    own_bytes = 250 * os.sysconf("SC_PAGE_SIZE")
    assert free_memory() == 4_000_000 * 1024 + own_bytes
    limit, used = (groups / folder / name for name in NAMES[folder.removesuffix("own").rstrip("/")])
    write(limit, 1_000_000_000)
    write(used, 700_000_000)
    write(limit.parent / "memory.stat", "anon 1\ninactive_file 200000000")
    assert free_memory() == 1_000_000_000 - 700_000_000 + 200_000_000 + own_bytes
    write(limit, "max")  # no limit
    assert free_memory() == 4_000_000 * 1024 + own_bytes
    files["/proc/meminfo"] = "MemTotal: 9000000 kB\n"
    assert free_memory() is None
