"""Losses by hand, gradients by finite differences, the objective by its definition, and the canvas's Adam in NumPy."""

import copy
import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import nst.canvas
from nst.canvas import MOMENTS, Canvas
from nst.errors import StyleTransferError
from nst.images import IMAGENET_MEAN, IMAGENET_STD
from nst.losses import (
    STATISTICS,
    CovarianceStyle,
    GramStyle,
    compare,
    content_loss,
    gram_matrix,
    laplacian,
    laplacian_loss,
    style_loss,
    total_variation,
)
from nst.objective import Objective
from nst.settings import StyleSettings
from nst.vgg import VGG19, Vgg19


def random(*shape, seed=0, low=-1.0, high=1.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape)).float()


def gram_by_loops(features: np.ndarray) -> np.ndarray:
    """Eq. 3 of Gatys et al., entry by entry, over the number of positions; (C, H, W) in float64."""
    channels, height, width = features.shape
    gram = np.zeros((channels, channels))
    for i in range(channels):
        for j in range(channels):
            for y in range(height):
                for x in range(width):
                    gram[i, j] += features[i, y, x] * features[j, y, x]
    return gram / (height * width)


# Single losses


def test_content_loss_is_the_mean_squared_difference():
    """Twice eq. 1 of Gatys et al. over the number of entries."""
    f, p = random(1, 3, 4, 5, seed=1), random(1, 3, 4, 5, seed=2)
    eq1 = 0.5 * ((f.numpy().astype(float) - p.numpy()) ** 2).sum()
    assert content_loss(f, p).item() == pytest.approx(2 * eq1 / 60, rel=1e-5)
    assert content_loss(f, f).item() == 0
    assert content_loss(f, p).shape == ()


def test_gram_matrix_by_loops():
    features = random(2, 4, 3, 5)
    expected = np.stack([gram_by_loops(f) for f in features.numpy().astype(float)])
    np.testing.assert_allclose(gram_matrix(features).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_gram_matrix_with_weights():
    features, weights = random(2, 6, 7, 5), random(2, 1, 7, 5, seed=3, low=0)
    f, w = features.numpy().astype(float), weights.numpy().astype(float)
    expected = np.einsum("nihw,njhw,nkhw->nij", f, f, w) / w.sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(gram_matrix(features, weights).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_gram_matrix_does_not_depend_on_where_things_are_or_how_often_they_repeat():
    features = random(1, 4, 6, 6)
    shuffled = features.flatten(2)[:, :, torch.randperm(36)].view(1, 4, 6, 6)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 3, 2)), gram_matrix(features))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
