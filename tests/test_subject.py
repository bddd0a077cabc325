"""The subject of a photo: masks of scenes whose subject is known, hints, and the command `nst subject`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst import cli, find_subject
from nst.examples import photo_path

SIZE = (400, 300)
ELLIPSE = (130, 60, 280, 290)


def scene(seed: int, box: tuple[int, int, int, int] = ELLIPSE) -> tuple[Image.Image, Image.Image]:
    """Return a photo with a reddish ellipse in front of a greenish ground, both uneven and with grain; and its mask."""
    rng = np.random.default_rng(seed)

    def surface(colour: tuple[int, int, int], number: int) -> np.ndarray:
        uneven = np.asarray(make_picture(*SIZE, seed=number), float) / 255 - 0.5
        return np.array(colour) + 70 * uneven + rng.normal(0, 9, (SIZE[1], SIZE[0], 3))

    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    inside = np.asarray(mask)[..., None] > 0
    pixels = np.where(inside, surface((190, 90, 60), seed + 50), surface((70, 120, 90), seed + 90))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), mask


def overlap(found: Image.Image, expected: Image.Image) -> float:
    """Return the intersection of two masks divided by their union."""
    a, b = (np.asarray(mask) > 127 for mask in (found, expected))
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_known_subject_is_found_without_a_hint(seed):
    photo, expected = scene(seed)
    found = find_subject(photo)
    assert (found.mode, found.size) == ("L", photo.size)
    assert overlap(found, expected) > 0.97


def test_the_edge_lies_where_the_subject_ends_at_the_photos_own_size():
    photo, expected = scene(1)
    large = photo.resize((1600, 1200), Image.Resampling.BICUBIC)
    found = np.asarray(find_subject(large))[720]  # a row through the middle
    truth = np.asarray(expected.resize(large.size, Image.Resampling.BICUBIC))[720] > 127
    edges = [np.flatnonzero(np.diff(row.astype(int))) for row in (found > 127, truth)]
    assert len(edges[0]) == 2 and np.abs(edges[0] - edges[1]).max() <= 8  # px: two of the small photo's
    assert ((found > 0) & (found < 255)).sum() < 60  # the edge is soft, but narrow


def test_a_box_says_where_the_subject_is():
    photo, expected = scene(2, box=(20, 20, 110, 120))
    assert overlap(find_subject(photo, (10, 8, 115, 125)), expected) > 0.95
    outside = np.asarray(find_subject(photo, (10, 8, 115, 125))).copy()
    outside[8:133, 10:125] = 0
    assert outside.max() < 128


def test_strokes_say_which_of_two_things_is_the_subject():
    photo, left = scene(3, box=(40, 80, 150, 230))
    right = Image.new("L", SIZE)
    ImageDraw.Draw(right).ellipse((240, 80, 350, 230), fill=255)
    blue = Image.new("RGB", SIZE, (60, 80, 200))
    photo = Image.composite(blue, photo, right)
    for expected, x in ((left, 95), (right, 295)):
        strokes = Image.new("L", SIZE)
        ImageDraw.Draw(strokes).line((x, 110, x, 200), fill=255, width=10)
        assert overlap(find_subject(photo, subject=strokes), expected) > 0.9
    background = right.copy()  # brushed over as a whole: it is no subject
    both = find_subject(photo, background=background)
    assert not (np.asarray(both)[np.asarray(right) > 0] > 127).any()


def test_the_astronaut_is_found_and_the_sky_behind_the_rocket_is_not():
    with Image.open(photo_path("astronaut")) as photo:
        found = np.asarray(find_subject(photo.convert("RGB"))) / 255
    height, width = found.shape
    body = found[height // 2 :, width // 4 : width // 2]
    assert body.mean() > 0.95 and found[: height // 6, : width // 5].mean() < 0.05
    with Image.open(photo_path("rocket")) as photo:
        rocket = photo.convert("RGB")
    strokes = Image.new("L", rocket.size)
    x = round(0.503 * rocket.width)
    ImageDraw.Draw(strokes).line((x, 0.36 * rocket.height, x, 0.74 * rocket.height), fill=255, width=rocket.width // 60)
    share = (np.asarray(find_subject(rocket, subject=strokes)) > 127).mean()
    assert 0.005 < share < 0.06


def test_the_same_photo_gives_the_same_mask():
    photo, _ = scene(0)
    find_subject(make_picture(120, 90))
    assert find_subject(photo).tobytes() == find_subject(photo).tobytes()


@pytest.mark.parametrize(
    "box", [(0, 0, 400, 300), (-5, -5, 900, 900), (500, 10, 20, 20), (10, 10, 0, 50), (9, 9, -4, 9)]
)
def test_a_box_that_cannot_be_used_is_refused(box):
    assert "400 x 300 px" in refusal(find_subject, scene(0)[0], box)


def test_a_photo_without_a_subject_is_refused():
    strokes = Image.new("L", (60, 40), 255)
    for photo in (Image.new("RGB", (60, 40), "grey"), make_picture(60, 40)):
        assert "No subject was found" in refusal(find_subject, photo, subject=strokes)  # nothing is left for the ground
    assert "No subject was found" in refusal(find_subject, Image.new("RGB", (1, 1)))


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    photo, mask = scene(0)
    photo.save(tmp_path / "photo.png")
    mask.save(tmp_path / "truth.png")
    strokes = Image.new("RGBA", SIZE)
    ImageDraw.Draw(strokes).line((200, 100, 200, 220), fill=(255, 255, 255, 255), width=12)
    strokes.save(tmp_path / "hint.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("flags", [(), ("--box", "110", "40", "200", "258"), ("--hint", "hint.png")], ids=str)
def test_the_command_writes_a_mask_for_a_region(folder, flags):
    assert cli.main(["subject", "photo.png", "-o", "new/mask.png", *flags]) == 0
    with Image.open("new/mask.png") as mask, Image.open("truth.png") as truth:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", SIZE)
        assert overlap(mask, truth) > 0.95


def test_the_background_is_the_opposite(folder):
    for name, flags in (("a.png", []), ("b.png", ["--background"])):
        assert cli.main(["subject", "photo.png", "-o", name, *flags]) == 0
    assert np.array_equal(np.asarray(Image.open("a.png")), 255 - np.asarray(Image.open("b.png")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.png -o m.png", "missing.png: no such file"),
        ("photo.png -o photo.png", "one of the inputs"),
        ("photo.png --hint hint.png -o hint.png", "one of the inputs"),
        ("photo.png -o m.jpg", "a mask is written as PNG"),
        ("photo.png -o m.png --box 1 2 3", "--box"),
        ("photo.png -o m.png --box 0 0 400 300", "400 x 300 px"),
        ("photo.png -o m.png --hint missing.png", "missing.png: no such file"),
        ("photo.png", "-o"),
        (". -o m.png", "not a file"),
    ],
)
def test_the_command_refuses_in_one_line(folder, capsys, arguments, message):
    before = sorted(folder.iterdir())
    assert cli.main(["subject", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("nst: ") and error.count("\n") == 1
    assert sorted(folder.iterdir()) == before
