"""`python -m nst` as a shell runs it: exit status, stdout and stderr, and the files that it leaves."""

import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import make_picture
from helpers.shell import ENVIRONMENT, ROOT, shell
from nst import cli, read_recipe, save_result
from nst.arguments import SETTING_FLAGS

KEYS = ["output", "width", "height", "steps", "seconds", "content_loss", "laplacian_loss", "style_loss", "tv_loss",
        "total_loss", "backbone", "preset"]  # fmt: skip
nst = functools.partial(shell, "-m", "nst")


def run_here(*arguments: object) -> int:
    """Run the command in this process, which has imported torch already. Return its exit status."""
    return cli.main([str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """Run a command that must be refused with status 2. Return its single line on stderr, without `nst: `."""
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
    """The folder and the result of a run with nearly every flag."""
    folder = tmp_path_factory.mktemp("finished")
    result = nst(
        *small_pictures, "--output", folder / "new" / "out.png", "--preset", "quick", "--size", 64, "--steps", 5,
        "--content-weight", 2, "--style-weight", "3e2", "--tv-weight", 0.5, "--seed", 7, "--init", "noise",
        "--style-scale", 0.8, "--preserve-colours", "--strength", 0.7, "--sharpness", 0,
        "--backbone", random_checkpoint, "--device", "cpu", "--precision", "float32", "--save-every", 2, "--json",
    )  # fmt: skip
    return folder / "new", result


def test_every_flag_together_paints_a_picture(finished):
    folder, result = finished
    assert result.returncode == 0, result.stderr
    with Image.open(folder / "out.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 48))
        assert np.asarray(picture).std() > 5


def test_the_json_is_one_line_with_the_documented_keys(finished, random_checkpoint):
    folder, result = finished
    assert result.stdout.count("\n") == 1 and result.stdout.endswith("\n")
    report = json.loads(result.stdout)
    assert list(report) == KEYS
    assert report["output"] == str(folder / "out.png")
    assert (report["width"], report["height"], report["steps"]) == (64, 48, 5)
    assert (report["backbone"], report["preset"]) == (str(random_checkpoint), "quick")
    assert 0 < report["seconds"] < 120


def test_the_flags_reach_the_run(finished, small_pictures, random_checkpoint):
    """The same run through the library has the same losses, bit by bit, and the same picture."""
    import torch

    from nst.settings import StyleSettings
    from nst.stylization import stylize

    folder, result = finished
    settings = StyleSettings.preset(
        "quick", size=64, steps=5, content_weight=2, style_weight=300, tv_weight=0.5, seed=7, init="noise",
        style_scale=0.8, preserve_colours=True, strength=0.7, sharpness=0,
        backbone=str(random_checkpoint), device="cpu", precision="float32",
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on the number of threads
    *_, last = stylize(*small_pictures, settings)
    torch.set_num_threads(threads)
    report = json.loads(result.stdout)
    for name in ("content_loss", "laplacian_loss", "style_loss", "tv_loss", "total_loss"):
        assert report[name] == getattr(last, name)
    with Image.open(folder / "out.png") as picture:
        assert picture.tobytes() == last.image.tobytes()


def test_progress_goes_to_stderr(finished):
    _, result = finished
    assert "5/5" in result.stderr and "total" in result.stderr and "Traceback" not in result.stderr


def test_save_every_saves_intermediate_pictures(finished):
    folder, _ = finished
    assert sorted(p.name for p in folder.iterdir()) == ["out-00002.png", "out-00004.png", "out.png"]
    pictures = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            assert picture.size == (64, 48)
            pictures.append(picture.tobytes())
    assert len(set(pictures)) == 3


@pytest.mark.slow
def test_without_json_stdout_stays_empty_and_the_suffix_chooses_the_format(
    small_pictures, random_checkpoint, tmp_path, capfd
):
    output = tmp_path / "Result.JPG"
    output.write_bytes(b"an older result")
    flags = ["--size", 64, "--steps", 1, "--backbone", random_checkpoint]
    assert run_here(*small_pictures, "-o", output, *flags) == 0
    assert capfd.readouterr().out == ""
    with Image.open(output) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 48))
    assert list(tmp_path.iterdir()) == [output]


# The recipe in the result


@pytest.fixture
def small_run(random_checkpoint) -> list[object]:
    return ["--size", 64, "--steps", 4, "--backbone", random_checkpoint, "--device", "cpu", "--precision", "float32"]


def test_the_result_and_the_intermediate_pictures_contain_their_recipe(finished, random_checkpoint):
    folder, _ = finished
    for name, step in (("out.png", 5), ("out-00002.png", 2), ("out-00004.png", 4)):
        with Image.open(folder / name) as picture:
            recipe = json.loads(picture.info["nst-recipe"])
        assert recipe["steps_done"] == step
        settings = recipe["settings"]
        assert (settings["size"], settings["steps"], settings["style_weight"], settings["seed"]) == (64, 5, 300.0, 7)
        assert settings["backbone"] == "file"
        assert recipe["backbone_sha256"] == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()
        assert str(folder.parent) not in (folder / name).read_bytes().decode("latin-1")


@pytest.mark.parametrize("name", ["out.png", "out-00002.png"])
def test_the_recipe_of_a_picture_paints_the_same_bytes(
    finished, small_pictures, random_checkpoint, tmp_path, capfd, name
):
    """This holds for an intermediate picture too."""
    folder, _ = finished
    output = tmp_path / "again.png"
    flags = ["--recipe", folder / name, "--backbone", random_checkpoint, "--json"]
    assert run_here(*small_pictures, "-o", output, *flags) == 0
    assert output.read_bytes() == (folder / name).read_bytes()
    out, err = capfd.readouterr()
    assert "warning" not in err and json.loads(out)["preset"] is None


def test_flags_override_the_recipe(finished, small_pictures, random_checkpoint, tmp_path):
    folder, _ = finished
    output = tmp_path / "other.png"
    flags = ["--recipe", folder / "out-00002.png", "--backbone", random_checkpoint, "--steps", 3, "--style-weight", 20]
    assert run_here(*small_pictures, "-o", output, *flags) == 0
    with Image.open(output) as picture:
        recipe = json.loads(picture.info["nst-recipe"])
    assert (recipe["settings"]["steps"], recipe["steps_done"], recipe["settings"]["style_weight"]) == (3, 3, 20.0)
    assert (recipe["settings"]["seed"], recipe["settings"]["init"]) == (7, "noise")


def test_pictures_or_a_backbone_other_than_the_recipes_are_used_with_a_warning(
    finished, small_pictures, random_checkpoint, tmp_path, capfd
):
    folder, _ = finished
    content, style = small_pictures
    flags = ["--recipe", folder / "out.png", "--backbone", random_checkpoint, "--steps", 1]
    assert run_here(style, style, "-o", tmp_path / "out.png", *flags) == 0
    assert "nst: warning: not the recipe's content picture\n" in capfd.readouterr().err
    other = shutil.copy(random_checkpoint, tmp_path / "other.safetensors")
    data = bytearray(other.read_bytes())
    data[-1] ^= 1  # change a bit of the last weight
    other.write_bytes(data)
    assert run_here(content, content, "-o", tmp_path / "out.png", *flags[:2], "--backbone", other, "--steps", 1) == 0
    assert "nst: warning: not the recipe's style picture, not its backbone\n" in capfd.readouterr().err


def test_a_recipe_that_cannot_be_repeated_is_used_with_a_warning(
    finished, small_pictures, random_checkpoint, tmp_path, capfd
):
    recipe = replace(read_recipe(finished[0] / "out.png"), repeatable=False)
    save_result(make_picture(64, 48), tmp_path / "continued.png", recipe)
    flags = ["--recipe", tmp_path / "continued.png", "--backbone", random_checkpoint, "--steps", 1]
    assert run_here(*small_pictures, "-o", tmp_path / "out.png", *flags) == 0
    assert "nst: warning: that run was continued with other settings or more steps" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe", "{folder}/out.png"], "name that file with --backbone"),
        (["--recipe", "{folder}/out.png", "--preset", "fine"], "--preset and --recipe"),
        (["--recipe", "{content}"], "no recipe in it"),
        (["--recipe", "missing.png"], "missing.png: no such file"),
        (["--recipe", "README.md"], "README.md: not a picture"),
    ],
    ids=["file", "preset", "none", "missing", "text"],
)
def test_recipes_that_cannot_be_followed_are_refused(finished, small_pictures, tmp_path, capfd, flags, message):
    names = {"folder": finished[0], "content": small_pictures[0]}
    flags = [flag.format(**names) for flag in flags]
    assert run_here(*small_pictures, "-o", tmp_path / "out.png", *flags) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


