"""What runs on GPUs, Triton interpreted on a processor instead: `test_gpu_network.py` runs this in its own process.

Only the arithmetic is tested so, not what a compiler makes of it, nor streams; `test_gpu.py` does that on a GPU.
"""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine import cuda_kernels as kernels
from nst.engine.cuda_network import GpuNetwork
from nst.engine.hardware import choose_hardware
from nst.losses import total_variation
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.settings import StyleSettings

SIZES = [(6, 9), (7, 8), (16, 13)]  # odd sides: a pooling leaves something over
CLASSIC = StyleSettings.preset("classic", keep_aspect=True)
BALANCED = StyleSettings.preset("balanced", keep_aspect=True)


class FakeStream:
    def wait_stream(self, other):
        pass


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    torch.manual_seed(0)
    convolution = lambda x, weight, bias, *_: F.relu(F.conv2d(x, weight, bias, padding=1))  # noqa: E731
    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolution)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())


def rows(x: Tensor) -> Tensor:
    return x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def close(found: Tensor, expected: Tensor, atol: float = 1e-5):
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=atol)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("height, width", SIZES)
def test_pooling_and_back(height, width, largest):
    x = F.relu(torch.randn(1, 16, height, width)).mul(4).round().div(4).requires_grad_()  # with ties
    y = (F.max_pool2d if largest else F.avg_pool2d)(x, 2)
    close(kernels.pool(rows(x), height, width, largest), rows(y))
    deeper, own = torch.randn_like(y), torch.randn_like(x)
    (gradient,) = torch.autograd.grad(y, x, deeper)
    found = kernels.unpooled(rows(deeper), rows(own), rows(x), height, width, largest)
    close(found, rows((gradient + own) * (x > 0)))
    close(kernels.unpooled(rows(deeper), None, rows(x), height, width, largest), rows(gradient * (x > 0)))


def test_masks_and_styles():
    deeper, own, y = (torch.randn(150, 16) for _ in range(3))
    matrix, sums = torch.randn(16, 16), torch.randn(16)
    close(kernels.masked(deeper.clone(), own, y), (deeper + own) * (y > 0))
    close(kernels.masked(deeper.clone(), None, y), deeper * (y > 0))
    close(kernels.styled(deeper, y, matrix, sums), (deeper + y @ matrix + sums) * (y > 0))
    close(kernels.styled(None, y, matrix, None), (y @ matrix) * (y > 0))


@pytest.mark.parametrize("height, width", SIZES)
def test_the_first_layer_and_back(height, width):
    pixels = torch.rand(1, 3, height, width, requires_grad=True)
    mean, std, weight, bias = torch.rand(3), torch.rand(3) + 0.3, torch.randn(16, 3, 3, 3), torch.randn(16)
    normalised = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    y = F.relu(F.conv2d(normalised, weight, bias, padding=1))
    windows = kernels.windows(weight)
    close(kernels.first(pixels[0].detach(), mean, std, windows, bias), rows(y))
    deeper, matrix, sums = torch.randn_like(y), torch.randn(16, 16), torch.randn(16)
    back = lambda deeper, *style: kernels.at_pixels(deeper, rows(y), *style, windows, std, height, width)  # noqa: E731
    plain = torch.autograd.grad(y, pixels, deeper, retain_graph=True)[0][0]
    close(back(rows(deeper), None, None), plain, atol=1e-3)
    own = rows(y) @ matrix + sums
    own = own.view(1, height, width, 16).permute(0, 3, 1, 2)
    close(back(None, matrix, sums), torch.autograd.grad(y, pixels, own, retain_graph=True)[0][0], atol=1e-3)
    close(back(rows(deeper), matrix, sums), torch.autograd.grad(y, pixels, deeper + own)[0][0], atol=1e-3)


@pytest.mark.parametrize("height, width", SIZES)
def test_total_variation(height, width):
    pixels = torch.rand(1, 3, height, width, requires_grad=True)
    value = total_variation(pixels)
    found, gradient = kernels.total_variation(pixels.detach(), 3.0)
    close(found, value)
    close(gradient, torch.autograd.grad(3 * value, pixels)[0], atol=1e-7)


@pytest.mark.parametrize("settings, changes, tile_side, masked", [
    (CLASSIC, {}, None, False),
    (CLASSIC, {"pooling": "max", "content_layers": ("conv1_1", "conv2_1")}, None, False),
    (CLASSIC, {"style_layers": ("conv1_1",), "content_layers": ("conv1_1",)}, None, False),
    (CLASSIC, {"content_weight": 0.0, "style_layers": ("conv1_1",)}, None, False),
    (BALANCED, {"style_layers": ("conv1_1", "conv1_2", "conv2_1"), "content_layers": ("conv2_1",)}, None, False),
    (BALANCED, {"preserve_colours": True}, None, True),
    (BALANCED, {"pooling": "max"}, 32, True),
])  # fmt: skip
def test_losses_and_gradient_are_those_of_autograd(settings, changes, tile_side, masked):
    settings = StyleSettings.from_dict(settings.to_dict() | changes)
    pixels, content, style = (torch.rand(1, 3, 34, 51) for _ in range(3))
    mask = torch.rand(1, 1, 34, 51) if masked else None
    found = []
    for by_hand in (False, True):
        extractor = build_extractor(load_backbone("cifar100"), settings, choose_hardware("cpu", "float32"))
        if by_hand:
            largest = isinstance(extractor.pool, nn.MaxPool2d)
            network = GpuNetwork(dict(extractor.convolutions.items()), extractor.mean, extractor.std, largest)
            extractor.__dict__["by_hand"] = network
        objective = Objective(extractor, settings, content, [(style, 1.0, mask)], tile_side)
        losses, gradient = objective.evaluate(pixels)
        found.append((torch.stack(losses), gradient))
    (losses, gradient), (losses_by_hand, gradient_by_hand) = found
    torch.testing.assert_close(losses_by_hand, losses, rtol=1e-4, atol=1e-7)
    assert (gradient_by_hand - gradient).norm() < 1e-4 * gradient.norm()
