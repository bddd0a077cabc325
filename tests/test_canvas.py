"""The canvas against Adam in NumPy, and its pyramids against matrices."""

import numpy as np
import pytest
import torch

import nst.canvas
from helpers.pictures import photo, uniform
from nst.canvas import MOMENTS, Canvas, without_grid

pytestmark = pytest.mark.usefixtures("small_levels")


def adam_in_numpy(start: np.ndarray, gradients: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """Compute algorithm 1 of Kingma & Ba with beta1 0.9, beta2 0.99, epsilon 1e-8, and clip after each step."""
    x, m, v = start.astype(float), np.zeros(start.shape), np.zeros(start.shape)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        x = x.clip(0, 1)
    return x


def gradients(count: int, shape=(1, 3, 6, 8)) -> list[torch.Tensor]:
    return [uniform(*shape, seed=40 + i) for i in range(count)]


def test_an_update_is_a_step_of_adam_and_stays_in_zero_to_one():
    start = photo(1, 6, 8)
    rates = [0.02, 0.05, 0.3, 0.01, 0.3]
    canvas = Canvas(start)
    for gradient, rate in zip(gradients(5), rates, strict=True):
        canvas.update(gradient, rate)
    expected = adam_in_numpy(start.numpy(), [g.numpy().astype(float) for g in gradients(5)], rates)
    assert {expected.min(), expected.max()} == {0, 1}  # the steps are large enough to need the clipping
    np.testing.assert_allclose(canvas.pixels().numpy(), expected, atol=1e-5)


def test_noise_is_added_and_clipped():
    start, noise = photo(1, 6, 8), uniform(1, 1, 6, 8, seed=9) * 0.3
    canvas = Canvas(start)
    canvas.add_noise(noise)
    np.testing.assert_allclose(canvas.pixels().numpy(), np.clip(start.numpy() + noise.numpy(), 0, 1), atol=1e-7)


def test_a_canvas_does_not_change_the_picture_it_started_from():
    start = photo(1, 6, 8)
    before = start.clone()
    Canvas(start).update(gradients(1)[0], 0.1)
    assert torch.equal(start, before)


def doubling(length: int) -> np.ndarray:
    """Return the matrix (2 length, length) that doubles a row bilinearly: new centres lie a quarter pixel off."""
    positions = ((np.arange(2 * length) + 0.5) / 2 - 0.5).clip(0, length - 1)
    return np.stack([np.interp(positions, np.arange(length), unit) for unit in np.eye(length)], 1)


def grid_filter(length: int) -> np.ndarray:
    """Return the matrix (length, length) of the filter (-1, 4, 10, 4, -1) / 16, mirrored at the border."""
    padded = np.pad(np.eye(length), ((2, 2), (0, 0)), mode="reflect")
    return sum(weight / 16 * padded[i : i + length] for i, weight in enumerate((-1, 4, 10, 4, -1)))


@pytest.mark.parametrize(
    ("kind", "beta1", "beta2", "half_life"),
    [("pyramid", 0.9, 0.99, np.inf), ("smooth-pyramid", 0.9, 0.99, np.inf), ("deep-pyramid", 0.85, 0.8, 40)],
)
def test_a_pyramid_takes_adam_steps_of_its_coefficients(kind, beta1, beta2, half_life):
    """As matrices: x = c_0 + U(c_1 + U c_2). The transposes map the pixels' gradient to coefficients.

    In a smooth pyramid the gradient is filtered before, and the change afterwards.
    """
    height, width = 16, 24
    up = np.kron(doubling(8), doubling(12)), np.kron(doubling(4), doubling(6))
    basis = [np.eye(height * width), up[0], up[0] @ up[1]]
    smooth = np.eye(height * width)
    if kind == "smooth-pyramid":
        smooth = np.kron(grid_filter(height), grid_filter(width))
    start, rates, steps = photo(1, height, width), [0.02, 0.05, 0.1], gradients(3, (1, 3, height, width))
    canvas = Canvas(start, kind)
    x = start.numpy().reshape(3, -1).astype(float)
    moments = [[0.0, 0.0] for _ in basis]
    for t, (gradient, rate) in enumerate(zip(steps, rates, strict=True), 1):
        canvas.update(gradient, rate)
        flat = gradient.numpy().reshape(3, -1).astype(float)
        for level, (to_pixels, (m, v)) in enumerate(zip(basis, moments, strict=True)):
            g = flat @ smooth.T @ to_pixels
            m, v = moments[level] = [beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g]
            decayed = rate / (1 + (t - 1) / half_life)
            x = x - decayed * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8) @ to_pixels.T @ smooth.T
        x = x.clip(0, 1)
    assert {x.min(), x.max()} == {0, 1}
    np.testing.assert_allclose(canvas.pixels().numpy().reshape(3, -1), x, atol=1e-5)


