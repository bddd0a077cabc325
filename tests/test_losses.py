"""Losses against plain loops and NumPy, and their gradients against central differences."""

import math

import numpy as np
import pytest
import torch

from helpers.pictures import photo, uniform
from nst.losses import (
    STATISTICS,
    CovarianceStyle,
    GramStyle,
    compare,
    content_loss,
    gram_matrix,
    laplacian,
    laplacian_loss,
    squared_difference,
    style_loss,
    total_variation,
)


def gram_by_loops(features: np.ndarray) -> np.ndarray:
    """Compute eq. 3 of Gatys et al. entry by entry, divided by the number of positions, for (C, H, W) in float64."""
    channels, height, width = features.shape
    gram = np.zeros((channels, channels))
    for i in range(channels):
        for j in range(channels):
            for y in range(height):
                for x in range(width):
                    gram[i, j] += features[i, y, x] * features[j, y, x]
    return gram / (height * width)


# Single losses


def test_the_content_loss_is_the_mean_squared_difference():
    """It is twice eq. 1 of Gatys et al., divided by the number of entries."""
    f, p = uniform(1, 3, 4, 5, seed=1), uniform(1, 3, 4, 5, seed=2)
    eq1 = 0.5 * ((f.numpy().astype(float) - p.numpy()) ** 2).sum()
    assert content_loss(f, p).item() == pytest.approx(2 * eq1 / 60, rel=1e-5)
    assert content_loss(f, f).item() == 0
    assert content_loss(f, p).shape == ()


def test_the_gram_matrix_equals_plain_loops():
    features = uniform(2, 4, 3, 5)
    expected = np.stack([gram_by_loops(f) for f in features.numpy().astype(float)])
    np.testing.assert_allclose(gram_matrix(features).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_gram_matrix_with_weights_equals_a_weighted_mean():
    features, weights = uniform(2, 6, 7, 5), uniform(2, 1, 7, 5, seed=3, low=0)
    f, w = features.numpy().astype(float), weights.numpy().astype(float)
    expected = np.einsum("nihw,njhw,nkhw->nij", f, f, w) / w.sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(gram_matrix(features, weights).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_gram_matrix_does_not_depend_on_positions_or_repetitions():
    features = uniform(1, 4, 6, 6)
    shuffled = features.flatten(2)[:, :, torch.randperm(36)].view(1, 4, 6, 6)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 3, 2)), gram_matrix(features))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
def test_statistics_of_parts_add_up_to_those_of_the_whole_picture(statistic, weighted):
    """Tiling relies on this. The two parts have different sizes."""
    features = uniform(2, 5, 8, 9)
    weights = uniform(2, 1, 8, 9, seed=4, low=0) if weighted else None
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
def test_the_covariance_equals_numpys(weighted):
    features, weights = uniform(1, 4, 5, 7), uniform(1, 1, 5, 7, seed=4, low=0)
    rows, counts = features[0].flatten(1).numpy(), weights.flatten().numpy() if weighted else None
    result = CovarianceStyle.finish(*CovarianceStyle.accumulate(features, weights if weighted else None))
    assert result.shape == (1, 4, 5)
    np.testing.assert_allclose(result[0, :, :4], np.cov(rows, aweights=counts, ddof=0), atol=1e-6)
    np.testing.assert_allclose(result[0, :, 4], np.average(rows, axis=1, weights=counts), atol=1e-6)


def test_the_covariance_and_the_mean_count_half_each_relative_to_their_size():
    """The means are a hundred times the variation: they must not drown the covariance, nor C^2 entries C means."""
    target = CovarianceStyle.finish(*CovarianceStyle.accumulate(100 + uniform(1, 6, 8, 8)))
    scale = CovarianceStyle.scale(target)
    for part, columns in ((target.clone(), slice(0, 6)), (target.clone(), slice(6, 7))):
        part[..., columns] *= 1.1  # an error of 10 %: 0.01 of the square
        assert compare(part, target, scale).item() == pytest.approx(0.01 / 2, rel=1e-3)
    gram = gram_matrix(uniform(1, 6, 8, 8))
    assert compare(1.1 * gram, gram, GramStyle.scale(gram)).item() == pytest.approx(0.01, rel=1e-3)


def test_a_mask_of_zeros_has_no_covariance_and_no_nan():
    features = uniform(1, 5, 4, 4).requires_grad_()
    result = CovarianceStyle.finish(*CovarianceStyle.accumulate(features, torch.zeros(1, 1, 4, 4)))
    result.sum().backward()
    assert (result == 0).all() and (features.grad == 0).all()


def test_weights_of_zero_and_one_are_the_same_as_cropping():
    features = uniform(1, 5, 8, 10)
    weights = torch.zeros(1, 1, 8, 10)
    weights[..., 2:6, 3:9] = 1
    torch.testing.assert_close(gram_matrix(features, weights), gram_matrix(features[..., 2:6, 3:9]))


def test_a_constant_weight_changes_nothing():
    features = uniform(1, 5, 8, 10)
    torch.testing.assert_close(gram_matrix(features, torch.full((1, 1, 8, 10), 0.3)), gram_matrix(features))


def test_an_empty_mask_gives_a_gram_matrix_of_zeros_and_no_nan():
    features = uniform(1, 5, 4, 4).requires_grad_()
    gram = gram_matrix(features, torch.zeros(1, 1, 4, 4))
    gram.sum().backward()
    assert (gram == 0).all()
    assert (features.grad == 0).all()


