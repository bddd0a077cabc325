"""The subject of a photo, told from its background: a mask to paint the one or the other alone.

Rother, Kolmogorov & Blake, "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts" (SIGGRAPH 2004), in
OpenCV: the colours of both are learned from a first guess, and a cut along the photo's edges tells them apart.
"""

import cv2
import numpy as np
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.sizes import fitted_size

SIDE = 360  # px: the long side at which the photo is cut, in about a second; 480 finds the same in twice the time
ROUNDS = 5
# Without a box, in shares of the photo: a subject fills most of the middle, and stands on the lower edge; the upper
# edges show the background.
CENTRE, FRAME, FRAME_HEIGHT = (0.2, 0.12, 0.8, 1.0), 0.03, 0.6
SMALLEST_PIECE = 0.05  # of the largest one: smaller pieces are crumbs of the background
HINT_STROKE = 10  # of 255: weaker marks of a hint are traces of its compression


def find_subject(
    photo: Image.Image,
    box: tuple[int, int, int, int] | None = None,
    subject: Image.Image | None = None,
    background: Image.Image | None = None,
) -> Image.Image:
    """Return a mask of the photo's subject, mode L and of the photo's size, white on the subject.

    photo: RGB. box: (left, top, width, height) in px of the photo: the subject lies within it.
    subject, background: masks of the photo, of any size, white on a few strokes over the one or the other. The strokes
    on the subject should touch all its colours. Without a box and such strokes the subject is sought in the middle.

    Raises StyleTransferError for a box or strokes that cannot be used, and if no subject is found.
    """
    size = fitted_size(photo.size, min(SIDE, max(photo.size)))
    pixels = np.ascontiguousarray(np.asarray(photo.resize(size, Image.Resampling.LANCZOS))[..., ::-1])
    strokes = {cv2.GC_FGD: _strokes(subject, size), cv2.GC_BGD: _strokes(background, size)}
    if box:
        labels = _guess_from_box(_scaled_box(box, photo.size, size), size)
    elif strokes[cv2.GC_FGD].any():
        labels = np.full(size[::-1], cv2.GC_PR_BGD, np.uint8)
    else:
        labels = _guess_from_middle(size)
    for label, marked in strokes.items():
        labels[marked] = label
    try:
        cv2.setRNGSeed(0)  # it draws the first colours at random; the same photo always gives the same mask
        cv2.grabCut(pixels, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error as error:
        raise StyleTransferError("No subject was found: mark it, or a part of it, and try again.") from error
    found = np.uint8((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    found = _clean(found, strokes[cv2.GC_FGD])
    if not found.any():
        raise StyleTransferError("No subject was found: mark it, or a part of it, and try again.")
    return _enlarged(found, photo.size)


def _strokes(mask: Image.Image | None, size: tuple[int, int]) -> np.ndarray:
    if mask is None:
        return np.zeros(size[::-1], bool)
    return np.asarray(mask.convert("L").resize(size, Image.Resampling.BOX)) > HINT_STROKE


def _scaled_box(box: tuple[int, int, int, int], photo_size: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Return the box as left, top, right and bottom in px of the small photo."""
    width, height = photo_size
    left, right = max(0, box[0]), min(width, box[0] + box[2])
    top, bottom = max(0, box[1]), min(height, box[1] + box[3])
    if min(right - left, bottom - top) < 2 or (right - left, bottom - top) == (width, height):
        raise StyleTransferError(f"The box must lie in the photo, {width} x {height} px, and leave some of it out.")
    shares = (left / width, top / height, right / width, bottom / height)
    return [round(share * side) for share, side in zip(shares, (*size, *size), strict=True)]


def _guess_from_box(box: list[int], size: tuple[int, int]) -> np.ndarray:
    """Return OpenCV's labels: all outside the box is background, all within it probably the subject."""
    labels = np.full(size[::-1], cv2.GC_BGD, np.uint8)
    left, top, right, bottom = box
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    return labels


def _guess_from_middle(size: tuple[int, int]) -> np.ndarray:
    """Return OpenCV's labels: the middle is probably the subject, what surrounds it is probably background."""
    labels = np.full(size[::-1], cv2.GC_PR_BGD, np.uint8)
    left, top, right, bottom = (round(share * side) for share, side in zip(CENTRE, (*size, *size), strict=True))
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    frame, height = max(1, round(FRAME * max(size))), round(FRAME_HEIGHT * size[1])
    labels[:frame] = labels[:height, :frame] = labels[:height, -frame:] = cv2.GC_BGD
    return labels


def _clean(found: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Return the subject without crumbs, holes and frayed edges; pieces with a stroke on them stay."""
    side = max(3, max(found.shape) // 120 | 1)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    found = _without_small_pieces(found, marked)
    holes = _without_small_pieces(1 - found, np.zeros_like(marked))
    return np.uint8(cv2.medianBlur(1 - holes, side))


def _without_small_pieces(found: np.ndarray, marked: np.ndarray) -> np.ndarray:
    count, numbers, statistics, _ = cv2.connectedComponentsWithStats(found, connectivity=4)
    areas = statistics[:, cv2.CC_STAT_AREA]
    largest = areas[1:].max(initial=0)
    kept = [n for n in range(1, count) if areas[n] >= SMALLEST_PIECE * largest or marked[numbers == n].any()]
    return np.uint8(np.isin(numbers, kept))


def _enlarged(found: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return the mask at the photo's size, with a smooth edge of about two pixels of the small mask."""
    soft = cv2.GaussianBlur(255.0 * found, (0, 0), 1.5)
    large = cv2.resize(soft, size, interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(np.uint8(((large - 127.5) * 2 + 127.5).clip(0, 255).round()))
