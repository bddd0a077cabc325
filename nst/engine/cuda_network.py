"""VGG19's features and their gradient at the pixels on GPUs, by hand: fewer passes over the maps than autograd makes.

A 3x3 convolution's gradient at its input is a convolution with the turned kernel, so that both directions run in the
library's fastest kernels: cuDNN's with bias and ReLU fused, forward. What lies between two convolutions on the way
back (a pooling's gradient, the losses' own, the ReLU's mask) is one kernel of `nst.engine.cuda_kernels`.

Measured on an NVIDIA H200 (bf16, torch 2.11, cuDNN 9.19, 1024 px, classic layers): a step of 2.8 ms, of which the
convolutions take 1.8 ms, at 77 % of the best matrix product's rate: the deeper ones are too small to fill the GPU, the
first ones wait for memory. torch's own average pooling and its gradient took 2.3 ms, instead of 0.17 ms here.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.layers import LAYERS

LARGEST_STYLED = 128  # channels; wider matrices are better multiplied by the library first


class Own(NamedTuple):
    """The losses' own gradient at a layer's map y: as such a map, or as y @ matrix, (C, C), + sums, (C,) or None."""

    at_map: Tensor | None = None
    matrix: Tensor | None = None
    sums: Tensor | None = None


@functools.cache
def has_kernels() -> bool:
    """Whether `GpuNetwork` can be used here: cuDNN, and Triton that compiles kernels (it needs a C compiler too)."""
    if torch.version.hip or not torch.backends.cudnn.is_available():
        return False
    try:
        from nst.engine import cuda_kernels as gpu_kernels

        gpu_kernels.pool(torch.zeros(4, 16, device="cuda"), 2, 2, False)
    except Exception:  # whatever it raises where a part of it is missing
        return False
    return True


class GpuNetwork:
    """Over the frozen convolutions by layer of a `Vgg19`, conv1_1 first, all on one GPU and channels_last."""

    def __init__(self, convolutions: dict[str, nn.Conv2d], mean: Tensor, std: Tensor, largest: bool):
        """mean, std: of the pixels. largest: whether the poolings take the largest, not the mean."""
        from nst.engine import cuda_kernels as gpu_kernels

        self.kernels, self.convolutions, self.largest = gpu_kernels, convolutions, largest
        self.mean, self.std = mean.flatten().contiguous(), std.flatten().contiguous()
        self.beside = torch.cuda.Stream()
        self.first = gpu_kernels.windows(convolutions["conv1_1"].weight)
        self.turned = {  # the gradient at a layer's input is a convolution with these
            layer: convolution.weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
            for layer, convolution in convolutions.items()
            if layer != "conv1_1"
        }

    @torch.no_grad()
    def features(
        self, pixels: Tensor, deepest: str, seen: Callable[[str, Tensor], None] | None = None
    ) -> dict[str, Tensor]:
        """The maps of all layers down to `deepest`, after their ReLU, of (1, 3, H, W) float32 in [0, 1].

        seen: called with each of them; what it launches runs beside the layers that follow.
        """
        height, width = pixels.shape[-2:]
        maps: dict[str, Tensor] = {}
        for layer in LAYERS[: 1 + LAYERS.index(deepest)]:
            convolution = self.convolutions[layer]
            if layer == "conv1_1":
                rows = self.kernels.first(pixels[0].contiguous(), self.mean, self.std, self.first, convolution.bias)
                x = _as_map(rows, height, width)
            else:
                if layer.endswith("_1"):
                    rows = self.kernels.pool(_as_rows(x), height, width, self.largest)
                    height, width = height // 2, width // 2
                    x = _as_map(rows, height, width)
                x = torch.cudnn_convolution_relu(x, convolution.weight, convolution.bias, (1, 1), (1, 1), (1, 1), 1)
            maps[layer] = x
            if seen:
                self.beside.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.beside):
                    seen(layer, x)
        if seen:
            torch.cuda.current_stream().wait_stream(self.beside)
        return maps

    @torch.no_grad()
    def gradient(self, maps: dict[str, Tensor], own: dict[str, Own]) -> Tensor:
        """The gradient at the pixels, (1, 3, H, W) float32, given the losses' own at some layers; empties `maps`."""
        kernels, deeper, pooled = self.kernels, None, False
        for layer in reversed(LAYERS[: 1 + max(map(LAYERS.index, own))]):
            height, width = maps[layer].shape[-2:]
            y = _as_rows(maps.pop(layer))
            at_map, matrix, sums = own.get(layer, Own())
            if at_map is not None:
                at_map = _as_rows(at_map)
            elif matrix is not None and (pooled or len(matrix) > LARGEST_STYLED):
                at_map = y @ matrix if sums is None else torch.addmm(sums, y, matrix)
                matrix = sums = None
            if layer == "conv1_1" and at_map is None:
                break  # `at_pixels` does what is left
            if pooled:
                g = kernels.unpooled(deeper, at_map, y, height, width, self.largest)
            elif matrix is not None:
                g = kernels.styled(deeper, y, matrix, sums)
            elif deeper is None:
                g = kernels.masked(at_map, None, y)
            else:
                g = kernels.masked(deeper, at_map, y)
            if layer == "conv1_1":
                deeper = g
            else:
                deeper = _as_rows(F.conv2d(_as_map(g, height, width), self.turned[layer], padding=1))
                pooled = layer.endswith("_1")
        return kernels.at_pixels(deeper, y, matrix, sums, self.first, self.std, height, width)[None]


def _as_map(rows: Tensor, height: int, width: int) -> Tensor:
    """(H W, C) as (1, C, H, W) in channels_last memory."""
    return rows.view(1, height, width, -1).permute(0, 3, 1, 2)


def _as_rows(x: Tensor) -> Tensor:
    """(1, C, H, W) as (H W, C), copied only if its memory is not channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()
