"""A 3x3 convolution for training on processors: the weights and results of torch's, by faster arithmetic.

In bf16, maps of a few pixels become one matrix product. Measured on two cores with AMX (torch 2.11, batch 128, 512 ->
512 channels): forward and both gradients take 61 ms through the library's convolution and 27 ms as matrix products on
maps of 4x4, 50 and 5 ms on 2x2, but 104 and 123 ms on 8x8. With them, a whole training step of 256 pictures
at 32 px processes 340 pictures per second instead of 200.

In float32, the convolution and both gradients use Winograd's algorithm (`nst.engine.winograd`). Measured on 2 cores
of an AMD EPYC (AVX2, torch 2.11, batch 256), forward and gradients, library | this: 64 channels on 32x32 563 | 362 ms,
128 on 16x16 366 | 225, 256 on 8x8 381 | 207, 512 on 4x4 416 | 235; and of an Intel Xeon with AVX512, where the library
is faster on narrow maps: 64 channels 227 | 277, 128 191 | 185, 256 169 | 100, 512 246 | 123. Relative error 3e-6
(weights 1e-5).

The gain depends on the processor. On two cores of an AMD EPYC with AVX512-BF16 (torch 2.11), a whole training step of
256 pictures takes the library 1.05 times as long in bf16 and 1.2 times in float32 at 32 px, and no longer at 40 px.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine.winograd import F2, F4, Transforms

LARGEST_MAP = 36  # pixels: in bf16 one matrix product is faster up to this size, see above
WIDE_VECTORS = torch.backends.cpu.get_cpu_capability() == "AVX512"
NARROWEST = {torch.bfloat16: 256, torch.float32: 128 if WIDE_VECTORS else 64}  # channels at the input
CHUNK_BYTES = 4_000_000  # of transformed tiles at a time, to stay in the caches

# Smaller tiles, 2x2 or 3x3, waste less of a small map. These transforms are for the points 0, 1, -1, 2 and infinity.
F3 = Transforms.of(
    3,
    [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]],
    [[1 / 2, 0, 0], [-1 / 2, -1 / 2, -1 / 2], [-1 / 6, 1 / 6, -1 / 6], [1 / 6, 1 / 3, 2 / 3], [0, 0, 1]],
    [[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]],
)


def choose_transforms(height: int, width: int) -> Transforms:
    """Return the transforms that need the fewest products for a map of that size."""

    def products(transforms: Transforms) -> int:
        tiles = math.ceil(height / transforms.side) * math.ceil(width / transforms.side)
        return transforms.products * tiles

    return min((F4, F3, F2), key=products)


class TrainedConv2d(nn.Conv2d):
    """`nn.Conv2d(..., 3, padding=1)` with the same weights and results, fast on the CPU in bf16 and in float32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.in_channels < NARROWEST.get(x.dtype, math.inf):
            return super().forward(x)
        if x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu"):
            return _Winograd.apply(x, self.weight) + self.bias[:, None, None]
        if x.dtype is torch.bfloat16 and x.shape[-1] * x.shape[-2] <= LARGEST_MAP:
            return _MatrixProduct.apply(x, self.weight.to(x.dtype)) + self.bias.to(x.dtype)[:, None, None]
        return super().forward(x)


class _MatrixProduct(torch.autograd.Function):
    """The convolution as im2col and one product (Chellapilla et al. 2006), and both its gradients likewise."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        columns = _im2col(x)
        ctx.save_for_backward(columns, weight)
        ctx.shape = x.shape
        y = columns @ weight.permute(2, 3, 1, 0).reshape(9 * channels, -1)
        return y.view(n, height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        columns, weight = ctx.saved_tensors
        n, channels, height, width = ctx.shape
        rows = gradient.permute(0, 2, 3, 1).reshape(n * height * width, -1)
        to_weight = (rows.t() @ columns).view(-1, 3, 3, channels).permute(0, 3, 1, 2)
        # The gradient of a convolution at its input is a convolution with the kernel rotated by 180 degrees.
        flipped = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, channels)
        to_x = (_im2col(gradient) @ flipped).view(n, height, width, channels).permute(0, 3, 1, 2)
        return to_x, to_weight


def _im2col(x: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N H W, 9 C): each pixel's 3x3 neighbours by row, column, channel; zeros outside."""
    n, channels, height, width = x.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    neighbours = padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3)
    return neighbours.reshape(n * height * width, 9 * channels)


