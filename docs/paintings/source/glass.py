"""Paintings made of cells and washes: stained glass, mosaic, watercolour."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.measure import find_contours

import brushes
from registry import painting


@painting("stained_glass", smooth=True)
def _stained_glass(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Stained glass: leaded Voronoi panes of sunrise, sky and hills, lit from behind."""
    x, y, width, height = brushes.grid(w, h)
    sun = np.array([width * rng.uniform(0.4, 0.6), height * 0.47])
    sites = [sun[None]]
    for n in range(1, 30):
        count = min(8 * n, 16 + 2 * n)
        turns = 2 * np.pi * (np.arange(count) + 0.5 * (n % 2)) / count
        ring = np.stack([np.cos(turns), np.sin(turns)], 1) * (0.075 * n + 0.005 * n * n)
        sites.append(sun + ring + rng.normal(0, 0.012, ring.shape))
    sites = np.concatenate(sites)
    cell, lead = _cells(w, h, sites, 0.012 * brushes.noise(w, h, rng, 0.3, 1))
    away, turn = np.linalg.norm(sites - sun, axis=1), np.arctan2(*(sites - sun).T[::-1])
    chance = rng.uniform(-1, 1, len(sites))
    reach = away / 1.05 + 0.1 * chance
    sky = brushes.ramp(reach, "fff2a8 ffc02e f4731f d42a4d 8a2a9e 3a35b5 1a58c8 1c93d0")
    rays = brushes.ramp(reach, "fff7c9 ffe06a ffb347 ff7d6b d75bb0 7d6be0 58a8ee 9be0e8")
    colour = np.where((np.cos(turn * 9) > 0.35)[:, None], rays, sky)[cell]
    border = np.abs(np.hypot(x - sun[0], y - sun[1]) - 0.15)
    for n, greens in enumerate(("0f6b62 25a07a 8ccf6a", "0d4a63 14807d 3fb391", "1d2f6f 2557a0 3d8fc4")):
        crest = height * (0.6 + 0.13 * n) + 0.02 * np.sin(x * 9)
        crest = crest + 0.06 * np.sin(x * (3.3 + n) + rng.uniform(0, 6))
        colour = brushes.mix(colour, brushes.ramp(0.5 + 0.5 * np.roll(chance, n), greens)[cell], y > crest)
        border = np.minimum(np.where(y > crest, 9, border), np.abs(y - crest) * 0.94)
    streaks = brushes.noise(w, h, rng, 0.06, 3) + 0.6 * brushes.noise(w, h, rng, 0.25, 2)
    light = 0.74 + 0.3 * brushes.smoothstep(0, 0.03, np.minimum(lead, border)) + 0.17 * streaks
    light = (light + 0.12 * np.roll(chance, 7)[cell])[..., None]
    # A power rather than a factor: thin light deepens the glass's colour instead of greying it.
    glass = 255 * (colour / 255) ** np.clip(2.6 - 1.6 * light, 0.45, 3) * np.minimum(light, 1) ** 0.5
    thick, pixel = 0.0062 + 0.0015 * brushes.noise(w, h, rng, 0.05, 1), 0.8 / brushes.unit(w, h)
    clear = np.minimum(lead - thick, border - thick * 1.45)
    came = 22 + 50 * brushes.smoothstep(-0.004, -0.0075, clear) + 14 * streaks
    came = came[..., None] * np.float32((0.9, 0.95, 1.05))
    return brushes.as_image(brushes.mix(came, glass, brushes.smoothstep(-pixel, pixel, clear)))


