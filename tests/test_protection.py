"""No command destroys a file of the user: not an input, and nothing that this program did not write."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from helpers.pictures import make_picture
from nst import cli
from nst.output.recipe import read_recipe

FLAGS = ("--size", "32", "--steps", "2", "--no-sketch")


@pytest.fixture
def folder(tmp_path, random_checkpoint) -> Path:
    """A folder with a photo, a painting, a network, links to the photo under other names, and a folder of photos."""
    make_picture(48, 40, seed=1).save(tmp_path / "photo.png")
    make_picture(40, 40, seed=2).save(tmp_path / "painting.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.png")
    os.link(tmp_path / "photo.png", tmp_path / "hard.png")
    (tmp_path / "photos").mkdir()
    make_picture(40, 32, seed=3).save(tmp_path / "photos" / "a.png")
    make_picture(40, 32, seed=4).save(tmp_path / "photos" / "b.png")
    shutil.copy(random_checkpoint, tmp_path / "network.safetensors")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the bytes of all files below the folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def nst(folder: Path, *arguments: object) -> int:
    backbone = ("--backbone", folder / "network.safetensors")
    return cli.main([str(argument) for argument in (*arguments, *FLAGS, *backbone)])


@pytest.mark.parametrize(
    "arguments",
    [
        "photo.png painting.png -o photo.png",
        "photo.png painting.png -o painting.png",
        "photo.png painting.png -o link.png",
        "photo.png painting.png -o hard.png",
        "link.png painting.png -o photo.png",
        "photo.png painting.png -o photos/../photo.png",
        "photo.png photo.webp -o out.png --film photo.webp",
        "photo-00002.png painting.png -o photo.jpg --save-every 1",
        "photo-00002.png painting.png -o photo.png --save-every 1",
    ],
)
def test_an_output_that_is_an_input_is_refused(folder, capsys, monkeypatch, arguments):
    make_picture(32, 32).save(folder / "photo.webp")
    make_picture(32, 32).save(folder / "photo-00002.png")
    if "photo-00002.png painting.png -o photo.jpg" in arguments:
        shutil.copy(folder / "photo.png", folder / "photo-00002.jpg")
        arguments = arguments.replace("photo-00002.png", "photo-00002.jpg", 1)
    monkeypatch.chdir(folder)
    before = contents(folder)
    assert nst(folder, *arguments.split()) == 2
    assert contents(folder) == before
    message = capsys.readouterr().err
    assert "one of the inputs" in message and message.count("\n") == 1


def test_the_recipe_and_the_network_are_inputs_too(folder, capsys):
    assert nst(folder, folder / "photo.png", folder / "painting.png", "-o", folder / "out.png") == 0
    painted = [folder / "photo.png", folder / "painting.png", "--recipe", folder / "out.png"]
    before = contents(folder)
    assert nst(folder, *painted, "-o", folder / "out.png") == 2
    assert contents(folder) == before
    assert "one of the inputs" in capsys.readouterr().err


def test_saved_stages_leave_other_files_alone_and_the_run_goes_on(folder, capsys):
    other = folder / "out-00001.png"
    make_picture(20, 20, seed=5).save(other)
    kept = other.read_bytes()
    paint = (folder / "photo.png", folder / "painting.png", "-o", folder / "out.png", "--save-every", 1)
    assert nst(folder, *paint) == 0
    assert other.read_bytes() == kept
    assert "out-00001.png: kept" in capsys.readouterr().err
    assert read_recipe(folder / "out-00002.png").steps_done == 2
    assert nst(folder, *paint, "--overwrite") == 0
    assert read_recipe(other).steps_done == 1
    assert nst(folder, *paint) == 0  # its own files are replaced without a question
    assert "kept" not in capsys.readouterr().err


def test_a_batch_leaves_other_files_alone_and_goes_on(folder, capsys):
    out = folder / "out"
    out.mkdir()
    Image.new("RGB", (9, 9), "red").save(out / "a.png")
    Image.new("RGB", (9, 9), "red").save(out / "b.webp")
    before = contents(out)
    batch = ("batch", folder / "photos", "--style", folder / "painting.png", "--out", out, "--film", "webp")
    assert nst(folder, *batch) == 1
    assert contents(out) == before
    message = capsys.readouterr().err
    assert "a.png: kept" in message and "b.webp: kept" in message
    assert nst(folder, *batch, "--overwrite") == 0
    assert read_recipe(out / "a.png") and Image.open(out / "b.webp").n_frames > 1
    assert nst(folder, *batch, "--seed", 1) == 0  # its own results and films are replaced


@pytest.mark.parametrize("kind", [".webp", ".mp4"])
def test_a_film_is_known_by_its_mark(folder, kind):
    from nst.output.film import Film, is_marked

    film = Film()
    film.stored = [(folder / "photo.png").read_bytes()] * 2
    assert is_marked(film.save(folder / f"film{kind}"))
    Image.new("RGB", (9, 9)).save(folder / "other.webp")
    shutil.copy(folder / "photo.png", folder / "other.mp4")
    assert not is_marked(folder / f"other{kind}")
    assert not is_marked(folder / f"missing{kind}")


def test_a_batch_never_writes_over_its_inputs(folder, capsys):
    out = folder / "out"
    out.mkdir()
    os.link(folder / "photos" / "a.png", out / "a.png")
    (out / "b.png").symlink_to(folder / "painting.png")
    before = contents(folder)
    batch = ("batch", folder / "photos", "--style", folder / "painting.png", "--out", out, "--overwrite")
    assert nst(folder, *batch) == 2
    assert contents(folder) == before
    assert "one of the inputs" in capsys.readouterr().err
