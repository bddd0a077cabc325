"""Muon against the singular value decomposition, and its step against its formula."""

import pytest
import torch

from nst.training import muon
from nst.training.muon import Muon, orthogonalize


def expected(matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """The iteration moves the singular values and nothing else: worked out on them, in float64."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ s.diag() @ v


@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16), (1, 7)])
@pytest.mark.parametrize("iterations", [1, 3, 5])
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.05)])
def test_it_moves_the_singular_values_along_the_quintic(shape, iterations, bf16, tolerance, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: bf16)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(iterations))
    found, true = orthogonalize(matrix, iterations), expected(matrix, iterations)
    assert found.dtype is torch.float32
    assert (found - true).norm() < tolerance * true.norm()


@pytest.mark.parametrize("bf16", [False, True])
def test_three_iterations_leave_no_direction_far_ahead(bf16, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: bf16)
    matrix = torch.randn(32, 128, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(-1, 1, 128))
    values = torch.linalg.svdvals(orthogonalize(matrix, 3))
    assert values.min() > 0.25 and values.max() < 1.25


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_the_matrix_of_its_outputs(memory_format, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda device: False)
    kernel = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    true = expected(kernel.reshape(8, 36), 3).view(8, 4, 3, 3)
    torch.testing.assert_close(orthogonalize(kernel, 3).double(), true, rtol=0, atol=1e-5)


def test_two_steps_are_the_formula(monkeypatch):
    """Nesterov's momentum m = 0.95 m + 0.05 g, a look ahead along it, the decay first, then a step of length lr."""
    monkeypatch.setattr(muon, "computes_bf16", lambda device: False)
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 10, generator=generator))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.3)
    true, momentum = weight.detach().clone().double(), 0
    for _ in range(2):
        gradient = torch.randn(6, 10, generator=generator)
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.double()
        true = true * (1 - 0.1 * 0.3) - 0.1 * expected(0.05 * gradient + 0.95 * momentum, 3)
    torch.testing.assert_close(weight.detach().double(), true, rtol=0, atol=1e-5)


def test_a_gradient_of_nothing_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(4, 4))
