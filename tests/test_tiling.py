"""Tiles cover the picture once, have a sufficient margin, and change neither losses nor gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nst import targets
from nst.engine.tiling import cut_into_tiles, reach
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.layers import LAYERS, layer_stride
from nst.models.vgg import VGG19, Vgg19
from nst.objective import Objective
from nst.settings import StyleSettings

DEEP = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


@pytest.fixture(scope="module")
def network() -> VGG19:
    torch.manual_seed(0)
    return VGG19(2, width=1 / 4, pooling="average")


def extractor(network, layers, pooling="average") -> Vgg19:
    return Vgg19(network, layers, mean=IMAGENET_MEAN, std=IMAGENET_STD, pooling=pooling)


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width", "side"), [(203, 150, 64), (64, 64, 64), (65, 300, 48), (1000, 33, 500)])
def test_inner_parts_cover_every_pixel_and_every_feature_once(height, width, side):
    tiles = cut_into_tiles(height, width, side, DEEP)
    assert (len(tiles) == 1) == (height <= side and width <= side)
    count = np.zeros((height, width), int)
    for tile in tiles:
        count[tile.inner] += 1
        rows, columns = (part.stop - part.start for part in tile.inner)
        assert rows <= side + 16 and columns <= side + 16
    assert (count == 1).all()
    for layer in DEEP:
        stride = layer_stride(layer)
        count = np.zeros((height // stride, width // stride), int)
        for tile in tiles:
            count[tile.inner_of_picture_map(layer)] += 1
        assert (count == 1).all()


@pytest.mark.parametrize("layer", LAYERS[:9])
def test_reach_covers_the_receptive_field(layer):
    """The gradient of a feature in the middle is its receptive field, in a network without zeros."""
    positive = VGG19(2, width=1 / 4, pooling="average")
    for parameter in positive.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    x = photo(192, 192).requires_grad_()
    features = extractor(positive, [layer]).extract_features(x)[layer]
    stride = layer_stride(layer)
    position = features.shape[-1] // 2
    features[0, 0, position, position].backward()
    columns = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    left, right = position * stride - columns.min().item(), columns.max().item() - (position * stride + stride - 1)
    assert 0 < max(left, right) <= reach(layer) <= 2 * max(left, right)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("layer", DEEP[2:])
def test_features_of_tiles_equal_those_of_the_whole_picture(network, layer, pooling):
    x, vgg = photo(213, 171), extractor(network, [layer], pooling)
    whole = vgg.extract_features(x)[layer]
    tiles = cut_into_tiles(213, 171, 80, [layer])
    assert len(tiles) > 3
    for tile in tiles:
        part = vgg.extract_features(x[(..., *tile.outer)])[layer]
        inner, expected = part[(..., *tile.inner_of_tile_map(layer))], whole[(..., *tile.inner_of_picture_map(layer))]
        torch.testing.assert_close(inner, expected, rtol=1e-4, atol=1e-4 * whole.abs().max().item())


@pytest.mark.parametrize(
    ("levels", "masked", "stored"), [(1, True, True), (3, False, True), (2, True, True), (2, True, False)]
)
def test_tiled_losses_and_gradients_equal_the_untiled_ones(network, levels, masked, stored, monkeypatch):
    """Also where the photo's features are not stored, but computed again for every tile."""
    settings = StyleSettings.preset(
        "classic", content_layers=["conv2_2", "conv3_2"], style_layers=DEEP[:4], style_levels=levels,
        relative_losses=masked, tv_weight=5.0, device="cpu", precision="float32",
    )  # fmt: skip
    vgg = extractor(network, (*settings.content_layers, *settings.style_layers))
    mask = photo(181, 117, 5)[:, :1] if masked else None
    styles = [(photo(90, 120, 2), 2.0, mask), (photo(70, 60, 3), 1.0, None)]
    whole = Objective(vgg, settings, photo(181, 117, 1), styles)
    if not stored:
        monkeypatch.setattr(targets, "STORED_PIXELS", 1)
    tiled = Objective(vgg, settings, photo(181, 117, 1), styles, tile_side=64)
    shapes = []
    iterate = vgg.iterate_features
    vgg.iterate_features = lambda x, layers=None: shapes.append(x.shape) or iterate(x, layers)
    pixels = photo(181, 117, 4)
    losses, gradient = tiled.evaluate(pixels)
    assert len(shapes) >= 2 * 6 and max(shape[-2] for shape in shapes) < 181
    expected_losses, expected = whole.evaluate(pixels)
    for loss, expected_loss in zip(losses, expected_losses, strict=True):
        assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-4)
    assert ((gradient - expected).norm() / expected.norm()).item() < 1e-4
    assert (gradient - expected).abs().max() < 1e-3 * expected.abs().max()


def test_the_variance_of_a_large_map_is_computed_in_parts(monkeypatch):
    features = 3 + 0.5 * photo(100, 37, 6)
    expected = np.var(features.numpy().astype(float), ddof=1)
    for values_at_once in (features.numel(), 1):
        monkeypatch.setattr(targets, "VALUES_AT_ONCE", values_at_once)
        variance = targets.StoredFeatures({"conv1_2": features}).variances()["conv1_2"]
        assert variance.item() == pytest.approx(expected, rel=1e-5) and variance.dtype == torch.float32


def test_tiles_in_bf16_agree_within_its_precision():
    settings = replace(StyleSettings(), device="cpu", precision="bf16")
    torch.manual_seed(0)
    half = VGG19(2, pooling="average").to(torch.bfloat16, memory_format=torch.channels_last)
    vgg = extractor(half, (*settings.content_layers, *settings.style_layers))
    styles = [(photo(128, 96, 2), 1.0, None)]
    gradients = [
        Objective(vgg, settings, photo(160, 128, 1), styles, side).evaluate(photo(160, 128, 4))[1]
        for side in (None, 64)
    ]
    assert ((gradients[0] - gradients[1]).norm() / gradients[0].norm()).item() < 0.02
