"""Several paintings and regions on the command line: what goes where, files with odd names, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import make_picture
from nst import Style, StyleSettings, cli, describe, read_recipe, stylize
from nst.cli.named_styles import NamedStyle, name_styles, split_weight

SIZE = (96, 72)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a photo, two paintings and masks of both kinds, as the working directory."""
    make_picture(*SIZE, seed=1).save(tmp_path / "photo.png")
    for number, name in enumerate(("a.png", "b.png", "odd:1.png"), 2):
        make_picture(80, 80, seed=number).save(tmp_path / name)
    for name, box in (("left.png", (0, 0, 48, 72)), ("corner.png", (60, 40, 96, 72)), ("le:ft.png", (0, 0, 48, 72))):
        mask = Image.new("L", SIZE)
        mask.paste(255, box)
        mask.save(tmp_path / name)
    part = Image.new("L", (80, 80))
    part.paste(255, (0, 0, 40, 80))
    part.save(tmp_path / "part.png")
    Image.new("L", SIZE).save(tmp_path / "black.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def flags(random_checkpoint) -> list[str]:
    return ["--size", "96", "--steps", "2", "--device", "cpu", "--precision", "float32", "--no-sketch",
            "--backbone", str(random_checkpoint)]  # fmt: skip


def paint(*arguments: object, flags: list[str]) -> Image.Image:
    assert cli.main([*map(str, arguments), "-o", "out.png", *flags]) == 0
    with Image.open("out.png") as picture:
        return picture.convert("RGB")


def expected(styles: list[Style], random_checkpoint) -> Image.Image:
    settings = StyleSettings(size=96, steps=2, device="cpu", precision="float32", sketch=False,
                             backbone=str(random_checkpoint))  # fmt: skip
    *_, last = stylize("photo.png", styles, settings, preview_every=None)
    return last.image


def inverted(name: str) -> Image.Image:
    return Image.fromarray(255 - np.asarray(Image.open(name)))


def unpainted(image: Image.Image) -> np.ndarray:
    """Return where the result has the photo's own pixels."""
    return (np.asarray(image) == np.asarray(Image.open("photo.png"))).all(axis=2)


def test_several_paintings_count_by_their_weights(folder, flags, random_checkpoint):
    image = paint("photo.png", "a.png", "b.png:2.5", flags=flags)
    assert image.tobytes() == expected([Style("a.png"), Style("b.png", 2.5)], random_checkpoint).tobytes()
    assert [style.weight for style in read_recipe("out.png").styles] == [1, 2.5]


def test_flags_may_stand_between_the_paintings(folder, flags):
    together = paint("photo.png", "a.png", "b.png", flags=flags)
    assert paint("photo.png", "a.png", "--seed", 0, "b.png", flags=flags).tobytes() == together.tobytes()


def test_only_the_region_is_painted_and_the_rest_stays_exactly(folder, flags, random_checkpoint):
    image = paint("photo.png", "a.png", "--region", "left.png", flags=flags)
    assert image.tobytes() == expected([Style("a.png", mask="left.png")], random_checkpoint).tobytes()
    same = unpainted(image)
    assert same[:, 48:].all() and same[:, :44].mean() < 0.2


def test_a_painting_that_no_region_uses_paints_the_rest(folder, flags, random_checkpoint):
    image = paint("photo.png", "a.png", "b.png", "--region", "left.png", flags=flags)
    styles = [Style("a.png", mask="left.png"), Style("b.png", mask=inverted("left.png"))]
    assert image.tobytes() == expected(styles, random_checkpoint).tobytes()
    swapped = paint("photo.png", "a.png", "--region", "left.png::./b.png:1", flags=flags)
    styles = [Style("b.png", mask="left.png"), Style("a.png", mask=inverted("left.png"))]
    assert swapped.tobytes() == expected(styles, random_checkpoint).tobytes() != image.tobytes()


def test_regions_have_parts_paintings_and_weights(folder, flags, random_checkpoint):
    image = paint("photo.png", "a.png", "b.png", "--region", "left.png:part.png", "--region", "corner.png::b.png:2",
                  flags=flags)  # fmt: skip
    styles = [Style("a.png", 1.0, "left.png", "part.png"), Style("b.png", 2.0, "corner.png")]
    assert image.tobytes() == expected(styles, random_checkpoint).tobytes()
    assert unpainted(image)[:38, 50:].all()
    first, second = read_recipe("out.png").styles
    assert first.part and not second.part and first.mask != second.mask
    everywhere = paint("photo.png", "a.png", "--region", ":part.png", flags=flags)
    assert everywhere.tobytes() == expected([Style("a.png", part="part.png")], random_checkpoint).tobytes()


def test_the_rest_is_what_no_region_covers(folder, flags, random_checkpoint):
    paint("photo.png", "a.png", "b.png", "odd:1.png", "--region", "left.png", "--region", "corner.png::b.png",
          flags=flags)  # fmt: skip
    rest = 255 - np.maximum(np.asarray(Image.open("left.png")), np.asarray(Image.open("corner.png")))
    styles = [Style("odd:1.png", mask=Image.fromarray(rest))]
    recipe = describe("photo.png", styles, StyleSettings(backbone=str(random_checkpoint)))
    assert read_recipe("out.png").styles[2] == recipe.styles[0]


def test_files_with_a_colon_in_their_names_are_found(folder):
    assert split_weight("odd:1.png") == NamedStyle("odd:1.png")
    assert split_weight("odd:1.png:3") == NamedStyle("odd:1.png", 3.0)
    (style,) = name_styles(["odd:1.png:3"], ["le:ft.png:part.png"])
    assert style == NamedStyle("odd:1.png", 3.0, "le:ft.png", "part.png")
    style, rest = name_styles(["a.png"], ["le:ft.png::odd:1.png:0.5"])
    assert (style, rest) == (NamedStyle("odd:1.png", 0.5, "le:ft.png"), NamedStyle("a.png"))


def test_a_link_to_a_painting_is_the_same_painting(folder):
    Path("link.png").symlink_to("a.png")
    assert len(name_styles(["a.png"], ["left.png::link.png"])) == 1


def refused(capsys, *arguments: object) -> str:
    before = sorted(Path().iterdir())
    assert cli.main([*map(str, arguments)]) == 2
    assert sorted(Path().iterdir()) == before
    error = capsys.readouterr().err
    assert error.startswith("nst: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("missing.png", "missing.png: no such file"),
        ("left.png:missing.png", "missing.png: no such file"),
        ("left.png::missing.png", "missing.png: no such file"),
        ("left.png:part.png:a.png:heavy", "--region must be MASK[:PART[:PAINTING[:WEIGHT]]]"),
        ("left.png:part.png:a.png:1:2", "--region must be"),
        ("::a.png", "--region must be"),
        ("", "--region must be"),
        ("left.png::a.png:-1", "weight must be a number above 0"),
        ("left.png::a.png:nan", "weight must be a number above 0"),
        ("black.png", "black.png: this mask is black"),
        ("left.png:black.png", "part is empty"),
    ],
)
def test_a_region_that_cannot_be_used_is_refused_in_one_line(folder, capsys, region, message):
    assert message in refused(capsys, "photo.png", "a.png", "--region", region, "-o", "out.png", "--size", 64)


