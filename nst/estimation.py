"""Estimate how long a run takes and how much memory it needs, before it starts."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nst.engine.hardware import choose_hardware
from nst.engine.limits import free_memory
from nst.engine.threads import limited_threads
from nst.engine.tiling import margin_for, tile_side_for, untiled_limit
from nst.engine.winograd import TRANSFORMS, is_wide
from nst.errors import StyleTransferError
from nst.io.sizes import fitted_size
from nst.io.tensors import BORDER_SHARE
from nst.layers import CHANNELS, LAYERS, layer_stride
from nst.models.checkpoints import Backbone
from nst.objective import Objective, build_extractor
from nst.settings import StyleSettings
from nst.sketch import sketch_side
from nst.targets import STORED_PIXELS

BASE_BYTES = 950_000_000  # the process itself: interpreter, torch, the weights in two precisions (measured)
BACKWARD_MAPS = 3  # copies of the largest feature map that are alive while gradients flow (measured)
PICTURES = 22  # float32 pictures at full size: pixels, moments, gradients, copies, and the result (measured)
PICTURES_ON_GPU = 40  # and the canvas as it was before each of the steps under way
SKETCH_STEPS = 20  # a sketch takes as long as so many steps of its own size (measured on two cores, in bf16)
TARGETS_COST = 1.2  # of a stage: its targets take as long as so many steps (measured at 1024 to 4096 px)
FINISH_COST = 0.5  # the same for the finish of the result
TILE_COST = 1.5  # a second forward pass is a third more, and the tiles' margins are a seventh of the work
PROBE_SIDE = 192  # px: as expensive per pixel as a large picture, and small enough to take no noticeable time
PROBE_SIDE_ON_GPU = 512  # px: on a GPU a smaller picture takes as long, because starting its kernels takes that long


@dataclass(frozen=True)
class Estimate:
    """The cost of a run, right within a factor of two.

    seconds: of the whole run. peak_bytes: of the process, at the final size.
    """

    seconds: float
    peak_bytes: int


@limited_threads()
def estimate(content_size: tuple[int, int], settings: StyleSettings, backbone: Backbone) -> Estimate:
    """Return the time and memory that painting a photo of (width, height) `content_size` takes.

    The time is the number of pixels of all steps times the seconds per pixel; a sketch, the targets of a stage and the
    finish count as steps. The first call for a kind of settings measures the seconds per pixel on this machine. The
    memory follows from the shapes of the feature maps.
    """
    seconds = step_pixels(content_size, settings) * _seconds_per_pixel(settings, backbone)
    return Estimate(seconds, _peak_bytes(_stage_areas(content_size, settings)[-1], settings))


def step_pixels(content_size: tuple[int, int], settings: StyleSettings) -> float:
    """Return the pixels of all steps together, with what else counts as steps: see `estimate`."""
    areas, stages = _stage_areas(content_size, settings), settings.stages(content_size)
    pixels = sum(area * _tile_cost(area, settings) * stage.steps for area, stage in zip(areas, stages, strict=True))
    pixels += TARGETS_COST * sum(areas) + (FINISH_COST * areas[-1] if settings.match_palette else 0)
    if settings.sketch and settings.style_weight:
        pixels += SKETCH_STEPS * _area(content_size, settings, sketch_side(settings, content_size))
    return pixels


def _stage_areas(content_size: tuple[int, int], settings: StyleSettings) -> list[int]:
    """Return the pixels of each stage's picture."""
    border = (1 + 2 * BORDER_SHARE) ** 2 if settings.seamless else 1.0  # in which it is painted too
    stages = settings.stages(content_size)
    return [round(border * _area(content_size, settings, stage.long_side)) for stage in stages]


def _tile_cost(pixels: int, settings: StyleSettings) -> float:
    """Return how many times as long a step takes for pictures of so many pixels because they are cut into tiles."""
    hardware = choose_hardware(settings.device, settings.precision)
    return 1.0 if pixels * hardware.dtype.itemsize <= untiled_limit(hardware.device) else TILE_COST


