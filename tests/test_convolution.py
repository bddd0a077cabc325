"""The convolution for training against torch's in float64."""

import pytest
import torch
from torch import nn

from nst.training import convolution
from nst.training.convolution import TrainedConv2d


def pair(inputs: int, outputs: int) -> tuple[TrainedConv2d, nn.Conv2d]:
    """Return the same convolution twice: ours and torch's."""
    torch.manual_seed(inputs + outputs)
    ours, plain = TrainedConv2d(inputs, outputs, 3, padding=1), nn.Conv2d(inputs, outputs, 3, padding=1)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def results_of(layer: nn.Module, x: torch.Tensor, seed: int = 5) -> list[torch.Tensor]:
    """Return the output and the gradients of input, weight and bias, for an arbitrary gradient of the output."""
    x = x.detach().requires_grad_()
    y = layer(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).bfloat16().to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [(256, 256), (256, 512), (512, 64)])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2), (4, 4), (6, 6)])
def test_small_maps_in_bf16_equal_torchs_convolution_in_float64(size, channels, layout, monkeypatch):
    ours, plain = pair(*channels)
    x = torch.randn(3, channels[0], *size).bfloat16().contiguous(memory_format=layout)
    expected = results_of(plain.double(), x.double())
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("torch computed it"))
    with torch.autocast("cpu", torch.bfloat16):
        results = results_of(ours, x)
    assert [tensor.dtype for tensor in results] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for name, actual, true in zip(("output", "input", "weight", "bias"), results, expected, strict=True):
        assert actual.shape == true.shape, name
        assert ((actual - true).norm() / true.norm()).item() < 1e-2, name
        assert ((actual - true).abs().max() / true.abs().max()).item() < 2e-2, name


# The maps have one tile or several, whole or cut ones, or a single row; the batch does not divide evenly into chunks.
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [(64, 64), (64, 130), (128, 32)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (3, 3), (4, 4), (1, 5), (6, 6), (6, 4), (8, 8), (9, 15)])
def test_float32_equals_torchs_convolution_in_float64(size, channels, layout, monkeypatch):
    ours, plain = pair(*channels)
    tiles = -(-size[0] // 4) * -(-size[1] // 4)
    monkeypatch.setitem(convolution.NARROWEST, torch.float32, 64)  # as on processors without AVX512
    monkeypatch.setattr(convolution, "CHUNK_BYTES", 4 * 36 * tiles * max(channels) * 2)  # two pictures at a time
    x = torch.randn(5, channels[0], *size).contiguous(memory_format=layout)
    expected = results_of(plain.double(), x.double())
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("torch computed it"))
    results = results_of(ours, x)
    for name, actual, true in zip(("output", "input", "weight", "bias"), results, expected, strict=True):
        assert actual.shape == true.shape and actual.dtype is torch.float32, name
        assert ((actual - true).norm() / true.norm()).item() < 3e-5, name


@pytest.mark.parametrize(
    ("dtype", "channels", "size"),
    [
        (torch.float64, 256, (2, 2)),
        (torch.float32, 63, (8, 8)),
        (torch.bfloat16, 256, (7, 6)),
        (torch.bfloat16, 256, (37, 1)),
        (torch.bfloat16, 64, (2, 2)),
    ],
)
def test_torch_computes_everything_else(dtype, channels, size, monkeypatch):
    ours, plain = pair(channels, 32)
    x = torch.randn(2, channels, *size, dtype=dtype)
    for function in (convolution._MatrixProduct, convolution._Winograd):
        monkeypatch.setattr(function, "apply", lambda *_: pytest.fail("torch did not compute it"))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        layers = (layer.to(torch.promote_types(dtype, torch.float32)) for layer in (ours, plain))
        results, expected = (results_of(layer, x) for layer in layers)
    assert all(torch.equal(actual, true) for actual, true in zip(results, expected, strict=True))


@pytest.mark.parametrize(("height", "width", "side"), [(2, 2, 2), (3, 3, 3), (6, 6, 3), (4, 4, 4), (7, 7, 4)])
def test_a_map_is_cut_into_the_tiles_that_waste_least(height, width, side):
    assert convolution.choose_transforms(height, width).side == side


def test_torch_computes_a_float32_map_under_autocast_in_bf16(monkeypatch):
    ours, plain = pair(64, 32)
    monkeypatch.setattr(convolution._Winograd, "apply", lambda *_: pytest.fail("computed in float32"))
    x = torch.randn(2, 64, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), plain(x))


def test_the_parameters_have_torchs_names_and_shapes():
    ours, plain = pair(256, 32)
    assert list(ours.state_dict()) == list(plain.state_dict()) == ["weight", "bias"]
    assert [p.shape for p in ours.parameters()] == [p.shape for p in plain.parameters()]
