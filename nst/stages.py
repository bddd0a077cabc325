"""The stages of a run, coarse to fine, and which of them remain for a run that is continued."""

from dataclasses import dataclass

import torch

from nst.canvas import Canvas
from nst.errors import StyleTransferError
from nst.io.sizes import fitted_size
from nst.run_state import RunState
from nst.settings import StyleSettings


@dataclass(frozen=True)
class RemainingStage:
    """A stage that is not finished: its number from 0, its long side in px, the picture's (width, height), and steps.

    steps: still to do. steps_done: in this stage, by the run that is continued. adds_detail: see `nst.stage_plan`.
    """

    number: int
    long_side: int
    size: tuple[int, int]
    steps: int
    steps_done: int
    adds_detail: bool

    @property
    def pixels(self) -> int:
        """The number of pixels, which the time of a step is proportional to."""
        return self.size[0] * self.size[1]


def remaining_stages(
    photo_size: tuple[int, int], settings: StyleSettings, resume: RunState | None
) -> list[RemainingStage]:
    """Return the stages that are not finished. Steps added to a finished run belong to the last stage.

    Raises StyleTransferError if the run to continue does not fit the photo and the settings.
    """
    stages = settings.stages(photo_size)
    sizes = [fitted_size(photo_size, stage.long_side, settings.keep_aspect) for stage in stages]
    if resume is None:
        return [
            RemainingStage(number, stage.long_side, size, stage.steps, 0, stage.adds_detail)
            for number, (stage, size) in enumerate(zip(stages, sizes, strict=True))
        ]
    _check_fits(resume, settings, sizes)
    steps_left = settings.steps - resume.step
    remaining = []
    for number, stage in list(enumerate(stages))[resume.stage :]:
        steps_done = resume.stage_step if number == resume.stage else 0
        if number == len(stages) - 1:
            steps = steps_left
        else:  # at least one step is left for the final size, and all steps that are to add detail
            kept = max(1, sum(later.steps for later in stages[number + 1 :] if later.adds_detail))
            steps = max(0, min(stage.steps - steps_done, steps_left - kept))
        if steps:
            remaining.append(
                RemainingStage(number, stage.long_side, sizes[number], steps, steps_done, stage.adds_detail)
            )
        steps_left -= steps
    return remaining


def _check_fits(resume: RunState, settings: StyleSettings, sizes: list[tuple[int, int]]) -> None:
    if resume.step >= settings.steps:
        raise StyleTransferError(f"This run has done {resume.step} steps already: set steps higher to continue it.")
    if resume.stage >= len(sizes):
        raise StyleTransferError("The saved run does not fit these settings: it has more stages.")
    height, width = resume.arrays["pixels"].shape[-2:]
    if (width, height) != (expected := sizes[resume.stage]):
        raise StyleTransferError(
            f"The saved run does not fit: it is {width}x{height} px, where this photo and these settings need "
            f"{expected[0]}x{expected[1]}."
        )


def restore_canvas(resume: RunState, settings: StyleSettings, device: torch.device) -> Canvas:
    """Return the canvas of the run to continue. Raises StyleTransferError if it is of another kind."""
    try:
        return Canvas.restore(resume.arrays, settings.canvas, device, settings.seamless)
    except (KeyError, ValueError) as error:
        raise StyleTransferError("The saved run does not fit these settings: its canvas is another one.") from error