def check_memory(content_size: tuple[int, int], settings: StyleSettings) -> None:
    """Raise StyleTransferError if the run does not fit into this machine's memory, and name the largest size that does.

    Nothing is refused where the system does not tell how much memory is free.
    """
    device = choose_hardware(settings.device, settings.precision).device
    free = None if device.type == "mps" else free_memory(device)
    if free is None:
        return

    def needed(side: int) -> int:
        return _peak_bytes(_area(content_size, settings, side), settings)

    if needed(settings.size) <= free:
        return
    smaller = next((side for side in range(settings.size // 32 * 32, 31, -32) if needed(side) <= free), None)
    advice = f"set size to {smaller} or less" if smaller else "close other programs"
    gigabytes = f"{needed(settings.size) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free"
    raise StyleTransferError(f"size {settings.size} needs about {gigabytes}: {advice}.")


def _area(content_size: tuple[int, int], settings: StyleSettings, side: int) -> int:
    width, height = fitted_size(content_size, side, settings.keep_aspect)
    return width * height


# --- memory -----------------------------------------------------------------------------------------------------------


def _peak_bytes(pixels: int, settings: StyleSettings) -> int:
    """Return the bytes of feature maps held at once, of gradients at the compared layers, and of whole pictures."""
    hardware = choose_hardware(settings.device, settings.precision)
    itemsize = hardware.dtype.itemsize
    compared = (*settings.content_layers, *settings.style_layers)
    layers = LAYERS[: 1 + max(map(LAYERS.index, compared))]
    values_per_pixel = sum(_values_per_pixel((*layers, *compared))) + BACKWARD_MAPS * max(_values_per_pixel(layers))
    tile = (tile_side_for(layers) + 2 * margin_for(layers)) ** 2
    pixels_held = pixels if pixels * itemsize <= untiled_limit(hardware.device) else min(pixels, tile)
    pictures = PICTURES_ON_GPU if hardware.device.type == "cuda" else PICTURES
    stored = sum(_values_per_pixel(settings.content_layers)) if pixels <= STORED_PIXELS else 0
    whole_pictures = pixels * (pictures * 3 * 4 + itemsize * stored)
    kernels = sum(_winograd_bytes(layer, hardware.dtype) for layer in layers)
    return int(BASE_BYTES + kernels + pixels_held * itemsize * values_per_pixel + whole_pictures)


def _values_per_pixel(layers: Iterable[str]) -> Iterable[float]:
    """Yield the number of feature values per pixel of the picture, for each layer."""
    return (CHANNELS[layer] / layer_stride(layer) ** 2 for layer in layers)


def _winograd_bytes(layer: str, dtype: torch.dtype) -> int:
    """Return the bytes of the transformed kernels that a wide layer stores for both directions."""
    outputs = CHANNELS[layer]
    index = LAYERS.index(layer)
    inputs = CHANNELS[LAYERS[index - 1]] if index > 0 else 3
    return 2 * TRANSFORMS[dtype].products * dtype.itemsize * inputs * outputs if is_wide(inputs, outputs, dtype) else 0


# --- time -------------------------------------------------------------------------------------------------------------

_measured: dict[tuple, float] = {}  # seconds per pixel, by kind of run


def _seconds_per_pixel(settings: StyleSettings, backbone: Backbone) -> float:
    """Return the seconds per pixel of one evaluation of the objective, measured once on a small picture."""
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
        for _ in range(3):  # the first evaluation also pays for setting up
            started = time.perf_counter()
            _evaluate(objective, pixels)
            best = min(best, time.perf_counter() - started)
        _measured[key] = best / side**2
    return _measured[key]


def _evaluate(objective: Objective, pixels: torch.Tensor) -> None:
    objective.evaluate(pixels)[0].total.item()  # reading a value waits for a GPU to finish
