"""The optimization loop on a GPU: steps are launched ahead of the results that are read.

Each step's losses are copied to the host as the step ends, and are read while the next steps run, so that neither side
waits for the other. A step is one CUDA graph, because launching hundreds of small kernels takes longer than they run.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nst.canvas import Canvas
from nst.io.tensors import to_bytes
from nst.objective import Losses, Objective
from nst.optimize import Guard, Optimizer, Request, StepResult, judged_values

AHEAD = 4  # steps launched before the oldest is read: a few milliseconds of work


@dataclass
class _Pending:
    """A step that was launched and not read yet. Its tensors are on the host and valid once `done` has happened."""

    values: Tensor
    done: torch.cuda.Event = field(default_factory=lambda: torch.cuda.Event())
    picture: Tensor | None = None


class CudaOptimizer(Optimizer):
    """An optimizer that launches up to `AHEAD` steps before it reads the first of them.

    If a step went too far, it is undone together with the steps launched after it. The first step runs in the ordinary
    way: it allocates all that is allocated once, so that the second step can be recorded as a graph.
    """

    def __init__(self, objective: Objective, canvas: Canvas, learning_rate: float, guard: Guard):
        super().__init__(objective, canvas, learning_rate, guard)
        self.launched = 0
        self._state = canvas.tensors()
        self._saved_states = [[torch.empty_like(x) for x in self._state] for _ in range(AHEAD + 2)]  # before updates
        device = canvas.pixels().device
        self._rate = torch.zeros((), device=device)  # the graph reads the learning rate from here
        self._values = torch.zeros(len(Losses._fields) + 1, device=device)
        self._replay: Callable[[], None] | None = None  # the recorded step
        self._pending: deque[_Pending] = deque()
        self._set_rate()

    def run(self, steps: int, after_step: Callable[[int], Request]) -> Iterator[StepResult]:
        """Run as `Optimizer.run` does. `after_step` is called a second time for steps that are repeated."""
        read = 0
        while read < steps:
            while self.launched < min(steps, read + 1 + AHEAD):
                self.launch()
                request = after_step(self.launched)
                if request.picture:
                    self.copy_picture()
                if request.stop:
                    steps = self.launched
            if (result := self.read()) is not None:
                read += 1
                yield result

    def launch(self) -> None:
        """Launch one more step."""
        saved_state = self._saved_states[self.launched % len(self._saved_states)]
        for saved, current in zip(saved_state, self._state, strict=True):
            saved.copy_(current)
        if self._replay is None and self.launched > 0:
            self._replay = self._record()
        (self._replay or self._step_on_gpu)()
        self._pending.append(_Pending(_to_host(self._values)))
        self._pending[-1].done.record()
        self.launched += 1

    def copy_picture(self) -> None:
        """Add the picture to the result of the last launched step."""
        step = self._pending[-1]
        step.picture = _to_host(to_bytes(self.canvas.pixels()))
        step.done.record()

    def read(self) -> StepResult | None:
        """Return the result of the oldest unread step, or None if it shows that the step before has to be repeated."""
        step = self._pending.popleft()
        step.done.synchronize()
        values = step.values.tolist()
        if self.guard.accepts(values):
            return StepResult(Losses(*values[:-1]), self.guard.take_note(), step.picture)
        self.launched -= 1 + len(self._pending)
        self._pending.clear()
        saved_state = self._saved_states[(self.launched - 1) % len(self._saved_states)]
        for current, saved in zip(self._state, saved_state, strict=True):
            current.copy_(saved)
        self._set_rate()
        return None

    def _step_on_gpu(self) -> None:
        losses, gradient = self.objective.evaluate(self.canvas.pixels())
        self._values.copy_(judged_values(losses, gradient))
        self.canvas.update(gradient, self._rate)

    def _record(self) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other visitors' runs go on meanwhile
            self._step_on_gpu()
        return graph.replay

    def _set_rate(self) -> None:
        self._rate.fill_(self.learning_rate * self.guard.rate_factor)


def _to_host(x: Tensor) -> Tensor:
    """Copy to the host without waiting; the copy is complete once the GPU has reached this point."""
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda).copy_(x, non_blocking=True)
