"""The part of a painting: only its colours, strokes and statistics are taken, and only whole parts are accepted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint, refused_run
from nst import Style, StyleSettings, describe
from nst.io.colour import match_luminance
from nst.io.tensors import to_tensor
from nst.losses import STATISTICS
from nst.parts import load_part, part_tensor, whole_patches
from nst.patches import MOST_PATCHES, replace_patches
from nst.pictures import load_styles
from nst.targets import StyleInput, TargetBuilder

SETTINGS = StyleSettings(size=96, steps=6, scales=2, precision="float32", device="cpu")


def two_halves() -> Image.Image:
    """Return a painting whose left half has red stripes on white, and whose right half has blue dots on yellow."""
    painting = Image.new("RGB", (160, 120), "white")
    draw = ImageDraw.Draw(painting)
    for y in range(0, 120, 10):
        draw.rectangle((0, y, 79, y + 4), fill=(200, 20, 20))
    draw.rectangle((80, 0, 159, 119), fill=(240, 220, 60))
    for y in range(5, 120, 12):
        for x in range(86, 160, 12):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(20, 30, 200))
    return painting


def half(side: str, size: tuple[int, int] = (160, 120)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]) if side == "left" else (size[0] // 2, 0, *size))
    return mask


def cropped(side: str) -> Image.Image:
    return two_halves().crop((0, 0, 80, 120) if side == "left" else (80, 0, 160, 120))


def share_of(image: Image.Image, kind: str) -> float:
    """Return the share of the pixels that are red, or blue or yellow."""
    red, green, blue = np.asarray(image).astype(int).transpose(2, 0, 1)
    is_red = (red > blue + 60) & (green < blue + 40)
    is_of_dots = (blue > red + 60) | ((red > blue + 80) & (green > blue + 80))
    return (is_red if kind == "red" else is_of_dots).mean()


VARIANTS = {
    "default": {},
    "without a sketch": {"sketch": False, "steps": 12},
    "gram": {"style_statistic": "gram", "sketch": False, "style_weight": 200.0, "steps": 12},
    "from the style": {"init": "style", "sketch": False, "match_palette": False},
    "smaller strokes": {"style_scale": 0.5},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_part_decides_whose_colours_appear(side, changes):
    settings = replace(SETTINGS, **changes)
    image = paint(settings, style=[Style(two_halves(), part=half(side))]).image
    present, absent = ("red", "dots") if side == "left" else ("dots", "red")
    assert share_of(image, present) > 0.2
    assert share_of(image, absent) < (0.01 if settings.match_palette else 0.1)


def test_kept_colours_take_the_parts_lightness():
    """A part that is all light grey paints as a light grey painting does, whatever lies beside it."""
    painting = Image.new("RGB", (90, 70), "black")
    grey = make_picture(45, 70, seed=6).point(lambda value: 128 + value // 2)
    painting.paste(grey, (0, 0))
    matched = match_luminance(to_tensor(painting), to_tensor(CONTENT), torch.arange(90).repeat(70, 1) < 45)
    expected = match_luminance(to_tensor(grey), to_tensor(CONTENT))
    assert (matched[..., :45] - expected).abs().max() < 1e-6


def test_only_patches_inside_the_part_are_taken():
    """The outside is white, the part is grey: no pixel of the result may be lighter than the part."""
    painting = torch.ones(1, 3, 40, 52)
    part = torch.zeros(1, 1, 40, 52)
    part[..., 5:30, 7:33] = 1
    noise = torch.rand(1, 3, 25, 26, generator=torch.Generator().manual_seed(1))
    painting[..., 5:30, 7:33] = 0.3 + 0.3 * noise
    photo = torch.rand(1, 3, 37, 41, generator=torch.Generator().manual_seed(2))
    patched = replace_patches(photo, [painting], [1.0], 8, [part])
    assert patched.shape == photo.shape
    assert patched.min() > 0.3 - 1e-5 and patched.max() < 0.6 + 1e-5
    assert torch.equal(replace_patches(photo, [painting], [1.0], 21, [part]), photo)  # too few: it stays


@pytest.mark.parametrize("side", [5, 9])
def test_the_places_of_patches_are_all_that_lie_in_the_part(side):
    mask = Image.new("L", (60, 50))
    ImageDraw.Draw(mask).ellipse((8, 6, 50, 44), fill=255)
    part = part_tensor(mask, (60, 50))
    values = np.asarray(mask) == 255
    expected = [(y, x) for y in range(51 - side) for x in range(61 - side) if values[y : y + side, x : x + side].all()]
    assert whole_patches(part, side).tolist() == [list(place) for place in expected]


def test_the_statistics_are_those_of_the_parts_positions(random_checkpoint):
    """NumPy sums over the positions of a deep layer, one by one; whole and in tiles."""
    from nst.models.checkpoints import load_backbone

    layers = ("conv1_1", "conv2_1")
    settings = StyleSettings(style_layers=layers, content_layers=("conv1_1",), style_levels=1)
    extractor = load_backbone(str(random_checkpoint)).extractor(layers)
    picture, part = to_tensor(make_picture(96, 64, seed=3)), torch.zeros(1, 1, 64, 96)
    part[..., 10:50, 3:61] = 1
    features = dict(extractor.iterate_features(picture, layers))
    for tile_side in (200, 32):
        builder = TargetBuilder(extractor, settings, tile_side)
        (target,) = builder.build(picture, [StyleInput(picture, 1.0, None, part)]).styles
        for layer in layers:
            stride = 96 // features[layer].shape[-1]
            rows = features[layer][0].detach().numpy().reshape(len(features[layer][0]), -1).T.astype(float)
            cells = part[0, 0].numpy().reshape(64 // stride, stride, 96 // stride, stride).mean((1, 3)).ravel()
            mean = (cells[:, None] * rows).sum(0) / cells.sum()
            covariance = (cells[:, None] * rows).T @ rows / cells.sum() - np.outer(mean, mean)
            statistic = target.statistics[0, layer][0].numpy()
            assert np.abs(statistic[:, :-1] - covariance).max() < 1e-3 * np.abs(covariance).max()
            assert np.abs(statistic[:, -1] - mean).max() < 1e-3 * np.abs(mean).max()
    assert STATISTICS[settings.style_statistic].__name__ == "CovarianceStyle"


def test_runs_with_other_parts_take_other_statistics_from_the_cache():
    settings = replace(SETTINGS, sketch=False, match_palette=False, steps=2)
    left, right, again = (paint(settings, style=[Style(two_halves(), part=half(x))]) for x in ("left", "right", "left"))
    assert left.image.tobytes() == again.image.tobytes() != right.image.tobytes()


def test_what_lies_outside_the_part_changes_nothing():
    """Not one bit: other pixels there give the same picture."""
    part, changed = half("left"), two_halves()
    changed.paste(make_picture(80, 120, seed=8), (80, 0))
    expected, same = (paint(SETTINGS, style=[Style(x, part=part)]).image for x in (two_halves(), changed))
    assert same.tobytes() == expected.tobytes()


def test_a_part_of_everything_is_no_part():
    white = Image.new("L", (10, 10), 255)
    assert paint(SETTINGS, style=[Style(STYLE, part=white)]).image.tobytes() == paint(SETTINGS).image.tobytes()


def test_a_part_has_the_paintings_size_whatever_the_masks_and_is_black_or_white():
    picture, part = load_part(two_halves(), half("left", (40, 30)).convert("RGB"), "The style picture")
    values = np.asarray(part)
    assert part.size == picture.size and set(np.unique(values)) == {0, 255}
    assert values[:, :78].all() and not values[:, 82:].any()
    assert np.array_equal(np.asarray(picture)[:, :78], np.asarray(two_halves())[:, :78])
    assert share_of(picture, "dots") == 0


@pytest.mark.parametrize("sketch", [True, False])
def test_parts_that_cannot_be_used_are_refused_in_one_line(sketch):
    settings = replace(SETTINGS, sketch=sketch)
    empty = Image.new("L", (40, 40), 60)
    assert refused_run(style=[Style(STYLE, part=empty)], settings=settings) == (
        "The style picture's part is empty: its mask must be white where the style is taken from."
    )
    small = Image.new("L", (80, 80))
    small.paste(255, (5, 5, 11, 11))
    assert "too small at this size" in refused_run(style=[Style(STYLE, part=small)], settings=settings)
    assert "Style picture 2's part" in refused_run(style=[Style(STYLE), Style(STYLE, part=empty)], settings=settings)
    assert "its list of paintings is empty" in refused_run(style=[Style([])], settings=settings)


def test_a_recipe_names_the_part(random_checkpoint):
    settings = StyleSettings(backbone=str(random_checkpoint))
    (plain,), (left,), (right,) = (
        describe(CONTENT, [style], settings).styles
        for style in (Style(STYLE), Style(STYLE, part=half("left")), Style(STYLE, part=half("right")))
    )
    assert plain.part is None and len({plain.part, left.part, right.part}) == 3
    assert plain.picture == left.picture


# Several paintings in one style


def test_paintings_in_one_style_share_its_weight_and_its_mask():
    mask = half("left")
    styles = load_styles([Style([STYLE, CONTENT], 3.0, mask, half("right")), Style(STYLE, 2.0, mask)])
    assert [style.weight for style in styles] == [1.5, 1.5, 2.0]
    assert styles[0].mask is styles[1].mask is not styles[2].mask
    assert [style.part is None for style in styles] == [False, True, True]


def test_several_paintings_in_one_style_paint_as_several_styles_of_a_share_each():
    paintings = [make_picture(60, 70, seed=seed) for seed in (4, 5, 6, 7)]
    expected = paint(SETTINGS, style=[Style(painting) for painting in paintings])
    assert paint(SETTINGS, style=[Style(paintings, 2.0)]).image.tobytes() == expected.image.tobytes()
    everywhere = paint(SETTINGS, style=[Style(paintings, mask=Image.new("L", (9, 9), 255))])
    difference = np.asarray(everywhere.image).astype(int) - np.asarray(expected.image).astype(int)
    assert np.abs(difference).mean() < 0.5  # under a mask they are one sketch too, not three that are averaged


def test_the_number_of_patches_does_not_grow_with_the_paintings(monkeypatch):
    import nst.patches

    counts = []
    nearest = nst.patches._nearest

    def count(queries, patches, factors):
        counts.append(len(patches))
        return nearest(queries, patches, factors)

    monkeypatch.setattr(nst.patches, "_nearest", count)
    pictures = [torch.rand(1, 3, 300, 320, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    for number in (1, 2, 6):
        replace_patches(pictures[0][..., :60, :60], pictures[:number], [1.0] * number, 9)
    assert max(counts) <= 1.05 * MOST_PATCHES and min(counts) > 0.8 * MOST_PATCHES
