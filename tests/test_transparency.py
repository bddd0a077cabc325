"""Transparent pictures: the ground they are laid on, the colours of invisible parts, and what is painted of them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from helpers.pictures import make_picture
from nst import StyleSettings, load_photo, stylize
from nst.io.transparency import contrasting_ground, fill_transparent, lay_on_ground, take_off_ground, transparency_of
from nst.output.results import save_result

SIDE = 64
STYLE = make_picture(SIDE, SIDE, 2)


def disc(colour: tuple[int, int, int], blur: float = 0) -> Image.Image:
    """Return a disc on transparency, whose invisible pixels are black, as editors write them."""
    opacity = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(opacity).ellipse((12, 12, 51, 51), fill=255)
    opacity = opacity.filter(ImageFilter.GaussianBlur(blur))
    picture = Image.new("RGB", (SIDE, SIDE))
    picture.paste(colour, mask=opacity.point(lambda value: 255 * (value > 0)))
    picture.putalpha(opacity)
    return picture


def parts(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    return picture.convert("RGB"), picture.getchannel("A")


@pytest.fixture
def settings(random_checkpoint) -> StyleSettings:
    return StyleSettings(
        size=SIDE, steps=3, sketch=False, device="cpu", precision="float32", backbone=str(random_checkpoint)
    )


@pytest.mark.parametrize(
    "colours, ground",
    [
        (["navy"], 255), (["white"], 0), (["lightyellow"], 0), (["white", "black"], 128), (["black"], 255),
        (["white", "grey", "black"], 255),  # no ground contrasts with all of them
    ],
)  # fmt: skip
def test_the_ground_contrasts_with_the_visible_pixels(colours, ground):
    picture = Image.new("RGB", (90, 40))
    for number, colour in enumerate(colours):
        width = 90 // len(colours)
        picture.paste(colour, (number * width, 0, (number + 1) * width, 20))
    opacity = Image.new("L", (90, 40))
    opacity.paste(255, (0, 0, 90, 20))
    assert contrasting_ground(picture, opacity) == (ground,) * 3


def test_a_picture_of_which_nothing_is_visible_is_white():
    nothing = Image.new("L", (20, 20))
    assert lay_on_ground(fill_transparent(Image.new("RGB", (20, 20)), nothing), nothing).getcolors() == [
        (400, (255,) * 3)
    ]


@pytest.mark.parametrize("size", [(64, 48), (37, 51), (1, 30), (1500, 700)])
def test_invisible_pixels_continue_the_colours_of_visible_ones_which_stay(size):
    """Left of the middle the visible pixels are red, right of it blue; those below cannot be seen."""
    width, height = size
    picture, opacity = Image.new("RGB", size), Image.new("L", size)
    picture.paste("red", (0, 0, max(1, width // 2), height // 2))
    picture.paste("blue", (max(1, width // 2), 0, width, height // 2))
    opacity.paste(255, (0, 0, width, height // 2))
    filled = np.asarray(fill_transparent(picture, opacity)).astype(int)
    assert (filled[: height // 2] == np.asarray(picture)[: height // 2]).all()
    below = filled[height // 2 + 1]
    assert abs(below[0] - [255, 0, 0]).max() < 10 and (width == 1 or abs(below[-1] - [0, 0, 255]).max() < 10)
    assert filled[..., 1].max() == 0  # no other colour comes in


@pytest.mark.parametrize("colour", [(255, 255, 255), (20, 20, 30)])
def test_only_what_is_visible_is_painted(settings, colour):
    picture = disc(colour)
    pictures = [np.asarray(step.image).astype(int) for step in stylize(picture, STYLE, settings)]
    opacity = np.asarray(picture.getchannel("A"))
    ground = 0 if colour == (255, 255, 255) else 255
    for painted in pictures:  # previews too
        assert (painted[opacity == 0] == ground).all()
        assert abs(painted[opacity == 255] - ground).mean() > 60
    assert pictures[-1][opacity == 255].std(0).min() > 1  # strokes


def test_soft_edges_of_a_kept_transparency_have_the_painted_colours(settings, tmp_path):
    """A pale ring would show on a dark page: the edges of a dark disc would be lighter than its inside."""
    disc((20, 20, 30), blur=3).save(tmp_path / "disc.png")
    photo = load_photo(tmp_path / "disc.png")
    dark = Image.new("RGB", (SIDE, SIDE), (40, 30, 20))
    *_, last = stylize(photo, dark, replace(settings, steps=6))
    path = save_result(last.image, tmp_path / "out.png", **transparency_of(photo))
    with Image.open(path) as image:
        result = np.asarray(image).astype(int)
    alpha = result[..., 3]
    inside, edge, outside = (
        result[places][:, :3] for places in (alpha == 255, (alpha > 20) & (alpha < 200), alpha == 0)
    )
    assert len(edge) > 200 and edge.mean(0).max() < inside.mean(0).max() + 12
    assert outside.max() < 100  # nothing pale that a program could mix in when it scales the picture


def test_taking_a_picture_off_its_ground_is_the_inverse_of_laying_it_on():
    rng = np.random.default_rng(0)
    colours, opacity = rng.random((30, 40, 3), dtype=np.float32), rng.integers(1, 256, (30, 40), dtype=np.uint8)
    seen = opacity[..., None] / np.float32(255)
    for ground in ((255, 255, 255), (0, 0, 0), (128, 128, 128)):
        laid = colours * seen + np.float32(ground) / 255 * (1 - seen)
        assert abs(take_off_ground(laid, Image.fromarray(opacity), ground) - colours).max() < 1e-4


def test_an_opaque_photo_has_no_transparency():
    assert transparency_of(Image.new("RGB", (20, 20))) == {} and load_photo(Image.new("L", (20, 20))).mode == "RGB"
