"""Measure colours, strokes and contrast of results against the painting's, without a network.

    python tests/tools/instruments.py PAIRS RESULTS [RESULTS ...]

PAIRS has NAME__content.jpg and NAME__style.jpg, and may have NAME__published.jpg; each folder of RESULTS has NAME.png.
All are compared at 256 px on the long side, and `detail` at 512 px. Only results of one pair can be compared with each
other.

palette   mean distance in CIELAB from the result's colours to the nearest colour of the painting; lower is better.
strokes   mean distance of patches of 9x9 px, their mean and contrast taken away, to the nearest patch of the painting,
          weighted by their contrast, at two scales; lower is better.
contrast  the standard deviation of the luminance over the painting's; near 1 is best.
detail    the same of the luminance's finest details: what is lost when it is halved and doubled; near 1 is best.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst.io.colour import luminance

LONG_SIDE = 256  # px


def load(path: Path, long_side: int = LONG_SIDE) -> Tensor:
    """Return a picture, (1, 3, H, W) in [0, 1]."""
    picture = Image.open(path).convert("RGB")
    scale = long_side / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def sample(rows: Tensor, count: int, seed: int) -> Tensor:
    """Return at most `count` of the rows, drawn by a seed."""
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]]


def distance_to_nearest(rows: Tensor, others: Tensor) -> Tensor:
    """Return the distance of each row to the nearest of the others."""
    return torch.cat([torch.cdist(part, others).amin(1) for part in rows.split(1024)])


def palette(result: Tensor, painting: Tensor) -> float:
    """Return the mean distance of the result's colours to the painting's, in CIELAB."""
    arrays = [rgb2lab(x[0].permute(1, 2, 0).numpy()).reshape(-1, 3) for x in (result, painting)]
    colours = [torch.from_numpy(array).float() for array in arrays]
    return distance_to_nearest(sample(colours[0], 6000, 0), sample(colours[1], 6000, 1)).mean().item()


def strokes(result: Tensor, painting: Tensor) -> float:
    """Return the mean squared distance of the result's patches to the painting's."""
    scores = []
    for _ in range(2):
        patches = [F.unfold(x, 9)[0].T for x in (result, painting)]
        patches = [sample(x, count, seed) for x, count, seed in zip(patches, (2500, 16_000), (1, 2), strict=True)]
        patches = [x - x.mean(1, keepdim=True) for x in patches]
        contrast = patches[0].norm(dim=1)
        unit = [x / x.norm(dim=1, keepdim=True).clamp_min(1e-3) for x in patches]
        scores.append((distance_to_nearest(*unit).square() * contrast / contrast.sum()).sum().item())
        half = {"scale_factor": 0.5, "mode": "bilinear", "antialias": True}
        result, painting = F.interpolate(result, **half), F.interpolate(painting, **half)
    return sum(scores) / 2


def contrast(result: Tensor, painting: Tensor) -> float:
    """Return the spread of the result's luminance over the painting's."""
    spreads = [luminance(x).std().item() for x in (result, painting)]
    return spreads[0] / max(spreads[1], 1e-6)


def detail(result: Tensor, painting: Tensor) -> float:
    """Return the spread of the finest details of the result's luminance over that of the painting's."""
    spreads = []
    for light in map(luminance, (result, painting)):
        half = F.interpolate(light, scale_factor=0.5, mode="bilinear", antialias=True)
        doubled = F.interpolate(half, size=light.shape[-2:], mode="bicubic")
        spreads.append((light - doubled).std().item())
    return spreads[0] / max(spreads[1], 1e-6)


def main(pairs: Path, *folders: Path) -> None:
    for style in sorted(pairs.glob("*__style.jpg")):
        name, painting = style.name.removesuffix("__style.jpg"), load(style)
        files = {folder.name: folder / f"{name}.png" for folder in folders}
        files["published"] = pairs / f"{name}__published.jpg"
        for kind, path in files.items():
            if path.exists():
                scores = [measure(load(path), painting) for measure in (palette, strokes, contrast)]
                scores.append(detail(load(path, 2 * LONG_SIDE), load(style, 2 * LONG_SIDE)))
                print(f"{name:24}{kind:12}" + "".join(f"{score:8.3f}" for score in scores))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