def test_a_pyramid_moves_large_areas_faster_than_single_pixels():
    """A gradient of one sign moves the coefficients of every level. One that alternates moves the finest level only."""
    alternating = torch.ones(1, 3, 32, 32)
    alternating[..., ::2, ::2] = alternating[..., 1::2, 1::2] = -1
    changes = []
    for gradient in (torch.ones(1, 3, 32, 32), alternating):
        canvas = Canvas(torch.full((1, 3, 32, 32), 0.5), "pyramid")
        canvas.update(gradient, 0.01)
        changes.append((canvas.pixels() - 0.5)[..., 8:-8, 8:-8].abs().mean().item())
    assert changes == pytest.approx([0.04, 0.01], rel=1e-3)  # four levels: 32, 16, 8 and 4 px


@pytest.mark.parametrize(("period", "share"), [(2, 0), (4, 0.75), (8, 0.979), (32, 0.999)])
def test_without_grid_takes_waves_of_two_pixels_away_and_leaves_broad_ones(period, share):
    wave = torch.cos(2 * torch.pi * torch.arange(64.0) / period).expand(1, 3, 64, 64)
    for waves in (wave, wave.transpose(2, 3)):
        filtered = without_grid(waves.contiguous())
        torch.testing.assert_close(filtered[..., 8:-8, 8:-8], share * waves[..., 8:-8, 8:-8], rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
@pytest.mark.parametrize("size", [(24, 32), (17, 23), (6, 8)])
def test_a_resized_canvas_keeps_its_picture_and_moments(size, kind):
    canvas = Canvas(photo(1, 12, 16), kind)
    for gradient in gradients(4, (1, 3, 12, 16)):
        canvas.update(gradient * 10, 0.05)
    larger = canvas.resized(size)
    old, new = canvas.state(), larger.state()
    assert set(Canvas(photo(1, *size), kind).resized(size).state()) == {"pixels"}
    origins = {"pixels": "pixels", "exp_avg.0": "exp_avg.0", "exp_avg_sq.0": "exp_avg_sq.0"}
    if kind != "pixels" and size[0] > 12:
        origins |= {f"{name}.{level}": f"{name}.{level - 1}" for name in MOMENTS for level in (1, 2)}
    for name, origin in origins.items():
        assert np.isfinite(new[name]).all()
        assert abs(new[name].mean() - old[origin].mean()) < 0.25 * old[origin].std() + 1e-6, name
    for name in ("pixels", "exp_avg.0", "exp_avg_sq.0"):
        assert new[name].shape == (1, 3, *size)
    assert new["step"] == old["step"] == 4
    assert new["exp_avg_sq.0"].min() >= 0
    assert new["pixels"].min() >= 0
    assert new["pixels"].max() <= 1
    larger.update(uniform(1, 3, *size, seed=3), 0.05)
    assert larger.pixels().isfinite().all()
    assert larger.state()["step"] == 5


def test_a_resized_ramp_is_still_a_ramp():
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 12, 16)
    result = Canvas(ramp).resized((24, 32)).pixels()[0, 0, 5]
    positions = (np.arange(32) + 0.5) / 2 - 0.5  # centres of the new pixels, in old pixels
    np.testing.assert_allclose(result.numpy(), np.interp(positions, np.arange(16), ramp[0, 0, 0].numpy()), atol=1e-6)


def test_a_resized_new_canvas_has_no_moments():
    assert set(Canvas(photo(1, 6, 8)).resized((9, 9)).state()) == {"pixels"}


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_a_restored_canvas_continues_identically(steps_before, kind):
    canvas = Canvas(photo(1, 13, 18), kind)
    *first, second, third = gradients(steps_before + 2, (1, 3, 13, 18))
    for gradient in first:
        canvas.update(gradient, 0.03)
    arrays = canvas.state()
    assert all(array.dtype == np.float32 for array in arrays.values())
    copies = {name: array.copy() for name, array in arrays.items()}
    restored = Canvas.restore(arrays, kind, torch.device("cpu"))
    for gradient in (second, third):
        canvas.update(gradient, 0.03)
        restored.update(gradient, 0.03)
    assert torch.equal(canvas.pixels(), restored.pixels())
    assert all(np.array_equal(arrays[name], copies[name]) for name in copies)  # copied from the canvas
