"""Make a saved style of one or more paintings, and write it: see `nst.saved_style`."""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.engine.hardware import choose_hardware
from nst.engine.tiling import default_tile_side
from nst.errors import StyleTransferError
from nst.finish import PALETTE_SIDE, picture_tensor
from nst.io.files import write_atomically
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import check_sides, fitted_size
from nst.models.checkpoints import load_backbone
from nst.objective import build_extractor
from nst.output.recipe import public_name
from nst.palette import colour_bins
from nst.patches import patch_distance
from nst.pictures import Style, style_inputs
from nst.saved_style import BLOCK, PATCH_SIDES, SUFFIX, Key, PatchBlocks, SavedPatches, SavedStyle, StyleForm, to_bytes
from nst.settings import StyleSettings
from nst.sketch import level_sides
from nst.stages import RemainingStage
from nst.targets import TargetBuilder

# The sizes of stages of all presets but `classic`, and sizes between them: the nearest one is at most a fifth away.
LADDER = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
LARGEST = LADDER[-1]
MOST_PAINTINGS = 16
PATCH_BYTES = 14_000_000  # of all patches; one painting of 4:3 has about 7 MB, and several share the space


def save_style(
    paintings: Sequence[PictureLike], path: str | os.PathLike, settings: StyleSettings, largest: int = LARGEST
) -> Path:
    """Write one style of the paintings, which count equally, and return the path of its file.

    settings: `style_layers`, `style_statistic`, `style_levels`, `pooling`, `keep_aspect`, `sketch` and `backbone`. A
    run with the saved style must have the same. largest: long side in px of the largest results, 64 to 4096.

    Raises StyleTransferError for paintings or settings that cannot be used, and for a file that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise StyleTransferError(f"{path.name}: a saved style needs the suffix {SUFFIX}.")
    data = to_bytes(make_style(paintings, settings, largest))
    return write_atomically(path, lambda temporary: Path(temporary).write_bytes(data))


@torch.no_grad()
def make_style(
    paintings: Sequence[PictureLike], settings: StyleSettings, largest: int = LARGEST, name: str = "The saved style"
) -> SavedStyle:
    """Return the saved style of the paintings: see `save_style`."""
    if not 1 <= len(paintings) <= MOST_PAINTINGS:
        raise StyleTransferError(f"A saved style has 1 to {MOST_PAINTINGS} paintings, not {len(paintings)}.")
    if settings.preserve_colours:
        raise StyleTransferError("A saved style cannot preserve the photo's colours: it has no picture.")
    pictures = [load_picture(painting) for painting in paintings]
    backbone = load_backbone(settings.backbone)
    sizes = sorted({size for size in LADDER if size < largest} | {max(LADDER[0], largest >> n) for n in range(3)})
    for picture in pictures:
        check_sides(fitted_size(picture.size, sizes[-1], settings.keep_aspect), "The painting")
    form = StyleForm(
        settings.style_statistic, settings.style_layers, settings.style_levels, settings.pooling, settings.keep_aspect,
        public_name(settings.backbone), backbone.sha256,
    )  # fmt: skip
    patches = _shorten(_patches(pictures, settings, sizes)) if settings.sketch else {}
    return SavedStyle(
        name,
        form,
        {size: _statistics(pictures, settings, size) for size in sizes},
        patches,
        _colours(pictures),
    )


def _statistics(pictures: list[Image.Image], settings: StyleSettings, size: int) -> dict[Key, Tensor]:
    """Return the mean of the pictures' statistics, in float32.

    Its gradient is that of all pictures together: the mean of squared differences to several targets is the squared
    difference to their mean, plus a constant.
    """
    hardware = choose_hardware(settings.device, "float32")
    extractor = build_extractor(load_backbone(settings.backbone), settings, hardware)
    tables = []
    for picture in pictures:
        stage = RemainingStage(0, size, (size, size), 1, 0, adds_detail=False)
        pixels = style_inputs([Style(picture)], settings, stage, hardware.device)[0].picture
        tile_side = default_tile_side(settings.style_layers, extractor.dtype, pixels)
        tables.append(TargetBuilder(extractor, settings, tile_side).style_statistics(pixels))
    keys = set.intersection(*(set(table) for table in tables))  # a long thin painting may have fewer levels
    return {key: torch.stack([table[key] for table in tables]).mean(0).cpu() for key in sorted(keys)}


def _colours(pictures: list[Image.Image]) -> Tensor:
    """Return the colours of all pictures, at the size at which a run counts them, (1, 3, 1, N), in order of colour."""
    pixels = [picture_tensor(picture, PALETTE_SIDE, torch.device("cpu"))[0].flatten(1) for picture in pictures]
    colours = torch.cat(pixels, 1)
    return colours[:, colour_bins(colours).argsort(stable=True)][None, :, None]


# --- patches ----------------------------------------------------------------------------------------------------------


def _patches(pictures: list[Image.Image], settings: StyleSettings, sizes: list[int]) -> dict[int, SavedPatches]:
    """Return the patches that the sketches of results of these sizes take, by the long side of the painting."""
    sides = sorted({side for size in sizes for side in level_sides(replace(settings, size=size), (size, size))})
    patches = {side: _patches_at(pictures, settings, side) for side in sides}
    return {side: saved for side, saved in patches.items() if saved.by_side}


def _patches_at(pictures: list[Image.Image], settings: StyleSettings, long_side: int) -> SavedPatches:
    """Return the patches that a sketch takes from the pictures at this size."""
    sizes = [fitted_size(picture.size, long_side, settings.keep_aspect) for picture in pictures]
    resized = [picture.resize(size, Image.Resampling.LANCZOS) for picture, size in zip(pictures, sizes, strict=True)]
    width, height = min(sizes, key=min)
    by_side = {}
    for side in [side for side in PATCH_SIDES if side <= min(width, height) // 2]:
        area = sum((width - side + 1) * (height - side + 1) for width, height in sizes)
        parts = [_cut_into_blocks(picture, side, patch_distance(area, side)) for picture in resized]
        blocks, counts = (torch.cat(part) for part in zip(*parts, strict=True))
        order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(side))
        by_side[side] = PatchBlocks(blocks[order], counts[order])
    return SavedPatches((1, 3, height, width), by_side)


def _cut_into_blocks(picture: Image.Image, side: int, distance: int) -> tuple[Tensor, Tensor]:
    """Return the blocks and the counts of `PatchBlocks`. distance: in px between two patches."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    patches = [(length - side) // distance + 1 for length in pixels.shape[1:]]
    numbers = [math.ceil(count / BLOCK) for count in patches]
    down, across = (
        (BLOCK * number - 1) * distance + side - length
        for number, length in zip(numbers, pixels.shape[1:], strict=True)
    )
    length, step = (BLOCK - 1) * distance + side, BLOCK * distance
    blocks = F.pad(pixels, (0, across, 0, down)).unfold(1, length, step).unfold(2, length, step)
    blocks = blocks.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
    counts = [
        torch.tensor([min(BLOCK, count - BLOCK * n) for n in range(number)], dtype=torch.uint8)
        for count, number in zip(patches, numbers, strict=True)
    ]
    return blocks, torch.cartesian_prod(*counts)


def _shorten(patches: dict[int, SavedPatches]) -> dict[int, SavedPatches]:
    """Return the patches, or as many of each kind, taken at random, as fit into `PATCH_BYTES` together."""
    share = PATCH_BYTES / sum(x.blocks.numel() for saved in patches.values() for x in saved.by_side.values())
    if share >= 1:
        return patches

    def some(x: PatchBlocks) -> PatchBlocks:  # they are in random order
        count = max(1, int(share * len(x.blocks)))
        return PatchBlocks(x.blocks[:count], x.counts[:count])

    return {
        size: SavedPatches(saved.shape, {side: some(x) for side, x in saved.by_side.items()})
        for size, saved in patches.items()
    }
