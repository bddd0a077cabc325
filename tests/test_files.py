"""Files are written whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.refusals import refusal
from helpers.shell import ROOT
from nst.errors import StyleTransferError
from nst.io.files import write_atomically


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    names = []

    def write_new(temporary):
        names.append(Path(temporary))
        Path(temporary).write_text("new")
        assert path.read_text() == "old"

    assert write_atomically(path, write_new) == path
    assert contents(tmp_path) == {"a.txt": "new"}
    assert names[0].suffix == ".txt"
    assert names[0].parent == tmp_path


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("a\nb"), KeyError("x"), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def fail(temporary):
        Path(temporary).write_text("half")
        raise error

    with pytest.raises((StyleTransferError, type(error))) as caught:
        write_atomically(tmp_path / "a.txt", fail)
    assert contents(tmp_path) == {"a.txt": "old"}
    if isinstance(error, OSError):
        assert type(caught.value) is StyleTransferError
        assert "No space left" in str(caught.value)
    assert type(error) is KeyError or "\n" not in str(caught.value)


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from nst.errors import StyleTransferError
from nst.io.files import write_atomically

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # it fails in the same place as a full disk
for name, write in {
    "a.safetensors": lambda path: save_file({"x": torch.zeros(10**6)}, path),
    "a.pt": lambda path: torch.save(torch.zeros(10**6), path),
    "a.txt": lambda path: Path(path).write_bytes(bytes(10**6)),
}.items():
    try:
        write_atomically(Path(sys.argv[1]) / name, write)
    except StyleTransferError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit to set")
def test_a_full_disk_gives_one_line_whichever_library_writes(tmp_path):
    """safetensors and torch raise errors of their own, not OSError."""
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["a.safetensors", "a.pt", "a.txt"]
    assert contents(tmp_path) == {}


def test_missing_folders_are_made(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "c.txt", lambda temporary: Path(temporary).write_text("x"))
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refusal(write_atomically, tmp_path / "file" / "a.txt", lambda _: pytest.fail("written"))
    assert message.startswith("a.txt: cannot be written")


def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        refusal(write_atomically, tmp_path / "a.txt", lambda _: pytest.fail("written"))
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    """As if `open` had made the file: others can read it if they can read the user's other files."""
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "a.txt", lambda temporary: Path(temporary).write_text("x"))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