def test_parts_of_a_picture_add_up_to_the_whole(statistic, weighted):
    """What tiling rests on, with parts of different size."""
    features = random(2, 5, 8, 9)
    weights = random(2, 1, 8, 9, seed=4, low=0) if weighted else None
    whole = statistic.accumulate(features, weights)
    parts = [
        statistic.accumulate(features[..., piece], weights[..., piece] if weighted else None)
        for piece in (slice(0, 2), slice(2, 9))
    ]
    added = [a + b for a, b in zip(*parts, strict=True)]
    torch.testing.assert_close(tuple(added), whole)
    assert added[0].shape == (2, 5, 5)
    assert added[-1].shape == (2, 1, 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_covariance_is_numpys(weighted):
    features, weights = random(1, 4, 5, 7), random(1, 1, 5, 7, seed=4, low=0)
    rows, counts = features[0].flatten(1).numpy(), weights.flatten().numpy() if weighted else None
    found = CovarianceStyle.finish(*CovarianceStyle.accumulate(features, weights if weighted else None))
    assert found.shape == (1, 4, 5)
    np.testing.assert_allclose(found[0, :, :4], np.cov(rows, aweights=counts, ddof=0), atol=1e-6)
    np.testing.assert_allclose(found[0, :, 4], np.average(rows, axis=1, weights=counts), atol=1e-6)


def test_covariance_and_mean_count_half_each_over_their_own_size():
    """Channels a hundred times as bright as they vary: the mean must not drown the covariance, nor C^2 entries C."""
    target = CovarianceStyle.finish(*CovarianceStyle.accumulate(100 + random(1, 6, 8, 8)))
    scale = CovarianceStyle.scale(target)
    for part, of in ((target.clone(), slice(0, 6)), (target.clone(), slice(6, 7))):
        part[..., of] *= 1.1  # 10 % wrong: 0.01 of the square
        assert compare(part, target, scale).item() == pytest.approx(0.01 / 2, rel=1e-3)
    gram = gram_matrix(random(1, 6, 8, 8))
    assert compare(1.1 * gram, gram, GramStyle.scale(gram)).item() == pytest.approx(0.01, rel=1e-3)


def test_a_mask_of_zeros_has_no_covariance_and_no_nan():
    features = random(1, 5, 4, 4).requires_grad_()
    found = CovarianceStyle.finish(*CovarianceStyle.accumulate(features, torch.zeros(1, 1, 4, 4)))
    found.sum().backward()
    assert (found == 0).all() and (features.grad == 0).all()


def test_weights_of_zero_and_one_equal_cropping():
    features = random(1, 5, 8, 10)
    weights = torch.zeros(1, 1, 8, 10)
    weights[..., 2:6, 3:9] = 1
    torch.testing.assert_close(gram_matrix(features, weights), gram_matrix(features[..., 2:6, 3:9]))


def test_a_constant_weight_changes_nothing():
    features = random(1, 5, 8, 10)
    torch.testing.assert_close(gram_matrix(features, torch.full((1, 1, 8, 10), 0.3)), gram_matrix(features))


def test_empty_mask_gives_zero_and_no_nan():
    features = random(1, 5, 4, 4).requires_grad_()
    gram = gram_matrix(features, torch.zeros(1, 1, 4, 4))
    gram.sum().backward()
    assert (gram == 0).all()
    assert (features.grad == 0).all()


def test_style_loss_is_four_times_gatys_e_l():
    """Eq. 4 taken literally: E = 1 / (4 N^2 M^2) sum (G - A)^2, with G and A not divided by M."""
    n, height, width = 6, 5, 7
    m = height * width
    f, a = (
        random(n, height, width, seed=1).numpy().astype(float),
        random(n, height, width, seed=2).numpy().astype(float),
    )
    g_matrix, a_matrix = m * gram_by_loops(f), m * gram_by_loops(a)
    e_l = ((g_matrix - a_matrix) ** 2).sum() / (4 * n**2 * m**2)
    target = gram_matrix(torch.from_numpy(a)[None])
    assert style_loss(torch.from_numpy(f)[None], target).item() == pytest.approx(4 * e_l, rel=1e-4)


def test_style_loss_with_a_mask_sees_only_what_is_under_it():
    features, target = random(1, 5, 6, 8), gram_matrix(random(1, 5, 9, 9, seed=5))
    mask = torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    expected = style_loss(features[..., :4], target)
    torch.testing.assert_close(style_loss(features, target, mask), expected)
    assert abs(style_loss(features, target) - expected) > 1e-4


def test_sums_are_float32_for_bf16_features():
    """In bf16 itself a sum over many positions stops growing at 256."""
    features = torch.ones(1, 2, 100, 100, dtype=torch.bfloat16)
    sums, count = GramStyle.accumulate(features)
    assert sums.dtype == torch.float32
    assert sums[0, 0, 0] == count.item() == 10_000
    assert content_loss(features, features * 0).dtype == torch.float32


def test_total_variation_by_loops():
    x = random(2, 3, 4, 6).numpy().astype(float)
    across, down = [], []
    for image in x.reshape(6, 4, 6):
        across += [(image[y, i + 1] - image[y, i]) ** 2 for y in range(4) for i in range(5)]
        down += [(image[y + 1, i] - image[y, i]) ** 2 for y in range(3) for i in range(6)]
    result = total_variation(torch.from_numpy(x)).item()
    assert result == pytest.approx(np.mean(across) + np.mean(down), rel=1e-6)


def test_total_variation_of_a_flat_picture_is_zero_and_of_stripes_is_one():
    assert total_variation(torch.full((1, 3, 5, 5), 0.3)).item() == 0
    stripes = (torch.arange(8) % 2).float().expand(1, 3, 6, 8)
    assert total_variation(stripes).item() == 1


def laplacian_by_loops(x: np.ndarray, pool: int) -> np.ndarray:
    light = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    rows, columns = math.ceil(light.shape[0] / pool), math.ceil(light.shape[1] / pool)
    means = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            means[row, column] = light[row * pool : (row + 1) * pool, column * pool : (column + 1) * pool].mean()
    found = np.zeros_like(means)
    for row in range(rows):
        for column in range(columns):
            for y, z in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= y < rows and 0 <= z < columns:
                    found[row, column] += means[row, column] - means[y, z]
    return found


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 50), (7, 40)])
def test_laplacian_loss_by_loops(height, width):
    """Also where the sides are no multiple of the pool, and where one is smaller than it."""
    x, y = (photo(seed, height, width) for seed in (1, 2))
    assert laplacian(x, 8).shape == (1, 1, -(-height // 8), -(-width // 8))
    wide = [(laplacian_by_loops(x[0].numpy(), pool), laplacian_by_loops(y[0].numpy(), pool)) for pool in (8, 16)]
    expected = np.mean([((a - b) ** 2).mean() for a, b in wide])
    found = laplacian_loss(x, {pool: laplacian(y, pool) for pool in (8, 16)}).item()
    assert expected > 1e-4 and found == pytest.approx(expected, rel=1e-4)


def test_laplacian_loss_leaves_brightness_and_colours_free():
    x = photo(1, 32, 48) * 0.5
    redder = x + torch.tensor([0.1, -0.1 * 0.299 / 0.587, 0.0]).view(1, 3, 1, 1)  # as light as before
    target = {8: laplacian(x, 8)}
    assert laplacian_loss(redder, target).item() < 1e-12 and laplacian_loss(x + 0.2, target).item() < 1e-12
    assert laplacian_loss(x.flip(-1), target).item() > 1e-4


@pytest.mark.parametrize("loss", [
    lambda x: content_loss(x, random(1, 4, 5, 6, seed=9)),
    lambda x: style_loss(x, gram_matrix(random(1, 4, 7, 7, seed=9))),
    lambda x: style_loss(x, gram_matrix(random(1, 4, 7, 7, seed=9)), random(1, 1, 5, 6, seed=8, low=0)),
    total_variation,
    lambda x: laplacian_loss(x[:, :3], {2: laplacian(random(1, 3, 5, 6, seed=9), 2)}),
], ids=["content", "style", "style with mask", "variation", "laplacian"])  # fmt: skip
def test_gradient_of_every_entry_by_central_differences(loss):
    x = random(1, 4, 5, 6, seed=7).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    numeric = torch.zeros(x.numel())
    for index in range(x.numel()):
        step = torch.zeros(x.numel())
        step[index] = 0.02  # these losses are polynomials of degree 2 and 4: large steps are nearly exact
        step = step.view_as(x)
        numeric[index] = (loss(x.detach() + step) - loss(x.detach() - step)).item() / 0.04
    error = (gradient.flatten() - numeric).abs().max().item()
    assert gradient.abs().max() > 1e-3
    assert error < 0.01 * gradient.abs().max().item()


# The objective

SETTINGS = StyleSettings.preset(
    "classic",
    content_layers=("conv2_1", "conv2_2"), style_layers=("conv1_1", "conv2_1", "conv3_1"),
    content_weight=3.0, laplacian_weight=500.0, style_weight=0.7, tv_weight=11.0,
)  # fmt: skip


class Counting(Vgg19):
    calls = 0

    def extract_features(self, x, layers=None):
        self.calls += 1
        return super().extract_features(x, layers)


@pytest.fixture
def extractor(network) -> Counting:
    layers = (*SETTINGS.content_layers, *SETTINGS.style_layers)
    return Counting(network, layers, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture(scope="module")
def network() -> VGG19:
    torch.manual_seed(0)
    return VGG19(2, pooling="average")  # average: a maximum's kinks would spoil finite differences


def photo(seed, height=32, width=40) -> torch.Tensor:
    return random(1, 3, height, width, seed=seed, low=0)


def masked_gram(features: torch.Tensor, mask: torch.Tensor | None) -> np.ndarray:
    """In float64; the mask shrinks with the features by averaging blocks."""
    f = features.detach().numpy()[0].astype(float)
    factor = 1 if mask is None else mask.shape[-1] // f.shape[-1]
    w = np.ones(f.shape[1:]) if mask is None else mask.numpy()[0, 0].astype(float)
    w = w.reshape(f.shape[1], factor, f.shape[2], factor).mean((1, 3)) if factor > 1 else w
    return np.einsum("ihw,jhw,hw->ij", f, f, w) / w.sum()


@pytest.mark.parametrize("masked", [False, True])
def test_losses_are_what_they_are_defined_as(network, extractor, masked):
    """Worked out again in NumPy: mean over content layers, shares of styles, mean over style layers, weighted total."""
    content, pixels = photo(1), photo(2).requires_grad_()
    mask = photo(8)[:, :1]
    styles = [(photo(3, 48, 24), 3.0, mask if masked else None), (photo(4, 32, 32), 1.0, 1 - mask if masked else None)]
    losses, _ = Objective(extractor, SETTINGS, content, styles).evaluate(pixels)

    features = {id(p): extractor.extract_features(p) for p in (content, pixels, styles[0][0], styles[1][0])}
    mine = features[id(pixels)]
    expected_content = np.mean([
        ((mine[layer] - features[id(content)][layer]).detach().numpy().astype(float) ** 2).mean()
        for layer in SETTINGS.content_layers
    ])  # fmt: skip
    expected_style = 0.0
    for picture, weight, mask in styles:
        for layer in SETTINGS.style_layers:
            difference = masked_gram(mine[layer], mask) - masked_gram(features[id(picture)][layer], None)
            expected_style += weight / 4 / 3 * (difference**2).mean()
    expected_tv = total_variation(pixels).item()
    expected_outlines = laplacian_loss(pixels, {pool: laplacian(content, pool) for pool in (8, 16)}).item()
    assert losses.content.item() == pytest.approx(expected_content, rel=1e-4)
    assert losses.style.item() == pytest.approx(expected_style, rel=1e-4)
    assert losses.laplacian.item() == pytest.approx(expected_outlines, rel=1e-5)
    assert losses.tv.item() == pytest.approx(expected_tv, rel=1e-5)
    expected_total = 3.0 * expected_content + 500.0 * expected_outlines + 0.7 * expected_style + 11.0 * expected_tv
    assert losses.total.item() == pytest.approx(expected_total, rel=1e-4)
    assert not any(value.requires_grad for value in losses)


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_by_finite_differences_along_random_directions(extractor, masked):
    mask = photo(8)[:, :1] if masked else None
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 2.0, mask), (photo(4), 1.0, None)])
    pixels = photo(2).requires_grad_()
    gradient = objective.evaluate(pixels)[1]
    assert gradient.shape == pixels.shape
    assert pixels.grad is None

    def total(at: torch.Tensor) -> float:
        return objective.evaluate(at.requires_grad_())[0].total.item()

    # Towards the gradient the slope is its length; a random direction alone would be nearly orthogonal to it.
    along = gradient / gradient.norm()
    for seed in range(3):
        direction = along + random(*pixels.shape, seed=20 + seed) * 0.02
        direction = direction / direction.norm()
        step = 0.02
        slope = (total(pixels.detach() + step * direction) - total(pixels.detach() - step * direction)) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=0.01)


