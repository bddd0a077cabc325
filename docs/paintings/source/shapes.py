"""Paintings made of drawn shapes: waves, geometric."""


import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

import brushes
from registry import painting

# One breaking wave of height 1, as four Bezier curves: up the back, over, under the lip, down.
_WAVE = np.array([
    [(-0.9, 0), (-0.25, 0.02), (0.0, 0.86), (0.42, 1.0)],
    [(0.42, 1.0), (0.7, 1.06), (0.98, 0.88), (1.02, 0.5)],
    [(1.02, 0.5), (0.93, 0.72), (0.78, 0.8), (0.66, 0.7)],
    [(0.66, 0.7), (0.5, 0.52), (0.7, 0.06), (1.3, 0)],
])


@painting("waves")
def _waves(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Woodcut waves: breaking crests in flat blues with contour lines, scalloped foam and spray."""
    x, y, width, height = brushes.grid(w, h)
    sky = brushes.ramp(y / height * 1.5 + 0.05 * brushes.noise(w, h, rng, 0.5), "4f7f96 a9bfb4 ecdcb4 f3e3bd f0c78e")
    sun = np.hypot(x - 0.76 * width, y - 0.2 * height) < 0.11
    canvas = brushes.as_image(brushes.mix(sky, brushes.ramp(y / height * 2.4 + 0 * x, "b7281f dd5a35"), sun))
    for near in np.linspace(0, 1, 6):
        _wave_row(canvas, rng, height * (0.42 + 0.64 * near), 0.15 + 0.3 * near)
    plank = y * 30 + 2.5 * brushes.noise(w, h, rng, 0.9, 2) + 0.5 * np.sin(x * 4)
    grain = 1 + 0.025 * np.sin(plank * 6) + 0.04 * brushes.noise(w, h, rng, 0.03, 3)
    return brushes.as_image(np.asarray(canvas) * grain[..., None])


def _wave_row(canvas: Image.Image, rng: np.random.Generator, base: float, size: float) -> None:
    """Print one row of waves: bands that follow its outline, then foam and spray along the crests."""
    w, h = canvas.size
    u = brushes.unit(w, h)
    t = np.linspace(0, 1, 16)[:, None]
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    wave = (weights * _WAVE[:, None]).sum(2).reshape(-1, 2)
    outline, puffs, left = [], [], -size * rng.uniform(0.6, 1.6)
    while left < w / u + size * 2:
        tall = size * rng.uniform(0.65, 1.05)
        curve = wave * (tall, -tall) + (left + 0.9 * tall, base)
        outline.append(curve)
        crest = np.repeat(curve[10:46], 2, 0) + rng.normal(0, 0.022 * tall, (72, 2))
        spray = rng.exponential(0.12, (26, 1)) * tall * rng.uniform((0.2, -0.9), (1.0, 1.1), (26, 2))
        spray += curve[rng.integers(28, 46, 26)]
        puffs += zip(*crest.T, rng.uniform(0.018, 0.06, 72) * tall, strict=True)
        puffs += zip(*spray.T, rng.uniform(0.008, 0.02, 26) * tall, strict=True)
        left += tall * rng.uniform(1.75, 2.1)
    mask = Image.new("L", (w, h))
    outline = np.concatenate([*outline, [(w / u + 1, h / u + 1), (-1, h / u + 1)]]) * u
    ImageDraw.Draw(mask).polygon(outline.ravel().tolist(), 255)
    inside = np.asarray(mask.resize(brushes.sketch_size(w, h))) > 127
    depth = distance_transform_edt(inside).astype(np.float32) / brushes.unit(*brushes.sketch_size(w, h)) / size
    depth = np.asarray(Image.fromarray(depth).resize((w, h))) + 0.03 * brushes.noise(w, h, rng, 0.12, 2)
    stripe = depth / (0.07 + 0.045 * np.clip(depth, 0, 1))
    tone = brushes.ramp(depth * 1.25, "e9e4cb a9c9c8 5d9bb5 2a659b 173f7c 10265a")
    tone = brushes.mix(tone, tone * 0.8 + 40, stripe % 2 < 1)
    lines = brushes.smoothstep(0.62, 0.7, np.abs(stripe % 1 - 0.5) * 2) * brushes.smoothstep(0.02, 0.06, depth) * 0.8
    tone = brushes.mix(tone, brushes.colours("13244d"), np.maximum(lines, brushes.smoothstep(0.035, 0.025, depth)))
    canvas.paste(brushes.as_image(tone), (0, 0), mask)
    draw = ImageDraw.Draw(canvas)
    for grow, fill in ((0.006, (16, 28, 60)), (0.0, (246, 241, 222))):
        for px, py, r in puffs:
            r = r + grow * (0.5 + size)
            draw.ellipse([c * u for c in (px - r, py - r, px + r, py + r)], fill)
    for px, py, r in (puff for puff in puffs[::3] if puff[2] > 0.025 * size):
        box = [c * u for c in (px - r * 0.6, py - r * 0.5, px + r * 0.6, py + r * 0.7)]
        draw.arc(box, 10, 160, (110, 160, 180), max(1, round(0.003 * u)))


@painting("geometric")
def _geometric(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Orphist geometry: overlapping discs cut in contrasting rings and sectors, crossed by lines."""
    x, y, width, height = brushes.grid(w, h)
    u, streaks = brushes.unit(w, h), brushes.noise(w, h, rng, 0.08, 3)
    hues = brushes.colours("d7263d", "f46036", "f9a03f", "f7d154", "2a9d6f", "1b7a8c", "1d4e9e", "3a2a78",
                    "8c2f7e", "e88aa2", "f4ead0", "151b34", "7cc6c3")
    code = np.zeros((h, w), np.int32)
    for n in range(7):
        turn, (px, py) = rng.uniform(0, np.pi), rng.uniform(0, (width, height))
        code |= ((x - px) * np.cos(turn) + (y - py) * np.sin(turn) > 0).astype(np.int32) << n
    picks = rng.integers(0, len(hues), 128)[code]
    canvas = (hues[picks] * 0.8 + 30) * (1 + 0.15 * np.sin(x * 3 + y * 4 + picks))[..., None]
    discs = ((0.3, 0.42, 0.36), (0.76, 0.66, 0.33), (0.74, 0.17, 0.22), (0.1, 0.87, 0.24), (0.5, 0.86, 0.17),
             (0.97, 0.36, 0.18), (0.06, 0.12, 0.16), (0.51, 0.2, 0.11), (0.53, 0.55, 0.1))
    for cx, cy, radius in discs:
        dx, dy = x - cx * width + rng.normal(0, 0.02), y - cy * height + rng.normal(0, 0.02)
        away, turn = np.hypot(dx, dy) / radius, np.arctan2(dy, dx) + rng.uniform(3, 6)
        ring = sum((away > edge).astype(np.int32) for edge in rng.uniform(0.12, 0.95, rng.integers(4, 7)))
        cuts = 4 if radius > 0.15 else 2
        sector = ((turn + 0.12 * ring) / (2 * np.pi) * cuts).astype(np.int32) % cuts
        picks = np.concatenate([rng.permutation(len(hues)) for _ in range(3)])
        shade = 0.91 + 0.13 * np.sin(turn * cuts + ring) + 0.06 * np.sin(away * radius * 160 + 2 * streaks)
        disc = hues[picks[ring * cuts + sector]] * shade[..., None]
        canvas = brushes.mix(canvas, disc, (away < 1) * np.float32(0.96))
    picture = brushes.as_image(canvas)
    veil, ink = picture.copy(), (20, 22, 40)
    draw = ImageDraw.Draw(veil)
    for _ in range(9):
        angles = rng.uniform(0, 6) + np.array([0, 2.2, 3.6]) + rng.normal(0, 0.25, 3)
        corners = rng.uniform(0.08, 0.24) * np.stack([np.cos(angles), np.sin(angles)], 1)
        corners = (corners + rng.uniform(0, (width, height))) * u
        draw.polygon(corners.ravel().tolist(), tuple(rng.choice(hues).astype(int).tolist()))
    picture = Image.blend(picture, veil, 0.72)
    draw = ImageDraw.Draw(picture)
    for _ in range(10):
        (cx, cy), turn, long = rng.uniform(0, (width, height)), rng.uniform(0, np.pi), rng.uniform(0.1, 0.45)
        dx, dy = long * np.cos(turn), long * np.sin(turn)
        thick = max(1, round(rng.choice([0.003, 0.005, 0.008]) * u))
        draw.line([c * u for c in (cx - dx, cy - dy, cx + dx, cy + dy)], ink, thick)
        (cx, cy), r, start = rng.uniform(0, (width, height)), rng.uniform(0.03, 0.2), rng.uniform(0, 360)
        box = [c * u for c in (cx - r, cy - r, cx + r, cy + r)]
        draw.arc(box, start, start + rng.uniform(60, 200), ink, thick)
    weave = 1 + 0.07 * streaks + 0.05 * brushes.noise(w, h, rng, 0.012, 2)
    return brushes.as_image(np.asarray(picture) * weave[..., None])
