"""The optimization loop: evaluate the objective, check the step before, update the canvas.

`Optimizer.run` does one step after the other. On a GPU `nst.optimize_cuda` does the same with several steps under way.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.canvas import Canvas
from nst.errors import StyleTransferError
from nst.io.tensors import to_bytes
from nst.objective import Losses, Objective


@dataclass
class StepResult:
    """The result of one step.

    losses: of the picture before the step, as floats. note: one sentence if a step was undone, otherwise empty.
    picture: the picture after the step, (H, W, 3) uint8, if it was asked for.
    """

    losses: Losses
    note: str
    picture: Tensor | None = None


@dataclass(frozen=True)
class Request:
    """What the caller wants after a step: a copy of its picture, or that this step is the last one."""

    picture: bool = False
    stop: bool = False


class Optimizer:
    """An optimizer that moves one canvas along the gradient of its objective, with Adam.

    canvas: the canvas after the last step. An undone step replaces this object by another one.
    """

    def __init__(self, objective: Objective, canvas: Canvas, learning_rate: float, guard: "Guard"):
        self.objective, self.canvas, self.learning_rate, self.guard = objective, canvas, learning_rate, guard
        self._previous: Canvas | None = None  # the canvas before the last update

    def run(self, steps: int, after_step: Callable[[int], Request]) -> Iterator[StepResult]:
        """Do `steps` steps, and yield the result of each. `after_step` is called with each step's number, from 1.

        Raises StyleTransferError when the loss stays infinite or keeps growing, as `Guard` does.
        """
        for number in range(1, steps + 1):
            result = self.step()
            request = after_step(number)
            if request.picture:
                result.picture = to_bytes(self.canvas.pixels())
            yield result
            if request.stop:
                return

    def step(self) -> StepResult:
        """Do one step; if the step before went too far, undo that one first and repeat it with a smaller rate."""
        while True:
            losses, gradient = self.objective.evaluate(self.canvas.pixels())
            values = judged_values(losses, gradient).tolist()  # one transfer, where the canvas is on another device
            if self.guard.accepts(values):
                break
            self.canvas = self._previous
        self._previous = None  # freed before the copy that replaces it: at 8192 px it has 2.7 GB
        self._previous = copy.deepcopy(self.canvas)
        self.canvas.update(gradient, self.learning_rate * self.guard.rate_factor)
        return StepResult(Losses(*values[:-1]), self.guard.take_note())


def judged_values(losses: Losses, gradient: Tensor) -> Tensor:
    """Return the five losses and the sum of the gradient, (6,): a NaN anywhere in the gradient shows in its sum."""
    return torch.stack([*losses, gradient.sum()])


class Guard:
    """A guard against steps that go too far: it undoes a step if a loss is not finite afterwards, or many times larger.

    Each undone step halves the learning rate of the following steps. rate_factor: what the learning rate is multiplied
    by, 1 or less.
    """

    # A step is undone if total and style loss both exceed their smallest values in the stage by this factor. One of
    # them alone may rise in early steps.
    TOO_LARGE = 4
    HALVINGS = 8  # the most in one run: if these do not help, no smaller step would

    def __init__(self, rate_factor: float):
        self.rate_factor = rate_factor
        self.begin_stage(0)

    def begin_stage(self, steps_done: int) -> None:
        """Forget the losses: those of different sizes cannot be compared. steps_done: in all earlier stages."""
        self._steps_done, self._is_first, self._smallest = steps_done, True, (math.inf, math.inf)
        self._note = ""

    def accepts(self, values: list[float]) -> bool:
        """Return whether the picture with these `judged_values` is good enough to continue from.

        Raises StyleTransferError if the first picture of a stage is not good enough, or if the rate was halved too
        often.
        """
        losses = Losses(*values[:-1])
        judged = losses.total, losses.style
        has_grown = all(new > self.TOO_LARGE * old for new, old in zip(judged, self._smallest, strict=True))
        if all(map(math.isfinite, values)) and not has_grown:
            self._smallest = tuple(map(min, self._smallest, judged))
            self._steps_done, self._is_first = self._steps_done + 1, False
            return True
        if self._is_first:
            raise StyleTransferError(f"The loss is no longer finite at step {self._steps_done + 1}: lower the weights.")
        if self.rate_factor <= 0.5**self.HALVINGS:
            raise StyleTransferError(
                f"The loss only grows at step {self._steps_done}: lower the weights or the learning rate."
            )
        self.rate_factor /= 2
        self._note = (
            f"Step {self._steps_done} went too far and was undone; "
            f"the following steps are {self.rate_factor:g} times as long."
        )
        return False

    def take_note(self) -> str:
        """Return a sentence about the steps that were undone since the last call, or an empty text."""
        note, self._note = self._note, ""
        return note
