"""The objective agrees with its definition, written out in NumPy, and its gradient with finite differences."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from helpers.pictures import photo, uniform
from nst.canvas import Canvas
from nst.errors import StyleTransferError
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.losses import (
    laplacian,
    laplacian_loss,
    total_variation,
)
from nst.models.vgg import VGG19, Vgg19
from nst.objective import Objective
from nst.settings import StyleSettings

SETTINGS = StyleSettings.preset(
    "classic",
    content_layers=("conv2_1", "conv2_2"), style_layers=("conv1_1", "conv2_1", "conv3_1"),
    content_weight=3.0, laplacian_weight=500.0, style_weight=0.7, tv_weight=11.0,
)  # fmt: skip


class Counting(Vgg19):
    """A Vgg19 that counts its forward passes."""

    calls = 0

    def iterate_features(self, x, layers=None):
        self.calls += 1
        return super().iterate_features(x, layers)


@pytest.fixture
def extractor(network) -> Counting:
    layers = (*SETTINGS.content_layers, *SETTINGS.style_layers)
    return Counting(network, layers, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture(scope="module")
def network() -> VGG19:
    torch.manual_seed(0)
    return VGG19(2, pooling="average")  # average: max pooling has kinks, where finite differences fail


def masked_gram(features: torch.Tensor, mask: torch.Tensor | None) -> np.ndarray:
    """Return the Gram matrix in float64. Averages over blocks shrink the mask to the size of the features."""
    f = features.detach().numpy()[0].astype(float)
    factor = 1 if mask is None else mask.shape[-1] // f.shape[-1]
    w = np.ones(f.shape[1:]) if mask is None else mask.numpy()[0, 0].astype(float)
    w = w.reshape(f.shape[1], factor, f.shape[2], factor).mean((1, 3)) if factor > 1 else w
    return np.einsum("ihw,jhw,hw->ij", f, f, w) / w.sum()


@pytest.mark.parametrize("masked", [False, True])
def test_the_losses_equal_their_definitions(network, extractor, masked):
    """NumPy computes the mean over content layers, the weighted styles, their mean over layers and the total again."""
    content, pixels = photo(1), photo(2).requires_grad_()
    mask = photo(8)[:, :1]
    styles = [(photo(3, 48, 24), 3.0, mask if masked else None), (photo(4, 32, 32), 1.0, 1 - mask if masked else None)]
    losses, _ = Objective(extractor, SETTINGS, content, styles).evaluate(pixels)

    features = {id(p): extractor.extract_features(p) for p in (content, pixels, styles[0][0], styles[1][0])}
    of_pixels = features[id(pixels)]
    expected_content = np.mean([
        ((of_pixels[layer] - features[id(content)][layer]).detach().numpy().astype(float) ** 2).mean()
        for layer in SETTINGS.content_layers
    ])  # fmt: skip
    expected_style = 0.0
    for picture, weight, mask in styles:
        for layer in SETTINGS.style_layers:
            difference = masked_gram(of_pixels[layer], mask) - masked_gram(features[id(picture)][layer], None)
            expected_style += weight / 4 / 3 * (difference**2).mean()
    expected_tv = total_variation(pixels).item()
    expected_laplacian = laplacian_loss(pixels, {pool: laplacian(content, pool) for pool in (8, 16)}).item()
    assert losses.content.item() == pytest.approx(expected_content, rel=1e-4)
    assert losses.style.item() == pytest.approx(expected_style, rel=1e-4)
    assert losses.laplacian.item() == pytest.approx(expected_laplacian, rel=1e-5)
    assert losses.tv.item() == pytest.approx(expected_tv, rel=1e-5)
    expected_total = 3.0 * expected_content + 500.0 * expected_laplacian + 0.7 * expected_style + 11.0 * expected_tv
    assert losses.total.item() == pytest.approx(expected_total, rel=1e-4)
    assert not any(value.requires_grad for value in losses)


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_equals_finite_differences_along_random_directions(extractor, masked):
    mask = photo(8)[:, :1] if masked else None
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 2.0, mask), (photo(4), 1.0, None)])
    pixels = photo(2).requires_grad_()
    gradient = objective.evaluate(pixels)[1]
    assert gradient.shape == pixels.shape
    assert pixels.grad is None

    def total(at: torch.Tensor) -> float:
        return objective.evaluate(at.requires_grad_())[0].total.item()

    # A random direction alone would be nearly orthogonal to the gradient: along the gradient the slope is its length.
    along = gradient / gradient.norm()
    for seed in range(3):
        direction = along + uniform(*pixels.shape, seed=20 + seed) * 0.02
        direction = direction / direction.norm()
        step = 0.02
        slope = (total(pixels.detach() + step * direction) - total(pixels.detach() - step * direction)) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=0.01)


def test_each_loss_is_zero_at_its_target(extractor):
    """The photo has no content loss, and the painting has no style loss."""
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, None)])
    assert objective.evaluate(photo(1).requires_grad_())[0].content.item() == 0
    assert objective.evaluate(photo(3).requires_grad_())[0].style.item() == pytest.approx(0, abs=1e-9)


def test_targets_are_computed_once(extractor):
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, None), (photo(4), 1.0, None)])
    assert extractor.calls == 3
    for count in range(1, 4):
        objective.evaluate(photo(2).requires_grad_())
        assert extractor.calls == 3 + count


def test_the_targets_stay_when_their_pictures_change(extractor):
    """The canvas starts from the content picture, so the picture may change during a run."""
    content = photo(1)
    objective = Objective(extractor, SETTINGS, content, [(photo(3), 1.0, None)])
    before = objective.evaluate(photo(2).requires_grad_())[0]
    content.zero_()
    after = objective.evaluate(photo(2).requires_grad_())[0]
    assert after.content == before.content


def test_two_styles_have_the_gradient_of_one_style_with_blended_statistics(extractor):
    """sum w |G - A_i|^2 and |G - sum w A_i|^2 differ by a constant, so their gradients are equal."""
    settings = StyleSettings.preset(
        "classic", content_layers=["conv2_1"], style_layers=SETTINGS.style_layers, content_weight=0, tv_weight=0
    )
    two_styles = Objective(extractor, settings, photo(1), [(photo(3), 3.0, None), (photo(4), 1.0, None)])
    blended = Objective(extractor, settings, photo(1), [(photo(3), 1.0, None)])
    first, second = (target.statistics for target in two_styles.targets.styles)
    blended.targets.styles[0].statistics = {k: 0.75 * first[k] + 0.25 * second[k] for k in first}
    pixels = photo(2).requires_grad_()
    losses, gradient = two_styles.evaluate(pixels)
    blended_losses, blended_gradient = blended.evaluate(pixels)
    torch.testing.assert_close(gradient, blended_gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())
    assert losses.style > blended_losses.style


@pytest.mark.parametrize("scale", [0.5, 40])
def test_only_the_ratio_of_style_weights_counts(extractor, scale):
    pixels = photo(2).requires_grad_()
    results = [
        Objective(extractor, SETTINGS, photo(1), [(photo(3), 3.0 * k, None), (photo(4), k, None)]).evaluate(pixels)
        for k in (1, scale)
    ]
    torch.testing.assert_close(results[0][0].style, results[1][0].style)


def test_a_masked_style_leaves_the_rest_alone(extractor):
    settings = StyleSettings.preset(
        "classic", content_layers=["conv2_1"], style_layers=SETTINGS.style_layers, content_weight=0, tv_weight=0
    )
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., :32] = 1
    objective = Objective(extractor, settings, photo(1, 64, 96), [(photo(3), 1.0, mask)])
    gradient = objective.evaluate(photo(2, 64, 96).requires_grad_())[1].abs()
    assert gradient[..., :32].mean() > 0
    reach = 14  # px: the receptive field of conv3_1 extends this far to either side
    assert (gradient[..., 32 + reach :] == 0).all()


def test_a_mask_of_ones_changes_nothing(extractor):
    pixels = photo(2).requires_grad_()
    plain, masked = (
        Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, mask)]).evaluate(pixels)
        for mask in (None, torch.ones(1, 1, 32, 40))
    )
    torch.testing.assert_close(masked[0].total, plain[0].total)
    torch.testing.assert_close(masked[1], plain[1], rtol=1e-3, atol=1e-6)


def test_following_the_gradient_lowers_the_total(extractor):
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, None)])
    canvas = Canvas(photo(2))
    totals = []
    for _ in range(8):
        losses, gradient = objective.evaluate(canvas.pixels())
        totals.append(losses.total.item())
        canvas.update(gradient, 0.02)
    assert totals[-1] < 0.8 * totals[0]


def test_a_picture_too_small_for_the_layers_is_refused(extractor):
    with pytest.raises(StyleTransferError, match="too small"):
        Objective(extractor, SETTINGS, photo(1, 3, 40), [(photo(3), 1.0, None)]).evaluate(photo(1, 3, 40))


def test_style_on_a_pyramid_is_the_mean_over_levels_and_layers(extractor):
    """The expected value: 2x2 blocks are averaged for each level, and the mean runs over all Gram matrices."""
    settings = dataclasses.replace(SETTINGS, style_levels=3)
    style, pixels = photo(2, 64, 64), photo(3, 64, 64)
    losses, _ = Objective(extractor, settings, photo(1, 64, 64), [(style, 1.0, None)]).evaluate(
        pixels.clone().requires_grad_()
    )
    expected = []
    for _ in range(3):
        of_pixels, of_style = extractor.extract_features(pixels), extractor.extract_features(style)
        for layer in SETTINGS.style_layers:
            expected.append(((masked_gram(of_pixels[layer], None) - masked_gram(of_style[layer], None)) ** 2).mean())
        side = pixels.shape[-1] // 2
        pixels, style = (x.reshape(1, 3, side, 2, side, 2).mean((3, 5)) for x in (pixels, style))
    assert losses.style.item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_level_too_small_to_count_is_left_out(extractor):
    """The 32 px style has two levels of 16 px or more, the 64 px picture three: two are compared."""
    settings = dataclasses.replace(SETTINGS, style_levels=6)
    content = photo(1, 64, 64)
    objective = Objective(extractor, settings, content, [(photo(2, 32, 32), 1.0, None)])
    assert {level for level, _ in objective.targets.styles[0].statistics} == {0, 1}
    assert objective.evaluate(content.clone().requires_grad_())[0].style > 0


def test_relative_losses_do_not_depend_on_the_scale_of_the_features(network):
    """Features three times as large leave the losses as they are, although Gram matrices grow ninefold."""
    settings = StyleSettings(content_layers=("conv1_1",), style_layers=("conv1_1",), relative_losses=True)
    results = []
    for factor in (1, 3):
        extractor = Vgg19(copy.deepcopy(network), ["conv1_1"], mean=IMAGENET_MEAN, std=IMAGENET_STD)
        for parameter in extractor.parameters():
            parameter.mul_(factor)
        objective = Objective(extractor, settings, photo(1), [(photo(2), 1.0, None)])
        losses, _ = objective.evaluate(photo(3).requires_grad_())
        results.append((losses.content.item(), losses.style.item()))
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def test_relative_losses_are_one_for_a_picture_without_features(network):
    """The distance from a Gram matrix of zeros to the target is the size of the target."""
    extractor = Vgg19(copy.deepcopy(network), ["conv1_1"], mean=IMAGENET_MEAN, std=IMAGENET_STD)
    settings = StyleSettings(content_layers=("conv1_1",), style_layers=("conv1_1",), relative_losses=True)
    objective = Objective(extractor, settings, photo(1), [(photo(2), 1.0, None)])
    black = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 32, 40).clone().requires_grad_()
    for parameter in extractor.parameters():
        parameter.mul_(1e-3)
    assert objective.evaluate(black)[0].style.item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("statistic", ["gram", "covariance"])
def test_the_style_loss_of_a_pale_painting_is_moderate(extractor, statistic):
    """A painting without contrast has a tiny statistic. The loss is relative to the photo's statistic instead."""
    settings = dataclasses.replace(SETTINGS, relative_losses=True, style_statistic=statistic)
    content = photo(1, 64, 64)
    pale = 0.45 + 0.02 * (content - content.mean())
    losses, _ = Objective(extractor, settings, content, [(pale, 1.0, None)]).evaluate(content)
    assert 0.1 < losses.style.item() < 1.5
    # A pale photo changes nothing: the loss is then relative to the painting's statistic.
    from_pale, _ = Objective(extractor, settings, pale, [(content, 1.0, None)]).evaluate(pale)
    from_itself, _ = Objective(extractor, settings, content, [(content, 1.0, None)]).evaluate(pale)
    assert from_pale.style.item() == pytest.approx(from_itself.style.item(), rel=1e-4)
