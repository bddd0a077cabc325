"""Where each pixel of a frame was in an earlier frame of its scene, and whether it was seen there.

Sources are pictures (1, 3, H, W) in [0, 1], of one size. Flows are in px, (H, W, 2): x to the right, y down.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.finish import soft_inside
from nst.io.colour import luminance

# The flow there and back may differ by this much: a share of its square, and px² (Sundaram, Brox & Keutzer, "Dense
# Point Trajectories by GPU-Accelerated Large Displacement Optical Flow", 2010).
FLOW_SHARE, FLOW_TOLERANCE = 0.01, 0.5
WINDOW = 5  # px: the square over which colours are compared
SAME_COLOUR = 0.04  # mean difference of colours: below it, what follows the camera was seen
OTHER_COLOUR = 0.15  # above it the flow is wrong, even if it is the same there and back
# In flat areas the flow follows the noise, by 7 px and more. There the motion of the camera counts, if it explains the
# frame as well: its difference may be larger by this factor and this much, or the median difference of a noisy clip,
# because the flow fits the noise.
NOISE_FACTOR, NOISE = 1.3, 0.004
STILL = 0.0005  # a camera whose motion explains the whole frame no better than this stands still
# What moves by 1 px more, with the same flow there and back in most of 41x41 px, moves by itself.
OWN_MOTION, SURE_WINDOW, SURE_SHARE = 1.0, 41, 0.8
POINT_STEP, FEWEST_POINTS = 4, 50  # px between the points that the camera's motion is found from, and their number
CELLS, CAMERA_SHARE = 4, 0.6  # the camera's motion is seen in this share of 4x4 parts of the frame
CUT_SIDE, CUT_SHARE = 128, 0.3  # px; a frame of which less than this share was seen before begins a scene


class Motion:
    """The motion from an earlier frame to this one.

    flow: from each pixel of this frame back to its place in the earlier one, (H, W, 2); in flat areas, where no flow
    can be found, the camera's motion. known: (1, 1, H, W), 1 where this frame
    shows what the earlier one showed, and 0 where it was hidden or the flow fails, with soft borders.
    """

    def __init__(self, earlier: Tensor, frame: Tensor):
        before, now = _grey_bytes(earlier), _grey_bytes(frame)
        flow, back = find_flows((now, before), (before, now))
        consistent = is_consistent(flow, back)
        camera = find_camera_motion(flow, consistent)
        found, follows_camera, stays = (_difference(earlier, frame, motion) for motion in (flow, camera, 0 * flow))
        if np.median(stays) < NOISE_FACTOR * np.median(follows_camera) + STILL:
            camera, follows_camera = 0 * flow, stays
        is_sure = cv2.blur(consistent.astype(np.float32), (SURE_WINDOW, SURE_WINDOW)) > SURE_SHARE
        noise = max(NOISE, np.median(follows_camera))
        moves = is_sure & (np.linalg.norm(flow - camera, axis=-1) > OWN_MOTION)
        follows = (follows_camera < NOISE_FACTOR * found + noise) & ~moves
        self.flow = np.where(follows[..., None], camera, flow)
        self._grid = _grid(self.flow).to(frame.device)
        difference = np.where(follows, follows_camera, found)
        is_same = (consistent & (difference < OTHER_COLOUR)) | (follows & (difference < SAME_COLOUR))
        is_inside = (self._grid.abs() <= 1).all(-1)[:, None]
        self.known = soft_inside((is_inside & torch.from_numpy(is_same).to(frame.device)).to(frame.dtype))

    def move(self, picture: Tensor) -> Tensor:
        """Return a picture of the earlier frame, (1, C, h, w) of any size, moved to where its things are now."""
        grid = self._grid
        if picture.shape[-2:] != grid.shape[1:3]:
            size = tuple(picture.shape[-2:])
            grid = F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True)
            grid = grid.permute(0, 2, 3, 1)
        return _sample(picture, grid)


def is_cut(earlier: Tensor, frame: Tensor) -> bool:
    """Return whether a frame begins a new scene: it has another size, or shows hardly anything of the one before."""
    if earlier.shape != frame.shape:
        return True
    scale = min(1.0, CUT_SIDE / max(frame.shape[-2:]))
    size = [max(1, round(side * scale)) for side in frame.shape[-2:]]
    earlier, frame = (F.interpolate(picture, size=size, mode="area") for picture in (earlier, frame))
    return Motion(earlier, frame).known.mean().item() < CUT_SHARE


def find_flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the flow from each pixel of `source` to its place in `target`; both (H, W) uint8.

    Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (2016), with OpenCV.
    """
    return find_flows((source, target))[0]


