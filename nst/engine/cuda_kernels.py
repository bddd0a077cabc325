"""Triton kernels of `nst.engine.cuda_network`: each takes as few passes over the memory as it can.

Maps are of one picture and lie in memory as channels_last has them, (H W, C), C a power of two. Arithmetic is float32,
products aside, and rounded once, to the maps' type. Tensors are contiguous and on one device; nothing is checked here.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values a program
PRECISION = tl.constexpr("tf32x3")  # of float32 products: as good as float32's own, and memory takes longer anyway
COLUMNS = 32  # of a 3x3 window of three channels 27 are used; products take powers of two


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
def _unpooled_kernel(
    deeper, own, y, out, width, pooled_height, pooled_width,
    C: tl.constexpr, MAX: tl.constexpr, HAS_OWN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    offset = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < width * C
    column, channel = offset // C, offset % C
    at = row * width * C + offset
    value = tl.load(y + at, inside, 0.0).to(tl.float32)
    pooled = inside & (row // 2 < pooled_height) & (column // 2 < pooled_width)  # not an odd side's last row or column
    g = tl.load(deeper + ((row // 2) * pooled_width + column // 2) * C + channel, pooled, 0.0).to(tl.float32)
    if MAX:  # it belongs to the first of the largest
        corner = y + ((row // 2) * 2 * width + (column // 2) * 2) * C + channel
        place = (row % 2) * 2 + column % 2
        for other in tl.static_range(4):
            rival = tl.load(corner + ((other // 2) * width + other % 2) * C, pooled, 0.0).to(tl.float32)
            g = tl.where((rival > value) | ((rival == value) & (other < place)), 0.0, g)
    else:
        g = g / 4
    if HAS_OWN:
        g += tl.load(own + at, inside, 0.0).to(tl.float32)
    tl.store(out + at, tl.where(value > 0, g, 0.0), inside)


@triton.jit
def _masked_kernel(deeper, own, y, out, count, HAS_OWN: tl.constexpr, BLOCK: tl.constexpr):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    g = tl.load(deeper + offset, inside, 0.0).to(tl.float32)
    if HAS_OWN:
        g += tl.load(own + offset, inside, 0.0).to(tl.float32)
    value = tl.load(y + offset, inside, 0.0).to(tl.float32)
    tl.store(out + offset, tl.where(value > 0, g, 0.0), inside)


@triton.jit
def _with_style(
    deeper, y, matrix, sums, positions, p,
    C: tl.constexpr, HAS_DEEPER: tl.constexpr, HAS_MATRIX: tl.constexpr, HAS_SUMS: tl.constexpr,
):  # fmt: skip
    """Rows (len(p), C) of (deeper + y matrix + sums) where y > 0."""
    c = tl.arange(0, C)
    at = p[:, None].to(tl.int64) * C + c[None, :]
    inside = p[:, None] < positions
    value = tl.load(y + at, inside, 0.0)
    if HAS_MATRIX:
        g = tl.dot(value, tl.load(matrix + c[:, None] * C + c[None, :]), input_precision=PRECISION)
        if HAS_SUMS:
            g += tl.load(sums + c)[None, :].to(tl.float32)
        if HAS_DEEPER:
            g += tl.load(deeper + at, inside, 0.0).to(tl.float32)
    else:
        g = tl.load(deeper + at, inside, 0.0).to(tl.float32)
    return tl.where(value > 0, g, 0.0).to(value.dtype)


@triton.jit
def _styled_kernel(
    deeper, y, matrix, sums, out, positions,
    C: tl.constexpr, HAS_DEEPER: tl.constexpr, HAS_SUMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = _with_style(deeper, y, matrix, sums, positions, p, C, HAS_DEEPER, True, HAS_SUMS)
    at = p[:, None].to(tl.int64) * C + tl.arange(0, C)[None, :]
    tl.store(out + at, g, p[:, None] < positions)


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
    deeper, y, matrix, sums, weight, out, positions,
    C: tl.constexpr, COLUMNS: tl.constexpr,
    HAS_DEEPER: tl.constexpr, HAS_MATRIX: tl.constexpr, HAS_SUMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = _with_style(deeper, y, matrix, sums, positions, p, C, HAS_DEEPER, HAS_MATRIX, HAS_SUMS)
    k, c = tl.arange(0, COLUMNS), tl.arange(0, C)
    # Not g times the weights: Triton 3.6 reads beyond its shared memory then, in bf16 on Hopper.
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


@triton.jit
def _variation_kernel(pixels, gradient, sums, height, width, across, down, scale, BLOCK: tl.constexpr):
    plane = tl.program_id(1) * height * width
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column, inside = p // width, p % width, p < height * width
    here = pixels + plane + p
    x = tl.load(here, inside, 0.0)
    right = tl.where(column < width - 1, tl.load(here + 1, inside & (column < width - 1), 0.0) - x, 0.0)
    left = tl.where(column > 0, x - tl.load(here - 1, inside & (column > 0), 0.0), 0.0)
    below = tl.where(row < height - 1, tl.load(here + width, inside & (row < height - 1), 0.0) - x, 0.0)
    above = tl.where(row > 0, x - tl.load(here - width, inside & (row > 0), 0.0), 0.0)
    tl.store(gradient + plane + p, scale * ((left - right) * across + (above - below) * down), inside)
    squares = tl.where(inside, right * right * across + below * below * down, 0.0)
    tl.store(sums + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), tl.sum(squares))


def _rows_a_program(channels: int) -> int:
    return max(16, 8192 // channels)


def pool(x: Tensor, height: int, width: int, largest: bool) -> Tensor:
    """(H // 2 * W // 2, C): the mean, or the largest, of 2x2 of (H W, C)."""
    channels = x.shape[1]
    out = x.new_empty((height // 2) * (width // 2), channels)
    grid = (height // 2, triton.cdiv(width // 2 * channels, BLOCK))
    _pool_kernel[grid](x, out, width, width // 2, channels, largest, BLOCK)
    return out


def unpooled(deeper: Tensor, own: Tensor | None, y: Tensor, height: int, width: int, largest: bool) -> Tensor:
    """(H W, C): the gradient before a pooling's ReLU, given y, (H W, C), the one after the pooling, and y's own."""
    channels = y.shape[1]
    out = torch.empty_like(y)
    grid = (height, triton.cdiv(width * channels, BLOCK))
    has = own is not None
    _unpooled_kernel[grid](
        deeper, own if has else y, y, out, width, height // 2, width // 2, channels, largest, has, BLOCK
    )
    return out


def masked(deeper: Tensor, own: Tensor | None, y: Tensor) -> Tensor:
    """The gradient before a ReLU, in `deeper`'s place: `deeper + own` where y, the ReLU's output, is above 0."""
    grid = (triton.cdiv(y.numel(), BLOCK),)
    _masked_kernel[grid](deeper, y if own is None else own, y, deeper, y.numel(), own is not None, BLOCK)
    return deeper


def styled(deeper: Tensor | None, y: Tensor, matrix: Tensor, sums: Tensor | None) -> Tensor:
    """(P, C), before a ReLU: `deeper + y @ matrix + sums` where y, (P, C), is above 0; matrix (C, C), sums (C,)."""
    positions, channels = y.shape
    out, rows = torch.empty_like(y), _rows_a_program(channels)
    _styled_kernel[(triton.cdiv(positions, rows),)](
        y if deeper is None else deeper, y, matrix, y if sums is None else sums, out, positions, channels,
        deeper is not None, sums is not None, rows,
    )  # fmt: skip
    return out


def first(pixels: Tensor, mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(H W, C) in weight's type: the first layer of (3, H, W) float32 in [0, 1], normalised, and its ReLU.

    weight: (32, C), see `windows`.
    """
    _, height, width = pixels.shape
    out, rows = weight.new_empty(height * width, weight.shape[1]), _rows_a_program(weight.shape[1])
    grid = (triton.cdiv(height * width, rows),)
    _first_kernel[grid](pixels, mean, std, weight, bias, out, height, width, weight.shape[1], COLUMNS, rows)
    return out


def windows(weight: Tensor) -> Tensor:
    """A kernel (C, 3, 3, 3) as (32, C): by position in the window, then by channel; the last five rows are zero."""
    return torch.nn.functional.pad(weight.permute(2, 3, 1, 0).reshape(27, -1), (0, 0, 0, COLUMNS - 27)).contiguous()


def at_pixels(
    deeper: Tensor | None, y: Tensor, matrix: Tensor | None, sums: Tensor | None, weight: Tensor, std: Tensor,
    height: int, width: int,
) -> Tensor:  # fmt: skip
    """(3, H, W) float32: the gradient at the pixels; y, (H W, C), is the first layer's output, the rest as in `styled`.

    weight: (32, C), see `windows`.
    """
    positions, channels = y.shape
    products, rows = y.new_empty(27, positions), _rows_a_program(channels)
    _first_products_kernel[(triton.cdiv(positions, rows),)](
        y if deeper is None else deeper, y, y if matrix is None else matrix, y if sums is None else sums, weight,
        products, positions, channels, COLUMNS, deeper is not None, matrix is not None, sums is not None, rows,
    )  # fmt: skip
    out = torch.empty(3, height, width, device=y.device)
    _first_sums_kernel[(triton.cdiv(positions, BLOCK), 3)](products, std, out, height, width, BLOCK)
    return out


def total_variation(pixels: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """`nst.losses.total_variation` of (1, 3, H, W) float32, and its gradient times `weight`."""
    *_, planes, height, width = pixels.shape
    blocks = triton.cdiv(height * width, BLOCK)
    gradient, sums = torch.empty_like(pixels), pixels.new_empty(planes * blocks)
    across, down = (1 / max(1, planes * n) for n in (height * (width - 1), (height - 1) * width))
    _variation_kernel[(blocks, planes)](pixels, gradient, sums, height, width, across, down, 2 * weight, BLOCK)
    return sums.sum(), gradient
