"""Muon against the singular value decomposition, and its steps against their formula."""

import pytest
import torch

from nst.training import muon
from nst.training.muon import Muon, orthogonalize


def orthogonal_by_svd(matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """Apply the iteration to the singular values in float64: it changes nothing else."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ s.diag() @ v


@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16), (1, 7)])
@pytest.mark.parametrize("iterations", [1, 3, 5])
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.05)])
def test_each_iteration_applies_the_quintic_to_the_singular_values(shape, iterations, bf16, tolerance, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: bf16)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(iterations))
    result, expected = orthogonalize(matrix, iterations), orthogonal_by_svd(matrix, iterations)
    assert result.dtype is torch.float32
    assert (result - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("bf16", [False, True])
def test_three_iterations_bring_all_singular_values_near_one(bf16, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: bf16)
    matrix = torch.randn(32, 128, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(-1, 1, 128))
    values = torch.linalg.svdvals(orthogonalize(matrix, 3))
    assert values.min() > 0.25 and values.max() < 1.25


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_a_matrix_with_one_row_for_each_output(memory_format, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: False)
    kernel = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    expected = orthogonal_by_svd(kernel.reshape(8, 36), 3).view(8, 4, 3, 3)
    torch.testing.assert_close(orthogonalize(kernel, 3).double(), expected, rtol=0, atol=1e-5)


def test_two_steps_equal_the_formula(monkeypatch):
    """The momentum is m = 0.95 m + 0.05 g, as Nesterov applies it. The decay comes first, then a step of length lr."""
    monkeypatch.setattr(muon, "computes_bf16", lambda device: False)
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 10, generator=generator))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.3)
    expected, momentum = weight.detach().clone().double(), 0
    for _ in range(2):
        gradient = torch.randn(6, 10, generator=generator)
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.double()
        expected = expected * (1 - 0.1 * 0.3) - 0.1 * orthogonal_by_svd(0.05 * gradient + 0.95 * momentum, 3)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=1e-5)


def test_a_gradient_of_zeros_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(4, 4))