def test_zero_at_the_target(extractor):
    """The photo itself has no content loss, a style's own picture no style loss."""
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, None)])
    assert objective.evaluate(photo(1).requires_grad_())[0].content.item() == 0
    assert objective.evaluate(photo(3).requires_grad_())[0].style.item() == pytest.approx(0, abs=1e-9)


def test_targets_are_computed_once(extractor):
    objective = Objective(extractor, SETTINGS, photo(1), [(photo(3), 1.0, None), (photo(4), 1.0, None)])
    assert extractor.calls == 3
    for done in range(1, 4):
        objective.evaluate(photo(2).requires_grad_())
        assert extractor.calls == 3 + done


def test_targets_do_not_follow_the_pictures_they_came_from(extractor):
    """The content picture is also what the canvas starts from."""
    content = photo(1)
    objective = Objective(extractor, SETTINGS, content, [(photo(3), 1.0, None)])
    before = objective.evaluate(photo(2).requires_grad_())[0]
    content.zero_()
    after = objective.evaluate(photo(2).requires_grad_())[0]
    assert after.content == before.content


def test_two_styles_pull_like_one_of_blended_statistics(extractor):
    """sum w |G - A_i|^2 and |G - sum w A_i|^2 differ by a constant, so their gradients are equal."""
    settings = StyleSettings.preset(
        "classic", content_layers=["conv2_1"], style_layers=SETTINGS.style_layers, content_weight=0, tv_weight=0
    )
    two = Objective(extractor, settings, photo(1), [(photo(3), 3.0, None), (photo(4), 1.0, None)])
    blended = Objective(extractor, settings, photo(1), [(photo(3), 1.0, None)])
    first, second = (target.statistics for target in two.style_targets)
    blended.style_targets[0].statistics = {k: 0.75 * first[k] + 0.25 * second[k] for k in first}
    pixels = photo(2).requires_grad_()
    (losses, gradient), (other_losses, other_gradient) = two.evaluate(pixels), blended.evaluate(pixels)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())
    assert losses.style > other_losses.style