# Sixteen bits, transparency, film


def test_a_run_saves_sixteen_bits_the_photos_transparency_and_a_film(small_pictures, small_run, tmp_path):
    content, style = small_pictures
    with Image.open(content) as picture:
        photo = picture.convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 48, 72))
    photo.save(tmp_path / "photo.png")
    output, film = tmp_path / "out.png", tmp_path / "film" / "process.webp"
    flags = ["--bits", 16, "--keep-alpha", "--film", film, "--save-every", 3]
    assert run_here(tmp_path / "photo.png", style, "-o", output, *small_run, *flags) == 0
    from torchvision.io import ImageReadMode, decode_image

    deep = decode_image(str(output), mode=ImageReadMode.UNCHANGED).numpy()
    assert (deep.dtype, deep.shape) == (np.uint16, (4, 48, 64))
    assert (deep[3, :, :31] == 0).all() and (deep[3, :, 33:] == 65535).all()
    visible = deep[:3, :, 33:]
    inner = visible[(visible > 0) & (visible < 65535)]  # neither black nor white
    assert inner.size > 1000 and (inner % 257 != 0).mean() > 0.9  # values that eight bits cannot hold
    with Image.open(tmp_path / "out-00003.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (64, 48))
    with Image.open(film) as animation:
        assert (animation.format, animation.n_frames, animation.size) == ("WEBP", 7, (64, 48))  # the sketch's three too


def test_a_photo_without_transparency_gives_an_opaque_picture(small_pictures, small_run, tmp_path):
    assert run_here(*small_pictures, "-o", tmp_path / "out.tif", *small_run, "--keep-alpha") == 0
    with Image.open(tmp_path / "out.tif") as picture:
        assert (picture.format, picture.mode, picture.size) == ("TIFF", "RGB", (64, 48))
        assert json.loads(picture.tag_v2[270])["steps_done"] == 4


@pytest.mark.slow
def test_a_film_of_a_long_run_leaves_out_steps(small_pictures, small_run, tmp_path):
    film = tmp_path / "film.mp4"
    assert run_here(*small_pictures, "-o", tmp_path / "out.png", *small_run, "--steps", 90, "--film", film) == 0
    import av

    with av.open(str(film)) as file:
        frames = sum(1 for _ in file.decode(video=0))
    assert frames == 3 + 30 + 14  # the sketch, every third step, and the last picture for longer


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("out.jpg", ["--bits", "16"], "--bits 16"),
        ("out.webp", ["--keep-alpha"], "--keep-alpha"),
        ("out.png", ["--bits", "12"], "--bits"),
        ("out.png", ["--film", "{}/film.gif"], ".webp or .mp4"),
        ("out.webp", ["--film", "{}/out.webp"], "a file each"),
        ("out.png", ["--film", "{}/file/film.mp4"], "cannot be written"),
    ],
)
def test_an_output_that_does_not_fit_its_flags_is_refused_before_painting(
    small_pictures, tmp_path, capfd, name, flags, message
):
    (tmp_path / "file").write_text("in the way")
    try:
        status = run_here(*small_pictures, "-o", tmp_path / name, *(flag.format(tmp_path) for flag in flags))
    except SystemExit as end:  # raised by the parser
        status = end.code
    out, err = capfd.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Input that cannot be used


