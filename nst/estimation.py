"""How long a run takes and how much memory it needs, before it starts."""

import functools
import time
from dataclasses import dataclass

import torch

from nst.backbones import Backbone
from nst.hardware import choose_hardware
from nst.images import fitted_size
from nst.settings import StyleSettings
from nst.vgg import CHANNELS, LAYERS

BASE_BYTES = 700_000_000  # the process itself: interpreter, torch, the weights in two precisions
WORK_ARRAYS = 4  # copies of the largest feature map alive at once on the way back (measured, rounded up)


@dataclass(frozen=True)
class Estimate:
    """seconds: of the whole run. peak_bytes: of the process, at the final size. Rough: within a factor of two."""

    seconds: float
    peak_bytes: int


def estimate(content_size: tuple[int, int], settings: StyleSettings, backbone: Backbone) -> Estimate:
    """Time and memory of painting a photo of (width, height) `content_size`.

    Counts the convolutions' multiply-adds up to the deepest layer used, forward and back, and divides by the rate that
    this machine reaches on a matrix product.
    """
    hardware = choose_hardware(settings.device, settings.precision)
    deepest = max((*settings.content_layers, *settings.style_layers), key=LAYERS.index)
    style_deepest = max(settings.style_layers, key=LAYERS.index)
    stages = settings.stages(content_size)
    flops = 0.0
    for stage in stages:
        area = _pixels(content_size, settings, stage.long_side)
        passes = multiply_adds(area, deepest)
        passes += sum(multiply_adds(area / 4**level, style_deepest) for level in range(1, settings.style_levels))
        flops += 4 * stage.steps * passes  # a multiply-add is two operations; the way back costs as much again
    pixels = _pixels(content_size, settings, stages[-1].long_side)
    widths = [CHANNELS[layer] / 4 ** (int(layer[4]) - 1) for layer in LAYERS[: LAYERS.index(deepest) + 1]]
    size = 2 if hardware.dtype is torch.bfloat16 else 4
    activations = pixels * (sum(widths) * size + WORK_ARRAYS * max(widths) * 4)
    rate = matrix_rate(hardware.device.type, hardware.dtype)
    # Half the rate of a matrix product is what the whole step reaches: Gram matrices, pooling and Adam included.
    return Estimate(flops / (0.5 * rate), int(BASE_BYTES + activations))


def multiply_adds(pixels: float, deepest: str) -> float:
    """Of one forward pass over `pixels` positions up to and including layer `deepest`."""
    total, channels = 0.0, 3
    for layer in LAYERS[: LAYERS.index(deepest) + 1]:
        total += 9 * channels * CHANNELS[layer] * pixels / 4 ** (int(layer[4]) - 1)
        channels = CHANNELS[layer]
    return total


@functools.lru_cache
def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second in a 1024 x 1024 matrix product; measured once, in about 30 ms."""
    a = torch.randn(1024, 1024, device=device, dtype=dtype)
    best = 0.0
    for _ in range(4):
        started = time.perf_counter()
        (a @ a)[0, 0].item()
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def _pixels(content_size: tuple[int, int], settings: StyleSettings, long_side: int) -> int:
    width, height = fitted_size(content_size, long_side) if settings.keep_aspect else (long_side, long_side)
    return width * height
