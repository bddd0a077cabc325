"""How long a run takes and how much memory it needs, before it starts."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nst.engine.hardware import choose_hardware, free_memory
from nst.engine.tiling import halo, side_of_tiles
from nst.engine.winograd import WAYS, is_wide
from nst.errors import StyleTransferError
from nst.io.sizes import fitted_size
from nst.layers import CHANNELS, LAYERS
from nst.models.checkpoints import Backbone
from nst.objective import Objective, build_extractor, untiled_bytes
from nst.settings import StyleSettings

BASE_BYTES = 950_000_000  # the process itself: interpreter, torch, the weights in two precisions (measured)
BACKWARD_MAPS = 3  # copies of the largest feature map alive while gradients flow (measured)
PICTURES = 16  # float32 pictures at full size: pixels, moments, gradients, their copies and coarser levels
PICTURES_ON_GPU = 40  # the canvas too as it was before each of the steps under way
PROBE_SIDE = 192  # px: large enough that the cost of a pixel is that of a large picture, small enough not to be felt
PROBE_SIDE_ON_GPU = 512  # px: there a smaller one takes as long, that of starting its kernels


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
    pixels = sum(_area(content_size, settings, stage.long_side) * stage.steps for stage in stages)
    seconds = pixels * _seconds_per_pixel(settings, backbone)
    return Estimate(seconds, _peak_bytes(_area(content_size, settings, settings.size), settings))


def check_memory(content_size: tuple[int, int], settings: StyleSettings) -> None:
    """Refuse what this machine cannot hold, with the largest size that it can.

    Where the system does not say how much is free, nothing is refused.

    Raises StyleTransferError.
    """
    device = choose_hardware(settings.device, settings.precision).device
    free = None if device.type == "mps" else free_memory(device)
    if free is None:
        return
    needed = lambda side: _peak_bytes(_area(content_size, settings, side), settings)  # noqa: E731
    if needed(settings.size) <= free:
        return
    smaller = next((side for side in range(settings.size // 32 * 32, 31, -32) if needed(side) <= free), None)
    advice = f"set size to {smaller} or less" if smaller else "close other programs"
    gigabytes = f"{needed(settings.size) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free"
    raise StyleTransferError(f"size {settings.size} needs about {gigabytes}: {advice}.")


def _area(content_size: tuple[int, int], settings: StyleSettings, side: int) -> int:
    width, height = fitted_size(content_size, side, settings.keep_aspect)
    return width * height


def _peak_bytes(pixels: int, settings: StyleSettings) -> int:
    """Feature maps of what is held at once, the gradients at compared layers, and what grows with the whole picture."""
    hardware = choose_hardware(settings.device, settings.precision)
    itemsize = hardware.dtype.itemsize
    compared = (*settings.content_layers, *settings.style_layers)
    layers = LAYERS[: 1 + max(map(LAYERS.index, compared))]
    per_pixel = sum(_widths((*layers, *compared))) + BACKWARD_MAPS * max(_widths(layers))
    tile = (side_of_tiles(layers) + 2 * halo(layers)) ** 2
    held = pixels if pixels * itemsize <= untiled_bytes(hardware.device) else min(pixels, tile)
    pictures = PICTURES_ON_GPU if hardware.device.type == "cuda" else PICTURES
    always = pixels * (pictures * 3 * 4 + itemsize * sum(_widths(settings.content_layers)))
    kernels = sum(_transformed_bytes(layer, hardware.dtype) for layer in layers)
    return int(BASE_BYTES + kernels + held * itemsize * per_pixel + always)


_measured: dict[tuple, float] = {}


def _seconds_per_pixel(settings: StyleSettings, backbone: Backbone) -> float:
    """Of one evaluation of the objective, on a small picture; measured once for each kind of run."""
    hardware = choose_hardware(settings.device, settings.precision)
    layers = (*settings.content_layers, *settings.style_layers)
    key = (backbone.sha256, layers, settings.style_levels, settings.pooling, hardware)
    if key not in _measured:
        extractor = build_extractor(backbone, settings, hardware)
        side = PROBE_SIDE_ON_GPU if hardware.device.type == "cuda" else PROBE_SIDE
        pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        pixels = pixels.to(hardware.device)
        objective = Objective(extractor, settings, pixels, [(pixels, 1.0, None)])
        best = float("inf")
        for _ in range(3):  # the first also pays for setting up
            started = time.perf_counter()
            _evaluate(objective, pixels)
            best = min(best, time.perf_counter() - started)
        _measured[key] = best / side**2
    return _measured[key]


@torch.enable_grad()
def _evaluate(objective: Objective, pixels: torch.Tensor) -> None:
    objective.evaluate(pixels.clone().requires_grad_(True))[0].total.item()


def _transformed_bytes(layer: str, dtype: torch.dtype) -> int:
    """Of the kernels that a wide layer keeps transformed for both directions."""
    outputs = CHANNELS[layer]
    before = LAYERS.index(layer) - 1
    inputs = CHANNELS[LAYERS[before]] if before >= 0 else 3
    return 2 * WAYS[dtype].products * dtype.itemsize * inputs * outputs if is_wide(inputs, outputs, dtype) else 0


def _widths(layers: Iterable[str]) -> Iterable[float]:
    """Feature values per input pixel."""
    return (CHANNELS[layer] / 4 ** (int(layer[4]) - 1) for layer in layers)
