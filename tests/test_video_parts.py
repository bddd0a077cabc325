"""What videos added to the method: a sketch that follows, one map of colours, an extra loss, and shorter steps."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture, photo, uniform
from helpers.runs import CONTENT, STYLE
from nst.canvas import Canvas
from nst.finish import Palette, finish
from nst.io.colour_spaces import from_code_points
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD, to_tensor
from nst.models.vgg import VGG19, Vgg19
from nst.objective import Objective
from nst.palette import smooth_chroma
from nst.patches import replace_patches
from nst.pictures import Style
from nst.settings import StyleSettings
from nst.sketch import Sketch

CPU = torch.device("cpu")
SETTINGS = StyleSettings(size=96, steps=4)
STYLES = [Style(STYLE)]


def make_sketch() -> Sketch:
    return Sketch(SETTINGS, CONTENT, STYLES, Palette(STYLES, CPU), CPU)


def test_a_sketch_that_knows_everything_is_what_it_knows():
    sketch, moved = make_sketch(), photo(3, 72, 72)
    sketch.follow(moved, torch.ones(1, 1, 72, 72))
    assert torch.equal(sketch.picture, moved)


def test_a_sketch_is_made_anew_only_where_it_is_not_known():
    sketch, moved, known = make_sketch(), photo(3, 72, 72), torch.ones(1, 1, 72, 72)
    known[..., 40:] = 0
    sketch.follow(moved, known)
    assert torch.equal(sketch.picture[..., :40], moved[..., :40])
    fresh = make_sketch()
    *_, whole = fresh.make()
    hidden = (..., slice(52, 72))
    assert (sketch.picture - whole)[hidden].abs().mean() < (moved - whole)[hidden].abs().mean() / 3


def test_patches_that_are_known_stay():
    picture, painting = photo(1, 48, 48), photo(2, 40, 40)
    known = torch.ones(1, 1, 48, 48)
    assert torch.equal(replace_patches(picture, [painting], [1.0], 9, known=known), picture)
    known[..., 24:] = 0
    found = replace_patches(picture, [painting], [1.0], 9, known=known)
    assert (found - picture)[..., :12].abs().max() < 1e-5 < (found - picture)[..., 30:].abs().mean()


def test_a_map_of_colours_that_was_fitted_before_maps_other_pictures_alike():
    palette, first = Palette(STYLES, CPU), to_tensor(CONTENT)
    fitted = palette.fit(first)
    assert torch.equal(fitted.give_to(first), palette.give_to(first))
    part = first[..., 10:60, 20:50]
    assert torch.allclose(fitted.give_to(part), fitted.give_to(first)[..., 10:60, 20:50], atol=1e-6)
    assert not torch.allclose(palette.give_to(part), fitted.give_to(part), atol=0.05)
    settings = StyleSettings(sharpness=0.0)
    finished = finish(first, STYLES, settings, palette.fit(smooth_chroma(first)))
    assert torch.equal(finish(first, STYLES, settings, palette), finished)


def test_steps_are_shorter_where_their_factor_is_smaller():
    start, gradient = torch.full((1, 3, 8, 8), 0.5), uniform(1, 3, 8, 8, seed=4)
    plain, shorter = Canvas(start), Canvas(start)
    shorter.step_factor = torch.ones(1, 1, 8, 8)
    shorter.step_factor[..., 4:] = 0.25
    for canvas in (plain, shorter):
        canvas.update(gradient, 0.02)
    changes = [canvas.pixels() - start for canvas in (plain, shorter)]
    assert torch.equal(changes[1][..., :4], changes[0][..., :4])
    assert torch.allclose(changes[1][..., 4:], 0.25 * changes[0][..., 4:], atol=1e-7)


def test_an_extra_loss_is_added_with_its_gradient():
    settings = StyleSettings.preset("classic", content_layers=("conv1_1",), style_layers=("conv1_1",))
    torch.manual_seed(0)
    extractor = Vgg19(VGG19(2, pooling="average"), ("conv1_1",), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    content, pixels = photo(1), photo(2)
    objective = Objective(extractor, settings, content, [(photo(3), 1.0, None)])
    losses, gradient = objective.evaluate(pixels)
    objective.extra_loss = lambda x: 3 * (x - 0.2).square().sum()
    with_extra, its_gradient = objective.evaluate(pixels)
    assert with_extra.total - losses.total == pytest.approx(3 * np.sum((pixels.numpy() - 0.2) ** 2), rel=1e-4)
    assert torch.allclose(its_gradient - gradient, 6 * (pixels - 0.2), atol=1e-3)
    assert with_extra.style == losses.style


def test_values_of_16_bits_have_the_colours_of_8_bits():
    space = from_code_points(9, 16)  # BT.2020 with PQ
    values = np.asarray(make_picture(40, 30, 5))
    expected = np.asarray(space.to_srgb(Image.fromarray(values)))
    assert np.array_equal(space.array_to_srgb(values.astype(np.uint16) * 257), expected)
