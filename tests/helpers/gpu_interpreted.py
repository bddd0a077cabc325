"""Test the GPU's kernels while Triton interprets them on a processor; `test_cuda_network.py` starts this file.

These tests check the arithmetic only. `test_gpu.py` tests compiled kernels and streams, on a GPU.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine import cuda_kernels as kernels
from nst.engine.cuda_network import CudaNetwork
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models.vgg import VGG19, Vgg19
from nst.objective import Objective
from nst.settings import StyleSettings

SIZES = [(6, 9), (7, 8), (16, 13)]  # odd sides: pooling drops the last row or column
CLASSIC = StyleSettings.preset("classic", keep_aspect=True)
BALANCED = StyleSettings.preset("balanced", keep_aspect=True)


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    torch.manual_seed(0)
    convolution = lambda x, weight, bias, *_: F.relu(F.conv2d(x, weight, bias, padding=1))  # noqa: E731
    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolution)


def narrow_extractor(settings: StyleSettings) -> Vgg19:
    """Return an extractor with a quarter of the channels, because the interpreter is slow; the same for one pooling."""
    torch.manual_seed(0)
    network = VGG19(2, width=0.25, pooling="average" if settings.pooling == "backbone" else settings.pooling).eval()
    layers = (*settings.content_layers, *settings.style_layers)
    return Vgg19(network, layers, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def rows(x: Tensor) -> Tensor:
    """Return features (1, C, H, W) as the kernels store them: (H * W, C)."""
    return x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def assert_close(result: Tensor, expected: Tensor, atol: float = 1e-5):
    torch.testing.assert_close(result, expected.detach(), rtol=1e-4, atol=atol)


@pytest.mark.parametrize("maximum", [False, True])
@pytest.mark.parametrize("height, width", SIZES)
def test_pooling_and_its_gradient_equal_torchs(height, width, maximum):
    x = F.relu(torch.randn(1, 16, height, width)).mul(4).round().div(4).requires_grad_()  # with ties
    y = (F.max_pool2d if maximum else F.avg_pool2d)(x, 2)
    assert_close(kernels.pool(rows(x), height, width, maximum), rows(y))
    deeper, loss = torch.randn_like(y), torch.randn_like(x)  # gradients from the next layer and from this layer's loss
    (gradient,) = torch.autograd.grad(y, x, deeper)
    result = kernels.unpool(rows(deeper), rows(loss), rows(x), height, width, maximum)
    assert_close(result, rows((gradient + loss) * (x > 0)))
    assert_close(kernels.unpool(rows(deeper), None, rows(x), height, width, maximum), rows(gradient * (x > 0)))


def test_mask_is_the_gradient_of_a_relu():
    deeper, loss, y = (torch.randn(150, 16) for _ in range(3))
    before = deeper.clone()
    assert_close(kernels.relu_gradient(deeper, loss, y), (deeper + loss) * (y > 0))
    assert_close(kernels.relu_gradient(deeper, None, y), deeper * (y > 0))
    assert torch.equal(deeper, before)  # autograd may need it again


@pytest.mark.parametrize("height, width", SIZES)
def test_the_first_layer_and_its_gradient_equal_torchs(height, width):
    pixels = torch.rand(1, 3, height, width, requires_grad=True)
    mean, std, weight, bias = torch.rand(3), torch.rand(3) + 0.3, torch.randn(16, 3, 3, 3), torch.randn(16)
    normalized = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    y = F.relu(F.conv2d(normalized, weight, bias, padding=1))
    windows = kernels.as_windows(weight)
    assert_close(kernels.first_layer(pixels[0].detach(), mean, std, windows, bias), rows(y))
    deeper = torch.randn_like(y)
    expected = torch.autograd.grad(y, pixels, deeper)[0][0]
    assert_close(kernels.at_pixels(rows(deeper), rows(y), windows, std, height, width), expected, atol=1e-3)


@pytest.mark.parametrize("settings, changes, tile_side, masked", [
    (CLASSIC, {}, None, False),
    (CLASSIC, {"pooling": "max", "content_layers": ("conv1_1", "conv2_1")}, None, False),
    (CLASSIC, {"style_layers": ("conv1_1",), "content_layers": ("conv1_1",)}, None, False),
    (CLASSIC, {"content_weight": 0.0, "style_layers": ("conv1_1",)}, None, False),
    (BALANCED, {"style_layers": ("conv1_1", "conv1_2", "conv2_1"), "content_layers": ("conv2_1",)}, None, False),
    (BALANCED, {"preserve_colours": True}, None, True),
    (BALANCED, {"pooling": "max"}, 32, True),
])  # fmt: skip
def test_losses_and_gradients_equal_those_of_plain_layers(settings, changes, tile_side, masked):
    settings = StyleSettings.from_dict(settings.to_dict() | changes)
    pixels, content, style = (torch.rand(1, 3, 34, 51) for _ in range(3))
    mask = torch.rand(1, 1, 34, 51) if masked else None
    results = []
    for with_kernels in (False, True):
        extractor = narrow_extractor(settings)
        if with_kernels:
            max_pooling = isinstance(extractor.pool, nn.MaxPool2d)
            convolutions = dict(extractor.convolutions.items())
            network = CudaNetwork(convolutions, extractor.mean, extractor.std, max_pooling)
            extractor.__dict__["cuda_network"] = network
        objective = Objective(extractor, settings, content, [(style, 1.0, mask)], tile_side)
        losses, gradient = objective.evaluate(pixels)
        results.append((torch.stack(losses), gradient))
    (losses, gradient), (kernel_losses, kernel_gradient) = results
    torch.testing.assert_close(kernel_losses, losses, rtol=1e-4, atol=1e-7)
    assert (kernel_gradient - gradient).norm() < 1e-4 * gradient.norm()