@pytest.mark.parametrize("scale", [0.5, 40])
def test_only_the_ratio_of_style_weights_counts(extractor, scale):
    pixels = photo(2).requires_grad_()
    results = [
        Objective(extractor, SETTINGS, photo(1), [(photo(3), 3.0 * k, None), (photo(4), k, None)]).evaluate(pixels)
        for k in (1, scale)
    ]
    torch.testing.assert_close(results[0][0].style, results[1][0].style)


def test_masked_style_acts_only_under_its_mask(extractor):
    settings = StyleSettings.preset(
        "classic", content_layers=["conv2_1"], style_layers=SETTINGS.style_layers, content_weight=0, tv_weight=0
    )
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., :32] = 1
    objective = Objective(extractor, settings, photo(1, 64, 96), [(photo(3), 1.0, mask)])
    gradient = objective.evaluate(photo(2, 64, 96).requires_grad_())[1].abs()
    assert gradient[..., :32].mean() > 0
    reach = 14  # px: conv3_1 sees that far to either side
    assert (gradient[..., 32 + reach :] == 0).all()


def test_mask_of_ones_is_no_mask(extractor):
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


# The canvas


def adam_by_hand(start: np.ndarray, gradients: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """Algorithm 1 of Kingma & Ba with beta1 0.9, beta2 0.99, epsilon 1e-8, and clipping after each step."""
    x, m, v = start.astype(float), np.zeros(start.shape), np.zeros(start.shape)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        x = x.clip(0, 1)
    return x


def gradients(count: int, shape=(1, 3, 6, 8)) -> list[torch.Tensor]:
    return [random(*shape, seed=40 + i) for i in range(count)]


def test_update_is_adam_and_stays_in_zero_to_one():
    start = photo(1, 6, 8)
    rates = [0.02, 0.05, 0.3, 0.01, 0.3]
    canvas = Canvas(start)
    for gradient, rate in zip(gradients(5), rates, strict=True):
        canvas.update(gradient, rate)
    expected = adam_by_hand(start.numpy(), [g.numpy().astype(float) for g in gradients(5)], rates)
    assert {expected.min(), expected.max()} == {0, 1}  # the steps are large enough to need the clipping
    np.testing.assert_allclose(canvas.pixels().numpy(), expected, atol=1e-5)


def test_grain_is_added_and_clipped():
    start, grain = photo(1, 6, 8), random(1, 1, 6, 8, seed=9) * 0.3
    canvas = Canvas(start)
    canvas.roughen(grain)
    np.testing.assert_allclose(canvas.pixels().numpy(), np.clip(start.numpy() + grain.numpy(), 0, 1), atol=1e-7)


def test_canvas_does_not_write_into_the_picture_it_started_from():
    start = photo(1, 6, 8)
    before = start.clone()
    Canvas(start).update(gradients(1)[0], 0.1)
    assert torch.equal(start, before)


def doubling(length: int) -> np.ndarray:
    """The matrix (2 length, length) that doubles a row bilinearly: new pixels lie a quarter of an old one off."""
    positions = ((np.arange(2 * length) + 0.5) / 2 - 0.5).clip(0, length - 1)
    return np.stack([np.interp(positions, np.arange(length), one) for one in np.eye(length)], 1)


@pytest.mark.parametrize(
    ("kind", "beta1", "beta2", "half"), [("pyramid", 0.9, 0.99, np.inf), ("deep-pyramid", 0.85, 0.95, 60)]
)
def test_a_pyramid_takes_adam_steps_of_its_coefficients(kind, beta1, beta2, half):
    """By matrices: x = c_0 + U(c_1 + U c_2), and the gradient at a coefficient is its transpose's of the pixels'."""
    height, width = 16, 24
    up = np.kron(doubling(8), doubling(12)), np.kron(doubling(4), doubling(6))
    basis = [np.eye(height * width), up[0], up[0] @ up[1]]
    start, rates, found = photo(1, height, width), [0.02, 0.05, 0.1], gradients(3, (1, 3, height, width))
    canvas = Canvas(start, kind)
    x = start.numpy().reshape(3, -1).astype(float)
    moments = [[0.0, 0.0] for _ in basis]
    for t, (gradient, rate) in enumerate(zip(found, rates, strict=True), 1):
        canvas.update(gradient, rate)
        flat = gradient.numpy().reshape(3, -1).astype(float)
        for one, (to_pixels, (m, v)) in enumerate(zip(basis, moments, strict=True)):
            g = flat @ to_pixels
            m, v = moments[one] = [beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g]
            slower = rate / (1 + (t - 1) / half)
            x = x - slower * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8) @ to_pixels.T
        x = x.clip(0, 1)
    assert {x.min(), x.max()} == {0, 1}
    np.testing.assert_allclose(canvas.pixels().numpy().reshape(3, -1), x, atol=1e-5)


