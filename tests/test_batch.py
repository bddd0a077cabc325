"""A folder of photos in one style: the plan, the painting, its failures, and processes that share the folder."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.runs import two_steps
from helpers.shell import ENVIRONMENT, ROOT
from nst import cli
from nst.cli.named_styles import NamedStyle, split_weight
from nst.output.recipe import read_recipe
from nst.settings import StyleSettings
from nst.stylization import Style, stylize
from nst.tools import batch
from nst.tools.batch import Job, jobs_of_this_process, paint_all, plan
from nst.tools.picture_files import find_files

STYLE = make_picture(70, 70, seed=9)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with three small photos in three formats, and files that the plan leaves out."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    make_picture(64, 48, seed=1).save(folder / "b.png")
    make_picture(48, 64, seed=2).save(folder / "a.jpg")
    make_picture(50, 50, seed=3).save(folder / "C.TIF")
    make_picture(50, 50, seed=4).save(folder / "below" / "d.png")
    make_picture(50, 50, seed=4).save(folder / "._a.jpg", "JPEG")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def settings(random_checkpoint) -> StyleSettings:
    return two_steps(random_checkpoint)


def paint(folder, out, settings, styles=None, **options) -> list[batch.Outcome]:
    styles = [Style(STYLE)] if styles is None else styles
    return list(paint_all(plan(folder, out), styles, settings, **options))


def names(jobs: list[Job]) -> dict[str, str]:
    return {job.source.name: job.target.name for job in jobs}


def states(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


# The plan


def test_the_plan_lists_the_pictures_of_the_folder_itself_in_order_of_name(photos, tmp_path):
    assert list(names(plan(photos, tmp_path / "out")).items()) == [
        ("C.TIF", "C.png"), ("a.jpg", "a.png"), ("b.png", "b.png"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (["a.jpg", "a.png", "b.png"], ["a.jpg.png", "a.png.png", "b.png"]),
        (["A.jpg", "a.png"], ["A.jpg.png", "a.png.png"]),
        (["a.jpg", "a.jpg.bmp", "a.png"], ["a.jpg.png", "a.jpg.bmp.png", "a.png.png"]),
        (["a.jpg", "a.jpg.bmp"], ["a.png", "a.jpg.png"]),
    ],
)
def test_no_two_results_have_the_same_name(tmp_path, sources, targets):
    (tmp_path / "photos").mkdir()
    for name in sources:
        (tmp_path / "photos" / name).touch()
    results = names(plan(tmp_path / "photos", tmp_path / "out"))
    assert [results[name] for name in sources] == targets


def test_folders_that_cannot_be_used_are_refused(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refusal(plan, tmp_path / "empty", tmp_path / "out")
    assert "cannot be read" in refusal(plan, tmp_path / "missing", tmp_path / "out")
    assert "cannot be read" in refusal(plan, photos / "a.jpg", tmp_path / "out")
    assert "another folder" in refusal(plan, photos, photos / "below" / "..")


OTHER_FILES = {
    "clip.mpg": b"\0\0\x01\xba" + bytes(2000),
    "clip.mpeg": b"\0\0\x01\xb3" + bytes(2000),
    "clip.mp4": b"\0\0\0\x20ftypisom" + bytes(2000),
    "notes.txt": b"BM is how a bitmap begins, and P6 a pixmap",
    "P6": b"P6 is no picture",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000),
    "album.json": b'{"a.jpg": 1}',
    "icon.h": b"#define icon_width 8\n#define icon_height 8\nstatic char icon_bits[] = {0};",
    "raw.nef": b"II*\0" + bytes(2000),
    "data.h5": b"\x89HDF\r\n\x1a\n" + bytes(2000),
    "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0",
    "empty": b"",
}


@pytest.fixture
def mixed(photos) -> Path:
    """The folder `photos` with other files, and with pictures whose names do not say what they are."""
    for name, content in OTHER_FILES.items():
        (photos / name).write_bytes(content)
    make_picture(40, 40, seed=5).save(photos / "download", "JPEG")
    make_picture(40, 40, seed=6).save(photos / "scan", "TIFF")
    make_picture(40, 40, seed=7).save(photos / "view.jpg_large", "WEBP")
    make_picture(40, 40, seed=8).save(photos / "wrong.txt", "PNG")
    return photos


def test_the_content_tells_pictures_from_other_files(mixed, tmp_path):
    jobs = names(plan(mixed, tmp_path / "out"))
    assert jobs == {"C.TIF": "C.png", "a.jpg": "a.png", "b.png": "b.png", "download": "download.png",
                    "scan": "scan.png", "view.jpg_large": "view.png", "wrong.txt": "wrong.png"}  # fmt: skip
    pictures, others = find_files(mixed)
    assert [path.name for path in pictures] == list(jobs)
    assert [path.name for path in others] == sorted(OTHER_FILES)


@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "a.webp", "a.tif", "a.heic", "a.bmp"])
@pytest.mark.parametrize("content", [b"", b"not a picture", OTHER_FILES["clip.mpg"]], ids=["empty", "text", "film"])
def test_a_file_that_the_user_takes_for_a_picture_is_one(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert [path.name for path in find_files(tmp_path)[0]] == [name]


def test_of_a_large_file_only_the_beginning_is_read(tmp_path):
    with open(tmp_path / "large.bin", "wb") as file:
        file.truncate(1 << 40)  # it takes no space on the disk, and reading it would never end
    assert find_files(tmp_path)[1] == [tmp_path / "large.bin"]


# Painting


def test_each_result_is_the_picture_that_stylize_paints_and_contains_its_recipe(photos, tmp_path, settings):
    outcomes = paint(photos, tmp_path / "out", settings)
    assert [(outcome.job.target.name, outcome.painted, outcome.error) for outcome in outcomes] == [
        ("C.png", True, None), ("a.png", True, None), ("b.png", True, None),
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["C.png", "a.png", "b.png"]
    *_, step = stylize(photos / "a.jpg", STYLE, settings)
    with Image.open(tmp_path / "out" / "a.png") as result:
        assert result.tobytes() == step.image.tobytes()
    recipe = read_recipe(tmp_path / "out" / "a.png")
    assert (recipe.settings, recipe.steps_done) == (replace(settings, backbone="file"), 2)


def test_finished_results_are_left_alone(photos, tmp_path, settings):
    out = tmp_path / "out"
    paint(photos, out, settings)
    before = states(out)
    assert [outcome.painted for outcome in paint(photos, out, settings)] == [False] * 3
    assert states(out) == before


CHANGES = {
    "settings": lambda photos, out: ({"style_weight": 5.0}, STYLE),
    "style": lambda photos, out: ({}, make_picture(70, 70, seed=8)),
    "photo": lambda photos, out: make_picture(64, 48, seed=7).save(photos / "b.png") or ({}, STYLE),
    "deleted": lambda photos, out: (out / "b.png").unlink() or ({}, STYLE),
}
FOREIGN = {  # files that this program did not write are replaced only on request
    "other result": lambda photos, out: make_picture(64, 48).save(out / "b.png") or ({}, STYLE),
    "cut short": lambda photos, out: (out / "b.png").write_bytes(b"\x89PNG") and ({}, STYLE),
}


@pytest.mark.parametrize("change", [*CHANGES.values(), *FOREIGN.values()], ids=[*CHANGES, *FOREIGN])
def test_a_result_that_would_be_different_now_is_painted_again(photos, tmp_path, settings, change):
    out = tmp_path / "out"
    for name in ("a.jpg", "C.TIF"):
        (photos / name).unlink()
    paint(photos, out, settings)
    changes, style = change(photos, out)
    (outcome,) = paint(photos, out, replace(settings, **changes), [Style(style)], overwrite=change in FOREIGN.values())
    assert outcome.painted
    *_, step = stylize(photos / "b.png", style, replace(settings, **changes))
    with Image.open(out / "b.png") as result:
        assert result.tobytes() == step.image.tobytes()


def test_a_picture_that_fails_does_not_stop_the_others(photos, tmp_path, settings, monkeypatch):
    (photos / "a.jpg").write_bytes(b"not a picture")
    Image.new("RGB", (600, 10)).save(photos / "sliver.png")
    (photos / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    save_result = batch.save_result

    def save_or_fail(image, path, recipe):
        if path.name == "b.png":
            raise MemoryError("16 GB\nare not enough")
        return save_result(image, path, recipe)

    monkeypatch.setattr(batch, "save_result", save_or_fail)
    outcomes = {outcome.job.source.name: outcome for outcome in paint(photos, tmp_path / "out", settings)}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["C.png"]
    assert outcomes["C.TIF"].painted and len(outcomes) == 5
    errors = {"a.jpg": "not a picture", "sliver.png": "short side", "phone.heic": "HEIC"}
    for name, text in (errors | {"b.png": "MemoryError (16 GB)"}).items():
        assert outcomes[name].error.startswith(f"{name}: ") and text in outcomes[name].error
        assert "\n" not in outcomes[name].error and not outcomes[name].painted


def test_settings_and_styles_that_no_picture_can_use_are_refused_before_the_first_picture(photos, tmp_path, settings):
    out = tmp_path / "out"
    assert "missing.png" in refusal(paint, photos, out, settings, [Style(tmp_path / "missing.png")])
    assert "weight" in refusal(paint, photos, out, settings, [Style(STYLE, -1)])
    assert "At least one" in refusal(paint, photos, out, settings, [])
    assert "checkpoint" in refusal(paint, photos, out, replace(settings, backbone="missing.safetensors"))
    if not torch.cuda.is_available():
        assert "cuda" in refusal(paint, photos, out, replace(settings, device="cuda"))
    assert not out.exists()


def test_several_styles_are_mixed_by_their_weights(photos, tmp_path, settings):
    styles = [Style(STYLE, 3.0), Style(make_picture(64, 64, seed=8), mask=make_picture(20, 20))]
    outcomes = paint(photos, tmp_path / "out", settings, styles)
    assert all(outcome.painted for outcome in outcomes)
    *_, step = stylize(photos / "b.png", styles, settings)
    with Image.open(tmp_path / "out" / "b.png") as result:
        assert result.tobytes() == step.image.tobytes()


def test_a_stop_keeps_finished_pictures_and_drops_the_unfinished_one(photos, tmp_path, settings):
    # `should_stop` is called after the first step of C.TIF and of a.jpg; it is not called after the last step.
    answers = iter([False, True])
    outcomes = paint(photos, tmp_path / "out", settings, should_stop=lambda: next(answers))
    assert [outcome.job.source.name for outcome in outcomes] == ["C.TIF"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["C.png"]
    assert [outcome.painted for outcome in paint(photos, tmp_path / "out", settings)] == [False, True, True]


# Processes


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_picture_belongs_to_exactly_one_process(monkeypatch, processes):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    jobs = [Job(Path(f"{number}.png"), Path(f"out/{number}.png")) for number in range(7)]
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    shares = []
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(jobs_of_this_process(jobs))
    assert sorted(job.source for share in shares for job in share) == [job.source for job in jobs]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_processes_of_a_machine_use_different_gpus(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    jobs_of_this_process([])
    assert chosen == []
    monkeypatch.setenv("WORLD_SIZE", "6")
    for rank in range(6):  # three on each of two machines
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank % 3))
        jobs_of_this_process([])
    assert chosen == [0, 1, 0, 0, 1, 0]


# The command


@pytest.fixture
def style(tmp_path) -> Path:
    STYLE.save(tmp_path / "style.png")
    return tmp_path / "style.png"


@pytest.fixture
def flags(random_checkpoint) -> list[object]:
    return ["--preset", "quick", "--size", 64, "--steps", 2, "--backbone", random_checkpoint, "--device", "cpu"]


def run(*arguments: object) -> int:
    return cli.main(["batch", *map(str, arguments)])


def test_the_command_paints_the_folder_and_names_the_pictures_that_failed(photos, style, tmp_path, flags, capfd):
    out = tmp_path / "new" / "out"
    assert run(photos, "--style", style, "--out", out, *flags) == 0
    assert sorted(path.name for path in out.iterdir()) == ["C.png", "a.png", "b.png"]
    assert read_recipe(out / "a.png").settings.size == 64
    stdout, stderr = capfd.readouterr()
    assert stdout == "" and "3/3" in stderr
    before = states(out)
    (photos / "e.png").write_bytes(b"")
    assert run(photos, "--style", style, "--out", out, *flags) == 1
    assert states(out) == before
    lines = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("nst:")]
    assert lines == [
        "nst: skipped, because it is no picture: notes.txt",
        "nst: e.png: the file is empty.",
        "nst: 1 of 4 pictures could not be painted",
    ]


def test_other_files_are_named_and_do_not_fail_the_run(mixed, style, tmp_path, flags, capfd):
    for name in ("download", "scan", "view.jpg_large", "wrong.txt", "C.TIF", "b.png"):
        (mixed / name).unlink()
    assert run(mixed, "--style", style, "--out", tmp_path / "out", *flags) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    lines = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("nst:")]
    named = ", ".join(sorted(OTHER_FILES)[:5])
    assert lines == [f"nst: skipped, because they are no pictures: {named}, 7 more"]


def test_the_command_makes_a_film_of_each_picture_that_has_none(photos, style, tmp_path, flags):
    out = tmp_path / "out"
    assert run(photos, "--style", style, "--out", out, *flags) == 0
    assert run(photos, "--style", style, "--out", out, *flags, "--video", "webp") == 0
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".webp") == ["C.webp", "a.webp", "b.webp"]
    with Image.open(out / "a.webp") as film:
        assert film.n_frames == 5  # the sketch's three, and one for each step
    before = states(out)
    assert run(photos, "--style", style, "--out", out, *flags, "--video", "webp") == 0
    assert states(out) == before


def test_the_command_accepts_several_styles_with_weights(photos, style, tmp_path, flags):
    odd = tmp_path / "odd:2"
    shutil.copy(style, odd)
    out = tmp_path / "out"
    assert run(photos, "--style", f"{style}:0.5", "--style", style, "--style", odd, "--out", out, *flags) == 0
    assert [style.weight for style in read_recipe(out / "a.png").styles] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.jpg", ("a.jpg", 1.0)), ("a.jpg:2", ("a.jpg", 2.0)), ("C:\\a.jpg", ("C:\\a.jpg", 1.0)),
     ("C:\\a.jpg:1e-1", ("C:\\a.jpg", 0.1)), (":2", (":2", 1.0))],
)  # fmt: skip
def test_a_style_may_have_a_weight_after_a_colon(text, expected):
    assert split_weight(text) == NamedStyle(*expected)


@pytest.mark.parametrize("case", ["style", "weight", "folder", "out", "preset", "required"])
def test_the_command_refuses_in_one_line(photos, style, tmp_path, flags, capfd, case):
    arguments = {"folder": photos, "--style": style, "--out": tmp_path / "out"}
    arguments |= {
        "style": {"--style": "missing.png"}, "weight": {"--style": f"{style}:0"}, "folder": {"folder": "missing"},
        "out": {"--out": photos}, "preset": {"--preset": "best"}, "required": {},
    }[case]  # fmt: skip
    if case == "required":
        del arguments["--out"]
    folder = arguments.pop("folder")
    parts = [part for pair in arguments.items() for part in pair]
    try:
        status = run(folder, *parts, *(flags if case != "preset" else []))
    except SystemExit as end:
        status = end.code
    stdout, stderr = capfd.readouterr()
    assert (status, stdout, stderr.count("\n")) == (2, "", 1) and stderr.startswith("nst"), stderr
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_finished_pictures(photos, style, tmp_path, flags, capfd, monkeypatch):
    paint_all = batch.paint_all

    def paint_one_and_interrupt(*arguments, **options):
        for outcome in paint_all(*arguments, **options):
            yield outcome
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(batch, "paint_all", paint_one_and_interrupt)
    handler = signal.getsignal(signal.SIGINT)
    assert run(photos, "--style", style, "--out", tmp_path / "out", *flags) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["C.png"]
    assert "stopped; 1 of 3" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes meet over Linux's loopback")
def test_torchrun_shares_the_folder_and_a_failure_ends_no_other_process(photos, style, tmp_path, flags):
    """One process has broken pictures only, so it ends long before the other."""
    for name in ("a.jpg", "C.TIF"):
        (photos / name).unlink()
    (photos / "a.png").write_bytes(b"broken")  # the first process has a.png and c.png, the second the others
    (photos / "c.png").write_bytes(b"broken too")
    make_picture(64, 48, seed=5).save(photos / "d.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-addr", "127.0.0.1",
               "--master-port", port, "-m", "nst", "batch", photos, "--style", style, "--out", tmp_path / "out",
               *flags]  # fmt: skip
    command[command.index("--steps") + 1] = 40
    result = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "d.png"], result.stderr
    assert result.stderr.count("nst: 2 of 4 pictures could not be painted") == 1, result.stderr
    with Image.open(tmp_path / "out" / "d.png") as picture:
        assert np.asarray(picture).std() > 5
    assert json.loads(Image.open(tmp_path / "out" / "d.png").info["nst-recipe"])["steps_done"] == 40
