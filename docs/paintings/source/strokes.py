"""Paintings made of strokes and dots: oil, expressionist, pointillism, ink."""


import numpy as np
from PIL import Image, ImageDraw

import brushes
from registry import painting


@painting("oil")
def _oil(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Impasto oil: bristly strokes swirling round stars above a wheat field."""
    size = brushes.sketch_size(w, h)
    x, y, width, height = brushes.grid(*size)
    u, v, bend, rough = x / width, y / height, brushes.noise(*size, rng, 0.6, 2), brushes.noise(*size, rng, 0.12)
    vx, vy = np.cos(bend * 1.1), np.sin(bend * 1.1)
    night = 0.55 + 0.5 * bend - 0.25 * v + 0.12 * np.sin(bend * 16)
    colour = brushes.ramp(night, "0a1238 12296b 1f52a3 4b8ac4 a9cfc6")
    stars = ((0.82, 0.2, 0.17), (0.43, 0.3, 0.14), (0.11, 0.13, 0.09), (0.57, 0.08, 0.06), (0.29, 0.1, 0.05),
             (0.94, 0.49, 0.07), (0.2, 0.43, 0.065), (0.61, 0.43, 0.05))
    for n, (cx, cy, reach) in enumerate(stars):
        dx, dy = x - (cx + rng.uniform(-0.03, 0.03)) * width, y - (cy + rng.uniform(-0.02, 0.02)) * height
        away = np.hypot(dx, dy) / reach
        pull = 6 * np.exp(-((away / 1.5) ** 2)) / (away * reach + 0.01)
        vx, vy = vx - pull * dy, vy + pull * dx
        glow = np.exp(-((away / 0.95) ** 2)) * (0.8 + 0.2 * np.cos(away * 9))
        light = brushes.ramp(np.exp(-away * 0.9), "6fb3b8 e9cf63 f7b52c fff3b0")
        if n == 1:
            light, glow = brushes.ramp(0.5 + 0.5 * np.cos(away * 6), "16357c 8fc4d6 e8eee0"), glow * 0.62
        colour = brushes.mix(colour, light, np.minimum(glow * 1.3, 1))
    angle = np.arctan2(vy, vx)
    hills = v - 0.62 - 0.06 * np.sin(u * 5 + rng.uniform(0, 6)) - 0.02 * np.sin(u * 17)
    wheat = v - 0.75 - 0.04 * np.sin(u * 4 + rng.uniform(0, 6))
    gold = 0.6 + 0.4 * rough + 0.22 * np.sin(wheat * 34 + 5 * bend) - 0.8 * wheat
    green = brushes.ramp(0.4 + 0.5 * rough - 1.5 * hills, "0d1f3c 1d4a5e 2f7a6b 7fae6a")
    colour = brushes.mix(colour, green, hills > 0)
    colour = brushes.mix(colour, brushes.ramp(gold, "5e3413 a35c16 d9952a f0c145 fbe793"), wheat > 0)
    angle = np.where(hills > 0, 0.5 * np.sin(u * 9) + 0.5 * rough, angle)
    angle = np.where(wheat > 0, -1.2 + 0.7 * bend + 0.5 * np.sin(u * 11) + 0.3 * rough, angle)
    layers = ((0.046, 0.22, 3.0), (0.028, 0.14, 2.2), (0.017, 0.09, 2.0), (0.01, 0.055, 0.8))
    return brushes.brushwork(w, h, rng, colour, angle, layers)


@painting("expressionist")
def _expressionist(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Expressionist oil: long wavering bands of a burning sky over a dark fjord."""
    size = brushes.sketch_size(w, h)
    x, y, width, height = brushes.grid(*size)
    u, v, rough = x / width, y / height, brushes.noise(*size, rng, 0.2)
    sway = 0.2 * brushes.noise(*size, rng, 0.7, 2) + 0.04 * np.sin(x * 5 + y * 3)
    level, shore = y + sway, v - 0.95 + 0.42 * u**1.6 - 0.1 * np.sin(u * 6) + 0.6 * sway
    fire = 0.5 + 0.33 * np.sin(level * 26 + 2 * rough) + 0.22 * np.sin(level * 11 + 1)
    deep = 0.5 + 0.4 * np.sin(level * 34 + 2 * rough) + 0.25 * rough
    colour = brushes.ramp(fire, "8c1c13 d7361b f0701c f8a62b fbd866 9fc0b0")
    colour = brushes.mix(colour, brushes.ramp(deep, "071a33 0f3b66 2d7391 8dbfb0 e9b44c"), level > 0.54 * height)
    land = brushes.ramp(0.5 + 0.4 * np.sin(shore * 45 + 2 * rough), "1a0f1c 42213a 7a2f2e b5602b 2f5f4e")
    colour = brushes.mix(colour, land, shore > 0)
    angle = np.where(shore > 0, brushes.along(shore), brushes.along(level))
    layers = ((0.035, 0.5, 3.0), (0.02, 0.4, 2.2), (0.011, 0.28, 0.9))
    return brushes.brushwork(w, h, rng, colour, angle, layers, 0.08)


@painting("pointillism")
def _pointillism(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Pointillism: dots of neighbouring and complementary colour over an evening bay."""
    size = brushes.sketch_size(w, h)
    x, y, width, height = brushes.grid(*size)
    u, v, rough = x / width, y / height, brushes.noise(*size, rng, 0.25)
    sun = np.hypot(x - width * 0.62, y - height * 0.33)
    scene = brushes.ramp(v * 2 + 0.15 * rough, "2f62b0 5f93cf a9b7d6 f2b98f f9cf72")
    scene = brushes.mix(scene, brushes.ramp(sun * 9, "fffbe0 ffe98a ffc04d"), np.exp(-((sun / 0.13) ** 2)))
    hill = v - 0.45 + 0.05 * np.sin(u * 7 + rng.uniform(0, 2)) + 0.03 * np.sin(u * 17)
    scene = brushes.mix(scene, brushes.ramp(0.5 + 0.6 * rough, "4a4c9c 7d6db5 c59ac0"), hill > 0)
    swell = (v - 0.5) * 3 + 0.35 * rough + 0.15 * np.sin(v * 90 + 9 * rough)
    path = np.exp(-(((u - 0.62) / (0.04 + 0.22 * (v - 0.5))) ** 2))
    glitter = np.clip(path * (0.55 + 0.6 * np.sin(v * 150 + 6 * rough)), 0, 1)
    sea, gold = brushes.ramp(swell, "bcd3e6 6fa6d6 3475b5 1d4c8f"), brushes.ramp(0.5 + rough, "ffc65c fff3c4")
    sea = brushes.mix(sea, gold, glitter)
    scene = brushes.mix(scene, sea, v + 0 * u > 0.5)
    for at, foot, tall in ((0.42, 0.56, 0.2), (0.83, 0.6, 0.26), (0.52, 0.52, 0.09)):
        rise, side = (foot - v) / tall, (u - at) / tall
        main = (rise > 0.1) & (side > -0.02) & (side < 0.42 * (1 - rise))
        jib = (rise > 0.16) & (rise < 0.55) & (side < -0.04) & (side > 0.9 * rise - 0.5)
        scene = brushes.mix(scene, brushes.ramp(0.8 - 1.6 * side + 0.3 * rough, "e8763a f9c98a fff4dd"), main | jib)
        scene[(np.abs(rise) < 0.09) & (np.abs(side - 0.02) < 0.4 + rise)] = brushes.colours("4b2138")
    bank = v - 0.84 + 0.12 * np.sin(u * 3.4 + 0.6) + 0.02 * rough
    grass = 0.5 + 0.5 * rough + 0.25 * np.sin(u * 9 + v * 14)
    scene = brushes.mix(scene, brushes.ramp(grass, "1b4a5c 2f7d4d 7fae45 d9cf5a f2e08a"), bank > 0)
    trunk = np.abs(u - 0.1 - 0.025 * np.sin(v * 7)) < 0.014 + 0.05 * np.clip(v - 0.72, 0, 1)
    scene[trunk & (v > 0.3) & (v < 0.82)] = brushes.colours("512a4e")
    crown = (0, 0.06, 0.2), (0.16, 0, 0.15), (0.03, 0.3, 0.13), (0.21, 0.17, 0.1), (0.12, 0.22, 0.09)
    for du, dv, reach in crown:
        lit = 0.5 + 0.5 * rough + 2.6 * (u - du) - 1.6 * (v - dv)
        leaves = np.hypot(u - du, v - dv) / reach + 0.22 * rough < 1
        scene = brushes.mix(scene, brushes.ramp(lit, "16345c 1c5f5c 4f944a b7bd4a f4dc78"), leaves)
    return _dots(w, h, rng, scene)


def _dots(w: int, h: int, rng: np.random.Generator, scene: np.ndarray) -> Image.Image:
    """Cover a canvas with dots of a scene's colours, split into purer and opposite ones."""
    u = brushes.unit(w, h)
    canvas = brushes.as_image(scene * 0.55 + np.float32((60, 40, 62))).resize((w, h))
    draw = ImageDraw.Draw(canvas)
    for radius, spacing in ((0.0105, 0.0155), (0.0075, 0.0115), (0.005, 0.012)):
        points = brushes.scatter(w, h, rng, spacing, 0.5)
        base = brushes.sample(scene, points)
        grey = base.mean(1, keepdims=True)
        fills = grey + (base - grey) * rng.uniform(0.9, 1.4, grey.shape) + rng.normal(0, 13, base.shape)
        fills = np.where(rng.random(grey.shape) < 0.09, (2 * grey - fills) * 0.9 + 30, fills)
        fills = np.clip(fills + rng.normal(0, 10, grey.shape), 0, 255).astype(int).tolist()
        radii = radius * rng.uniform(0.75, 1.15, (len(points), 1)) * u
        boxes = np.hstack([points * u - radii, points * u + radii]).tolist()
        for box, fill in zip(boxes, fills, strict=True):
            draw.ellipse(box, tuple(fill))
    return canvas


@painting("ink")
def _ink(w: int, h: int, rng: np.random.Generator) -> Image.Image:
    """Pen and ink: tapered hatching and cross-hatching of misty mountains on warm paper."""
    size = brushes.sketch_size(w, h)
    x, y, width, height = brushes.grid(*size)
    v, rough = y / height, brushes.noise(*size, rng, 0.3, 3)
    drift = y * 2.2 + 0.9 * brushes.noise(*size, rng, 0.7, 2)
    angle, part = brushes.along(drift), np.zeros(size[::-1], np.int32)
    sun = np.hypot(x - 0.68 * width, y - 0.22 * height)
    tone = (0.28 + 0.2 * np.sin(drift * 9) + 0.06 * rough) * brushes.smoothstep(0.11, 0.17, sun)
    for n in range(5):
        peak = brushes.noise(size[0], size[1], rng, 0.5, 5)[:1] * (0.17 - 0.012 * n)
        below = v - (0.38 + 0.135 * n) + peak
        slope = np.gradient(peak[0])[None] * brushes.unit(*size) * height
        side = np.tanh(1.5 * slope)
        shade = np.exp(-np.maximum(below, 0) / 0.1) * (0.55 + 0.4 * side + 0.1 * n + 0.3 * rough)
        ridge = below < 0.012
        tone = np.where(below > 0, np.where(ridge, 0.8, np.clip(shade, 0.06, 0.95)), tone)
        angle = np.where(below > 0, np.where(ridge, np.arctan(-slope), 1.3 + 0.6 * side + 0.3 * rough), angle)
        part[below > 0] = n + 1
    return _hatching(w, h, rng, tone, angle, part, sun)


def _hatching(w: int, h: int, rng: np.random.Generator, tone: np.ndarray, angle: np.ndarray,
              part: np.ndarray, sun: np.ndarray) -> Image.Image:
    """Hatch a tone along a field of angles, and across it where the tone deepens."""
    u = brushes.unit(w, h)
    fibres = 0.5 + 0.5 * brushes.noise(w, h, rng, 0.5, 3) + 0.12 * brushes.noise(w, h, rng, 0.01, 2)
    paper = brushes.ramp(fibres, "e3c896 f0dcb2 f7ebcd")
    seal = np.asarray(Image.fromarray(brushes.smoothstep(0.118, 0.112, sun)).resize((w, h)))
    seal = seal * (0.85 + 0.2 * brushes.noise(w, h, rng, 0.04, 3))
    canvas = brushes.as_image(brushes.mix(paper, paper * np.float32((0.86, 0.3, 0.2)), seal))
    draw = ImageDraw.Draw(canvas)
    inks = [(42, 35, 32), (74, 52, 36), (39, 48, 63)]
    for turn, floor, spacing in ((0.0, 0.02, 0.0085), (1.0, 0.42, 0.0095), (-0.7, 0.66, 0.01)):
        starts = brushes.scatter(w, h, rng, spacing, 0.5)
        starts = starts[rng.random(len(starts)) < (brushes.sample(tone, starts) - floor) * 1.15]
        paths, normals = brushes.trace(angle + turn, starts, 0.055, 6)
        home = brushes.sample(part, starts)
        for step, inner in ((2, 3), (1, 2), (0, 1), (4, 3), (5, 4), (6, 5)):
            outside = brushes.sample(part, paths[:, step]) != home
            paths[outside, step] = paths[outside, inner]
        press = 0.0009 + 0.0016 * brushes.sample(tone, starts) * rng.uniform(0.6, 1.3, len(starts))
        side = normals * np.array([0.15, 0.7, 1, 1, 0.9, 0.6, 0.1])[:, None] * press[:, None, None]
        outlines = np.concatenate([paths + side, (paths - side)[:, ::-1]], 1).reshape(len(starts), -1) * u
        for outline, ink in zip(outlines.tolist(), rng.integers(0, 3, len(starts)), strict=True):
            draw.polygon(outline, inks[ink])
    return canvas