class _Winograd(torch.autograd.Function):
    """Winograd's convolution with its gradients at the input and at the weights, a few pictures at a time.

    With tiles X, kernels W and the transforms B, G, A (`input`, `kernel`, `output`), the output's tiles are A M with
    M_p = (B X)_p (G W)_p for each of the products p. So the gradients are those of a matrix product, with the
    transposed transforms around them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        n, inputs, height, width = x.shape
        outputs = len(weight)
        transforms = choose_transforms(height, width)
        side, products = transforms.side, transforms.products
        down, across = math.ceil(height / side), math.ceil(width / side)
        kernel = (transforms.kernel @ weight.reshape(outputs * inputs, 9).t()).view(products, outputs, inputs)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, side * across - width + 1, 1, side * down - height + 1))
        picture, row, column, _ = x.stride()
        step = max(1, CHUNK_BYTES // (4 * products * down * across * max(inputs, outputs)))
        y = torch.empty(n, height, width, outputs)
        saved = []
        for first in range(0, n, step):
            some = y[first : first + step]
            m = len(some)
            overlapping = x.as_strided(
                (side + 2, side + 2, m, down, across, inputs),
                (row, column, picture, side * row, side * column, 1),
                x.storage_offset() + first * picture,
            )
            tiles = (transforms.input @ overlapping.reshape(products, -1)).view(products, m * down * across, inputs)
            saved.append(tiles)
            multiplied = torch.bmm(tiles, kernel.transpose(1, 2)).view(products, -1)
            maps = (transforms.output @ multiplied).view(side, side, m, down, across, outputs).permute(2, 3, 0, 4, 1, 5)
            if (height, width) == (side * down, side * across):
                some.view(m, down, side, across, side, outputs).copy_(maps)
            else:
                some.copy_(maps.reshape(m, side * down, side * across, outputs)[:, :height, :width])
        ctx.save_for_backward(kernel, *saved)
        ctx.transforms, ctx.step, ctx.height, ctx.width, ctx.grid = transforms, step, height, width, (down, across)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        kernel, *saved = ctx.saved_tensors
        transforms, (down, across), (products, outputs, inputs) = ctx.transforms, ctx.grid, kernel.shape
        side, n = transforms.side, len(gradient)
        gradient = gradient.permute(0, 2, 3, 1)
        if (ctx.height, ctx.width) != (side * down, side * across):
            gradient = F.pad(gradient, (0, 0, 0, side * across - ctx.width, 0, side * down - ctx.height))
        to_kernel = torch.zeros_like(kernel)
        to_x = torch.empty(n, down + 1, side, across + 1, side, inputs)
        for first, tiles in zip(range(0, n, ctx.step), saved, strict=True):
            some = gradient[first : first + ctx.step]
            m = len(some)
            maps = some.reshape(m, down, side, across, side, outputs).permute(2, 4, 0, 1, 3, 5)
            multiplied = transforms.output.t() @ maps.reshape(side * side, -1)
            multiplied = multiplied.view(products, m * down * across, outputs)
            to_kernel.baddbmm_(multiplied.transpose(1, 2), tiles)
            to_tiles = transforms.input.t() @ torch.bmm(multiplied, kernel).view(products, -1)
            _add_overlapping(to_tiles.view(side + 2, side + 2, m, down, across, inputs), to_x[first : first + ctx.step])
        to_weight = transforms.kernel.t() @ to_kernel.view(products, -1)
        to_weight = to_weight.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)
        to_x = to_x.view(n, side * (down + 1), side * (across + 1), inputs)
        return to_x[:, 1 : ctx.height + 1, 1 : ctx.width + 1].permute(0, 3, 1, 2), to_weight


def _add_overlapping(tiles: Tensor, output: Tensor) -> None:
    """Add tiles (m + 2, m + 2, N, D, A, C), which overlap by two, up into (N, D + 1, m, A + 1, m, C)."""
    side, down, across = output.shape[2], tiles.shape[3], tiles.shape[4]
    tiles = tiles.permute(2, 3, 0, 4, 1, 5)
    output[:, down:] = 0
    output[:, :, :, across:] = 0
    output[:, :down, :, :across] = tiles[:, :, :side, :, :side]
    output[:, 1:, :2, :across] += tiles[:, :, side:, :, :side]
    output[:, :down, :, 1:, :2] += tiles[:, :, :side, :, side:]
    output[:, 1:, :2, 1:, :2] += tiles[:, :, side:, :, side:]
