"""Scenes whose motion is known exactly: a pan with a zoom over a photo, and a thing that moves in front of one.

Flows lead from each pixel of a frame to its place in the frame before, in px, (H, W, 2). A mask says where that place
was seen, (H, W).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates
from skimage import data
from skimage.transform import resize

Flow = tuple[np.ndarray, np.ndarray]  # flow and mask
OVERSAMPLING = 2  # each pixel is the mean of 2x2 samples, as a camera's is


def pan_and_zoom(count: int, side: int = 384) -> tuple[list[Image.Image], list[Flow]]:
    """Return the frames of a camera that moves to the right and draws back slowly, and the flows."""
    photo = data.astronaut()
    size = side, round(side * 0.75)

    def view(number: int) -> tuple[float, float, float]:  # photo's px for a pixel, and the photo's point at the centre
        scale = (0.8 + 0.004 * number) * photo.shape[1] / side
        return scale, photo.shape[1] * 0.45 + 2.2 * number, photo.shape[0] * 0.4 + 0.9 * number

    frames, flows = [], []
    for number in range(count):
        scale, x, y = view(number)
        frames.append(_sample(photo, size, lambda points, s=scale, x=x, y=y: s * points + (x, y)))
        if number:
            before, x_before, y_before = view(number - 1)
            points = _pixels(size)
            places = (scale * points + (x - x_before, y - y_before)) / before
            flows.append(((places - points).astype(np.float32), _is_inside(places, size)))
    return frames, flows


def thing_in_front(count: int, side: int = 384) -> tuple[list[Image.Image], list[Flow]]:
    """Return the frames of a disc that moves to the right before a photo, and the flows."""
    size = side, round(side * 0.75)
    height = size[1]
    ground = resize(data.coffee(), (round(height * 1.3), round(side * 1.3)), anti_aliasing=True)
    face = resize(data.astronaut()[:300, 80:380], (round(height * 0.5),) * 2, anti_aliasing=True)
    radius = face.shape[0] * 0.48

    def place(number: int) -> tuple[np.ndarray, np.ndarray]:  # where the photo's and the disc's middle are, in px
        far = np.array([-1.5, -0.6]) * side / 384 * number
        return far, np.array([(-0.22 * side + 6.5 * number * side / 384), 1.6 * number * side / 384 - 0.05 * height])

    frames, flows, edges = [], [], []
    for number in range(count):
        far, near = place(number)
        back = _sample(ground, size, lambda points, far=far: points - far + (ground.shape[1] / 2, ground.shape[0] / 2))
        front = _sample(face, size, lambda points, near=near: points - near + face.shape[0] / 2)
        distance = np.linalg.norm(_pixels(size) - near, axis=-1) - radius
        alpha = np.clip(0.5 - distance, 0, 1)[..., None]
        mixed = alpha * np.asarray(front, float) + (1 - alpha) * np.asarray(back, float)
        frames.append(Image.fromarray(mixed.round().astype(np.uint8)))
        edges.append(distance)
        if number:
            far_before, near_before = place(number - 1)
            inside = distance < 0
            flow = np.where(inside[..., None], near_before - near, far_before - far)
            places = _pixels(size) + flow
            before = np.linalg.norm(places - near_before, axis=-1) - radius
            seen = _is_inside(places, size) & ((before < 0) == inside) & (np.minimum(abs(before), abs(distance)) > 1.5)
            flows.append((flow.astype(np.float32), seen))
    return frames, flows


def _pixels(size: tuple[int, int], factor: int = 1) -> np.ndarray:
    """Return the centres of the pixels, (H, W, 2), from the picture's middle; finer ones for a factor above 1."""
    axes = [(np.arange(side * factor) + 0.5) / factor - side / 2 for side in size]
    return np.stack(np.meshgrid(*axes), -1)


def _interpolate(picture: np.ndarray, places: np.ndarray, order: int) -> np.ndarray:
    """Return a picture's values at places (H, W, 2), x and y in px of its indices."""
    coordinates = places.transpose(2, 0, 1)[::-1]
    channels = picture.transpose(2, 0, 1).astype(float)
    return np.stack([map_coordinates(channel, coordinates, order=order, mode="nearest") for channel in channels], -1)


def _is_inside(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return (np.abs(places) <= (np.array(size) - 1) / 2).all(-1)


def _sample(photo: np.ndarray, size: tuple[int, int], to_photo: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """Return a picture of (width, height) `size`. to_photo: from its pixels' places to the photo's."""
    places = to_photo(_pixels(size, OVERSAMPLING)) - 0.5
    values = _interpolate(photo, places, order=3)
    values = values.reshape(size[1], OVERSAMPLING, size[0], OVERSAMPLING, 3).mean((1, 3))
    scale = 255 if photo.dtype != np.uint8 else 1
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


def warping_error(frames: list[Image.Image], flows: list[Flow]) -> float:
    """Return how much frames change along the flow, as the root of the mean square, in [0, 1].

    E = sqrt(mean of (x_t(p) - x_{t-1}(p + w_t(p)))²) over all frames t after the first, all pixels p whose place was
    seen, and the three colours; values between pixels are interpolated bilinearly.
    """
    squares = []
    for before, frame, (flow, seen) in zip(frames, frames[1:], flows, strict=False):
        before, frame = (np.asarray(picture, float) / 255 for picture in (before, frame))
        places = np.stack(np.meshgrid(*map(np.arange, seen.shape[::-1])), -1) + flow
        moved = _interpolate(before, places, order=1)
        squares.append(((frame - moved) ** 2)[seen].mean())
    return float(np.sqrt(np.mean(squares)))
