"""A saved style: what a run needs to know of a painting, without the painting, in one file.

These are the statistics of the style layers at a ladder of sizes, patches for the sketch, and the colours. The patches
overlap and are in random order: a bag of patches, not a picture. But who has the patience could put a picture of
384 px together from them, as a jigsaw puzzle: a saved style does not keep a painting secret.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from nst.errors import StyleTransferError, quote
from nst.io.addresses import refuse_address
from nst.layers import CHANNELS, LAYERS
from nst.losses import STATISTICS
from nst.models.checkpoints import Backbone
from nst.settings import StyleSettings

SUFFIX = ".style"
KEY = "nst-style"  # the metadata's key, with the version of the form
VERSION = 1
MAX_BYTES = 64 << 20  # of a file, which is read whole; files that are written are under a third of that
MAX_SIDE = 4096  # px
BLOCK = 4  # patches on each side of a block, which takes a fifth of the space of its patches
LEVELS = 6  # of the image pyramid, at most
PATCH_SIDES = (9, 13, 21, 33)  # px: those of all levels of the sketch
MOST_BLOCKS = 2000  # of one kind; a forged file with more could fill the memory
LARGEST_VALUE = 1e12  # of a statistic: its square is still a number
MAX_CHANNELS = max(CHANNELS.values())  # of a layer

Key = tuple[int, str]  # a level of the image pyramid and a layer, as in `nst.targets`


@dataclass(frozen=True)
class PatchBlocks:
    """Patches of one size in blocks of neighbours, in random order.

    blocks: (N, 3, h, w) uint8, each with up to `BLOCK` x `BLOCK` patches at even distances. counts: (N, 2), how many
    patches a block has down and across; the rest of a block is black.
    """

    blocks: Tensor
    counts: Tensor

    def rows(self, side: int, device: torch.device) -> Tensor:
        """Return the patches of `side` px, (patches, 3 x side x side), in [0, 1]."""
        distance = (self.blocks.shape[-1] - side) // (BLOCK - 1)
        patches = F.unfold(self.blocks.to(device).float() / 255, side, stride=distance).mT
        place = torch.arange(BLOCK * BLOCK)
        is_there = (place // BLOCK < self.counts[:, :1]) & (place % BLOCK < self.counts[:, 1:])
        return patches[is_there.to(device)]


@dataclass(frozen=True)
class SavedPatches:
    """The patches of a painting at one size.

    shape: of the pictures that they were cut from, (1, 3, h, w); of several, of the smallest. by_side: by their side.
    """

    shape: tuple[int, int, int, int]
    by_side: dict[int, PatchBlocks]


@dataclass(frozen=True)
class StyleForm:
    """What the statistics of a saved style are of. A run must want the same.

    statistic, layers, levels, pooling, keep_aspect: as in `StyleSettings`; a run may want fewer layers and levels.
    backbone: its name, `file` for a local file. backbone_sha256: of its checkpoint.
    """

    statistic: str
    layers: tuple[str, ...]
    levels: int
    pooling: str
    keep_aspect: bool
    backbone: str
    backbone_sha256: str


@dataclass(frozen=True)
class SavedStyle:
    """A saved style. It takes the place of a painting: `Style(saved)`, `stylize(photo, saved)`.

    name: of the file, for messages. statistics: by long side in px, then by level and layer. patches: by long side.
    colours: (1, 3, 1, N) in [0, 1], all colours of the painting, in order of colour. sha256: of the file.
    """

    name: str
    form: StyleForm
    statistics: dict[int, dict[Key, Tensor]] = field(repr=False)
    patches: dict[int, SavedPatches] = field(repr=False)
    colours: Tensor = field(repr=False)
    sha256: str = ""

    def check(self, settings: StyleSettings, backbone: Backbone) -> None:
        """Raise StyleTransferError if a run with these settings and this backbone needs something else."""
        if settings.preserve_colours:
            advice = "use the painting itself, or do not preserve the photo's colours"
            raise StyleTransferError(f"{self.name}: a saved style has no picture to compare in grey; {advice}.")
        form = self.form
        if form.backbone_sha256 != backbone.sha256:
            advice = "use that backbone, or save the style again with this one"
            raise StyleTransferError(f"{self.name}: it was saved with another backbone ({form.backbone}); {advice}.")
        fits = {
            "style_statistic": settings.style_statistic == form.statistic,
            "style_layers": set(settings.style_layers) <= set(form.layers),
            "style_levels": settings.style_levels <= form.levels,
            "pooling": settings.pooling == form.pooling,
            "keep_aspect": settings.keep_aspect == form.keep_aspect,
            "sketch": bool(self.patches) or not settings.sketch,
        }
        if wrong := [name for name, is_right in fits.items() if not is_right]:
            advice = "save it again with the settings or the preset that you paint with"
            raise StyleTransferError(f"{self.name}: it was saved for another {' and '.join(wrong)}; {advice}.")

        widths = {layer: x.out_channels for layer, x in backbone.network.convolutions().items()}
        values = ((layer, x) for table in self.statistics.values() for (_, layer), x in table.items())
        if any(x.shape[1] != widths[layer] for layer, x in values):
            raise StyleTransferError(f"{self.name}: not a saved style, or a damaged one; save the style again.")

    def statistics_at(self, long_side: float, layers: Sequence[str], device: torch.device) -> dict[Key, Tensor]:
        """Return the statistics of these layers at the size that is nearest to `long_side`."""
        table = self.statistics[_nearest(self.statistics, long_side)]
        return {key: value.to(device) for key, value in table.items() if key[1] in layers}

    def patches_at(self, long_side: float) -> SavedPatches:
        """Return the patches at the size that is nearest to `long_side`."""
        return self.patches[_nearest(self.patches, long_side)]


def _nearest(sizes: dict[int, Any], size: float) -> int:
    return min(sizes, key=lambda other: abs(math.log(other / size)))


# --- the file ---------------------------------------------------------------------------------------------------------


def is_style_file(path: Any) -> bool:
    """Return whether this is the path of a saved style, by its suffix."""
    return isinstance(path, (str, os.PathLike)) and Path(path).suffix.lower() == SUFFIX


def to_bytes(style: SavedStyle) -> bytes:
    """Return the style as the content of a safetensors file."""
    tensors = {"colours": (style.colours[0, :, 0] * 255).round().to(torch.uint8)}
    for size, table in style.statistics.items():
        tensors |= {f"statistics.{size}.{level}.{layer}": _pack(value) for (level, layer), value in table.items()}
    for size, patches in style.patches.items():
        for side, blocks in patches.by_side.items():
            tensors |= {f"blocks.{size}.{side}": blocks.blocks, f"counts.{size}.{side}": blocks.counts}
    shapes = {str(size): list(patches.shape[-2:]) for size, patches in style.patches.items()}
    metadata = json.dumps({"version": VERSION, **asdict(style.form), "shapes": shapes})
    return safetensors.torch.save({name: x.contiguous() for name, x in tensors.items()}, {KEY: metadata})


def load_style(path: str | os.PathLike) -> SavedStyle:
    """Read a file that `save_style` wrote.

    Raises StyleTransferError for any other file, and for one that is damaged, forged, or over 64 MB.
    """
    refuse_address(path, "download the style first, and give the path of its file")
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StyleTransferError(f"{path.name}: not a file.")
        if status.st_size > MAX_BYTES:
            raise StyleTransferError(f"{path.name}: over the limit of {MAX_BYTES >> 20} MB for a saved style.")
        data = path.read_bytes()
    except StyleTransferError:  # which is a ValueError
        raise
    except FileNotFoundError as error:
        raise StyleTransferError(f"{path.name}: no such file.") from error
    except (OSError, ValueError) as error:
        raise StyleTransferError(f"{path.name}: cannot be read ({getattr(error, 'strerror', error)}).") from error
    try:
        return _parse(data, path.name)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, RecursionError, AttributeError) as error:
        version = error.args[0] if isinstance(error, _UnknownVersion) else None
        problem = (
            "not a saved style, or a damaged one" if version is None else f"its version {version} is not known here"
        )
        raise StyleTransferError(f"{path.name}: {problem}; save the style again.") from error


class _UnknownVersion(ValueError):
    pass


def _parse(data: bytes, name: str) -> SavedStyle:
    """Return the style in the content of a file. Raises an error of several types if no style can be so."""
    tensors = safetensors.torch.load(data)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    if (version := metadata.pop("version")) != VERSION:
        raise _UnknownVersion(quote(version))
    shapes = {int(size): shape for size, shape in metadata.pop("shapes").items()}
    form = _check_form(StyleForm(**metadata | {"layers": tuple(metadata["layers"])}))
    colours = tensors.pop("colours")
    _require(colours.dtype == torch.uint8 and colours.ndim == 2 and len(colours) == 3 and colours.shape[1] > 0)
    statistics: dict[int, dict[Key, Tensor]] = {}
    patches = {size: SavedPatches(_check_shape(shape), {}) for size, shape in shapes.items()}
    for key, value in tensors.items():
        if match := re.fullmatch(r"statistics\.(\d{2,4})\.(\d)\.(conv\d_\d)", key):
            size, level, layer = int(match[1]), int(match[2]), match[3]
            _require(1 <= size <= MAX_SIDE and level < form.levels and layer in form.layers)
            statistics.setdefault(size, {})[level, layer] = _unpack(value, form.statistic)
        elif match := re.fullmatch(r"blocks\.(\d{1,4})\.(\d{1,2})", key):
            size, side = int(match[1]), int(match[2])
            patches[size].by_side[side] = _check_blocks(value, tensors[f"counts.{size}.{side}"], side)
        else:
            _require(key.startswith("counts."))
    _require(bool(statistics) and 0 not in patches)
    for saved in patches.values():
        _require(set(saved.by_side) == {side for side in PATCH_SIDES if side <= min(saved.shape[-2:]) // 2} != set())
    _require(all((0, layer) in table for table in statistics.values() for layer in form.layers))
    colours = colours.float()[None, :, None] / 255
    return SavedStyle(name, form, statistics, patches, colours, hashlib.sha256(data).hexdigest())


def _require(is_right: bool) -> None:
    if not is_right:
        raise ValueError("not a saved style")


def _check_form(form: StyleForm) -> StyleForm:
    _require(form.statistic in STATISTICS and type(form.levels) is int and 1 <= form.levels <= LEVELS)
    _require(len(form.layers) > 0 and all(layer in LAYERS for layer in form.layers))
    _require(type(form.keep_aspect) is bool)
    _require(all(isinstance(getattr(form, x.name), str) for x in fields(form) if x.type is str))
    return form


def _check_shape(shape: Any) -> tuple[int, int, int, int]:
    _require(len(shape) == 2 and all(type(side) is int and 1 <= side <= MAX_SIDE for side in shape))
    return 1, 3, *shape


def _check_blocks(blocks: Tensor, counts: Tensor, side: int) -> PatchBlocks:
    _require(blocks.dtype == counts.dtype == torch.uint8 and blocks.ndim == 4 and blocks.shape[1] == 3)
    _require(0 < len(blocks) <= MOST_BLOCKS and counts.shape == (len(blocks), 2))
    distance, rest = divmod(blocks.shape[-1] - side, BLOCK - 1)
    _require(side > 0 and distance > 0 and rest == 0 and blocks.shape[-2] == blocks.shape[-1])
    _require(bool(((counts > 0) & (counts <= BLOCK)).all()))
    return PatchBlocks(blocks, counts)


def _pack(statistic: Tensor) -> Tensor:
    """Return a statistic without what its symmetry repeats: half of the matrix, and the mean where there is one."""
    channels = statistic.shape[1]
    rows, columns = torch.triu_indices(channels, channels)
    return torch.cat([statistic[0, rows, columns], statistic[0, :, channels:].flatten()]).float().cpu()


def _unpack(values: Tensor, statistic: str) -> Tensor:
    """Return the statistic, (1, C, C) or (1, C, C + 1), that `_pack` gave. Raises ValueError if it is none."""
    has_mean = statistic == "covariance"
    channels = next((n for n in range(1, MAX_CHANNELS + 1) if n * (n + 1) // 2 + n * has_mean == values.numel()), 0)
    half = channels * (channels + 1) // 2
    _require(channels > 0 and values.dtype == torch.float32 and values.shape == (half + channels * has_mean,))
    _require(bool((values.abs() <= LARGEST_VALUE).all()))  # which refuses NaN too
    matrix = torch.zeros(channels, channels)
    rows, columns = torch.triu_indices(channels, channels)
    matrix[rows, columns] = matrix[columns, rows] = values[:half]
    return torch.cat([matrix, values[half:, None]], 1)[None] if has_mean else matrix[None]