def test_a_pyramid_moves_what_many_pixels_agree_on_faster_than_grain():
    """Where a gradient has one sign over a whole picture every level adds its step; where it alternates, one does."""
    grain = torch.ones(1, 3, 32, 32)
    grain[..., ::2, ::2] = grain[..., 1::2, 1::2] = -1
    moved = []
    for gradient in (torch.ones(1, 3, 32, 32), grain):
        canvas = Canvas(torch.full((1, 3, 32, 32), 0.5), "pyramid")
        canvas.update(gradient, 0.01)
        moved.append((canvas.pixels() - 0.5)[..., 8:-8, 8:-8].abs().mean().item())
    assert moved == pytest.approx([0.04, 0.01], rel=1e-3)  # 32, 16, 8 and 4 px


@pytest.fixture(autouse=True)
def small_levels(monkeypatch):
    """Small pictures have pyramids too."""
    for kind in ("pyramid", "deep-pyramid"):
        monkeypatch.setitem(nst.canvas.KINDS, kind, replace(nst.canvas.KINDS[kind], smallest=4))


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
@pytest.mark.parametrize("size", [(24, 32), (17, 23), (6, 8)])
def test_resized_canvas_keeps_picture_and_moments(size, kind):
    canvas = Canvas(photo(1, 12, 16), kind)
    for gradient in gradients(4, (1, 3, 12, 16)):
        canvas.update(gradient * 10, 0.05)
    larger = canvas.resized(size)
    old, new = canvas.state(), larger.state()
    assert set(Canvas(photo(1, *size), kind).resized(size).state()) == {"pixels"}
    kept = {"pixels": "pixels", "exp_avg.0": "exp_avg.0", "exp_avg_sq.0": "exp_avg_sq.0"}
    if kind != "pixels" and size[0] > 12:
        kept |= {f"{name}.{level}": f"{name}.{level - 1}" for name in MOMENTS for level in (1, 2)}
    for name, was in kept.items():
        assert np.isfinite(new[name]).all()
        assert abs(new[name].mean() - old[was].mean()) < 0.25 * old[was].std() + 1e-6, name
    for name in ("pixels", "exp_avg.0", "exp_avg_sq.0"):
        assert new[name].shape == (1, 3, *size)
    assert new["step"] == old["step"] == 4
    assert new["exp_avg_sq.0"].min() >= 0
    assert new["pixels"].min() >= 0
    assert new["pixels"].max() <= 1
    larger.update(random(1, 3, *size, seed=3), 0.05)
    assert larger.pixels().isfinite().all()
    assert larger.state()["step"] == 5


