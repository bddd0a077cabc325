"""`nst video`: a clip becomes a video, and after any stop the same command gives the same frames."""

import itertools
import os
import random
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.clips import pan, read_tone, read_video, write_clip
from helpers.pictures import make_picture
from helpers.shell import shell
from nst import cli
from nst.io.tensors import to_tensor
from nst.output.film import is_marked
from nst.video import job, work_folder
from nst.video.clips import Clip
from nst.video.painting import VideoPainter
from nst.video.past import PaintedFrame
from tools.reliability.videos import paint_with_kills

FRAMES, CUT = 12, 7


@pytest.fixture
def command(tmp_path, random_checkpoint):
    """A function that runs the command in this process, on a clip of 12 frames with a cut. Returns the exit status."""
    clip = write_clip(tmp_path / "clip.mp4", pan(FRAMES, cut=CUT), sound="aac")
    make_picture(60, 60, 2).save(tmp_path / "painting.png")
    usual = ["--size", "64", "--steps", "4", "--backbone", str(random_checkpoint), "--precision", "float32"]

    def run(*flags: object, source: object = clip, style: object = tmp_path / "painting.png", output: str = "out.mp4"):
        arguments = ["video", source, "--style", style, "-o", tmp_path / output, *usual, *flags]
        return cli.main(list(map(str, arguments)))

    return run


