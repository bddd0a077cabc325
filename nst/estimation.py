"""How long a run takes and how much memory it needs, before it starts."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nst.backbones import Backbone
from nst.hardware import choose_hardware
from nst.images import fitted_size
from nst.objective import Objective, build_extractor
from nst.settings import StyleSettings
from nst.vgg import CHANNELS, LAYERS

BASE_BYTES = 700_000_000  # the process itself: interpreter, torch, the weights in two precisions
COPIES = 4  # float32 copies of the style layers, and of the largest feature map, alive at once (measured)
PROBE_SIDE = 192  # px: large enough that the cost of a pixel is that of a large picture, small enough not to be felt


@dataclass(frozen=True)
class Estimate:
    """seconds: of the whole run. peak_bytes: of the process, at the final size. Rough: within a factor of two."""

    seconds: float
    peak_bytes: int


def estimate(content_size: tuple[int, int], settings: StyleSettings, backbone: Backbone) -> Estimate:
    """Time and memory of painting a photo of (width, height) `content_size`.

    Time is the pixels of all steps times the seconds that a pixel takes, measured on this machine with these settings
    the first time they are asked about. Memory is counted from the shapes of the feature maps.
    """
    stages = settings.stages(content_size)
    sizes = [fitted_size(content_size, stage.long_side, settings.keep_aspect) for stage in stages]
    areas = [(width * height, stage.steps) for (width, height), stage in zip(sizes, stages, strict=True)]
    seconds = sum(area * steps for area, steps in areas) * _seconds_per_pixel(settings, backbone)
    deepest = LAYERS.index(max((*settings.content_layers, *settings.style_layers), key=LAYERS.index))
    widths, style_widths = list(_widths(LAYERS[: deepest + 1])), list(_widths(settings.style_layers))
    if settings.style_levels > 1:
        style_widths.append(sum(style_widths) / 3)  # all coarser levels together: 1/4 + 1/16 + ...
    size = 2 if choose_hardware(settings.device, settings.precision).dtype is torch.bfloat16 else 4
    peak = areas[-1][0] * (sum(widths) * size + COPIES * 4 * (max(widths) + sum(style_widths)))
    return Estimate(seconds, int(BASE_BYTES + peak))


_measured: dict[tuple, float] = {}


def _seconds_per_pixel(settings: StyleSettings, backbone: Backbone) -> float:
    """Of one evaluation of the objective, on a picture of `PROBE_SIDE`; measured once for each kind of run."""
    hardware = choose_hardware(settings.device, settings.precision)
    layers = (*settings.content_layers, *settings.style_layers)
    key = (backbone.sha256, layers, settings.style_levels, settings.pooling, hardware)
    if key not in _measured:
        extractor = build_extractor(backbone, settings, hardware)
        pixels = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0))
        pixels = pixels.to(hardware.device)
        objective = Objective(extractor, settings, pixels, [(pixels, 1.0, None)])
        best = float("inf")
        for _ in range(3):  # the first also pays for setting up
            started = time.perf_counter()
            _evaluate(objective, pixels)
            best = min(best, time.perf_counter() - started)
        _measured[key] = best / PROBE_SIDE**2
    return _measured[key]


@torch.enable_grad()
def _evaluate(objective: Objective, pixels: torch.Tensor) -> None:
    objective.evaluate(pixels.clone().requires_grad_(True))[0].total.item()


def _widths(layers: Iterable[str]) -> Iterable[float]:
    """Feature values per input pixel."""
    return (CHANNELS[layer] / 4 ** (int(layer[4]) - 1) for layer in layers)
