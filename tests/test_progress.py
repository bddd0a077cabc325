"""The bar of the command line: one time left, which is the run's own."""

import math
import re
import time

import pytest

from nst.cli.progress import StepBar
from nst.stylization import Step


@pytest.fixture
def show(capfd):
    """Show steps in a bar, so slowly that each is drawn. Return what stands on the screen after each."""

    def show(*steps: Step) -> list[str]:
        with StepBar(40) as bar:
            for step in steps:
                time.sleep(0.11)  # tqdm draws ten times a second
                bar.show(step)
        return capfd.readouterr().err.strip("\r\n").split("\r")

    return show


def make_step(number: int, seconds_left: float) -> Step:
    return Step(number, 40, 0, 1.5, 0.0, 2.5, 0.0, 4.0, seconds=1.0, seconds_left=seconds_left)


def test_the_time_left_is_that_of_the_run_and_there_is_no_other(show):
    first, second, _ = show(make_step(1, 4000.4), make_step(2, 83.0))
    assert re.search(r" 1/40 \[00:00<1:06:40, .*step.*, content 1.5, style 2.5, total 4\]$", first), first
    assert re.search(r" 2/40 \[00:00<01:23, ", second), second
    for line in (first, second):
        assert "left" not in line and line.count("<") == 1


def test_the_bar_names_the_sketch_whose_end_is_not_known(show):
    sketch, first, _ = show(make_step(0, math.nan), make_step(1, 5.0))
    assert sketch.startswith("sketch: ") and " 0/40 [00:00<?, " in sketch and "nan" not in sketch, sketch
    assert "sketch" not in first and " 1/40 [00:00<00:05, " in first, first