def test_resizing_a_smooth_ramp_keeps_it():
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 12, 16)
    result = Canvas(ramp).resized((24, 32)).pixels()[0, 0, 5]
    positions = (np.arange(32) + 0.5) / 2 - 0.5  # centres of the new pixels among the old
    np.testing.assert_allclose(result.numpy(), np.interp(positions, np.arange(16), ramp[0, 0, 0].numpy()), atol=1e-6)


def test_resized_fresh_canvas_has_no_moments():
    assert set(Canvas(photo(1, 6, 8)).resized((9, 9)).state()) == {"pixels"}


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_restored_canvas_continues_identically(steps_before, kind):
    canvas = Canvas(photo(1, 13, 18), kind)
    *first, second, third = gradients(steps_before + 2, (1, 3, 13, 18))
    for gradient in first:
        canvas.update(gradient, 0.03)
    arrays = canvas.state()
    assert all(array.dtype == np.float32 for array in arrays.values())
    kept = {name: array.copy() for name, array in arrays.items()}
    restored = Canvas.restore(arrays, kind, torch.device("cpu"))
    for gradient in (second, third):
        canvas.update(gradient, 0.03)
        restored.update(gradient, 0.03)
    assert torch.equal(canvas.pixels(), restored.pixels())
    assert all(np.array_equal(arrays[name], kept[name]) for name in kept)  # a snapshot, not a view of the canvas