@pytest.mark.parametrize("output", ["left.png", "part.png", "b.png"])
def test_an_output_that_is_a_mask_a_part_or_a_painting_is_refused(folder, capsys, output):
    arguments = ["photo.png", "a.png", "--region", "left.png:part.png:b.png", "-o", output]
    assert "one of the inputs" in refused(capsys, *arguments)


def test_a_folder_among_the_paintings_is_refused(folder, capsys):
    Path("many").mkdir()
    assert "many: this is a folder" in refused(capsys, "photo.png", "a.png", "many", "-o", "out.png")
    assert "many: this is a folder" in refused(capsys, "photo.png", "a.png", "--region", "many", "-o", "out.png")
    message = refused(capsys, "many", "a.png", "b.png:2", "-o", "out.png")
    assert "nst batch many --style a.png --style b.png:2 --out DIR" in message


def test_a_recipe_with_another_region_is_noticed(folder, flags, capsys):
    paint("photo.png", "a.png", "--region", "left.png:part.png", flags=flags)
    Path("out.png").rename("first.png")
    backbone = flags[-2:]
    same = ["photo.png", "a.png", "--recipe", "first.png", "-o", "again.png", *backbone]
    assert cli.main([*same, "--region", "left.png:part.png"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert Image.open("again.png").tobytes() == Image.open("first.png").tobytes()
    for region in ("left.png", "corner.png:part.png"):
        assert cli.main([*same, "--region", region]) == 0
        assert "warning: not the recipe's style picture" in capsys.readouterr().err
