"""What the painters share. Positions are in units of the shorter side, colours are floats from 0 to 255."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw


def unit(w: int, h: int) -> float:
    return max(min(w, h), max(w, h) / 4)


def grid(w: int, h: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Open grids of x and y at the pixel centres, then the canvas's width and height in units."""
    u = unit(w, h)
    x, y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)
    return (x[None, :] + 0.5) / u, (y[:, None] + 0.5) / u, w / u, h / u


def sketch_size(w: int, h: int) -> tuple[int, int]:
    """Size of the small colour and angle fields that a scene is planned in and strokes sample."""
    shrink = min(1.0, 400 / unit(w, h))
    return max(2, round(w * shrink)), max(2, round(h * shrink))


def noise(w: int, h: int, rng: np.random.Generator, scale: float, octaves: int = 3) -> np.ndarray:
    """Smooth noise, mostly within -1 to 1, whose largest features are about `scale` across."""
    u, total = unit(w, h), np.zeros((h, w), np.float32)
    for octave in range(octaves):
        cell = scale / 2**octave
        box = (1.0, 1.0, 1 + w / u / cell, 1 + h / u / cell)
        knots = rng.standard_normal((int(box[3]) + 3, int(box[2]) + 3)).astype(np.float32)
        layer = Image.fromarray(knots).resize((w, h), Image.Resampling.BICUBIC, box)
        total += 0.5**octave * np.asarray(layer)
    return total * 0.6


def colours(*codes: str) -> np.ndarray:
    return np.array([tuple(bytes.fromhex(code)) for code in codes], np.float32)


def ramp(t: np.ndarray, codes: str) -> np.ndarray:
    """Colours along an even ramp of hex codes, for t from 0 to 1."""
    stops = colours(*codes.split())
    at = np.linspace(0, len(stops) - 1, 1024)
    table = np.stack([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)], 1)
    return table.astype(np.float32)[(np.clip(t, 0, 1) * 1023).astype(np.int32)]


def smoothstep(low: float, high: float, t: np.ndarray) -> np.ndarray:
    t = np.clip((t - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + (b - a) * t[..., None]


def as_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A field's values at points given in units, clamped to the canvas."""
    u = unit(field.shape[1], field.shape[0])
    column = np.clip((points[..., 0] * u).astype(int), 0, field.shape[1] - 1)
    row = np.clip((points[..., 1] * u).astype(int), 0, field.shape[0] - 1)
    return field[row, column]


def along(field: np.ndarray) -> np.ndarray:
    """Angles that run along a field's level lines."""
    down, right = np.gradient(field)
    return np.arctan2(-right, down)


def scatter(w: int, h: int, rng: np.random.Generator, spacing: float, jitter: float = 0.4) -> np.ndarray:
    """Evenly spread random points in random order, reaching a little past every edge; (n, 2)."""
    u = unit(w, h)
    rows, columns = np.mgrid[-2 : h / u / spacing / 0.87 + 2, -2 : w / u / spacing + 2]
    points = np.stack([columns + 0.5 * (rows % 2), rows * 0.87], -1).reshape(-1, 2)
    return rng.permutation((points + rng.uniform(-jitter, jitter, points.shape)) * spacing)


def trace(angle: np.ndarray, starts: np.ndarray, length: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Paths centred on `starts` that follow a field of angles, and their normals; (n, steps + 1, 2)."""
    halves = []
    for sign in (-1, 1):
        path = [starts]
        for _ in range(steps // 2):
            turn = sample(angle, path[-1])
            path.append(path[-1] + sign * length / steps * np.stack([np.cos(turn), np.sin(turn)], -1))
        halves.append(path)
    paths = np.stack(halves[0][:0:-1] + halves[1], 1)
    ahead = np.gradient(paths, axis=1)
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True) + 1e-9
    return paths, np.stack([-ahead[..., 1], ahead[..., 0]], -1)


def relief(canvas: Image.Image, strength: float = 0.45) -> Image.Image:
    """Light the heights in the alpha band from the top left, and drop them."""
    pixels = np.asarray(canvas).astype(np.float32)
    slope = np.zeros(pixels.shape[:2], np.float32)
    slope[1:-1, 1:-1] = pixels[2:, 2:, 3] - pixels[:-2, :-2, 3]
    return as_image(pixels[..., :3] + strength * np.clip(slope, -90, 90)[..., None])


def brushwork(w: int, h: int, rng: np.random.Generator, colour: np.ndarray, angle: np.ndarray,
               layers: Sequence[tuple[float, float, float]], jitter: float = 0.1) -> Image.Image:
    """Bristly strokes of a scene's colours along its angles; a layer is (width, length, coverage).

    The alpha band keeps the height of the paint, for the relief.
    """
    u = unit(w, h)
    canvas = as_image(colour * 0.8).resize((w, h))
    canvas.putalpha(60)
    draw = ImageDraw.Draw(canvas)
    for width, length, coverage in layers:
        count = int(coverage * w * h / u**2 / (width * length)) + 1
        starts = rng.uniform(-0.02, 1.02, (count, 2)) * (w / u, h / u)
        paths, normals = trace(angle, starts, length, 2 * int(np.clip(length * 40, 4, 10)))
        taper = np.sin(np.linspace(0.25, np.pi - 0.25, paths.shape[1]))[:, None] ** 0.5
        bristles = int(np.clip(width * 230, 3, 12))
        across = np.linspace(-0.5, 0.5, bristles)
        thick = max(1, round(width * u / bristles * 1.7))
        base = sample(colour, starts) * rng.normal(1, jitter, (count, 1))
        base += rng.normal(0, 60 * jitter, (count, 3))
        for path, normal, tint in zip(paths, normals * taper, base, strict=True):
            tint = np.clip(tint * rng.normal(1, 0.07, (bristles, 1)), 0, 255)
            body = np.clip(90 + 110 * np.cos(across * 2.6) + rng.normal(0, 22, bristles), 0, 255)
            fills = np.column_stack([tint, body]).astype(int).tolist()
            lines = (path + (across * width)[:, None, None] * normal) * u
            first, last = rng.integers(0, 3, (2, bristles)).tolist()
            for b in rng.permutation(bristles).tolist():
                draw.line(lines[b, first[b] : len(path) - last[b]].ravel().tolist(), tuple(fills[b]), thick)
    return relief(canvas)