# The image pyramid and relative losses


def test_style_on_a_pyramid_is_the_mean_over_levels_and_layers(extractor):
    """Each level by hand: the picture averaged over 2x2 blocks, its own Gram matrices, the mean of all."""
    settings = dataclasses.replace(SETTINGS, style_levels=3)
    style, pixels = photo(2, 64, 64), photo(3, 64, 64)
    losses, _ = Objective(extractor, settings, photo(1, 64, 64), [(style, 1.0, None)]).evaluate(
        pixels.clone().requires_grad_()
    )
    expected = []
    for _ in range(3):
        mine, theirs = extractor.extract_features(pixels), extractor.extract_features(style)
        for layer in SETTINGS.style_layers:
            expected.append(((masked_gram(mine[layer], None) - masked_gram(theirs[layer], None)) ** 2).mean())
        side = pixels.shape[-1] // 2
        pixels, style = (x.reshape(1, 3, side, 2, side, 2).mean((3, 5)) for x in (pixels, style))
    assert losses.style.item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_level_too_small_to_count_is_left_out(extractor):
    """The 32 px style has two levels of 16 px or more, the 64 px picture three: two are compared."""
    settings = dataclasses.replace(SETTINGS, style_levels=6)
    content = photo(1, 64, 64)
    objective = Objective(extractor, settings, content, [(photo(2, 32, 32), 1.0, None)])
    assert {level for level, _ in objective.style_targets[0].statistics} == {0, 1}
    assert objective.evaluate(content.clone().requires_grad_())[0].style > 0


def test_relative_losses_do_not_depend_on_the_scale_of_the_features(network):
    """Features three times as large leave them as they are, for all that Gram matrices grow ninefold."""
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
    """A Gram matrix of zeros is as far from the target as the target is large."""
    extractor = Vgg19(copy.deepcopy(network), ["conv1_1"], mean=IMAGENET_MEAN, std=IMAGENET_STD)
    settings = StyleSettings(content_layers=("conv1_1",), style_layers=("conv1_1",), relative_losses=True)
    objective = Objective(extractor, settings, photo(1), [(photo(2), 1.0, None)])
    black = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 32, 40).clone().requires_grad_()
    for parameter in extractor.parameters():
        parameter.mul_(1e-3)
    assert objective.evaluate(black)[0].style.item() == pytest.approx(1, rel=1e-3)
