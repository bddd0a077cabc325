"""What earlier frames of a scene tell of a frame: where its things were, and how they were painted there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.video.flow import Motion

LOOKBACK = (1, 2, 4, 8)  # frames back: what was hidden in the frame before may have been seen earlier
TEMPORAL_WEIGHT = 2000.0  # with 200, the paint of a slow pan changes by twice as much
LIGHT_AREA, LEAST_KNOWN = 16, 0.1  # px on a side; areas of which less is known count as unchanged
# Smaller changes are noise. Where the map of colours is steep it would enlarge them: they count twofold at most.
LIGHT_NOISE, LIGHT_GAIN = 0.002, 2.0
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

    Each place is taken from the latest frame that shows it (Ruder et al. 2016, section 4.3): c_j = max(c_j - the sum of
    c_k for all k < j, 0), where c_j is what is known of the frame j frames back.
    """

    def __init__(
        self, memory: Sequence[PaintedFrame], source: Tensor, colours: Callable[[Tensor], Tensor] = lambda photo: photo
    ):
        """
        memory: some earlier frames of the scene; the last one is the frame before. source: this frame. colours: from
        the colours of a photo to those that it is painted in.
        """
        self._source, self._colours = source, colours
        latest = memory[-1]
        self.canvas, self.sketch, self.known = self._moved(latest)
        wanted = {latest.number + 1 - back for back in LOOKBACK[1:]}
        for frame in reversed(memory[:-1]):
            if frame.number in wanted and self.known.mean() < FILLED:
                self._fill_from(frame)

    def _moved(self, frame: PaintedFrame) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return a frame's canvas and sketch in the places and the light of this frame, and where it is known."""
        motion = Motion(frame.source, self._source)
        change = light_change(motion.move(frame.source), self._source, motion.known, self._colours)
        canvas, sketch = (
            None if picture is None else (motion.move(picture) + _enlarge(change, picture)).clamp(0, 1)
            for picture in (frame.canvas, frame.sketch)
        )
        return canvas, sketch, motion.known

    def _fill_from(self, frame: PaintedFrame) -> None:
        canvas, sketch, known = self._moved(frame)
        fresh = known * (1 - self.known)
        self.canvas = torch.lerp(self.canvas, canvas, fresh)
        if sketch is not None:
            self.sketch = torch.lerp(self.sketch, sketch, resize_map(fresh, sketch))
        self.known = self.known + fresh

    def loss(self, pixels: Tensor) -> Tensor:
        """Return the temporal loss of a picture: its squared distance to the moved paint, where that is known.

        w / (3 N) Σ c (x - x')² (Ruder et al. 2016, section 4.2), N is the number of pixels.
        """
        return TEMPORAL_WEIGHT * (self.known * (pixels - self.canvas).square()).mean()


def light_change(before: Tensor, now: Tensor, known: Tensor, colours: Callable[[Tensor], Tensor]) -> Tensor:
    """Return how the light of broad areas has changed, as a difference of painted colours, (1, 3, h, w).

    Otherwise paint would stay as bright as it was while a scene fades away. before, now: the same things, (1, 3, H, W).
    """
    size = [max(1, round(side / LIGHT_AREA)) for side in now.shape[-2:]]
    share, *sums = (F.interpolate(x, size=size, mode="area") for x in (known, known * before, known * now))
    mean_before, mean_now = (total / share.clamp_min(1e-6) for total in sums)
    change = F.softshrink(mean_now - mean_before, LIGHT_NOISE)
    most = LIGHT_GAIN * change.abs().amax(1, keepdim=True)
    painted = colours((mean_before + change).clamp(0, 1)) - colours(mean_before)
    return torch.minimum(torch.maximum(painted, -most), most) * (share > LEAST_KNOWN)


def _enlarge(change: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(change, size=tuple(like.shape[-2:]), mode="bilinear", align_corners=False)


def resize_map(values: Tensor, like: Tensor) -> Tensor:
    """Return a map (1, 1, H, W) at the size of the picture `like`."""
    return F.interpolate(values, size=tuple(like.shape[-2:]), mode="area")
