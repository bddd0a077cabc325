"""Where each pixel of a frame was in an earlier frame of its scene, and whether it was seen there.

Sources are pictures (1, 3, H, W) in [0, 1], of one size. Flows are in px, (H, W, 2): x to the right, y down.
"""

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
SAME_COLOUR = 0.04  # mean difference of colours: below it the flow may be unsure, but what it brings is right
CUT_SIDE, CUT_SHARE = 128, 0.3  # px; a frame of which less than this share was seen before begins a scene
OTHER_COLOUR = 0.15  # above it the flow is wrong, even if it is the same there and back


class Motion:
    """The motion from an earlier frame to this one.

    flow: from each pixel of this frame back to its place in the earlier one. known: (1, 1, H, W), 1 where this frame
    shows what the earlier one showed, and 0 where it was hidden or the flow fails, with soft borders.
    """

    def __init__(self, earlier: Tensor, frame: Tensor):
        before, now = _grey_bytes(earlier), _grey_bytes(frame)
        self.flow, onward = find_flow(now, before), find_flow(before, now)
        self._grid = _grid(self.flow).to(frame.device)
        is_inside = (self._grid.abs() <= 1).all(-1)[:, None]
        there_and_back = torch.from_numpy(is_consistent(self.flow, onward)).to(frame.device)[None, None]
        difference = (self.move(earlier) - frame).abs().mean(1, keepdim=True)
        difference = F.avg_pool2d(difference, WINDOW, 1, WINDOW // 2, count_include_pad=False)
        is_same = (there_and_back & (difference < OTHER_COLOUR)) | (difference < SAME_COLOUR)
        self.known = soft_inside((is_inside & is_same).to(frame.dtype))

    def move(self, picture: Tensor) -> Tensor:
        """Return a picture of the earlier frame, (1, C, h, w) of any size, moved to where its things are now."""
        grid = self._grid
        if picture.shape[-2:] != grid.shape[1:3]:
            size = tuple(picture.shape[-2:])
            grid = F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True)
            grid = grid.permute(0, 2, 3, 1)
        moved = F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)
        return moved.clamp(0, 1)


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
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the search depends on how the picture is cut among threads
    try:
        return search.calc(source, target, None)
    finally:
        cv2.setNumThreads(threads)


def is_consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return where following `flow` and then `back` leads to the start again, (H, W) bool.

    |w + w'|² < 0.01 (|w|² + |w'|²) + 0.5, where w' is `back` at the end of w (Sundaram et al. 2010, as in Ruder,
    Dosovitskiy & Brox, "Artistic Style Transfer for Videos", 2016, section 4.1).
    """
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    returned = cv2.remap(back, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
    lengths = (flow**2).sum(-1) + (returned**2).sum(-1)
    return ((flow + returned) ** 2).sum(-1) < FLOW_SHARE * lengths + FLOW_TOLERANCE


def _grey_bytes(picture: Tensor) -> np.ndarray:
    return (luminance(picture)[0, 0] * 255).round().byte().cpu().numpy()


def _grid(flow: np.ndarray) -> Tensor:
    """Return the ends of a flow as `grid_sample` wants them, (1, H, W, 2): -1 and 1 are the picture's borders."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x = (columns + flow[..., 0] + 0.5) / width * 2 - 1
    y = (rows + flow[..., 1] + 0.5) / height * 2 - 1
    return torch.from_numpy(np.stack([x, y], -1))[None]
