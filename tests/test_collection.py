"""Many photos in many paintings: the plan, tables of pairs, the painting, and the contact sheet."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.runs import two_steps
from helpers.shell import ENVIRONMENT, ROOT
from nst import cli
from nst.engine.target_cache import TARGETS
from nst.output.contact_sheet import contents_of
from nst.output.recipe import read_recipe
from nst.settings import StyleSettings
from nst.stylization import stylize
from nst.tools import collection
from nst.tools.collection import SHEET, check_pairs, paint_pairs, plan_all, plan_pairs


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path, Path]:
    """A folder with two photos, one with two paintings, each with a file that is no picture; and one for results."""
    photos, paintings = tmp_path / "photos", tmp_path / "paintings"
    photos.mkdir()
    (paintings / "old").mkdir(parents=True)
    make_picture(64, 48, seed=1).save(photos / "a.jpg")
    make_picture(48, 64, seed=2).save(photos / "b.png")
    make_picture(70, 70, seed=3).save(paintings / "oil.png")
    make_picture(80, 60, seed=4).save(paintings / "ink.png")
    make_picture(80, 60, seed=5).save(paintings / "old" / "fresco.png")
    (photos / "notes.txt").write_text("no picture")
    (paintings / "names.txt").write_text("no picture")
    return photos, paintings, tmp_path / "out"


@pytest.fixture
def settings(random_checkpoint) -> StyleSettings:
    return two_steps(random_checkpoint)


@pytest.fixture
def flags(random_checkpoint) -> list[object]:
    return ["--preset", "quick", "--size", 64, "--steps", 2, "--backbone", random_checkpoint, "--device", "cpu"]


def run(*arguments: object) -> int:
    return cli.main(["batch", *map(str, arguments)])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def states(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in files(folder)}


def messages(capfd) -> list[str]:
    """Return the lines on standard error that are no progress bar."""
    return [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("nst:")]


ALL = ["ink/a.png", "ink/b.png", "oil/a.png", "oil/b.png"]


# The plan


def test_the_plan_has_every_photo_in_every_painting_one_painting_after_the_other(folders):
    photos, paintings, out = folders
    jobs = plan_all(photos, paintings, out)
    assert [(job.source.name, job.painting.name, str(job.target.relative_to(out))) for job in jobs] == [
        ("a.jpg", "ink.png", "ink/a.png"), ("b.png", "ink.png", "ink/b.png"),
        ("a.jpg", "oil.png", "oil/a.png"), ("b.png", "oil.png", "oil/b.png"),
    ]  # fmt: skip


def test_names_that_would_clash_are_whole_names(folders):
    photos, paintings, out = folders
    make_picture(20, 20).save(photos / "A.png")
    make_picture(20, 20).save(paintings / "ink.bmp")
    targets = [str(job.target.relative_to(out)) for job in plan_all(photos, paintings, out)]
    assert targets == [
        f"{painting}/{photo}"
        for painting in ("ink.bmp", "ink.png", "oil")
        for photo in ("A.png.png", "a.jpg.png", "b.png")
    ]


def test_folders_that_cannot_be_used_are_refused(folders, tmp_path):
    photos, paintings, out = folders
    (tmp_path / "empty").mkdir()
    assert "empty: there are no pictures" in refusal(plan_all, photos, tmp_path / "empty", out)
    assert "another folder" in refusal(plan_all, photos, paintings, paintings)
    assert "another folder" in refusal(plan_all, photos, paintings, photos)


# Tables of pairs


@pytest.mark.parametrize(
    "text",
    [
        "b.png,oil.png\na.jpg,ink.png\n",
        "Photo,Painting\r\na.jpg,ink.png\r\n\r\nb.png, oil.png\r\na.jpg,ink.png",
        '\ufeffphoto,painting\n"a.jpg","ink.png"\n"b.png","oil.png"',
    ],
    ids=["plain", "header, empty line, repeated", "byte order mark, quotes"],
)
def test_a_table_chooses_pairs(folders, tmp_path, text):
    photos, paintings, out = folders
    (tmp_path / "pairs.csv").write_bytes(text.encode())
    jobs = plan_pairs(tmp_path / "pairs.csv", photos, paintings, out)
    assert [str(job.target.relative_to(out)) for job in jobs] == ["ink/a.png", "oil/b.png"]


def test_a_table_may_name_files_in_folders_below(folders, tmp_path):
    photos, paintings, out = folders
    (tmp_path / "pairs.csv").write_text("a.jpg,old/fresco.png")
    (job,) = plan_pairs(tmp_path / "pairs.csv", photos, paintings, out)
    assert (job.painting, job.target) == (paintings / "old" / "fresco.png", out / "old" / "fresco" / "a.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,painting\na.jpg,ink.png\nmissing.jpg,ink.png", "pairs.csv, line 3: there is no photo 'missing.jpg' in"),
        ("a.jpg,ink.png\n\na.jpg,missing.png", "pairs.csv, line 3: there is no painting 'missing.png' in"),
        ("a.jpg;ink.png", "line 1: 'a.jpg;ink.png'; two columns are needed, photo and painting, with a comma"),
        ("a.jpg,ink.png,oil.png", "line 1: 'a.jpg,ink.png,oil.png'; two columns"),
        ("a.jpg,../photos/b.png", "line 1: there is no painting"),
        ("a.jpg,/etc/hostname", "line 1: there is no painting"),
        ("a.jpg,old", "line 1: there is no painting 'old'"),
        ("photo,painting\n", "there are no pairs in it"),
        ("", "there are no pairs in it"),
        ("\xff\xfe".encode("latin1"), "cannot be read (it is not a table in UTF-8)"),
        ("a.jpg,ink\0.png", "line 1: there is no painting"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(folders, tmp_path, text, message):
    photos, paintings, out = folders
    (tmp_path / "pairs.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refusal(plan_pairs, tmp_path / "pairs.csv", photos, paintings, out)


def test_a_table_that_is_missing_or_too_large_is_refused(folders, tmp_path, monkeypatch):
    photos, paintings, out = folders
    assert "no.csv: cannot be read (No such file" in refusal(plan_pairs, tmp_path / "no.csv", photos, paintings, out)
    (tmp_path / "pairs.csv").write_text("a.jpg,ink.png\n" * 10)
    monkeypatch.setattr(collection, "MAX_TABLE", 100)
    assert "over the limit" in refusal(plan_pairs, tmp_path / "pairs.csv", photos, paintings, out)


def test_two_pairs_with_one_result_are_refused(folders, tmp_path):
    """The painting `ink/x.png` with the photo `a.jpg`, and the painting `ink.png` with the photo `x/a.jpg`."""
    photos, paintings, out = folders
    for folder, name in ((photos, "x/a.jpg"), (paintings, "ink/x.png")):
        (folder / name).parent.mkdir()
        make_picture(20, 20).save(folder / name)
    (tmp_path / "pairs.csv").write_text("a.jpg,ink/x.png\nx/a.jpg,ink.png")
    assert "two results" in refusal(plan_pairs, tmp_path / "pairs.csv", photos, paintings, out)


# Painting


def test_each_result_is_the_picture_that_stylize_paints_and_each_painting_is_looked_at_once(folders, settings):
    photos, paintings, out = folders
    jobs = plan_all(photos, paintings, out)
    TARGETS.clear()
    built = TARGETS.built
    outcomes = list(paint_pairs(jobs, settings))
    # For each picture its own content and style, which begin with its own sketch; for each painting one style.
    assert TARGETS.built - built == 2 * len(jobs) + 2
    assert [(outcome.painted, outcome.error) for outcome in outcomes] == [(True, None)] * 4 and files(out) == ALL
    for name in ALL:
        painting, photo = name.split("/")
        source = next(photos.glob(f"{photo[0]}.*"))
        *_, step = stylize(source, paintings / f"{painting}.png", settings)
        with Image.open(out / name) as result:
            assert result.tobytes() == step.image.tobytes()
    assert [outcome.painted for outcome in paint_pairs(jobs, settings)] == [False] * 4


def test_a_photo_that_changed_is_painted_again(folders, settings):
    photos, paintings, out = folders
    jobs = plan_all(photos, paintings, out)
    list(paint_pairs(jobs, settings))
    make_picture(60, 60, seed=9).save(photos / "b.png")
    assert [outcome.painted for outcome in paint_pairs(jobs, settings)] == [False, True, False, True]


def test_a_painting_that_cannot_be_read_does_not_stop_the_others(folders, settings):
    photos, paintings, out = folders
    (paintings / "ink.png").write_bytes(b"broken")
    outcomes = list(paint_pairs(plan_all(photos, paintings, out), settings))
    assert [outcome.painted for outcome in outcomes] == [False, False, True, True]
    assert all(outcome.error.startswith("ink.png: not a picture") for outcome in outcomes[:2])


def test_a_stop_ends_the_whole_collection(folders, settings):
    jobs = plan_all(*folders)
    answers = iter([False, True])  # asked after the first step of each picture
    assert len(list(paint_pairs(jobs, settings, should_stop=lambda: next(answers)))) == 1
    assert files(folders[2]) == ["ink/a.png"]


def test_results_that_would_replace_other_files_are_refused(folders, settings):
    photos, paintings, out = folders
    jobs = plan_all(photos, paintings, out)
    check_pairs(jobs, settings, out)
    (out / "ink").mkdir(parents=True)
    (out / "ink" / "a.png").hardlink_to(paintings / "oil.png")
    assert "one of the inputs" in refusal(check_pairs, jobs, settings, out)
    (out / "ink" / "a.png").unlink()
    make_picture(30, 30).save(out / SHEET)
    assert "contact-sheet.png: kept" in refusal(check_pairs, jobs, settings, out)
    check_pairs(jobs, settings, out, overwrite=True)
    (out / SHEET).unlink()
    shutil.rmtree(out / "ink")
    (out / "ink").write_text("a file")
    assert "this is a file" in refusal(check_pairs, jobs, settings, out)


# The command


def test_the_command_paints_all_and_makes_a_contact_sheet_once(folders, flags, capfd):
    photos, paintings, out = folders
    command = [photos, "--style", paintings, "--out", out, *flags]
    assert run(*command) == 0
    assert files(out) == [SHEET, *ALL]
    assert messages(capfd) == [
        "nst: skipped, because it is no picture: notes.txt",
        "nst: skipped, because it is no picture: names.txt",
        f"nst: the contact sheet is {out / SHEET}",
    ]
    before = states(out)
    assert run(*command) == 0
    assert states(out) == before and len(messages(capfd)) == 2
    (out / "oil" / "b.png").unlink()
    assert run(*command) == 0  # the same picture is painted again, so the sheet is still right
    assert states(out)[SHEET] == before[SHEET]
    assert run(*command, "--seed", 5) == 0
    assert states(out)[SHEET] != before[SHEET]
    assert contents_of(out / SHEET)


def test_the_sheet_shows_the_results_under_their_paintings(folders, settings):
    photos, paintings, out = folders
    jobs = plan_all(photos, paintings, out)
    list(paint_pairs(jobs, settings))
    with Image.open(collection.update_sheet(jobs, settings, out)) as sheet:
        pixels = sheet.convert("RGB")
    (out / "ink" / "b.png").unlink()
    with Image.open(collection.update_sheet(jobs, settings, out)) as sheet:
        without = sheet.convert("RGB")
    places = {}
    for name in ALL:
        with Image.open(out / name) if (out / name).exists() else Image.new("RGB", (1, 1)) as result:
            places[name] = find_place(pixels, result), find_place(without, result)
    assert places["ink/a.png"][0][1] == places["oil/a.png"][0][1] < places["oil/b.png"][0][1]  # rows are photos
    assert places["ink/a.png"][0][0] < places["oil/a.png"][0][0]  # columns are paintings
    assert all(first == second for name, (first, second) in places.items() if name != "ink/b.png")
    assert pixels.tobytes() != without.tobytes() and pixels.size == without.size


def find_place(sheet: Image.Image, picture: Image.Image) -> tuple[int, int] | None:
    """Return the left top corner of a picture on a sheet."""
    import numpy as np

    whole, part = np.asarray(sheet), np.asarray(picture.convert("RGB"))
    for top, left in zip(*np.nonzero((whole == part[0, 0]).all(2)), strict=True):
        if np.array_equal(whole[top : top + part.shape[0], left : left + part.shape[1]], part):
            return int(left), int(top)
    return None


def test_pairs_alone_are_painted_and_failures_are_named_once(folders, flags, tmp_path, capfd):
    photos, paintings, out = folders
    (photos / "b.png").write_bytes(b"")
    (tmp_path / "pairs.csv").write_text("a.jpg,oil.png\nb.png,oil.png\nb.png,ink.png")
    command = [photos, "--style", paintings, "--pairs", tmp_path / "pairs.csv", "--out", out, *flags]
    assert run(*command) == 1
    assert files(out) == [SHEET, "oil/a.png"]
    assert read_recipe(out / "oil" / "a.png").settings.size == 64
    assert messages(capfd) == [
        "nst: b.png: the file is empty.",
        "nst: 2 of 3 pictures could not be painted",
        f"nst: the contact sheet is {out / SHEET}",
    ]


def test_ctrl_c_makes_no_sheet_and_the_next_run_does(folders, flags, monkeypatch, capfd):
    photos, paintings, out = folders
    command = [photos, "--style", paintings, "--out", out, *flags]

    def paint_one_and_interrupt(*arguments, **options):
        for outcome in paint_pairs(*arguments, **options):
            yield outcome
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(collection, "paint_pairs", paint_one_and_interrupt)
    assert run(*command) == 130
    assert files(out) == ["ink/a.png"] and "stopped; 1 of 4" in messages(capfd)[-1]
    monkeypatch.undo()
    assert run(*command) == 0
    assert files(out) == [SHEET, *ALL]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--style", "{paintings}", "--style", "{paintings}/oil.png"], "this is a folder; name one painting in it"),
        (["--style", "{paintings}:2"], "without a weight"),
        (["--style", "{paintings}/oil.png", "--pairs", "pairs.csv"], "--pairs needs a folder of paintings"),
        (["--style", "{paintings}", "--pairs", "missing.csv"], "missing.csv: cannot be read"),
    ],
)
def test_the_command_refuses_in_one_line(folders, capfd, flags, message):
    photos, paintings, out = folders
    assert run(photos, "--out", out, *[flag.format(paintings=paintings) for flag in flags]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and message in error and not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes meet over Linux's loopback")
def test_torchrun_shares_the_pairs_and_one_process_makes_the_sheet(folders, flags):
    photos, paintings, out = folders
    (photos / "c.png").write_bytes(b"broken")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-addr", "127.0.0.1",
               "--master-port", port, "-m", "nst", "batch", photos, "--style", paintings, "--out", out,
               *flags]  # fmt: skip
    result = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 1
    assert files(out) == [SHEET, *ALL], result.stderr
    assert result.stderr.count("the contact sheet is") == 1, result.stderr
