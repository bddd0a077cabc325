"""Ctrl-C, SIGTERM and SIGHUP: what is painted so far is kept, the status tells of the signal, and no handler stays."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

import nst.stylization
from helpers.shell import ENVIRONMENT, ROOT
from nst import cli, read_recipe
from nst.stop_signals import Stopped, catch_stop_signals
from nst.tools import batch

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}  # as shells report them
SAVED = STATUS | {signal.SIGINT: 0}
every_signal = pytest.mark.parametrize("number", STATUS)


@pytest.fixture
def command(pictures, random_checkpoint, tmp_path) -> list[str]:
    """Arguments of a run with a film. Its output is `out/out.png`."""
    output, film = tmp_path / "out" / "out.png", tmp_path / "out" / "film.webp"
    flags = ["--size", 32, "--steps", 3, "--no-sketch", "--backbone", random_checkpoint, "--film", film]
    return [str(argument) for argument in (*pictures, "-o", output, *flags)]


@pytest.fixture
def handlers() -> dict:
    """What the signals do before a run; afterwards they must do the same."""
    before = {number: signal.getsignal(number) for number in STATUS}
    yield before
    assert {number: signal.getsignal(number) for number in STATUS} == before


@pytest.fixture
def raise_at(monkeypatch):
    """Let a run send itself signals after its step `step`, and count its steps: `steps = raise_at(step, *numbers)`."""

    def raise_at(step: int, *numbers: int) -> list[int]:
        steps = []

        def stylize(*arguments, **options):
            for result in original(*arguments, **options):
                steps.append(result.step)
                yield result
                if result.step == step:
                    for number in numbers:
                        signal.raise_signal(number)

        original = nst.stylization.stylize
        monkeypatch.setattr("nst.stylization.stylize", stylize)
        return steps

    return raise_at


def messages(capfd) -> list[str]:
    """Return the lines on standard error that are no progress bar."""
    return [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("nst")]


@every_signal
def test_a_stopped_run_keeps_its_picture_its_recipe_and_its_film(
    command, handlers, raise_at, capfd, tmp_path, monkeypatch, number
):
    raise_at(1, number)
    written = []
    original = Image.Image.save

    def save(image, path, *arguments, **options):  # a second signal comes while the picture is written
        if isinstance(path, str):  # not a frame that the film holds in memory
            signal.raise_signal(signal.SIGTERM)
            written.append(path)
        return original(image, path, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    assert cli.main(command) == SAVED[number]
    assert written
    by = "" if number == signal.SIGINT else f" by {number.name}"
    folder = tmp_path / "out"
    assert messages(capfd) == [
        f"nst: stopped at step 2 of 3{by}; the picture is in {folder / 'out.png'}, the film in {folder / 'film.webp'}"
    ]
    assert read_recipe(folder / "out.png").steps_done == 2
    with Image.open(folder / "film.webp") as film:
        assert film.n_frames == 2
    assert sorted(path.name for path in folder.iterdir()) == ["film.webp", "out.png"]


@every_signal
def test_before_the_first_step_nothing_is_saved_and_one_line_says_so(
    command, handlers, raise_at, capfd, tmp_path, number
):
    command.remove("--no-sketch")
    steps = raise_at(0, number, signal.SIGTERM)
    assert cli.main([*command, "--size", "64"]) == STATUS[number]
    assert steps == [0]  # it does not wait for the end of the sketch
    assert messages(capfd) == ["nst: stopped before the first step; nothing was saved"]
    assert not (tmp_path / "out").exists()


def test_a_signal_during_the_last_step_changes_nothing(command, handlers, raise_at, capfd):
    raise_at(3, signal.SIGTERM)
    assert cli.main(command) == 0
    assert messages(capfd) == []


@every_signal
def test_an_ignored_signal_stays_ignored(command, raise_at, capfd, number):
    """`nohup` ignores SIGHUP, and shells ignore Ctrl-C for programs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        raise_at(1, number)
        assert cli.main(command) == 0
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert messages(capfd) == []


