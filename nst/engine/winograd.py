"""Winograd's 3x3 convolutions: fewer multiplications, for frozen weights on processors.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): F(4x4, 3x3) computes 4x4 outputs from
tiles of 6x6 inputs with 36 products per pair of channels instead of 144; F(2x2, 3x3) computes 2x2 outputs from 4x4
inputs with 16 products instead of 36. The transforms around the products cost as much for few channels as for many, so
only wide layers become faster.

float32 uses F(4x4, 3x3). Measured on two cores of an AMD EPYC (AVX2, torch 2.11), 512 px: conv3_2 103 -> 44 ms,
conv4_2 80 -> 31 ms, conv5_1 21 -> 11 ms; at 64 channels it would be slower. Relative error 3e-6.

bf16 uses F(2x2, 3x3), whose transforms only add and subtract: relative error 5e-3, where PyTorch's own bf16 convolution
has 3e-3 and F(4x4, 3x3) would have 3e-2. Measured on two cores of an AMD EPYC with AVX512-BF16, 512 px: conv3_2 32 ->
24 ms, conv4_2 32 -> 21 ms, conv3_1 16 -> 12 ms; 128 -> 128 channels would gain nothing. With AMX the products
are faster than the transforms around them, so PyTorch's own convolution is used.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_MAP = 64  # pixels
CHUNK_BYTES = {torch.float32: 12_000_000, torch.bfloat16: 4_000_000}  # of tiles at a time, to stay in the caches


@dataclass(frozen=True)
class Transforms:
    """The three transforms of F(m x m, 3x3), each for rows and columns at once: vec(B X B^T) = (B kron B) vec(X).

    side: m. products: (m + 2)^2. `input` is (products, products), `kernel` (products, 9), `output` (m^2, products), all
    float32 and for vectors in row-major order. The transpose of each carries gradients back.
    """

    side: int
    input: Tensor
    kernel: Tensor
    output: Tensor

    @classmethod
    def of(cls, side: int, *matrices: list[list[float]]) -> "Transforms":
        """Return the transforms with the paper's matrices B^T, G and A^T."""
        exact = (torch.tensor(matrix, dtype=torch.float64) for matrix in matrices)
        return cls(side, *(torch.kron(matrix, matrix).float() for matrix in exact))

    @property
    def products(self) -> int:
        """The number of products for each tile and pair of channels."""
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
# For the points 0, 1, -1 and infinity.
F2 = Transforms.of(
    2,
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]],
    [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    [[1, 1, 1, 0], [0, 1, -1, 1]],
)
TRANSFORMS = {torch.float32: F4, torch.bfloat16: F2}


def is_wide(inputs: int, outputs: int, dtype: torch.dtype) -> bool:
    """Return whether a layer with so many channels is faster this way, in this precision and on this machine."""
    if dtype is torch.bfloat16:
        return min(inputs, outputs) >= 128 and max(inputs, outputs) >= 256 and not torch.cpu._is_amx_tile_supported()
    return dtype is torch.float32 and min(inputs, outputs) >= 128


def transform_kernel(weight: Tensor) -> Tensor:
    """Return a kernel (O, I, 3, 3) as (products, I, O) in its own dtype: the matrices that multiply the tiles."""
    outputs, inputs = weight.shape[:2]
    transforms = TRANSFORMS[weight.dtype]
    both = transforms.kernel.double() @ weight.double().reshape(outputs * inputs, 9).t()
    return both.view(transforms.products, outputs, inputs).transpose(1, 2).to(weight.dtype).contiguous()


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Return `F.conv2d(x, weight, padding=1)` in channels_last memory.

    x: (N, I, H, W). kernel: `transform_kernel(weight)`, of the same dtype. In bf16, tiles, products and outputs are
    rounded once each.
    """
    n, _, height, width = x.shape
    y = torch.empty((n, kernel.shape[2], height, width), dtype=x.dtype, memory_format=torch.channels_last)
    for picture, output in zip(x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1), strict=True):
        _convolve_picture(picture, kernel, output)
    return y


def _convolve_picture(x: Tensor, kernel: Tensor, output: Tensor) -> None:
    """Convolve x (H, W, I) into `output` (H, W, O)."""
    transforms = TRANSFORMS[x.dtype]
    side, products = transforms.side, transforms.products
    to_tiles, from_products = transforms.input.to(x.dtype), transforms.output.to(x.dtype)
    height, width, channels = x.shape
    outputs = kernel.shape[2]
    down, across = math.ceil(height / side), math.ceil(width / side)
    x = F.pad(x, (0, 0, 1, side * across - width + 1, 1, side * down - height + 1))
    row, column = x.stride(0), x.stride(1)
    step = max(1, CHUNK_BYTES[x.dtype] // (products * x.dtype.itemsize * across * max(channels, outputs)))
    for first in range(0, down, step):
        rows = min(step, down - first)
        overlapping = x.as_strided(
            (side + 2, side + 2, rows, across, channels),
            (row, column, side * row, side * column, 1),
            x.storage_offset() + side * first * row,
        )
        tiles = (to_tiles @ overlapping.reshape(products, -1)).view(products, rows * across, channels)
        multiplied = torch.bmm(tiles, kernel).view(products, -1)
        y = (from_products @ multiplied).view(side, side, rows, across, outputs).permute(2, 0, 3, 1, 4)
        target = output[side * first : side * (first + rows)]
        if target.shape[0] == side * rows and width == side * across:
            target.view(rows, side, across, side, outputs).copy_(y)
        else:
            target.copy_(y.reshape(side * rows, side * across, outputs)[: len(target), :width])


class FrozenConv2d(nn.Conv2d):
    """`nn.Conv2d(..., 3, padding=1)` with the same weights and results, but faster if it is wide and frozen.

    It stores the transformed kernels from the first use on. For each direction they are four times as large as the
    weights in float32, and 1.8 times in bf16.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._kernels: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        small = x.shape[-1] * x.shape[-2] < SMALLEST_MAP
        plain = weight.requires_grad or weight.device.type != "cpu" or x.dtype is not weight.dtype
        if small or plain or not is_wide(*weight.shape[:2], weight.dtype):
            return super().forward(x)
        version = weight._version  # weights that were loaded again are transformed again
        if version not in self._kernels:
            flipped = weight.flip(2, 3).transpose(0, 1)  # convolving with it gives the gradient at the input
            self._kernels = {version: (transform_kernel(weight), transform_kernel(flipped))}
        return _Convolution.apply(x, self.bias, *self._kernels[version])


class _Convolution(torch.autograd.Function):
    """The convolution with a frozen kernel, and the gradient at its input only."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, kernel: Tensor, flipped_kernel: Tensor) -> Tensor:
        ctx.save_for_backward(flipped_kernel)
        return convolve(x, kernel).add_(bias[:, None, None])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return convolve(gradient, *ctx.saved_tensors), None, None, None
