"""The folder of temporary files: bounded in age and bytes, and removed after its server."""

import os
import subprocess
import sys
import time
from pathlib import Path

from helpers.shell import ENVIRONMENT, ROOT, shell
from nst.web.storage import delete_old_files


def write(path: Path, size: int, age: float = 0) -> Path:
    """Write a file of `size` bytes that was last written `age` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_files_go_then_the_oldest_until_the_rest_fits(tmp_path):
    old = write(tmp_path / "a" / "old", 10, age=4000)
    page = write(tmp_path / "page.png", 10, age=9000)
    future = write(tmp_path / "future", 10, age=-9000)  # the clock was set back
    third, second, first = (write(tmp_path / "b" / str(age), 100, age) for age in (30, 20, 10))
    assert delete_old_files(tmp_path, 3600, 250, frozenset([str(page)])) == (2, 200)
    assert [path.exists() for path in (old, future, third)] == [False] * 3
    assert all(path.exists() for path in (page, second, first))


def test_empty_folders_go_unless_they_are_new(tmp_path):
    write(tmp_path / "old" / "file", 10, age=4000)
    (tmp_path / "new").mkdir()
    delete_old_files(tmp_path, 3600, 1000)
    os.utime(tmp_path / "old", (0, 0))
    delete_old_files(tmp_path, 3600, 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


OPEN = """
from nst.web.storage import open_storage

storage = open_storage()
print(storage.root, flush=True)
input()
"""


def test_folders_of_killed_servers_are_removed_and_those_of_living_ones_stay(tmp_path):
    environment = ENVIRONMENT | {"GRADIO_TEMP_DIR": str(tmp_path)}

    def start() -> tuple[subprocess.Popen, Path]:
        """Start a process that holds a storage. Return it and the storage's folder."""
        process = subprocess.Popen([sys.executable, "-c", OPEN], cwd=ROOT, env=environment, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        return process, Path(process.stdout.readline().strip())

    killed, abandoned = start()
    write(abandoned / "upload.png", 10)
    living, used = start()
    try:
        assert abandoned.exists() and used.exists() and abandoned != used
        killed.kill()
        killed.wait(30)
        shell("-c", "from nst.web.storage import open_storage\nwith open_storage(): pass", env=environment)
        assert list(tmp_path.iterdir()) == [used]
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate(timeout=30)
