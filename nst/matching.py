"""Matched strokes: what the painting's features would be where they look most like the photo's.

Li & Wand, "Combining Markov Random Fields and Convolutional Neural Networks for Image Synthesis" (2016), and Kolkin et
al., "Neural Neighbor Style Transfer" (2022): the content loss compares the picture with features of the painting
instead of the photo's own. Photo and painting are divided into cells of a few px. Each cell of the photo takes over
whole blocks of feature maps from the cell of the painting that looks most like it, so that strokes stay strokes.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.engine.tiling import cut_into_tiles, default_tile_side
from nst.layers import KEY_LAYERS, layer_stride
from nst.losses import SMALLEST_SCALE
from nst.models.vgg import Vgg19
from nst.targets import StyleInput

CELL = 4  # px, the side of a cell: one position of conv3_1, the deepest content layer of the preset `strokes`
CELLS_ACROSS = 256  # in larger pictures the cells grow, so that there are not more of them
LARGEST_CELL = 16  # px; tiles begin at multiples of it
MOST_CELLS = 4000  # of the paintings, taken at even distances: comparing takes time in proportion to them
CHUNK = 4096  # cells of the photo compared at once
# How freely a cell of the painting is used again: a small number makes each one's best partner take it (Granot et al.,
# "Drop the GAN: In Defense of Patches Nearest Neighbors as Single Image Generative Models", 2022, equation 3).
COMPLETENESS = 0.5


class StrokeMatcher:
    """Finds the features of the paintings that the content layers of one stage are compared with.

    layers: the content layers. scales: by layer, what the content loss is divided by: the features' mean variance.
    """

    @torch.no_grad()
    def __init__(self, extractor: Vgg19, layers: Sequence[str], photo: Tensor, paintings: Sequence[StyleInput]):
        """
        extractor: it has `layers` and `KEY_LAYERS`. photo: (1, 3, H, W) in [0, 1], at the size to be painted.
        """
        self.extractor, self.layers, self.size = extractor, tuple(layers), tuple(photo.shape[-2:])
        grown = 2 ** max(0, math.ceil(math.log2(max(self.size) / (CELL * CELLS_ACROSS))))
        self.cell = min(LARGEST_CELL, max(CELL * grown, *map(layer_stride, layers)))
        keys, blocks, self._painting_of, self._weights, self._masks = [], [], [], [], []
        for number, (picture, weight, mask) in enumerate(paintings):
            painting_keys, painting_blocks = self._cells_of(picture, math.ceil(MOST_CELLS / len(paintings)))
            keys.append(painting_keys)
            blocks.append(painting_blocks)
            self._painting_of += [number] * len(painting_keys)
            self._weights.append(weight)
            self._masks.append(mask if mask is None else self._on_cells(mask))
        self._blocks = {layer: torch.cat([x[layer] for x in blocks]) for layer in layers}
        self.scales = {layer: self._variance(layer) for layer in layers}
        raw = torch.cat(keys).float()
        self._key_scales = self._scale_keys(raw)
        raw *= self._key_scales
        self._keys = F.normalize(raw - raw.mean(0), dim=1).to(extractor.dtype)
        self._painting_of = torch.tensor(self._painting_of, device=photo.device)
        self._photo_keys = self._query(photo)

    @torch.no_grad()
    def match(self, painted: Tensor, photo_share: float, own: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the target of each content layer, of the shape of the picture's own feature maps.

        painted: the picture as it stands, (1, 3, H, W). photo_share: how much a cell is compared by the photo, 0 to 1;
        the rest is the picture as it stands, so that strokes grow together. own: the photo's features, which are the
        targets where no painting is painted; they are needed if every painting has a mask.
        """
        query = self._photo_keys
        if photo_share < 1:
            query = photo_share * query + (1 - photo_share) * self._query(painted)
        query = query - query.mean(0)
        chosen = torch.zeros(len(query), dtype=torch.long, device=query.device)
        covered = torch.zeros(len(query), dtype=torch.bool, device=query.device)
        for cells, numbers in self._regions(len(query), query.device):
            allowed = torch.isin(self._painting_of, torch.tensor(numbers, device=query.device)).nonzero()[:, 0]
            chosen[cells] = allowed[self._nearest(query[cells], allowed)]
            covered[cells] = True
        targets = {layer: self._assemble(layer, self._blocks[layer][chosen]) for layer in self.layers}
        if not covered.all():
            cells = covered.to(painted.dtype)[:, None, None, None]
            for layer, target in targets.items():
                side = self.cell // layer_stride(layer)
                inside = self._assemble(layer, cells.expand(-1, 1, side, side)) > 0
                targets[layer] = torch.where(inside, target, own[layer])
        return targets

    # --- cells --------------------------------------------------------------------------------------------------------

    def _query(self, picture: Tensor) -> Tensor:
        """Return the keys of a picture of the stage's size, (cells, channels), row by row."""
        height, width = (math.ceil(side / self.cell) for side in picture.shape[-2:])
        keys = None
        for tile, features in self._tiles(picture, KEY_LAYERS):
            part = self._keys_of(tile, features)
            rows, columns = (slice(x.start // self.cell, math.ceil(x.stop / self.cell)) for x in tile.inner)
            if keys is None:
                keys = part.new_empty(height, width, part.shape[-1])
            keys[rows, columns] = part
        return keys.flatten(0, 1).float() * self._key_scales

    def _cells_of(self, painting: Tensor, most: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the keys of at most `most` whole cells of a painting, and their blocks of each content layer."""
        height, width = (max(1, side // self.cell) for side in painting.shape[-2:])
        step = max(1.0, height * width / most)
        wanted = (torch.arange(min(most, height * width)) * step).long()
        keys, blocks, numbers = [], {layer: [] for layer in self.layers}, []
        for tile, features in self._tiles(painting, sorted({*KEY_LAYERS, *self.layers})):
            part = self._keys_of(tile, features)
            top, left = (x.start // self.cell for x in tile.inner)
            rows, columns = wanted // width - top, wanted % width - left
            bottom, right = (min(n, end) for n, end in zip(part.shape[:2], (height - top, width - left), strict=True))
            inside = (rows >= 0) & (rows < bottom) & (columns >= 0) & (columns < right)
            rows, columns = rows[inside], columns[inside]
            numbers.append(inside.nonzero()[:, 0])
            keys.append(part[rows, columns])
            for layer in self.layers:
                side = self.cell // layer_stride(layer)
                inner = features[layer][(..., *tile.inner_of_tile_map(layer))]
                lacking = [max(0, side - length) for length in inner.shape[-2:]]  # of a painting smaller than a cell
                inner = F.pad(inner, (0, lacking[1], 0, lacking[0]), mode="replicate")
                views = inner[0].unfold(1, side, side).unfold(2, side, side)  # (C, rows, columns, side, side)
                blocks[layer].append(views[:, rows, columns].transpose(0, 1).clone())
        order = torch.cat(numbers).argsort()
        return torch.cat(keys)[order], {layer: torch.cat(parts)[order] for layer, parts in blocks.items()}

    def _tiles(self, picture: Tensor, layers: Sequence[str]):
        """Yield each tile of a picture and the features of its outer part, by layer."""
        side = default_tile_side(layers, self.extractor.dtype, picture)
        for tile in cut_into_tiles(*picture.shape[-2:], side, layers):
            yield tile, self.extractor.extract_features(picture[(..., *tile.outer)], layers)

    def _keys_of(self, tile, features: dict[str, Tensor]) -> Tensor:
        """Return the keys of the cells of a tile's inner part, (rows, columns, channels), not scaled."""
        outer = [math.ceil((x.stop - x.start) / self.cell) for x in tile.outer]
        maps = [_on_cells(features[layer], layer_stride(layer), self.cell, outer) for layer in KEY_LAYERS]
        inner = [
            slice((a.start - b.start) // self.cell, math.ceil((a.stop - b.start) / self.cell))
            for a, b in zip(tile.inner, tile.outer, strict=True)
        ]
        return torch.cat(maps, 1)[(0, slice(None), *inner)].permute(1, 2, 0)

    def _on_cells(self, mask: Tensor) -> Tensor:
        """Return which cells lie under a mask (1, 1, H, W), row by row."""
        shape = [math.ceil(side / self.cell) for side in self.size]
        return F.interpolate(mask, size=shape, mode="area").flatten() >= 0.5

    def _regions(self, count: int, device: torch.device):
        """Yield groups of the photo's cells, and the numbers of the paintings that each group may take from."""
        everywhere = torch.ones(count, dtype=torch.bool, device=device)
        allowed = torch.stack([everywhere if mask is None else mask for mask in self._masks], 1)
        for combination in allowed.unique(dim=0):
            if numbers := combination.nonzero()[:, 0].tolist():
                yield (allowed == combination).all(1).nonzero()[:, 0], numbers

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _scale_keys(self, keys: Tensor) -> Tensor:
        """Return factors (channels,) that give each key layer the same spread over the paintings."""
        variances = keys.var(0, correction=0)
        sizes = [self.extractor.convolutions[layer].out_channels for layer in KEY_LAYERS]
        spreads = [part.sum().clamp_min(SMALLEST_SCALE).rsqrt().expand(len(part)) for part in variances.split(sizes)]
        return torch.cat(spreads)

    def _variance(self, layer: str) -> Tensor:
        """Return the mean over the channels of the variance over all positions, a scalar."""
        blocks = self._blocks[layer].float()
        return blocks.var((0, 2, 3), correction=0).mean().clamp_min(SMALLEST_SCALE)

    def _nearest(self, query: Tensor, allowed: Tensor) -> Tensor:
        """Return, for each centred query (cells, channels), the number of the most similar of the allowed cells.

        The distance is 1 - cosine, divided by `COMPLETENESS` plus the smallest distance that any query has to that
        cell, and by the painting's weight.
        """
        keys = self._keys[allowed]
        query = F.normalize(query, dim=1).to(keys.dtype)
        similarities = [(part @ keys.T).float() for part in query.split(CHUNK)] if len(query) <= 2 * CHUNK else None
        parts = similarities or ((part @ keys.T).float() for part in query.split(CHUNK))
        best = torch.stack([part.amax(0) for part in parts]).amax(0)
        weights = torch.tensor(self._weights, device=query.device)
        weights = (weights / weights.max())[self._painting_of[allowed]]
        factors = 1 / ((COMPLETENESS + 1 - best) * weights)
        parts = similarities or ((part @ keys.T).float() for part in query.split(CHUNK))
        return torch.cat([(1 - part).mul_(factors).argmin(1) for part in parts])

    def _assemble(self, layer: str, blocks: Tensor) -> Tensor:
        """Return the map of a layer, (1, C, h, w), with one block for each of the photo's cells, (cells, C, b, b)."""
        side, stride = blocks.shape[-1], layer_stride(layer)
        rows, columns = (math.ceil(length / self.cell) for length in self.size)
        blocks = blocks.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
        whole = blocks.reshape(1, -1, rows * side, columns * side)
        height, width = (length // stride for length in self.size)
        return whole[..., :height, :width].contiguous(memory_format=torch.channels_last)


def _on_cells(x: Tensor, stride: int, cell: int, shape: Sequence[int]) -> Tensor:
    """Return a feature map as means over cells, (1, C, rows, columns) of `shape`. The border is repeated."""
    if stride < cell:
        x = F.avg_pool2d(x, cell // stride, ceil_mode=True)
    elif stride > cell:
        x = F.interpolate(x, scale_factor=stride // cell, mode="bilinear", align_corners=False)
    missing = [max(0, length - side) for length, side in zip(shape, x.shape[-2:], strict=True)]
    x = F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
    return x[..., : shape[0], : shape[1]]
