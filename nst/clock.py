"""The clock of a run: the seconds since it began, and the seconds left."""

import math
import time
from collections.abc import Sequence

from nst.stages import RemainingStage

# Steps that the start of a stage takes at most: 2 to 3 (measured). The first one of a process also makes what is kept.
MAX_START = 3
# From here on a pixel takes longer in larger pictures: 1.22 times as long at 1024 px as at 512 px (measured).
CHEAP_PIXELS, GROWTH = 250_000, 0.16


class Clock:
    """Measures a run, and estimates the time left.

    A stage's first step also pays for its start: the objective, the targets, new sizes of all buffers. So the pace is
    that of the other steps, and the start of every stage to come takes as many steps as that of this one.
    """

    def __init__(self, started: float, stages: Sequence[RemainingStage]):
        self._started = started
        self._cost_left = sum(_cost(stage) * stage.steps for stage in stages)
        self._cost_to_start = sum(map(_cost, stages))  # of a step of each stage to come
        self._pace = math.nan  # seconds per cost

    def begin_stage(self, stage: RemainingStage) -> None:
        """Note that a stage starts now."""
        self._stage_started, self._steps = time.perf_counter(), 0
        self._cost_to_start -= _cost(stage)

    def seconds(self) -> float:
        """Return the seconds since the run began."""
        return time.perf_counter() - self._started

    def tick(self, stage: RemainingStage) -> float:
        """Count one step of this stage; return the seconds left."""
        now, cost = time.perf_counter(), _cost(stage)
        self._cost_left -= cost
        self._steps += 1
        if self._steps == 1:
            self._first_seconds, self._first_ended = now - self._stage_started, now
            if math.isnan(self._pace):
                self._pace = self._first_seconds / cost
        else:
            self._pace = (now - self._first_ended) / (self._steps - 1) / cost
        start = self._first_seconds / max(self._pace * cost, 1e-9) - 1  # in steps
        return self._pace * (self._cost_left + min(max(0.0, start), MAX_START) * self._cost_to_start)


def _cost(stage: RemainingStage) -> float:
    """Return the cost of a step of this stage, in pixels of small pictures."""
    return stage.pixels * max(1.0, stage.pixels / CHEAP_PIXELS) ** GROWTH
