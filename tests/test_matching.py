"""Cells take over the painting's features where it looks most like the photo."""

import math

import numpy as np
import pytest
import torch

import nst.matching
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.matching import COMPLETENESS, KEY_LAYERS, StrokeMatcher
from nst.models.vgg import VGG19, Vgg19

LAYERS = ("conv1_1", "conv2_1", "conv3_1")


@pytest.fixture(scope="module")
def extractor() -> Vgg19:
    torch.manual_seed(0)
    return Vgg19(VGG19(2, width=1 / 8), {*LAYERS, *KEY_LAYERS}, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def match(extractor, photo, *paintings, share=1.0, painted=None) -> dict[str, torch.Tensor]:
    matcher = StrokeMatcher(extractor, LAYERS, photo, paintings)
    own = extractor.extract_features(photo, LAYERS)
    return matcher.match(photo if painted is None else painted, share, own)


def test_a_photo_that_is_the_painting_takes_over_its_own_features(extractor):
    photo = picture(64, 80, 1)
    own = extractor.extract_features(photo, LAYERS)
    for layer, target in match(extractor, photo, (photo, 1.0, None)).items():
        torch.testing.assert_close(target, own[layer], msg=layer)


@pytest.mark.parametrize("size", [(64, 48), (61, 47), (17, 90), (16, 16)])
def test_targets_have_the_shape_of_the_pictures_own_features(extractor, size):
    photo = picture(*size, 1)
    own = extractor.extract_features(photo, LAYERS)
    targets = match(extractor, photo, (picture(35, 53, 2), 1.0, None))
    assert {layer: x.shape for layer, x in targets.items()} == {layer: x.shape for layer, x in own.items()}


def test_every_block_of_a_target_is_a_block_of_the_painting(extractor):
    photo, painting = picture(40, 48, 1), picture(32, 36, 2)
    features = extractor.extract_features(painting, LAYERS)
    for layer, target in match(extractor, photo, (painting, 1.0, None)).items():
        side = {"conv1_1": 4, "conv2_1": 2, "conv3_1": 1}[layer]

        def blocks(x, side=side):
            array = x[0].numpy()
            rows, columns = array.shape[1] // side, array.shape[2] // side
            return {
                array[:, r * side : (r + 1) * side, c * side : (c + 1) * side].tobytes()
                for r in range(rows)
                for c in range(columns)
            }

        assert blocks(target) <= blocks(features[layer])


def test_the_nearest_cell_is_that_of_a_plain_calculation(extractor):
    matcher = StrokeMatcher(extractor, LAYERS, picture(40, 40, 1), [(picture(48, 48, 2), 1.0, None)])
    query = torch.randn(30, matcher._keys.shape[1], generator=torch.Generator().manual_seed(0))
    allowed = torch.arange(len(matcher._keys))
    chosen = matcher._nearest(query, allowed).tolist()
    keys = matcher._keys.double().numpy()
    unit = query.double().numpy() / np.linalg.norm(query.double().numpy(), axis=1, keepdims=True)
    distance = 1 - unit @ keys.T
    expected = np.argmin(distance / (COMPLETENESS + distance.min(0)), axis=1)
    assert chosen == expected.tolist()


def test_a_cell_takes_from_the_painting_of_its_mask_and_keeps_its_own_features_elsewhere(extractor):
    photo, left, right = picture(64, 96, 1), picture(64, 64, 2), picture(64, 64, 3)
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., :32] = 1
    other = torch.zeros_like(mask)
    other[..., 32:64] = 1
    own = extractor.extract_features(photo, LAYERS)
    both = match(extractor, photo, (left, 1.0, mask), (right, 1.0, other))
    for layer, target in both.items():
        third = target.shape[-1] // 3
        torch.testing.assert_close(target[..., 2 * third :], own[layer][..., 2 * third :])
        for part, painting in ((slice(0, third), left), (slice(third, 2 * third), right)):
            known = extractor.extract_features(painting, LAYERS)[layer].unique()
            assert torch.isin(target[..., part], known).all()


def test_a_heavier_painting_gets_more_of_the_photo(extractor):
    photo, one, two = picture(64, 64, 1), picture(64, 64, 2), picture(64, 64, 3)

    def share(weight: float) -> float:
        target = match(extractor, photo, (one, weight, None), (two, 1.0, None))["conv3_1"]
        known = extractor.extract_features(one, LAYERS)["conv3_1"][0].flatten(1).T
        cells = target[0].flatten(1).T
        return (torch.cdist(cells, known).amin(1) < 1e-6).float().mean().item()

    assert share(0.2) < share(1.0) < share(5.0)


def test_without_a_share_of_the_photo_only_the_picture_as_it_stands_counts(extractor):
    photo, painting, painted = picture(64, 64, 1), picture(64, 64, 2), picture(64, 64, 3)
    found = match(extractor, photo, (painting, 1.0, None), share=0.0, painted=painted)
    expected = match(extractor, painted, (painting, 1.0, None))
    assert all(torch.equal(found[layer], expected[layer]) for layer in LAYERS)
    assert not torch.equal(found["conv3_1"], match(extractor, photo, (painting, 1.0, None))["conv3_1"])


def test_tiles_change_nothing(extractor, monkeypatch):
    photo, painting = picture(200, 184, 1), picture(176, 216, 2)
    whole = match(extractor, photo, (painting, 1.0, None))
    monkeypatch.setattr(nst.matching, "default_tile_side", lambda *_: 64)
    tiled = match(extractor, photo, (painting, 1.0, None))
    for layer in LAYERS:
        same = (whole[layer] - tiled[layer]).abs().amax(1) < 1e-4
        assert same.float().mean() > 0.99  # two cells that are equally near may change places


def test_cells_grow_with_the_picture_and_with_the_deepest_layer(extractor):
    painting = [(picture(32, 32, 2), 1.0, None)]
    for side, cell in ((64, 4), (1024, 4), (1040, 8)):
        assert StrokeMatcher(extractor, LAYERS[:1], picture(16, side, 1), painting).cell == cell
    assert StrokeMatcher(extractor, ["conv4_1"], picture(32, 32, 1), painting).cell == 8


def test_scales_are_the_mean_variance_of_the_paintings_features(extractor):
    painting = picture(64, 64, 2)
    scales = StrokeMatcher(extractor, LAYERS, picture(64, 64, 1), [(painting, 1.0, None)]).scales
    for layer, features in extractor.extract_features(painting, LAYERS).items():
        expected = features[0].flatten(1).double().numpy().var(axis=1).mean()
        assert math.isclose(scales[layer].item(), expected, rel_tol=1e-4)