def test_the_command_works_outside_the_main_thread(command, handlers, tmp_path):
    status = []
    thread = threading.Thread(target=lambda: status.append(cli.main(command)))
    thread.start()
    thread.join()
    assert status == [0] and (tmp_path / "out" / "out.png").exists()


@every_signal
def test_a_batch_keeps_its_finished_pictures(pictures, handlers, monkeypatch, capfd, tmp_path, number, command):
    paint_all = batch.paint_all

    def paint_one(*arguments, **options):
        for outcome in paint_all(*arguments, **options):
            signal.raise_signal(number)
            yield outcome

    monkeypatch.setattr(batch, "paint_all", paint_one)
    flags = command[command.index("--size") : command.index("--film")]
    arguments = ["batch", tmp_path, "--style", pictures[1], "--out", tmp_path / "out", *flags]
    assert cli.main(list(map(str, arguments))) == STATUS[number]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["painting.png"]
    assert messages(capfd)[-1] == "nst: stopped; 1 of 2 pictures are done; run the same command again to continue"


def test_a_process_that_waits_for_the_others_of_its_batch_stops(monkeypatch):
    import torch

    class Store:
        def __init__(self, *_, **__):
            pass

        def set(self, *_):
            pass

        def check(self, _):
            return False  # the others were stopped and will never answer

    monkeypatch.setattr(torch.distributed, "TCPStore", Store)
    environment = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "x", "MASTER_PORT": "1", "WORLD_SIZE": "2"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert batch.count_failures(3, should_stop=lambda: True) == 3


def test_a_forked_child_does_not_inherit_the_request():
    with catch_stop_signals() as stop:
        stop.hold()
        if (child := os.fork()) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert not stop.is_set()


def test_only_the_first_signal_raises(handlers):
    with catch_stop_signals() as stop:
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set() and stop.status == 129


# Real processes


def start(command: list[str], steps: int, **options) -> subprocess.Popen:
    arguments = [sys.executable, "-m", "nst", *command, "--steps", str(steps)]
    return subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, **options)


def read_until(descriptor: int, text: bytes) -> None:
    output = b""
    while text not in output:
        output += (piece := os.read(descriptor, 1000))
        assert piece, output


@pytest.mark.slow
def test_timeout_keeps_the_picture(command, tmp_path):
    """`timeout` sends SIGTERM to the program and then to its whole group, so that it comes twice."""
    arguments = ["timeout", "--preserve-status", "30", sys.executable, "-m", "nst", *command, "--steps", "10000"]
    result = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 143 and "by SIGTERM; the picture is in" in result.stderr.splitlines()[-1], result.stderr
    assert read_recipe(tmp_path / "out" / "out.png").steps_done > 1


@pytest.mark.slow
def test_a_closed_terminal_keeps_the_picture(command, tmp_path):
    """The terminal's end is a SIGHUP, and afterwards nothing can be written to it."""
    master, terminal = os.openpty()
    login = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.executable, [sys.executable, '-m', 'nst', *sys.argv[1:]])"
    )
    arguments = [sys.executable, "-c", login, *command, "--steps", "10000", "--json"]
    process = subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, stdin=terminal, stdout=terminal, stderr=terminal)
    try:
        os.close(terminal)
        read_until(master, b"total")
        os.close(master)
        assert process.wait(120) == 129
    finally:
        process.kill()
        process.wait()
    assert read_recipe(tmp_path / "out" / "out.png").steps_done > 1
    assert (tmp_path / "out" / "film.webp").exists()


@pytest.mark.slow
def test_a_reader_of_the_progress_that_leaves_costs_no_picture(command, tmp_path):
    process = start(command, 30, stderr=subprocess.PIPE)
    read_until(process.stderr.fileno(), b"total")
    process.stderr.close()
    assert process.wait(120) == 0
    assert read_recipe(tmp_path / "out" / "out.png").steps_done == 30
