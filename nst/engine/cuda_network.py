"""VGG19's features on a GPU and their gradient at the pixels, in fewer passes over memory than autograd makes.

`CudaNetwork.features` is one differentiable call. A 3x3 convolution's gradient at its input is a convolution with the
flipped kernel, so both directions use cuDNN's fastest kernels; forward, with bias and ReLU fused. The work between two
convolutions on the way back (the gradient of a pooling, the gradients that the losses add, the ReLU's mask) is one
kernel of `nst.engine.cuda_kernels`.

Measured on an NVIDIA H200 (bf16, torch 2.11, cuDNN 9.19, 1024 px, classic layers), when the losses' gradients were
fused into these kernels too: a step of 2.8 ms, of which the convolutions take 1.8 ms, at 77 % of the rate of the best
matrix product: the deeper ones are too small to fill the GPU, the first ones wait for memory. PyTorch's own average
pooling and its gradient took 2.3 ms, against 0.17 ms here. This version, where the losses' gradients arrive from
autograd, has not been measured on a GPU.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.layers import LAYERS


@functools.cache
def has_kernels() -> bool:
    """Return whether `CudaNetwork` works here: it needs cuDNN, Triton, and a C compiler for Triton."""
    if torch.version.hip or not torch.backends.cudnn.is_available():
        return False
    try:
        from nst.engine import cuda_kernels

        cuda_kernels.pool(torch.zeros(4, 16, device="cuda"), 2, 2, False)
    except Exception:  # a missing part raises many types of errors
        return False
    return True


class CudaNetwork:
    """The frozen convolutions of a `Vgg19` on one GPU, by layer, `conv1_1` first, in channels_last memory."""

    def __init__(self, convolutions: dict[str, nn.Conv2d], mean: Tensor, std: Tensor, max_pooling: bool):
        """mean, std: of the pixels, three values each. max_pooling: whether poolings take the maximum, not the mean."""
        from nst.engine import cuda_kernels

        self.kernels, self.convolutions, self.max_pooling = cuda_kernels, convolutions, max_pooling
        self.mean, self.std = mean.flatten().contiguous(), std.flatten().contiguous()
        self.first_weight = cuda_kernels.as_windows(convolutions["conv1_1"].weight)
        self.flipped_weights = {
            layer: convolution.weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
            for layer, convolution in convolutions.items()
            if layer != "conv1_1"
        }

    def features(self, pixels: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the ReLU outputs of `layers`, in the network's order, of (1, 3, H, W) float32 pixels in [0, 1].

        Differentiable at the pixels.
        """
        return dict(zip(layers, _Features.apply(pixels, self, tuple(layers)), strict=True))

    @torch.no_grad()
    def feature_maps(self, pixels: Tensor, deepest: str) -> dict[str, Tensor]:
        """Return the ReLU outputs of all layers down to `deepest`."""
        height, width = pixels.shape[-2:]
        maps: dict[str, Tensor] = {}
        for layer in LAYERS[: 1 + LAYERS.index(deepest)]:
            convolution = self.convolutions[layer]
            if layer == "conv1_1":
                pixels = pixels[0].contiguous()
                rows = self.kernels.first_layer(pixels, self.mean, self.std, self.first_weight, convolution.bias)
                x = _as_map(rows, height, width)
            else:
                if layer.endswith("_1"):
                    rows = self.kernels.pool(_as_rows(x), height, width, self.max_pooling)
                    height, width = height // 2, width // 2
                    x = _as_map(rows, height, width)
                x = torch.cudnn_convolution_relu(x, convolution.weight, convolution.bias, (1, 1), (1, 1), (1, 1), 1)
            maps[layer] = x
        return maps

    @torch.no_grad()
    def pixel_gradient(self, maps: dict[str, Tensor], gradients: dict[str, Tensor]) -> Tensor:
        """Return the gradient at the pixels, (1, 3, H, W) float32, given the maps and the gradients at some layers."""
        kernels, deeper, is_pooled = self.kernels, None, False
        for layer in reversed(LAYERS[: 1 + max(map(LAYERS.index, gradients))]):
            height, width = maps[layer].shape[-2:]
            y = _as_rows(maps[layer])
            loss_gradient = _as_rows(gradients[layer]) if layer in gradients else None
            if layer == "conv1_1" and loss_gradient is None:
                break  # `at_pixels` applies the ReLU's mask itself
            if is_pooled:
                g = kernels.unpool(deeper, loss_gradient, y, height, width, self.max_pooling)
            elif deeper is None:
                g = kernels.relu_gradient(loss_gradient, None, y)
            else:
                g = kernels.relu_gradient(deeper, loss_gradient, y)
            if layer == "conv1_1":
                deeper = g
            else:
                deeper = _as_rows(F.conv2d(_as_map(g, height, width), self.flipped_weights[layer], padding=1))
                is_pooled = layer.endswith("_1")
        return kernels.at_pixels(deeper, y, self.first_weight, self.std, height, width)[None]


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pixels: Tensor, network: CudaNetwork, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
        maps = network.feature_maps(pixels, layers[-1])
        ctx.network, ctx.layers, ctx.all_layers = network, layers, tuple(maps)
        ctx.save_for_backward(*maps.values())
        ctx.set_materialize_grads(False)  # a layer without a loss has no gradient, instead of a map of zeros
        return tuple(maps[layer] for layer in layers)

    @staticmethod
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        maps = dict(zip(ctx.all_layers, ctx.saved_tensors, strict=True))
        by_layer = {layer: g for layer, g in zip(ctx.layers, gradients, strict=True) if g is not None}
        return ctx.network.pixel_gradient(maps, by_layer), None, None


def _as_map(rows: Tensor, height: int, width: int) -> Tensor:
    """Return (H W, C) as (1, C, H, W) in channels_last memory."""
    return rows.view(1, height, width, -1).permute(0, 3, 1, 2)


def _as_rows(x: Tensor) -> Tensor:
    """Return (1, C, H, W) as (H W, C), copied only if its memory is not channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()