def test_the_style_loss_is_four_times_the_e_l_of_gatys():
    """Eq. 4 says: E = 1 / (4 N^2 M^2) sum (G - A)^2, with G and A not divided by M."""
    n, height, width = 6, 5, 7
    m = height * width
    f, a = (
        uniform(n, height, width, seed=1).numpy().astype(float),
        uniform(n, height, width, seed=2).numpy().astype(float),
    )
    g_matrix, a_matrix = m * gram_by_loops(f), m * gram_by_loops(a)
    e_l = ((g_matrix - a_matrix) ** 2).sum() / (4 * n**2 * m**2)
    target = gram_matrix(torch.from_numpy(a)[None])
    assert style_loss(torch.from_numpy(f)[None], target).item() == pytest.approx(4 * e_l, rel=1e-4)


def test_a_masked_style_loss_ignores_features_outside_the_mask():
    features, target = uniform(1, 5, 6, 8), gram_matrix(uniform(1, 5, 9, 9, seed=5))
    mask = torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    expected = style_loss(features[..., :4], target)
    torch.testing.assert_close(style_loss(features, target, mask), expected)
    assert abs(style_loss(features, target) - expected) > 1e-4


def test_sums_are_float32_for_bf16_features():
    """A sum in bf16 over many positions would stop growing at 256."""
    features = torch.ones(1, 2, 100, 100, dtype=torch.bfloat16)
    sums, count = GramStyle.accumulate(features)
    assert sums.dtype == torch.float32
    assert sums[0, 0, 0] == count.item() == 10_000
    assert content_loss(features, features * 0).dtype == torch.float32


def test_total_variation_equals_plain_loops():
    x = uniform(2, 3, 4, 6).numpy().astype(float)
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
    """Return the Laplacian of the luminance of x (3, H, W), averaged over blocks of `pool` x `pool`."""
    light = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    rows, columns = math.ceil(light.shape[0] / pool), math.ceil(light.shape[1] / pool)
    means = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            means[row, column] = light[row * pool : (row + 1) * pool, column * pool : (column + 1) * pool].mean()
    result = np.zeros_like(means)
    for row in range(rows):
        for column in range(columns):
            for y, z in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= y < rows and 0 <= z < columns:
                    result[row, column] += means[row, column] - means[y, z]
    return result


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 50), (7, 40)])
def test_the_laplacian_loss_equals_plain_loops(height, width):
    """Some sides are no multiple of the pool, and one side is smaller than the pool."""
    x, y = (photo(seed, height, width) for seed in (1, 2))
    assert laplacian(x, 8).shape == (1, 1, -(-height // 8), -(-width // 8))
    pairs = [(laplacian_by_loops(x[0].numpy(), pool), laplacian_by_loops(y[0].numpy(), pool)) for pool in (8, 16)]
    expected = np.mean([((a - b) ** 2).mean() for a, b in pairs])
    loss = laplacian_loss(x, {pool: laplacian(y, pool) for pool in (8, 16)}).item()
    assert expected > 1e-4 and loss == pytest.approx(expected, rel=1e-4)


def test_the_laplacian_loss_ignores_brightness_and_colours():
    x = photo(1, 32, 48) * 0.5
    redder = x + torch.tensor([0.1, -0.1 * 0.299 / 0.587, 0.0]).view(1, 3, 1, 1)  # with the same luminance
    target = {8: laplacian(x, 8)}
    assert laplacian_loss(redder, target).item() < 1e-12 and laplacian_loss(x + 0.2, target).item() < 1e-12
    assert laplacian_loss(x.flip(-1), target).item() > 1e-4


@pytest.mark.parametrize("loss", [
    lambda x: content_loss(x, uniform(1, 4, 5, 6, seed=9)),
    lambda x: style_loss(x, gram_matrix(uniform(1, 4, 7, 7, seed=9))),
    lambda x: style_loss(x, gram_matrix(uniform(1, 4, 7, 7, seed=9)), uniform(1, 1, 5, 6, seed=8, low=0)),
    total_variation,
    lambda x: laplacian_loss(x[:, :3], {2: laplacian(uniform(1, 3, 5, 6, seed=9), 2)}),
], ids=["content", "style", "style with mask", "variation", "laplacian"])  # fmt: skip
def test_every_entry_of_the_gradient_equals_central_differences(loss):
    x = uniform(1, 4, 5, 6, seed=7).requires_grad_()
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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_covariances_and_squared_differences_equal_autograds(layout):
    """Autograd differentiates formulas with torch's mean, cov and square, in float64."""
    values, other = uniform(1, 5, 6, 7, seed=1), uniform(1, 5, 6, 7, seed=2)
    weights = uniform(5, 6, seed=3)

    features = values.clone(memory_format=layout).requires_grad_()
    statistic = CovarianceStyle.finish(*CovarianceStyle.accumulate(features))[0]
    ((statistic * weights).sum() + 0.5 * squared_difference(features, other)).backward()

    plain = values.double().requires_grad_()
    rows = plain[0].flatten(1)
    by_torch = torch.cat([torch.cov(rows, correction=0), rows.mean(1, keepdim=True)], 1)
    ((by_torch * weights).sum() + 0.5 * (plain - other).square().sum()).backward()
    torch.testing.assert_close(features.grad.double(), plain.grad, rtol=1e-4, atol=1e-5)