class QuickPainter:
    """A painter in the place of the real one: each frame is a mixture of the source and all that is in the memory."""

    def __init__(self, style, settings, first_number):
        self.memory = []

    def paint(self, photo: Image.Image) -> Image.Image:
        source = to_tensor(photo)
        number = self.memory[-1].number + 1 if self.memory else 0
        if number in (0, CUT):
            self.memory, canvas = [], source.clone()
        else:
            canvas = 0.5 * source + 0.5 * torch.stack([frame.canvas for frame in self.memory]).mean(0)
        scene = self.memory[0].number if self.memory else number
        self.memory = [*self.memory[:1], *self.memory[1:][-2:], PaintedFrame(number, scene, source, canvas)]
        return Image.fromarray((canvas[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(job, "VideoPainter", QuickPainter)
    monkeypatch.setattr(work_folder, "PART_FRAMES", 3)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"clip.mp4", "painting.png"}


def test_a_clip_becomes_a_video(command, tmp_path, capsys):
    assert command() == 0
    video = tmp_path / "out.mp4"
    frames = read_video(video)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * FRAMES
    codec, seconds, _ = read_tone(video)
    assert codec == "aac" and seconds == pytest.approx(1, abs=0.1)
    assert is_marked(video) and left_in(tmp_path) == {"out.mp4"}
    captured = capsys.readouterr()
    assert "12/12" in captured.err and not captured.out
    differences = [np.abs(a.astype(float) - b).mean() for a, b in itertools.pairwise(frames)]
    assert np.argmax(differences) == CUT - 1


def test_fewer_frames_a_second(command, tmp_path):
    assert command("--fps", 6) == 0
    assert len(read_video(tmp_path / "out.mp4")) == FRAMES // 2


class Crash(BaseException):
    """The end of the process, as a test plays it."""


@pytest.mark.slow
def test_a_crash_at_any_change_of_a_file_changes_no_frame(command, tmp_path, quick, monkeypatch):
    """Every file appears by `os.replace` and vanishes by `unlink`: a run ends before or after each of these."""
    assert command(output="whole.mp4") == 0
    expected = (tmp_path / "whole.mp4").read_bytes()
    changes = last = 0

    def crashing(change):
        def changed(*arguments, **options):
            nonlocal changes
            changes += 1
            if changes == last and last % 2:
                raise Crash
            change(*arguments, **options)
            if changes == last:
                raise Crash

        return changed

    replace, unlink = os.replace, os.unlink
    while True:
        last, changes = last + 1, 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", crashing(replace))
            patch.setattr(os, "unlink", crashing(unlink))
            patch.setattr(Path, "unlink", crashing(lambda path: unlink(path)))
            try:
                assert command() == 0
                break  # it has fewer changes
            except Crash:
                pass
        assert command() == 0
        assert (tmp_path / "out.mp4").read_bytes() == expected, last
        assert left_in(tmp_path) == {"out.mp4", "whole.mp4"}, last
        (tmp_path / "out.mp4").unlink()
    assert last > 50


def test_a_stopped_run_says_how_to_go_on(command, tmp_path, quick, monkeypatch, capsys):
    paint = QuickPainter.paint

    def stopping(self, photo):
        if self.memory and self.memory[-1].number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return paint(self, photo)

    monkeypatch.setattr(QuickPainter, "paint", stopping)
    assert command() == 143
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "nst: stopped; 5 of about 12 frames are done; run the same command again to continue"
    monkeypatch.setattr(QuickPainter, "paint", paint)
    assert command() == 0
    assert len(read_video(tmp_path / "out.mp4")) == FRAMES and left_in(tmp_path) == {"out.mp4"}


def test_what_is_kept_does_not_grow_with_the_clip(command, tmp_path, quick, monkeypatch):
    most = []
    keep = work_folder.WorkFolder.keep

    def counting(self, *arguments):
        keep(self, *arguments)
        most.append(sum(path.suffix != ".mp4" for path in self.path.iterdir()))

    monkeypatch.setattr(work_folder.WorkFolder, "keep", counting)
    assert command() == 0
    assert max(most) <= 8  # the job, two frames, and the memory of QuickPainter


def stop_midway(command, monkeypatch) -> None:
    paint = QuickPainter.paint
    with monkeypatch.context() as patch:
        patch.setattr(QuickPainter, "paint", lambda self, photo: 1 / 0 if len(self.memory) > 2 else paint(self, photo))
        with pytest.raises(ZeroDivisionError):
            command()


def test_another_job_does_not_go_on_from_these_frames(command, tmp_path, quick, monkeypatch, capsys):
    stop_midway(command, monkeypatch)
    other = write_clip(tmp_path / "other.mp4", pan(11))
    make_picture(60, 60, 3).save(tmp_path / "other.png")
    for options in ({"source": other}, {"style": tmp_path / "other.png"}):
        assert command(**options) == 2
        assert "has frames of another clip, painting or settings" in capsys.readouterr().err
    assert command("--seed", 3) == 2 and command("--fps", 6) == 2
    assert command() == 0


def test_a_damaged_memory_is_named(command, tmp_path, quick, monkeypatch, capsys):
    stop_midway(command, monkeypatch)
    next((tmp_path / "out.mp4.frames").glob("memory-*2.safetensors")).write_bytes(b"damaged")
    assert command() == 2
    assert "this file is damaged; delete its folder and start again" in capsys.readouterr().err


def test_other_files_are_kept(command, tmp_path, quick, capsys):
    folder = tmp_path / "out.mp4.frames"
    folder.mkdir()
    (folder / "holiday.png").write_bytes(b"mine")
    assert command() == 2 and "rename what has it" in capsys.readouterr().err
    assert (folder / "holiday.png").read_bytes() == b"mine"
    (folder / "holiday.png").unlink()
    (tmp_path / "out.mp4").write_bytes(b"mine too")
    assert command() == 2 and "--overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "out.mp4").read_bytes() == b"mine too"
    assert command("--overwrite") == 0 and command() == 0


def test_input_that_cannot_be_used_is_refused_in_one_line(command, tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "damaged.mp4").write_bytes(bytes(range(256)) * 20)
    clip, painting = tmp_path / "clip.mp4", tmp_path / "painting.png"
    for options, words in (
        ({"source": tmp_path / "empty.mp4"}, "empty.mp4: the file is empty"),
        ({"source": tmp_path / "damaged.mp4"}, "damaged.mp4: not a clip that can be read"),
        ({"source": painting}, "painting.png: a picture, not a clip"),
        ({"source": tmp_path}, "this is a folder"),
        ({"source": "https://example.org/a.mp4"}, "this is an address"),
        ({"style": clip}, "clip.mp4: not a picture"),
        ({"style": tmp_path}, "not a file"),
        ({"output": "clip.mp4"}, "this is one of the inputs"),
        ({"output": "out.avi"}, "out.avi: a video is written as .mp4"),
        ({"output": ""}, "this is a folder"),
    ):
        assert command(**options) == 2, words
        captured = capsys.readouterr()
        assert words in captured.err and captured.err.count("\n") == 1 and not captured.out, captured.err
    for flags, words in (
        (("--fps", 0.5), "--fps must be from 1 to 120"),
        (("--size", 5), "size must be"),
        (("--seamless",), "cannot be seamless"),
    ):
        assert command(*flags) == 2 and words in capsys.readouterr().err
    assert left_in(tmp_path) == {"empty.mp4", "damaged.mp4"}


def test_scenes_are_found_as_the_painter_finds_them(tmp_path, fast):
    clip = Clip(write_clip(tmp_path / "clip.mp4", pan(FRAMES, cut=CUT)))
    assert job.find_scenes(clip, fast) == [(0, CUT), (CUT, FRAMES)]
    painter = VideoPainter(make_picture(60, 60, 2), fast)
    scenes = []
    for frame in clip.frames():
        painter.paint(frame)
        scenes.append(painter.memory[-1].scene)
    assert scenes == [0] * CUT + [CUT] * (FRAMES - CUT)


@pytest.mark.slow
def test_torchrun_shares_the_scenes_and_gives_the_same_bytes(command, tmp_path, random_checkpoint):
    assert command() == 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    flags = ["--size", 64, "--steps", 4, "--backbone", random_checkpoint, "--precision", "float32"]
    done = shell("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-addr", "127.0.0.1", "--master-port",
                 port, "-m", "nst", "video", tmp_path / "clip.mp4", "--style", tmp_path / "painting.png", "-o",
                 tmp_path / "shared.mp4", *flags)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "7/7" in done.stderr and "5/5" in done.stderr
    assert (tmp_path / "shared.mp4").read_bytes() == (tmp_path / "out.mp4").read_bytes()
    assert left_in(tmp_path) == {"out.mp4", "shared.mp4"}


@pytest.mark.slow
def test_killed_processes_change_no_frame(tmp_path, random_checkpoint):
    rng = random.Random(os.environ["TEST_SEED"])
    paint_with_kills(tmp_path, 3, rng, ("--backbone", str(random_checkpoint), "--steps", "4"))


@pytest.mark.slow
def test_the_command_starts_as_a_program():
    done = shell("-m", "nst", "video", "--help")
    assert done.returncode == 0 and "--fps" in done.stdout
