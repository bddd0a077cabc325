"""Steps of a canvas down its objective's gradient, each judged by the losses it leads to.

A processor does one step when it is asked for one. A GPU is given steps ahead: what they tell is copied to the host as
they end and read while the next ones run, so that neither waits for the other; and a step there is one CUDA graph,
since hundreds of small kernels take longer to be started than to run.
"""

import copy
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nst.canvas import Canvas
from nst.errors import StyleTransferError
from nst.io.tensors import to_bytes
from nst.objective import Losses, Objective

AHEAD = 4  # steps that a GPU is given before the oldest is read: a few milliseconds


class Guard:
    """Says which steps to take back: those that made the losses infinite or many times larger; it halves the next."""

    TOO_FAR = 4  # times the smallest of the stage, total and style loss both: early steps may well raise one of them
    HALVINGS = 8  # in one run; what still fails then, no step size mends

    def __init__(self, step_scale: float):
        self.step_scale = step_scale
        self.begin_stage(0)

    def begin_stage(self, done: int) -> None:
        """done: steps of the run that came before."""
        self._done, self._first, self._smallest = done, True, (math.inf, math.inf)  # sizes are not compared
        self._note = ""

    def accepts(self, told: list[float]) -> bool:
        """Whether to go on from a picture, given its losses and the sum of its gradient, in which any NaN shows."""
        losses = Losses(*told[:-1])
        judged = losses.total, losses.style
        grown = all(new > self.TOO_FAR * old for new, old in zip(judged, self._smallest, strict=True))
        if all(map(math.isfinite, told)) and not grown:
            self._smallest = tuple(map(min, self._smallest, judged))
            self._done, self._first = self._done + 1, False
            return True
        if self._first:
            raise StyleTransferError(f"The loss is no longer finite at step {self._done + 1}: lower the weights.")
        if self.step_scale <= 0.5**self.HALVINGS:
            raise StyleTransferError(
                f"The loss only grows at step {self._done}: lower the weights or the learning rate."
            )
        self.step_scale /= 2
        self._note = (
            f"Step {self._done} went too far and was taken back; steps are {self.step_scale:g} as long from here on."
        )
        return False

    def note(self) -> str:
        """What was taken back since the last time, as one sentence; empty where nothing was."""
        note, self._note = self._note, ""
        return note


@dataclass
class Told:
    """What a step told: the losses of the picture it started from, as floats, and the picture after it if asked for.

    picture: (H, W, 3) uint8. note: one sentence where something was put right.
    """

    losses: Losses
    note: str
    picture: Tensor | None = None


class Descent:
    """Adam's steps on one canvas, one at a time: `launch` does one, `read` says what it told.

    canvas: is another object after a step was taken back. launched: steps done. ahead: how many may be launched before
    the first of them is read.
    """

    ahead = 0

    def __init__(self, objective: Objective, canvas: Canvas, learning_rate: float, guard: Guard):
        self.objective, self.canvas, self.learning_rate, self.guard = objective, canvas, learning_rate, guard
        self.launched = 0
        self._before: Canvas | None = None  # as it was before the last update
        self._told: Told | None = None

    def launch(self) -> None:
        """One step more."""
        while True:
            losses, gradient = self.objective.evaluate(self.canvas.pixels())
            told = row(losses, gradient).tolist()  # one look
            if self.guard.accepts(told):
                break
            self.canvas = self._before
        self._before = copy.deepcopy(self.canvas)
        self.canvas.update(gradient, self.learning_rate * self.guard.step_scale)
        self._told = Told(Losses(*told[:-1]), self.guard.note())
        self.launched += 1

    def copy_picture(self) -> None:
        """Have the last step launched tell the picture after it."""
        self._told.picture = to_bytes(self.canvas.pixels())

    def read(self) -> Told | None:
        """What the oldest step told that was not read yet; None if it is taken back, with those launched after it."""
        return self._told


@dataclass
class _UnderWay:
    told: Tensor  # on the host, once `done`
    done: torch.cuda.Event = field(default_factory=lambda: torch.cuda.Event())
    picture: Tensor | None = None


class DescentAhead(Descent):
    """The same on a GPU, some steps ahead of what was read.

    The first step is done in the ordinary way: it makes what is made once, so that the next can be recorded.
    """

    ahead = AHEAD

    def __init__(self, objective: Objective, canvas: Canvas, learning_rate: float, guard: Guard):
        super().__init__(objective, canvas, learning_rate, guard)
        self._state = canvas.tensors()
        self._earlier = [[torch.empty_like(x) for x in self._state] for _ in range(self.ahead + 2)]  # before an update
        self._rate = torch.zeros((), device=canvas.pixels().device)  # the graph reads it from there
        self._row = torch.zeros(len(Losses._fields) + 1, device=canvas.pixels().device)
        self._again: Callable[[], None] | None = None  # the recorded step
        self._under_way: deque[_UnderWay] = deque()
        self._set_rate()

    def launch(self) -> None:
        for kept, now in zip(self._earlier[self.launched % len(self._earlier)], self._state, strict=True):
            kept.copy_(now)
        if self._again is None and self.launched > 0:
            self._again = self._recorded()
        (self._again or self._step)()
        self._under_way.append(_UnderWay(_to_host(self._row)))
        self._under_way[-1].done.record()
        self.launched += 1

    def copy_picture(self) -> None:
        last = self._under_way[-1]
        last.picture = _to_host(to_bytes(self.canvas.pixels()))
        last.done.record()

    def read(self) -> Told | None:
        one = self._under_way.popleft()
        one.done.synchronize()
        told = one.told.tolist()
        if self.guard.accepts(told):
            return Told(Losses(*told[:-1]), self.guard.note(), one.picture)
        self.launched -= 1 + len(self._under_way)
        self._under_way.clear()
        for now, kept in zip(self._state, self._earlier[(self.launched - 1) % len(self._earlier)], strict=True):
            now.copy_(kept)
        self._set_rate()
        return None

    def _step(self) -> None:
        losses, gradient = self.objective.evaluate(self.canvas.pixels())
        self._row.copy_(row(losses, gradient))
        self.canvas.update(gradient, self._rate)

    def _recorded(self) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other visitors' runs go on meanwhile
            self._step()
        return graph.replay

    def _set_rate(self) -> None:
        self._rate.fill_(self.learning_rate * self.guard.step_scale)


def descend(objective: Objective, canvas: Canvas, learning_rate: float, guard: Guard) -> Descent:
    """The descent that suits the canvas's device."""
    return (DescentAhead if canvas.pixels().is_cuda else Descent)(objective, canvas, learning_rate, guard)


def row(losses: Losses, gradient: Tensor) -> Tensor:
    """(6,): the five losses, and the gradient's sum."""
    return torch.stack([*losses, gradient.sum()])


def _to_host(x: Tensor) -> Tensor:
    """A copy, which is there once the GPU has come so far."""
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda).copy_(x, non_blocking=True)
