"""Start the app as a Hugging Face Space does, and paint a small picture in a browser.

`python tests/tools/space_sandbox.py [--zerogpu] [--environment DIR]`, as root or not. The Python and the file to start
are those of README's front matter. The app has only what requirements.txt names, no compiler, two cores, 16 GB, and no
folder that it can write to but the temporary one. About three minutes once the packages are installed; needs Chromium.
"""

import argparse
import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from helpers.browsing import press_and_wait, upload_pictures  # noqa: E402
from helpers.pictures import make_picture  # noqa: E402
from helpers.shell import ROOT  # noqa: E402
from helpers.waiting import wait_until  # noqa: E402

PORT = 7860  # where a Space's proxy looks for the app
CORES, MEMORY = 2, 16 * 2**30  # of the free machine; bytes
USER = 1000  # the number of a Space's user
COMPILERS = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|c\d\d|cpp|clang|clang\+\+|ld|as|tcc|nvcc)(-[\d.]+)?")
SECONDS = 300  # for the start, and for the picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zerogpu", action="store_true", help="with a stand-in for the package spaces")
    parser.add_argument("--environment", metavar="DIR", type=Path, help="keep the packages here for the next run")
    args = parser.parse_args()
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            sys.exit(f"space_sandbox.py: port {PORT} is in use, and a Space has no other")
    front_matter = dict(re.findall(r"^(\w+): *\"?(.*?)\"?$", (ROOT / "README.md").read_text().split("---")[1], re.M))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = install(front_matter["python_version"], args.environment or folder / "environment")
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        with run_space(folder, python, front_matter["app_file"], args.zerogpu) as seconds:
            status = paint(folder)
    wanted = front_matter["python_version"]
    remark = "" if f" {wanted}." in version else f" (README asks for {wanted}, which this machine lacks)"
    print(f"{version}{remark}: served after {seconds:.0f} s; {' '.join(status.split())}")
    return 0


def install(version: str, folder: Path) -> Path:
    """Make an environment with what requirements.txt names, or complete it; return its Python.

    The interpreter is copied too: that of this machine may lie where a Space's user cannot read it.
    """
    python = folder / "packages" / "bin" / "python"
    if not python.exists():
        found = find_python(version)
        base, name = read_base(found)
        if base != "/usr":
            shutil.copytree(base, folder / "python", symlinks=True)
            base = folder / "python"
        subprocess.run([Path(base, "bin", name), "-m", "venv", folder / "packages"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements.txt"], check=True)
    return python


def find_python(version: str) -> str:
    """Return a Python of this version, or the one that runs this script if the machine has none that starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}*/bin/python{version}")]
    for path in filter(None, candidates):
        with contextlib.suppress(subprocess.CalledProcessError):  # a name that pyenv has, but does not start
            read_base(path)
            return path
    return sys.executable


def read_base(python: str) -> tuple[str, str]:
    """Return the folder of an interpreter outside all environments, and its name there."""
    code = "import sys; print(sys.base_prefix, 'python%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


@contextlib.contextmanager
def run_space(folder: Path, python: Path, app_file: str, is_zerogpu: bool) -> Iterator[float]:
    """Run the app; yield the seconds until it serves."""
    code, temporary, home, tools = (folder / name for name in ("app", "tmp", "home", "tools"))
    for path in (code, temporary, home, tools):
        path.mkdir()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, code / name)
    for program in Path("/usr/bin").iterdir():
        if not COMPILERS.fullmatch(program.name):
            (tools / program.name).symlink_to(program)
    environment = space_environment(temporary, home, f"{python.parent}:{tools}")
    if is_zerogpu:
        shutil.copy(TESTS / "helpers" / "spaces_stand_in.py", tools / "spaces.py")
        environment |= {"SPACES_ZERO_GPU": "true", "PYTHONPATH": str(tools)}
    take_permissions(code, home)
    temporary.chmod(0o777)
    other_user = {"user": USER, "group": USER, "extra_groups": []} if os.getuid() == 0 else {}
    log, started = folder / "log", time.monotonic()
    with open(log, "w") as output:
        process = subprocess.Popen(
            [python, app_file], cwd=code, env=environment, stdout=output, stderr=output, preexec_fn=limit, **other_user
        )

    def serves() -> bool:
        assert process.poll() is None, log.read_text()
        return "Serving on" in log.read_text()

    try:
        wait_until(serves, SECONDS, "the app did not start")
        yield time.monotonic() - started
        assert process.poll() is None and "Traceback" not in log.read_text(), log.read_text()
    except BaseException:
        print(log.read_text(), file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait(30)


def space_environment(temporary: Path, home: Path, path: str) -> dict[str, str]:
    """Return the variables that a Space's machine sets."""
    return {
        "PATH": path, "HOME": str(home), "TMPDIR": str(temporary), "LANG": "C.UTF-8",
        "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(PORT), "GRADIO_ALLOW_FLAGGING": "never",
        "GRADIO_SSR_MODE": "True", "GRADIO_THEME": "huggingface", "SYSTEM": "spaces", "SPACE_ID": "someone/painter",
        "SPACE_HOST": "someone-painter.hf.space", "SPACE_AUTHOR_NAME": "someone", "SPACE_REPO_NAME": "painter",
        "SPACE_TITLE": "Painter", "SPACE_CREATOR_USER_ID": "0" * 24, "ACCELERATOR": "none", "CPU_CORES": str(CORES),
        "MEMORY": f"{MEMORY // 2**30}Gi", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def take_permissions(*folders: Path) -> None:
    """Take the permission to write from everything in the folders."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)


def limit() -> None:
    """Limit the process that is about to start to a Space's cores and memory."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def paint(folder: Path) -> str:
    """Paint a small picture as a visitor; return the page's last line."""
    from playwright.sync_api import expect, sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        sys.exit("space_sandbox.py: needs Chromium, for example by apt-get install chromium")
    pictures = folder / "photo.png", folder / "painting.png"
    for seed, path in enumerate(pictures):
        make_picture(96, 72, seed).save(path)
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.goto(f"http://127.0.0.1:{PORT}/?preset=quick&size=128")
        upload_pictures(page, *pictures)
        status = press_and_wait(page)
        assert status.startswith("Done"), status
        expect(page.locator("#download")).to_be_enabled()
        browser.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