def _cells(w: int, h: int, sites: np.ndarray, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells: for every pixel its nearest site, and the distance to the cell's edge."""
    x, y, _, _ = brushes.grid(w, h)
    at = np.stack([x + bend, y - bend], -1)
    _, nearest = cKDTree(sites).query(at, k=3)
    own, edge = sites[nearest[..., 0]], np.inf
    for n in (1, 2):
        other = sites[nearest[..., n]]
        gap = other - own
        edge = np.minimum(edge, (((other + own) / 2 - at) * gap).sum(-1) / np.linalg.norm(gap, axis=-1))
    return nearest[..., 0], edge.astype(np.float32)


@painting("mosaic")
def _mosaic(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Roman mosaic: tesserae laid in rows that echo the outlines of swimming fish."""
    size = brushes.sketch_size(w, h)
    x, y, width, height = brushes.grid(*size)
    part, colour = np.zeros(size[::-1], np.uint8), np.zeros((*size[::-1], 3), np.float32)
    fishes = ((0.33, 0.3, 0.62, 0.25, "5b1420 a82a1f e2702a f4b24a fbe6b0"),
              (0.68, 0.68, 0.7, 3.5, "6a2410 c04a1c ee8c2c f8c64e fdf0c4"),
              (0.16, 0.8, 0.34, -0.5, "7d1f3c c8405a ee8f7d f7d0a8"),
              (0.86, 0.2, 0.36, 2.4, "8a4a10 d8901f f3c544 fbf0b8"))
    for cx, cy, long, turn, scales in fishes:
        turn += rng.uniform(-0.25, 0.25)
        dx, dy = (x - cx * width) / long, (y - cy * height) / long
        a, b = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        b = b + 0.35 * a * a - 0.03
        thick = 0.2 * np.clip(1 - (2.05 * a) ** 2, 0, 1) ** 0.75 * (1 + 0.5 * a)
        tail = (a < -0.36) & (a > 0.25 * np.abs(np.abs(b) - 0.14) - 0.72)
        fins = tail & (np.abs(b) < 0.03 - 0.75 * (a + 0.36))
        fins |= (np.abs(a + 0.02) < 0.2) & (np.abs(b) < thick + 0.09 * np.cos((a + 0.02) * 7))
        body, eye = np.abs(b) < thick, np.hypot(a - 0.34, b + 0.04)
        gill = body & (np.abs(a - 0.24 + 1.5 * b * b) < 0.018)
        dark, pale, pupil = brushes.colours(scales[:6], "fdf6dc", "151a2c")
        spokes, flank = np.sin(np.arctan2(b, a + 0.3) * 22), 2.4 * b * np.cos(turn) + 0.12 * np.sin(a * 50)
        tints = brushes.ramp(0.5 + 0.5 * spokes, scales), brushes.ramp(0.5 + flank, scales), dark, pale, pupil
        for n, where in enumerate((fins, body, gill, eye < 0.045, eye < 0.022)):
            part[where] = min(n + 1, 4)
            colour = brushes.mix(colour, tints[n], where)
    shore, bend = distance_transform_edt(part == 0) / brushes.unit(*size), brushes.noise(*size, rng, 0.5, 2)
    ripples = 0.5 + 0.34 * np.sin(shore * 38 + 3 * bend) + 0.4 * bend
    water = brushes.ramp(ripples, "0d2b5e 175a8e 1f8ba3 57bdb4 bfe6d0")
    water = brushes.mix(water, brushes.colours("0f1d3f"), shore < 0.02)
    depth = shore + sum(distance_transform_edt(part == n) for n in range(1, 5)) / brushes.unit(*size)
    return _tesserae(w, h, rng, brushes.mix(colour, water, part == 0), depth, 0.0185)


def _tesserae(w: int, h: int, rng: np.random.Generator, colour: np.ndarray, depth: np.ndarray,
              size: float) -> Image.Image:
    """Lay square tiles along the level lines of `depth`, over a bed of small broken ones."""
    u, small = brushes.unit(w, h), brushes.unit(depth.shape[1], depth.shape[0])
    bed = brushes.scatter(w, h, rng, size * 0.72, 0.3)
    centres, turns = [], []
    for level in np.arange(0.5, depth.max() / size) * size:
        for line in find_contours(depth, level):
            line = line[:, ::-1] / small
            along = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
            count = max(1, round(along[-1] / size / 1.04))
            at = (np.arange(count) + rng.random()) / count * along[-1]
            ends = at + size * np.array([[-0.5], [0.5]])
            back, ahead = np.stack([np.interp(ends, along, line[:, c]) for c in (0, 1)], -1)
            centres.append((back + ahead) / 2)
            turns.append(np.arctan2(*(ahead - back).T[::-1]))
    centres, turns = np.concatenate([np.zeros((0, 2)), *centres]), np.concatenate([[], *turns])
    keep = np.ones(len(centres), bool)
    for a, b in sorted(cKDTree(centres).query_pairs(size * 0.72)):
        keep[b] &= not keep[a]
    centres = np.concatenate([bed, centres[keep]])
    turns = np.concatenate([rng.uniform(0, 3, len(bed)), turns[keep]])[:, None]
    turns = turns + rng.normal(0, 0.05, turns.shape)
    halves = np.where(np.arange(len(centres)) < len(bed), 0.28, 0.44) * size
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * rng.uniform(0.8, 1.06, (len(centres), 4, 2))
    a, b = np.moveaxis(corners * halves[:, None, None], -1, 0)
    tiles = np.stack([a * np.cos(turns) - b * np.sin(turns), a * np.sin(turns) + b * np.cos(turns)], -1)
    fills = brushes.sample(colour, centres) * rng.normal(1, 0.13, turns.shape) + rng.normal(0, 7, (len(centres), 3))
    canvas = Image.new("RGBA", (w, h), (92, 84, 78, 110))
    draw = ImageDraw.Draw(canvas)
    fills = np.clip(fills, 0, 255).astype(int).tolist()
    for centre, tile, fill in zip(centres, tiles, fills, strict=True):
        draw.polygon(((centre + tile * 1.22) * u).ravel().tolist(), (74, 68, 66, 90))
        draw.polygon(((centre + tile) * u).ravel().tolist(), (*fill, 190))
    return brushes.relief(canvas)


@painting("watercolour", smooth=True)
def _watercolour(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Watercolour: translucent washes with darkened rims, granulating into the paper."""
    _, _, width, height = brushes.grid(w, h)
    textures = [brushes.noise(w, h, rng, scale, octaves) for scale, octaves in ((0.16, 4), (0.05, 2), (0.008, 2))]
    density = np.zeros((h, w, 3), np.float32)

    def wash(ellipse, code, strength, wild, lift=0.0):
        _wash(density, textures, rng, ellipse, code, strength, wild, lift)

    for code in ("9fd0ee", "ffd694", "b9e6c0", "ffc0c4", "a9c8f2", "f5ec98") * 2:
        spot = rng.uniform((0, 0, 0.25, 0.25, 0), (width, height, 0.6, 0.6, 3))
        wash(spot, code, 0.75, 0.7, 0.5)
    for _ in range(round(53 * width)):
        blade = rng.uniform((-0.05, 0.45, 0.12, 0.012, -1.9), (1.05, 1.05, 0.3, 0.035, -1.2))
        code = rng.choice(["5f9a4c", "2f7d62", "8fae3e", "3c6f7c", "a3a13a"])
        wash(blade * (width, height, 1, 1, 1), code, rng.uniform(0.5, 0.9), 0.25, 0.35)
    for cx, cy in brushes.scatter(w, h, rng, 0.27, 0.42):
        if cy > height * 0.85:
            continue
        size, code = rng.uniform(0.06, 0.13), rng.choice(["e23b2e", "d9305f", "f07a2a", "b5379a", "e8504a"])
        for turn in np.arange(5) * 1.257 + rng.uniform(0, 0.6, 5):
            px, py = cx + 0.6 * size * np.cos(turn), cy + 0.5 * size * np.sin(turn)
            wash((px, py, size * 0.75, size * 0.6, turn), code, rng.uniform(0.45, 0.85), 0.35, 0.5)
        wash((cx, cy, size * 0.28, size * 0.24, 0), "3a2148", 0.9, 0.5)
    for _ in range(round(68 * width)):
        cx, cy, r = *rng.uniform(0, (width, height)), 0.002 + rng.exponential(0.004)
        code = rng.choice(["e23b2e", "2f7d62", "3c6f9c", "e0a030"])
        wash((cx, cy, r, r, 0), code, 0.8, 0.2)
    paper = brushes.colours("fbf6ea") * (1 + 0.035 * textures[2][..., None])
    return brushes.as_image(paper * np.exp(-density * 0.85))


def _wash(density: np.ndarray, textures: Sequence[np.ndarray], rng: np.random.Generator,
          ellipse: tuple[float, ...], code: str, strength: float, wild: float, lift: float) -> None:
    """Add one ragged pool of pigment to the optical density, lifting some of what lies below it."""
    h, w = density.shape[:2]
    x, y, _, _ = brushes.grid(w, h)
    cx, cy, long, wide, turn = ellipse
    reach, u = max(long, wide) * (1.1 + 1.5 * wild), brushes.unit(w, h)
    left, right = (int(np.clip((cx + s * reach) * u, 0, w)) for s in (-1, 1))
    top, bottom = (int(np.clip((cy + s * reach) * u, 0, h)) for s in (-1, 1))
    at = np.s_[top:bottom, left:right]
    dx, dy = x[:, left:right] - cx, y[top:bottom] - cy
    a, b = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    # A different stretch of the same texture for every pool: its outline, its clouds, its blots.
    parts = []
    for texture in (textures[0], textures[0], textures[1]):
        row, column = rng.integers(0, (h - bottom + top + 1, w - right + left + 1))
        parts.append(texture[row : row + bottom - top, column : column + right - left])
    bumps, clouds, fine = parts
    inner = (1 - np.hypot(a / long, b / wide) + wild * bumps + 0.06 * fine) * min(long, wide)
    body = brushes.smoothstep(0, 0.006, inner)
    pigment = 0.62 + 0.35 * clouds + 0.12 * fine + 0.65 * np.exp(-((inner / 0.008) ** 2))
    pigment = body * np.maximum(pigment, 0) * (1 + 0.4 * textures[2][at]) * strength
    density[at] *= 1 - lift * body[..., None]
    density[at] -= pigment[..., None] * np.log(brushes.colours(code) / 262)
