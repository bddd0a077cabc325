"""What `stylize` yields for every step of a run."""

from dataclasses import dataclass, field

from PIL import Image

from nst.run_state import RunState


@dataclass
class Step:
    """One optimization step, as plain data that can be pickled.

    step: from 1 to `steps`; 0 while the sketch is made. stage: from 0. The losses are those of the picture before this
    step. seconds: since the run began. seconds_left: until it ends, at the pace of this stage. While the sketch is made
    the losses and the seconds left are not known, and NaN. image: an RGB picture where the caller asked for one, and
    always in the last step. state: in the last step. note: one sentence if a step was undone, otherwise empty.
    """

    step: int
    steps: int
    stage: int
    content_loss: float
    laplacian_loss: float
    style_loss: float
    tv_loss: float
    total_loss: float
    seconds: float
    seconds_left: float
    note: str = ""
    image: Image.Image | None = field(default=None, repr=False)
    state: RunState | None = field(default=None, repr=False)