def find_flows(*pairs: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Return the flow of each pair of source and target, as `find_flow` does, all at the same time."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a search depends on how the picture is cut among threads, so each has one
    try:
        with ThreadPoolExecutor(len(pairs)) as executor:
            return list(executor.map(_search, *zip(*pairs, strict=True)))
    finally:
        cv2.setNumThreads(threads)


def _search(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    return search.calc(source, target, None)


def is_consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return where following `flow` and then `back` leads to the start again, (H, W) bool.

    |w + w'|² < 0.01 (|w|² + |w'|²) + 0.5, where w' is `back` at the end of w (Sundaram et al. 2010, as in Ruder,
    Dosovitskiy & Brox, "Artistic Style Transfer for Videos", 2016, section 4.1).
    """
    ends = _places(*flow.shape[:2]) + flow
    returned = cv2.remap(back, ends, None, cv2.INTER_LINEAR)
    lengths = (flow**2).sum(-1) + (returned**2).sum(-1)
    return ((flow + returned) ** 2).sum(-1) < FLOW_SHARE * lengths + FLOW_TOLERANCE


def find_camera_motion(flow: np.ndarray, consistent: np.ndarray) -> np.ndarray:
    """Return the affine motion that most of the frame follows, as a flow (H, W, 2); zero if there is none.

    consistent: (H, W) bool, where the flow can be trusted.
    """
    height, width = consistent.shape
    rows, columns = (indices * POINT_STEP for indices in np.nonzero(consistent[::POINT_STEP, ::POINT_STEP]))
    if len(rows) < FEWEST_POINTS:
        return np.zeros_like(flow)
    points = np.stack([columns, rows], -1).astype(np.float32)
    matrix, inliers = cv2.estimateAffine2D(points, points + flow[rows, columns], ransacReprojThreshold=0.5)
    if matrix is None:
        return np.zeros_like(flow)
    follows = inliers[:, 0].astype(bool)
    cells = np.unique((rows * CELLS // height * CELLS + columns * CELLS // width)[follows])
    if len(cells) < CAMERA_SHARE * CELLS**2:  # a thing in front may be large
        return np.zeros_like(flow)
    return (_places(height, width) @ matrix[:, :2].T + matrix[:, 2] - _places(height, width)).astype(np.float32)


def _difference(earlier: Tensor, frame: Tensor, flow: np.ndarray) -> np.ndarray:
    """Return the mean difference of colours around each pixel if the earlier frame is moved along a flow, (H, W)."""
    difference = (_sample(earlier, _grid(flow).to(frame.device)) - frame).abs().mean(1)[0]
    return cv2.blur(difference.cpu().numpy(), (WINDOW, WINDOW))


def _sample(picture: Tensor, grid: Tensor) -> Tensor:
    moved = F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return moved.clamp(0, 1)


def _places(height: int, width: int) -> np.ndarray:
    """Return x and y of each pixel, (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)


def _grey_bytes(picture: Tensor) -> np.ndarray:
    return (luminance(picture)[0, 0] * 255).round().byte().cpu().numpy()


def _grid(flow: np.ndarray) -> Tensor:
    """Return the ends of a flow as `grid_sample` wants them, (1, H, W, 2): -1 and 1 are the picture's borders."""
    height, width = flow.shape[:2]
    ends = (_places(height, width) + flow + 0.5) / np.float32([width, height]) * 2 - 1
    return torch.from_numpy(ends)[None]