@pytest.mark.parametrize(
    ("flags", "message"),
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
def test_wrong_flags_are_refused_in_one_line_and_leave_no_file(small_pictures, tmp_path, flags, message):
    assert message in refused(*small_pictures, "-o", tmp_path / "out.png", *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["photo.png"], ["photo.png", "painting.png"], ["-o", "out.png"]])
def test_missing_arguments_are_refused_in_one_line(arguments):
    assert "required" in refused(*arguments)


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.xbm", "out.hdf"])
def test_an_output_format_that_cannot_be_written_is_refused(small_pictures, tmp_path, name):
    assert name in refused(*small_pictures, "-o", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["file/out.png", "file/deep/out.png", "folder.png"])
def test_an_output_that_cannot_be_written_is_refused_before_painting(small_pictures, tmp_path, path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    assert "cannot be written" in refused(*small_pictures, "-o", tmp_path / path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_before_painting(small_pictures, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written" in refused(*small_pictures, "-o", tmp_path / "out.png")


@pytest.mark.parametrize(
    ("problem", "message"),
    [("missing", "bad.png: no such file"), ("text", "bad.png: not a picture"), ("empty", "bad.png: the file is empty"),
     ("backbone", "bad.safetensors: no such checkpoint")],
)  # fmt: skip
def test_unusable_files_are_refused_in_one_line_and_leave_the_old_result(
    small_pictures, random_checkpoint, tmp_path, capfd, problem, message
):
    content, style = small_pictures
    bad, output = tmp_path / "bad.png", tmp_path / "out.png"
    if problem in ("text", "empty"):
        bad.write_bytes(b"not a picture" if problem == "text" else b"")
    checkpoint = bad.with_suffix(".safetensors") if problem == "backbone" else random_checkpoint
    output.write_bytes(b"an older result")
    before = sorted(p.name for p in tmp_path.iterdir())
    photo = content if problem == "backbone" else bad
    assert run_here(photo, style, "-o", output, "--backbone", checkpoint) == 2
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(rf"nst: {re.escape(message)}[^\n]*\n", err), err
    assert output.read_bytes() == b"an older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("problem", "message"), [("cut short", "damaged"), ("a sliver", "short side"), ("style", "no such file")]
)
def test_problems_that_appear_late_are_refused_in_one_line(
    small_pictures, random_checkpoint, tmp_path, capfd, problem, message
):
    content, style = small_pictures
    bad, output = tmp_path / "bad.png", tmp_path / "new" / "out.png"
    if problem == "a sliver":
        make_picture(10, 600).save(bad)
    elif problem == "cut short":
        bad.write_bytes(content.read_bytes()[:2000])
    files = (content, bad) if problem == "style" else (bad, style)
    flags = ("-o", output, "--size", 64, "--backbone", random_checkpoint)
    assert run_here(*files, *flags) == 2
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(rf"nst: [^\n]*{message}[^\n]*\n", err), err
    assert not output.parent.exists()


ADDRESSES = {
    "https://example.org/a.jpg": "https://example.org/a.jpg: this is an address, not a path: download",
    "HTTP://example.org/a.jpg": "HTTP://example.org/a.jpg: this is an address, not a path: download",
    "ftp://example.org/a.jpg": "download",
    "s3://bucket/a.jpg": "download",
    "file:///tmp/my%20photo.jpg": "give the path without file://, which is /tmp/my photo.jpg.",
    "data:image/png;base64,iVBORw0KGgo" + "A/" * 5000: "save it as a file",
}


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address[:20])
@pytest.mark.parametrize("place", ["content", "style", "batch", "several"])
def test_an_address_in_the_place_of_a_picture_is_refused_with_advice(
    small_pictures, tmp_path, capfd, address, place, random_checkpoint
):
    content, style = small_pictures
    flags = ("--backbone", random_checkpoint, "--size", 64)
    arguments = {
        "content": (address, style, "-o", tmp_path / "out.png"),
        "style": (content, address, "-o", tmp_path / "out.png"),
        "batch": ("batch", address, "--style", style, "--out", tmp_path / "out"),
        "several": ("batch", content.parent, "--style", style, "--style", f"{address}:2", "--out", tmp_path / "out"),
    }[place]
    assert run_here(*arguments, *flags) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and ADDRESSES[address] in err and len(err) < 300, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["https://example.org/out.png", "file:///tmp/out.png", "data:image/png,"])
