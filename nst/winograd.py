"""3x3 convolutions with a quarter of the multiplications, for frozen weights in float32 on processors.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): F(4x4, 3x3) makes 4x4 outputs of tiles of
6x6 inputs through 36 products per pair of channels instead of 144. The transforms around the products cost the same
for any number of channels, so that only wide layers gain.

Measured on two cores of an AMD EPYC (AVX2, torch 2.11), 512 px: conv3_2 103 -> 44 ms, conv4_2 80 -> 31 ms, conv5_1
21 -> 11 ms; at 64 channels it would be slower. Relative error 3e-6.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROWEST = 128  # channels on either side
SMALLEST_MAP = 64  # pixels
CHUNK_BYTES = 12_000_000  # of transformed tiles at a time: what stays near the processor


@dataclass(frozen=True)
class Transforms:
    """The paper's three transforms of F(m x m, 3x3), each in both directions at once: vec(B X B^T) = (B kron B) vec(X).

    side: m. products: (m + 2)^2. `input` is (products, products), `kernel` (products, 9), `output` (m^2, products), all
    float32 and for vectors in row-major order. The transpose of each carries gradients the other way.
    """

    side: int
    input: Tensor
    kernel: Tensor
    output: Tensor

    @classmethod
    def of(cls, side: int, *matrices: list[list[float]]) -> "Transforms":
        exact = (torch.tensor(matrix, dtype=torch.float64) for matrix in matrices)
        return cls(side, *(torch.kron(matrix, matrix).float() for matrix in exact))

    @property
    def products(self) -> int:
        return (self.side + 2) ** 2


# For the points 0, 1, -1, 2, -2 and infinity.
F4 = Transforms.of(
    4,
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
     [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)  # fmt: skip


def transformed(weight: Tensor) -> Tensor:
    """A kernel (O, I, 3, 3) as (36, I, O), float32: the matrices that the tiles are multiplied with."""
    outputs, inputs = weight.shape[:2]
    both = F4.kernel.double() @ weight.double().reshape(outputs * inputs, 9).t()
    return both.view(36, outputs, inputs).transpose(1, 2).float().contiguous()


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """`F.conv2d(x, weight, padding=1)` for (N, I, H, W) float32 and `kernel = transformed(weight)`; channels_last."""
    n, _, height, width = x.shape
    y = torch.empty((n, kernel.shape[2], height, width), memory_format=torch.channels_last)
    for one, into in zip(x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1), strict=True):
        _convolve_one(one, kernel, into)
    return y


def _convolve_one(x: Tensor, kernel: Tensor, into: Tensor) -> None:
    """(H, W, I) to (H, W, O)."""
    height, width, channels = x.shape
    outputs = kernel.shape[2]
    down, across = math.ceil(height / 4), math.ceil(width / 4)
    x = F.pad(x, (0, 0, 1, 4 * across - width + 1, 1, 4 * down - height + 1))
    row, column = x.stride(0), x.stride(1)
    step = max(1, CHUNK_BYTES // (36 * 4 * across * max(channels, outputs)))
    for first in range(0, down, step):
        rows = min(step, down - first)
        overlapping = x.as_strided(
            (6, 6, rows, across, channels), (row, column, 4 * row, 4 * column, 1), x.storage_offset() + 4 * first * row
        )
        tiles = (F4.input @ overlapping.reshape(36, -1)).view(36, rows * across, channels)
        products = torch.bmm(tiles, kernel).view(36, -1)
        y = (F4.output @ products).view(4, 4, rows, across, outputs).permute(2, 0, 3, 1, 4)
        target = into[4 * first : 4 * (first + rows)]
        if target.shape[0] == 4 * rows and width == 4 * across:
            target.view(rows, 4, across, 4, outputs).copy_(y)
        else:
            target.copy_(y.reshape(4 * rows, 4 * across, outputs)[: len(target), :width])


class FrozenConv2d(nn.Conv2d):
    """`nn.Conv2d(..., 3, padding=1)` with the same weights and results; fast where they are frozen, float32 and wide.

    The transformed kernels, four times the weights' size in each direction, are kept from the first use on.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._kernels: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        plain = weight.requires_grad or weight.dtype is not torch.float32 or weight.device.type != "cpu"
        if plain or min(weight.shape[:2]) < NARROWEST or x.shape[-1] * x.shape[-2] < SMALLEST_MAP:
            return super().forward(x)
        version = weight._version  # weights that were loaded anew are transformed anew
        if version not in self._kernels:
            turned = weight.flip(2, 3).transpose(0, 1)  # its convolution is the gradient at the input
            self._kernels = {version: (transformed(weight), transformed(turned))}
        return _Convolution.apply(x, self.bias, *self._kernels[version])


class _Convolution(torch.autograd.Function):
    """The convolution of a frozen kernel, and the gradient at its input alone."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, kernel: Tensor, turned: Tensor) -> Tensor:
        ctx.save_for_backward(turned)
        return convolve(x, kernel).add_(bias[:, None, None])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return convolve(gradient, *ctx.saved_tensors), None, None, None
