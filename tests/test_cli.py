"""`python -m nst` as a shell runs it: exit status, what is on stdout and stderr, and the files it leaves."""

import functools
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, make_picture, shell
from PIL import Image

from nst import cli

KEYS = ["output", "width", "height", "steps", "seconds", "content_loss", "style_loss", "tv_loss", "total_loss",
        "backbone", "preset"]  # fmt: skip
nst = functools.partial(shell, "-m", "nst")


def refused(*arguments: object) -> str:
    """The one line on stderr of a command that must be refused with status 2."""
    result = nst(*arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert re.fullmatch(r"nst: [^\n]+\n", result.stderr), result.stderr
    return result.stderr[len("nst: ") : -1]


@pytest.fixture(scope="module")
def small_pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    make_picture(96, 72, seed=1).save(folder / "photo.png")
    make_picture(80, 80, seed=2).save(folder / "painting.png")
    return folder / "photo.png", folder / "painting.png"


@pytest.fixture(scope="module")
def finished(small_pictures, random_checkpoint, tmp_path_factory):
    """A run with every flag there is; (folder, result)."""
    folder = tmp_path_factory.mktemp("finished")
    result = nst(
        *small_pictures, "--output", folder / "new" / "out.png", "--preset", "quick", "--size", 64, "--steps", 5,
        "--content-weight", 2, "--style-weight", "3e2", "--tv-weight", 0.5, "--seed", 7, "--init", "noise",
        "--backbone", random_checkpoint, "--device", "cpu", "--precision", "float32", "--save-every", 2, "--json",
    )  # fmt: skip
    return folder / "new", result


def test_every_flag_together_paints_a_picture(finished):
    folder, result = finished
    assert result.returncode == 0, result.stderr
    with Image.open(folder / "out.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 48))
        assert np.asarray(picture).std() > 5


def test_json_is_one_line_with_the_promised_keys(finished, random_checkpoint):
    folder, result = finished
    assert result.stdout.count("\n") == 1 and result.stdout.endswith("\n")
    report = json.loads(result.stdout)
    assert list(report) == KEYS
    assert report["output"] == str(folder / "out.png")
    assert (report["width"], report["height"], report["steps"]) == (64, 48, 5)
    assert (report["backbone"], report["preset"]) == (str(random_checkpoint), "quick")
    assert 0 < report["seconds"] < 120


def test_the_flags_reach_the_run(finished, small_pictures, random_checkpoint):
    """The same run through the library: the same losses, bit for bit, and the same picture."""
    import torch

    from nst.settings import StyleSettings
    from nst.stylization import stylize

    folder, result = finished
    settings = StyleSettings.preset(
        "quick", size=64, steps=5, content_weight=2, style_weight=300, tv_weight=0.5, seed=7, init="noise",
        backbone=str(random_checkpoint), device="cpu", precision="float32",
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on it
    *_, last = stylize(*small_pictures, settings)
    torch.set_num_threads(threads)
    report = json.loads(result.stdout)
    for name in ("content_loss", "style_loss", "tv_loss", "total_loss"):
        assert report[name] == getattr(last, name)
    with Image.open(folder / "out.png") as picture:
        assert picture.tobytes() == last.image.tobytes()


def test_progress_goes_to_stderr(finished):
    _, result = finished
    assert "5/5" in result.stderr and "total" in result.stderr and "Traceback" not in result.stderr


def test_save_every_keeps_pictures_on_the_way(finished):
    folder, _ = finished
    assert sorted(p.name for p in folder.iterdir()) == ["out-00002.png", "out-00004.png", "out.png"]
    pictures = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            assert picture.size == (64, 48)
            pictures.append(picture.tobytes())
    assert len(set(pictures)) == 3


def test_without_json_stdout_stays_empty_and_the_suffix_chooses_the_format(small_pictures, random_checkpoint, tmp_path):
    output = tmp_path / "Result.JPG"
    output.write_bytes(b"an older result")
    result = nst(*small_pictures, "-o", output, "--size", 64, "--steps", 1, "--backbone", random_checkpoint)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    with Image.open(output) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 48))
    assert list(tmp_path.iterdir()) == [output]


# Input that cannot be used


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--preset", "best"], "'best'"),
        (["--size", "31"], "size"),
        (["--size", "99999"], "size"),
        (["--size", "large"], "--size"),
        (["--steps", "0"], "steps"),
        (["--style-weight", "-1"], "style_weight"),
        (["--content-weight", "nan"], "content_weight"),
        (["--tv-weight", "inf"], "tv_weight"),
        (["--init", "photo"], "init"),
        (["--device", "tpu"], "device"),
        (["--precision", "int8"], "precision"),
        (["--save-every", "0"], "--save-every"),
        (["--colour"], "--colour"),
        (["--siz", "64"], "--siz"),
        (["third.png"], "third.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_are_refused_in_one_line_and_leave_nothing(small_pictures, tmp_path, flags, said):
    assert said in refused(*small_pictures, "-o", tmp_path / "out.png", *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["photo.png"], ["photo.png", "painting.png"], ["-o", "out.png"]])
def test_missing_arguments_are_refused_in_one_line(arguments):
    assert "required" in refused(*arguments)


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.xbm", "out.hdf"])
def test_an_output_format_that_cannot_be_written_is_refused(small_pictures, tmp_path, name):
    assert name in refused(*small_pictures, "-o", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file/out.png", "file/deep/out.png", "folder.png"])
def test_an_output_that_cannot_be_written_is_refused_before_painting(small_pictures, tmp_path, where):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    assert "cannot be written" in refused(*small_pictures, "-o", tmp_path / where)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_before_painting(small_pictures, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written" in refused(*small_pictures, "-o", tmp_path / "out.png")


@pytest.mark.parametrize(
    ("problem", "said"),
    [("missing", "bad.png: no such file"), ("text", "bad.png: not a picture"), ("empty", "bad.png: the file is empty"),
     ("backbone", "bad.safetensors: no such checkpoint")],
)  # fmt: skip
def test_unusable_files_are_refused_in_one_line_and_leave_the_old_result(
    small_pictures, random_checkpoint, tmp_path, problem, said
):
    content, style = small_pictures
    bad, output = tmp_path / "bad.png", tmp_path / "out.png"
    if problem in ("text", "empty"):
        bad.write_bytes(b"not a picture" if problem == "text" else b"")
    checkpoint = bad.with_suffix(".safetensors") if problem == "backbone" else random_checkpoint
    output.write_bytes(b"an older result")
    before = sorted(p.name for p in tmp_path.iterdir())
    line = refused(content if problem == "backbone" else bad, style, "-o", output, "--backbone", checkpoint)
    assert line.startswith(said)
    assert output.read_bytes() == b"an older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("problem", "said"), [("cut short", "damaged"), ("a sliver", "short side"), ("style", "no such file")]
)
def test_problems_that_show_late_are_refused_in_one_line_too(
    small_pictures, random_checkpoint, tmp_path, capfd, problem, said
):
    content, style = small_pictures
    bad, output = tmp_path / "bad.png", tmp_path / "new" / "out.png"
    if problem == "a sliver":
        make_picture(10, 600).save(bad)
    elif problem == "cut short":
        bad.write_bytes(content.read_bytes()[:2000])
    given = (content, bad) if problem == "style" else (bad, style)
    flags = ("-o", output, "--size", 64, "--backbone", random_checkpoint)
    assert cli.main([*map(str, given), *map(str, flags)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(rf"nst: [^\n]*{said}[^\n]*\n", err), err
    assert not output.parent.exists()


# Ctrl-C


def test_ctrl_c_keeps_what_is_there(small_pictures, random_checkpoint, tmp_path):
    output = tmp_path / "out.png"
    command = [sys.executable, "-m", "nst", *small_pictures, "-o", output, "--size", 64, "--steps", 10_000,
               "--backbone", random_checkpoint, "--json"]  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        shown = b""
        while b"total" not in shown:  # the bar after the first step
            shown += (piece := os.read(process.stderr.fileno(), 1000))
            assert piece, shown
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # some launchers pass on what the terminal already sent
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    stderr = (shown + stderr).decode()
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    report = json.loads(stdout)
    assert 1 <= report["steps"] < 10_000
    assert stderr.splitlines()[-1].startswith(f"nst: stopped at step {report['steps']} of 10000")
    with Image.open(output) as picture:
        picture.load()
        assert picture.size == (64, 48)
    assert list(tmp_path.iterdir()) == [output]


def test_ctrl_c_before_the_first_step_is_no_crash(monkeypatch, capsys, small_pictures, tmp_path):
    def loading(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nst.stylization.stylize", loading)
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main([*map(str, small_pictures), "-o", str(tmp_path / "out.png")]) == 130
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "nothing was saved" in err
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []


# Help


def test_help_names_every_flag_without_waiting_for_torch():
    code = (
        "import sys\n"
        "from nst.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "print(sorted({'torch', 'torchvision', 'numpy', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    result = shell("-c", code)
    assert result.stderr == "[]\n"
    for flag in ("-o", "--output", "--preset", "--save-every", "--json", *(f"--{name}" for name in cli.SETTING_FLAGS)):
        assert re.search(rf"{flag}\b", result.stdout), flag
    assert shell("-m", "nst", "--help").stdout.startswith("usage: nst ")


def test_wrong_flags_are_refused_without_waiting_for_torch(small_pictures, tmp_path):
    code = (
        "import sys\n"
        "from nst.cli import main\n"
        "assert main(sys.argv[1:]) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    result = shell("-c", code, *small_pictures, "-o", tmp_path / "out.png", "--preset", "best")
    assert result.returncode == 0, result.stderr
