"""Limits of a process's memory (`ulimit -v`): one line, wherever memory would end, or a picture."""

import errno
import functools
import sys
from pathlib import Path

import pytest

from helpers.shell import shell
from nst import StyleTransferError, cli, memory_limit
from nst.engine.limits import free_memory
from nst.memory_limit import is_out_of_memory, room_below_limits

resource = pytest.importorskip("resource", reason="Windows has no limits")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the address space")


def limited(megabytes: int, *arguments: object):
    """Run Python with so much address space."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_AS, (megabytes << 20,) * 2)
    return shell(*arguments, preexec_fn=limit)


@pytest.fixture
def set_limit(monkeypatch):
    """Pretend a limit of the address space, in bytes."""

    def set_limit(limit: int) -> None:
        limits = {resource.RLIMIT_AS: limit, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
        monkeypatch.setattr(resource, "getrlimit", lambda number: (limits[number],) * 2)

    return set_limit


@pytest.mark.parametrize("megabytes", [300, 800, 1500])
def test_a_limit_too_small_to_start_gives_one_line(pictures, tmp_path, megabytes):
    result = limited(megabytes, "-m", "nst", *pictures, "-o", tmp_path / "out.png", "--size", 32)
    message = (
        f"nst: The memory limit of {(megabytes << 20) / 1e9:.1f} GB is too small to start: raise it (ulimit -v).\n"
    )
    assert (result.returncode, result.stdout, result.stderr) == (2, "", message)
    assert not (tmp_path / "out.png").exists()
    result = limited(megabytes, "-m", "nst", "batch", tmp_path, "--style", pictures[1], "--out", tmp_path / "out")
    assert (result.returncode, result.stderr) == (2, message)


def test_the_page_does_not_start_below_its_limit():
    result = limited(800, "app.py", "--port", 1)
    assert result.returncode == 1
    assert result.stderr == "app.py: The memory limit of 0.8 GB is too small to start: raise it (ulimit -v).\n"


@pytest.mark.slow
def test_between_too_little_and_enough_there_is_a_line_or_a_picture(pictures, tmp_path):
    """The limits are just above the address space that the imports take: there, runs end in the most ways."""
    code = "import nst.stylization; print(open('/proc/self/statm').read().split()[0])"
    base = int(shell("-c", code).stdout) * resource.getpagesize() >> 20
    for megabytes in range(base - 60, base + 900, 160):
        output = tmp_path / f"{megabytes}.png"
        flags = ("--size", 64, "--steps", 2, "--precision", "float32", "--device", "cpu")
        result = limited(megabytes, "-m", "nst", *pictures, "-o", output, *flags)
        if result.returncode:
            assert result.stderr.count("\n") == 1 and result.stderr.startswith("nst: "), (megabytes, result.stderr)
        assert output.exists() == (result.returncode == 0), (megabytes, result.stderr)


def test_without_a_limit_nothing_is_tried(set_limit, monkeypatch):
    monkeypatch.setattr("subprocess.run", None)
    set_limit(resource.RLIM_INFINITY)
    memory_limit.check_start()
    set_limit(10**9)
    with pytest.raises(TypeError):
        memory_limit.check_start()


def test_a_limit_counts_as_free_memory_less_what_is_mapped(set_limit):
    """Checked with the system's own figures of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    mapped, held = (int(status[name].split()[0]) * 1024 for name in ("VmSize", "VmRSS"))
    set_limit(mapped + 300_000_000)
    assert free_memory() == pytest.approx(held + 200_000_000, abs=20_000_000)
    set_limit(mapped // 2)
    assert free_memory() == pytest.approx(held, abs=20_000_000)
    set_limit(resource.RLIM_INFINITY)
    assert room_below_limits(["1"] * 7, 4096) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
def test_the_end_of_memory_outside_a_run_gives_one_line(pictures, tmp_path, monkeypatch, capfd, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("nst.output.recipe.describe", fail)
    assert cli.main([str(argument) for argument in (*pictures, "-o", tmp_path / "out.png")]) == 2
    assert capfd.readouterr().err == (
        "nst: There is not enough memory: close other programs, or choose a smaller size.\n"
    )


def test_other_errors_are_not_taken_for_the_end_of_memory(set_limit):
    for error in (RuntimeError("a bug"), OSError(errno.ENOENT, "x"), StyleTransferError("x"), ImportError("no module")):
        assert not is_out_of_memory(error)
    set_limit(10**9)
    assert is_out_of_memory(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
