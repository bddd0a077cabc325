"""The fast convolution against torch's, and the conditions for its use."""

import pytest
import torch
import torch.nn.functional as F

from nst.engine import winograd
from nst.engine.winograd import FrozenConv2d, convolve, transform_kernel
from nst.models.vgg import VGG19, fold_batch_norm


def frozen(inputs, outputs, seed=0):
    """Return a frozen layer of 3x3 kernels with random weights."""
    torch.manual_seed(seed)
    return FrozenConv2d(inputs, outputs, 3, padding=1).requires_grad_(False)


# The shapes have sides that are multiples of four or not, one picture or two, and rows for one chunk or several.
@pytest.mark.parametrize("shape", [(1, 128, 16, 24), (2, 130, 9, 31), (1, 256, 8, 8), (1, 128, 90, 66)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradient_are_those_of_the_convolution_in_float64(shape, memory_format, monkeypatch):
    monkeypatch.setitem(winograd.CHUNK_BYTES, torch.float32, 1_000_000)
    layer = frozen(shape[1], 192)
    x = torch.randn(shape).to(memory_format=memory_format).requires_grad_()
    output_gradient = torch.randn(shape[0], 192, *shape[2:])
    y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, output_gradient)
    exact = x.detach().double().requires_grad_()
    expected = F.conv2d(exact, layer.weight.double(), layer.bias.double(), padding=1)
    (expected_gradient,) = torch.autograd.grad(expected, exact, output_gradient.double())
    assert (y - expected).norm() < 1e-5 * expected.norm()
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(1, 256, 16, 24), (2, 256, 9, 31), (1, 256, 45, 66)])
def test_bf16_is_nearly_as_exact_as_torchs_bf16(shape, monkeypatch):
    monkeypatch.setitem(winograd.CHUNK_BYTES, torch.bfloat16, 500_000)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    layer = frozen(256, 192).bfloat16()
    x = torch.randn(shape).bfloat16().requires_grad_()
    output_gradient = torch.randn(shape[0], 192, *shape[2:]).bfloat16()
    exact = x.detach().double().requires_grad_()
    expected = F.conv2d(exact, layer.weight.double(), layer.bias.double(), padding=1)
    (expected_gradient,) = torch.autograd.grad(expected, exact, output_gradient.double())
    y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, output_gradient)
    theirs = F.conv2d(x, layer.weight, layer.bias, padding=1)
    (their_gradient,) = torch.autograd.grad(theirs, x, output_gradient)
    assert y.dtype is gradient.dtype is torch.bfloat16
    for result, torchs, truth in ((y, theirs, expected), (gradient, their_gradient, expected_gradient)):
        assert (result - truth).norm() < 4 * (torchs - truth).norm() < 0.015 * truth.norm()


def test_a_kernel_with_one_tap_shifts_the_picture():
    """The expected value needs no convolution: the tap at the top left shifts the picture down and to the right."""
    weight = torch.zeros(128, 128, 3, 3)
    weight[range(128), range(128), 0, 0] = 1
    x = torch.randn(1, 128, 13, 22)
    expected = torch.zeros_like(x)
    expected[..., 1:, 1:] = x[..., :-1, :-1]
    torch.testing.assert_close(convolve(x, transform_kernel(weight)), expected, rtol=0, atol=2e-5)


def is_used(layer, x, monkeypatch):
    """Return whether `layer` computes with the fast convolution."""
    calls = []
    monkeypatch.setattr(winograd, "convolve", lambda *arguments: calls.append(1) or convolve(*arguments))
    layer(x)
    return bool(calls)


def test_only_frozen_and_wide_layers_use_the_fast_convolution(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    x = torch.randn(1, 128, 16, 16)
    assert is_used(frozen(128, 128), x, monkeypatch)
    assert not is_used(FrozenConv2d(128, 128, 3, padding=1), x, monkeypatch)
    assert not is_used(frozen(64, 128), x[:, :64], monkeypatch)
    assert not is_used(frozen(128, 128), x[..., :4, :4], monkeypatch)
    assert not is_used(frozen(128, 128).bfloat16(), x.bfloat16(), monkeypatch)
    assert is_used(frozen(128, 256).bfloat16(), x.bfloat16(), monkeypatch)
    assert not is_used(frozen(128, 256).double(), x.double(), monkeypatch)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert is_used(frozen(128, 256), x, monkeypatch)
    assert not is_used(frozen(128, 256).bfloat16(), x.bfloat16(), monkeypatch)


def test_a_layer_uses_its_new_weights_after_a_load():
    layer, other = frozen(128, 128), frozen(128, 128, seed=1)
    x = torch.randn(1, 128, 16, 16)
    layer(x)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(layer(x), other(x))


def test_a_folded_network_has_the_same_keys_and_layers_with_the_fast_convolution():
    plain = fold_batch_norm(VGG19(10, batch_norm=True))
    assert list(plain.state_dict()) == list(VGG19(10).state_dict())
    assert all(isinstance(layer, FrozenConv2d) for layer in plain.convolutions().values())
