"""What earlier frames of a scene tell of a frame: where its things were, and how they were painted there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.video.flow import Motion

LOOKBACK = (1, 2, 4, 8)  # frames back: what was hidden in the frame before may have been seen earlier
TEMPORAL_WEIGHT = 2000.0  # with 200, the paint of a slow pan changes by twice as much
FILLED = 0.999  # share of the frame that is known: then the earlier frames are not asked


@dataclass(frozen=True)
class PaintedFrame:
    """What later frames need of a painted one.

    number: in the clip, from 0. scene: the number of its scene's first frame. source: the frame as it was read, at the
    final size. canvas: as it was painted, before the finish. sketch: its sketch, or None. All are (1, 3, h, w) in
    [0, 1].
    """

    number: int
    scene: int
    source: Tensor
    canvas: Tensor
    sketch: Tensor | None = None


class Past:
    """The earlier frames of a scene, moved to where their things are now.

    canvas: the painted frames, (1, 3, H, W). sketch: the same of their sketches, or None. known: (1, 1, H, W), 1 where
    a frame showed what is seen now; elsewhere canvas and sketch have no meaning.

    Each place is taken from the latest frame that shows it (Ruder et al. 2016, equation 9): c_j = max(c_j - the sum of
    c_k for all k < j, 0), where c_j is what is known of the frame j frames back.
    """

    def __init__(self, memory: Sequence[PaintedFrame], source: Tensor):
        """
        memory: some earlier frames of the scene; the last one is the frame before. source: this frame.
        """
        latest = memory[-1]
        motion = Motion(latest.source, source)
        self.canvas, self.known = motion.move(latest.canvas), motion.known
        self.sketch = None if latest.sketch is None else motion.move(latest.sketch)
        wanted = {latest.number + 1 - back for back in LOOKBACK[1:]}
        for frame in reversed(memory[:-1]):
            if frame.number in wanted and self.known.mean() < FILLED:
                self._fill_from(frame, Motion(frame.source, source))

    def _fill_from(self, frame: PaintedFrame, motion: Motion) -> None:
        fresh = motion.known * (1 - self.known)
        self.canvas = torch.lerp(self.canvas, motion.move(frame.canvas), fresh)
        if self.sketch is not None:
            share = resize_map(fresh, self.sketch)
            self.sketch = torch.lerp(self.sketch, motion.move(frame.sketch), share)
        self.known = self.known + fresh

    def loss(self, pixels: Tensor) -> Tensor:
        """Return the temporal loss of a picture: its squared distance to the moved paint, where that is known.

        w / (3 N) Σ c (x - x')² (Ruder et al. 2016, equation 7), N is the number of pixels.
        """
        return TEMPORAL_WEIGHT * (self.known * (pixels - self.canvas).square()).mean()


def resize_map(values: Tensor, like: Tensor) -> Tensor:
    """Return a map (1, 1, H, W) at the size of the picture `like`."""
    return F.interpolate(values, size=tuple(like.shape[-2:]), mode="area")
