"""Triton kernels of `nst.engine.cuda_network`: the work that is limited by a GPU's memory, in few passes over it.

Feature maps are of one picture and lie in memory as channels_last has them: (H W, C), C a power of two. Arithmetic is
float32, except in matrix products, and the result is rounded once, to the maps' dtype. Tensors must be contiguous and
on one device; nothing is checked here.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values per program
PRECISION = tl.constexpr("tf32x3")  # of float32 products: as exact as float32; the kernel waits for memory anyway
COLUMNS = 32  # a 3x3 window of three channels has 27 values; products need a power of two


@triton.jit
def _pool_kernel(x, out, width, out_width, C: tl.constexpr, MAX: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offset = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < out_width * C
    corner = x + (2 * row * width + 2 * (offset // C)) * C + offset % C
    a = tl.load(corner, inside, 0.0).to(tl.float32)
    b = tl.load(corner + C, inside, 0.0).to(tl.float32)
    c = tl.load(corner + width * C, inside, 0.0).to(tl.float32)
    d = tl.load(corner + width * C + C, inside, 0.0).to(tl.float32)
    pooled = tl.maximum(tl.maximum(a, b), tl.maximum(c, d)) if MAX else (a + b + c + d) / 4
    tl.store(out + row * out_width * C + offset, pooled, inside)


@triton.jit
def _unpool_kernel(
    deeper, loss_gradient, y, out, width, pooled_height, pooled_width,
    C: tl.constexpr, MAX: tl.constexpr, HAS_LOSS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    offset = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < width * C
    column, channel = offset // C, offset % C
    at = row * width * C + offset
    value = tl.load(y + at, inside, 0.0).to(tl.float32)
    # A pooling drops an odd last row or column.
    pooled = inside & (row // 2 < pooled_height) & (column // 2 < pooled_width)
    g = tl.load(deeper + ((row // 2) * pooled_width + column // 2) * C + channel, pooled, 0.0).to(tl.float32)
    if MAX:  # the gradient goes to the first of the largest values
        corner = y + ((row // 2) * 2 * width + (column // 2) * 2) * C + channel
        place = (row % 2) * 2 + column % 2
        for other in tl.static_range(4):
            rival = tl.load(corner + ((other // 2) * width + other % 2) * C, pooled, 0.0).to(tl.float32)
            g = tl.where((rival > value) | ((rival == value) & (other < place)), 0.0, g)
    else:
        g = g / 4
    if HAS_LOSS:
        g += tl.load(loss_gradient + at, inside, 0.0).to(tl.float32)
    tl.store(out + at, tl.where(value > 0, g, 0.0), inside)


@triton.jit
def _mask_kernel(deeper, loss_gradient, y, out, count, HAS_LOSS: tl.constexpr, BLOCK: tl.constexpr):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    g = tl.load(deeper + offset, inside, 0.0).to(tl.float32)
    if HAS_LOSS:
        g += tl.load(loss_gradient + offset, inside, 0.0).to(tl.float32)
    value = tl.load(y + offset, inside, 0.0).to(tl.float32)
    tl.store(out + offset, tl.where(value > 0, g, 0.0), inside)


@triton.jit
def _first_kernel(
    pixels, mean, std, weight, bias, out, height, width,
    C: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k, c = tl.arange(0, COLUMNS), tl.arange(0, C)
    tap, channel = k // 3, k % 3
    row = (p // width)[:, None] + (tap // 3)[None, :] - 1
    column = (p % width)[:, None] + (tap % 3)[None, :] - 1
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (k < 27)[None, :]
    x = tl.load(pixels + (channel * height * width)[None, :] + row * width + column, inside, 0.0)
    x = (x - tl.load(mean + channel)[None, :]) / tl.load(std + channel)[None, :]
    w = tl.load(weight + k[:, None] * C + c[None, :])
    y = tl.dot(tl.where(inside, x, 0.0).to(w.dtype), w, input_precision=PRECISION)
    y += tl.load(bias + c)[None, :].to(tl.float32)
    at = p[:, None].to(tl.int64) * C + c[None, :]
    tl.store(out + at, tl.maximum(y, 0.0), p[:, None] < height * width)


@triton.jit
def _first_products_kernel(
    deeper, y, weight, out, positions, C: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k, c = tl.arange(0, COLUMNS), tl.arange(0, C)
    rows = p[:, None].to(tl.int64) * C + c[None, :]
    inside = p[:, None] < positions
    value = tl.load(y + rows, inside, 0.0)
    g = tl.load(deeper + rows, inside, 0.0).to(tl.float32)
    g = tl.where(value > 0, g, 0.0).to(value.dtype)
    # The weights are the first factor: with g first, Triton 3.6 reads beyond its shared memory (bf16, Hopper).
    products = tl.dot(tl.load(weight + k[:, None] * C + c[None, :]), tl.trans(g), input_precision=PRECISION)
    at = k[:, None].to(tl.int64) * positions + p[None, :]
    tl.store(out + at, products, (p[None, :] < positions) & (k < 27)[:, None])


@triton.jit
def _first_sums_kernel(products, std, out, height, width, BLOCK: tl.constexpr):
    channel = tl.program_id(1)
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = p // width, p % width
    total = tl.zeros((BLOCK,), tl.float32)
    for tap in tl.static_range(9):
        r, c = row + 1 - tap // 3, column + 1 - tap % 3
        plane = products + (tap * 3 + channel).to(tl.int64) * height * width
        total += tl.load(plane + r * width + c, (r >= 0) & (r < height) & (c >= 0) & (c < width), 0.0).to(tl.float32)
    tl.store(out + channel * height * width + p, total / tl.load(std + channel), p < height * width)


def pool(x: Tensor, height: int, width: int, maximum: bool) -> Tensor:
    """Return the 2x2 pooling of x, from (H W, C) to ((H // 2) (W // 2), C): the maximum, or the mean."""
    channels = x.shape[1]
    out = x.new_empty((height // 2) * (width // 2), channels)
    grid = (height // 2, triton.cdiv(width // 2 * channels, BLOCK))
    _pool_kernel[grid](x, out, width, width // 2, channels, maximum, BLOCK)
    return out


def unpool(deeper: Tensor, loss_gradient: Tensor | None, y: Tensor, height: int, width: int, maximum: bool) -> Tensor:
    """Return the gradient (H W, C) before the ReLU that precedes a 2x2 pooling.

    deeper: the gradient after the pooling. loss_gradient: what the layer's own losses add to it. y: the ReLU's output.
    """
    channels = y.shape[1]
    out = torch.empty_like(y)
    grid = (height, triton.cdiv(width * channels, BLOCK))
    has_loss = loss_gradient is not None
    _unpool_kernel[grid](
        deeper, loss_gradient if has_loss else y, y, out, width, height // 2, width // 2, channels, maximum, has_loss,
        BLOCK,
    )  # fmt: skip
    return out


def relu_gradient(deeper: Tensor, loss_gradient: Tensor | None, y: Tensor) -> Tensor:
    """Return the gradient before a ReLU: `deeper + loss_gradient` where its output y is above 0, else 0.

    All are (P, C).
    """
    out = torch.empty_like(y)
    grid = (triton.cdiv(y.numel(), BLOCK),)
    has_loss = loss_gradient is not None
    _mask_kernel[grid](deeper, loss_gradient if has_loss else y, y, out, y.numel(), has_loss, BLOCK)
    return out


def first_layer(pixels: Tensor, mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `conv1_1` and its ReLU, (H W, C) in the weight's dtype, of (3, H, W) float32 pixels in [0, 1].

    The pixels are normalized with `mean` and `std`, three values each. weight: (32, C), from `as_windows`.
    """
    _, height, width = pixels.shape
    out, rows = weight.new_empty(height * width, weight.shape[1]), _rows_per_program(weight.shape[1])
    grid = (triton.cdiv(height * width, rows),)
    _first_kernel[grid](pixels, mean, std, weight, bias, out, height, width, weight.shape[1], COLUMNS, rows)
    return out


def at_pixels(deeper: Tensor, y: Tensor, weight: Tensor, std: Tensor, height: int, width: int) -> Tensor:
    """Return the gradient at the pixels, (3, H, W) float32.

    deeper: the gradient (H W, C) after the ReLU of `conv1_1`. y: its output. weight: (32, C), from `as_windows`.
    """
    positions, channels = y.shape
    products, rows = y.new_empty(27, positions), _rows_per_program(channels)
    grid = (triton.cdiv(positions, rows),)
    _first_products_kernel[grid](deeper, y, weight, products, positions, channels, COLUMNS, rows)
    out = torch.empty(3, height, width, device=y.device)
    _first_sums_kernel[(triton.cdiv(positions, BLOCK), 3)](products, std, out, height, width, BLOCK)
    return out


def as_windows(weight: Tensor) -> Tensor:
    """Return a kernel (C, 3, 3, 3) as (32, C): by position in the window, then by channel; the last 5 rows are zero."""
    return torch.nn.functional.pad(weight.permute(2, 3, 1, 0).reshape(27, -1), (0, 0, 0, COLUMNS - 27)).contiguous()


def _rows_per_program(channels: int) -> int:
    return max(16, 8192 // channels)