@pytest.mark.parametrize("flag", ["-o", "--film", "--recipe", "--backbone", "--out"])
def test_an_address_in_another_place_is_refused_and_makes_no_folder(
    small_pictures, tmp_path, capfd, monkeypatch, flag, address
):
    monkeypatch.chdir(tmp_path)
    if flag == "--out":
        arguments = ["batch", small_pictures[0].parent, "--style", small_pictures[1], "--out", address]
    else:
        arguments = [*small_pictures, "-o", "out.png", flag, address]
    assert run_here(*arguments) == 2
    assert re.fullmatch(r"nst: [^\n]*this is an address, not a path[^\n]*\n", err := capfd.readouterr().err), err
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_name_looks_like_an_address_is_read(small_pictures, small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data:").mkdir()
    shutil.copy(small_pictures[0], "data:/photo.png")
    assert run_here("data:/photo.png", small_pictures[1], "-o", "out.png", *small_run, "--steps", 1) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "-o folder",
            "folder: cannot be written, because this is a folder; name a file in it, such as folder/result.png",
        ),
        ("-o folder/", "name a file in it, such as folder/result.png"),
        ("-o new/", "name a file in it, such as new/result.png"),
        ("-o .", "name a file in it, such as result.png"),
        ("-o=", "name it, such as result.png"),
        ("-o out", "the name needs a suffix, which chooses the format: out.png"),
        ("-o folder/out.", "the name needs a suffix, which chooses the format: out.png"),
        ("-o .png", "the name needs a suffix, which chooses the format: result.png"),
        ("-o=-", "the name needs a suffix, which chooses the format: result.png"),
        ("-o out.xyz", "use .png, .tif, .jpg, .webp or .avif"),
        ("-o out.mp4", "use .png, .tif, .jpg, .webp or .avif"),
        ("-o out.ico", "use .png, .tif, .jpg, .webp or .avif"),
        ("-o out.png --film folder", "name a file in it, such as folder/film.mp4"),
    ],
)
def test_an_output_that_is_no_file_is_refused_with_advice(small_pictures, tmp_path, capfd, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert run_here(*small_pictures, *flags.split()) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and message in err, err
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("folder {style} -o out.png", "folder: this is a folder; to paint all photos in it: nst batch folder --style"),
        ("{content} folder -o out.png", "folder: this is a folder; name one painting in it"),
        ("batch {content} --style {style} --out out", "because it is a file; to paint one photo: nst"),
        ("batch folder --style folder:2 --out out", "folder: this is a folder; name one painting in it, and repeat"),
        ("batch folder --style {style} --out {content}", "photo.png: this is a file; name a folder"),
    ],
)
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused_with_advice(
    small_pictures, tmp_path, capfd, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    content, style = small_pictures
    assert run_here(*arguments.format(content=content, style=style).split()) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and message in err, err
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


# Ctrl-C


@pytest.mark.slow
def test_ctrl_c_saves_the_last_picture(small_pictures, random_checkpoint, tmp_path):
    output = tmp_path / "out.png"
    command = [sys.executable, "-m", "nst", *small_pictures, "-o", output, "--size", 64, "--steps", 10_000,
               "--backbone", random_checkpoint, "--json"]  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        progress = b""
        while b"total" not in progress:  # until the bar after the first step
            progress += (piece := os.read(process.stderr.fileno(), 1000))
            assert piece, progress
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # some launchers repeat the signal that the terminal has sent
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    stderr = (progress + stderr).decode()
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    report = json.loads(stdout)
    assert 1 <= report["steps"] < 10_000
    assert stderr.splitlines()[-1].startswith(f"nst: stopped at step {report['steps']} of 10000")
    with Image.open(output) as picture:
        picture.load()
        assert picture.size == (64, 48)
    assert list(tmp_path.iterdir()) == [output]


def test_ctrl_c_before_the_first_step_ends_with_one_line(monkeypatch, capsys, small_pictures, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nst.stylization.stylize", interrupt)
    handler = signal.getsignal(signal.SIGINT)
    assert run_here(*small_pictures, "-o", tmp_path / "out.png") == 130
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "nothing was saved" in err
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []


# Help


def test_the_help_names_every_flag_and_imports_no_torch():
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
    flags = ["-o", "--output", "--recipe", "--preset", "--bits", "--keep-alpha", "--film", "--save-every", "--json"]
    for flag in (*flags, *(f"--{name}" for name in SETTING_FLAGS)):
        assert re.search(rf"{flag}\b", result.stdout), flag
    batch_help = nst("batch", "--help").stdout
    assert batch_help.startswith("usage: nst batch ")
    for flag in ("--style", "--out", "--preset", *(f"--{name}" for name in SETTING_FLAGS)):
        assert re.search(rf"{flag}\b", batch_help), flag


def test_wrong_flags_are_refused_without_importing_torch(small_pictures, tmp_path):
    code = "import sys\nfrom nst.cli import main\nassert main(sys.argv[1:]) == 2\nassert 'torch' not in sys.modules"
    result = shell("-c", code, *small_pictures, "-o", tmp_path / "out.png", "--preset", "best")
    assert result.returncode == 0, result.stderr
