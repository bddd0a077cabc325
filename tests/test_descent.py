"""A GPU's steps are launched ahead of what is read: here on a processor, with a stand-in for what only a GPU has."""

import copy

import pytest
import torch

import nst.canvas
from nst import StyleTransferError
from nst.canvas import Canvas
from nst.objective import Losses
from nst.optimize import AHEAD, Descent, DescentAhead, Guard


class Event:
    def record(self):
        pass

    def synchronize(self):
        pass


class Bowl:
    """An objective that pulls a canvas to grey; the evaluations in `bad` see a NaN."""

    def __init__(self, bad=()):
        self.bad, self.seen = bad, 0

    def evaluate(self, pixels):
        self.seen += 1
        gap = pixels - 0.5
        loss = gap.square().mean() * (float("nan") if self.seen in self.bad else 1.0)
        zero = torch.zeros(())
        return Losses(loss, zero, loss, zero, 2 * loss), 4 * gap / gap.numel()


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(DescentAhead, "_recorded", lambda descent: descent._step)


def start(kind="pyramid"):
    return Canvas(torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)), kind)


def run(descent, steps, pictures=()):
    """What `stylize` does: the told of all steps, and how many were under way beyond the one that was read."""
    told, ahead = [], []
    while len(told) < steps:
        while descent.launched < min(steps, len(told) + 1 + descent.ahead):
            descent.launch()
            if descent.launched in pictures:
                descent.copy_picture()
        ahead.append(descent.launched - len(told) - 1)
        if (one := descent.read()) is not None:
            told.append(one)
    return told, ahead


def same(told, others, descent, other):
    """Up to the learning rate's rounding: a GPU has it as float32."""
    losses, other_losses = (torch.tensor([one.losses for one in found]) for found in (told, others))
    torch.testing.assert_close(losses, other_losses, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(descent.canvas.pixels(), other.canvas.pixels(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
def test_steps_ahead_are_the_same_steps(kind):
    one = Descent(Bowl(), start(kind), 0.03, Guard(1.0))
    many = DescentAhead(Bowl(), start(kind), 0.03, Guard(1.0))
    (told, waited), (told_ahead, ahead) = run(one, 12, {3, 7}), run(many, 12, {3, 7})
    same(told, told_ahead, one, many)
    assert set(waited) == {0} and ahead == [AHEAD] * (12 - AHEAD) + list(range(AHEAD))[::-1]
    for number, (a, b) in enumerate(zip(told, told_ahead, strict=True), 1):
        assert (a.picture is None) == (b.picture is None) == (number not in {3, 7})
        assert a.picture is None or (a.picture.int() - b.picture.int()).abs().max() <= 1


@pytest.mark.parametrize("bad, scale", [({6}, 0.5), ({6, 6 + AHEAD + 1}, 0.25), ({6, 15}, 0.25), ({2}, 0.5)])
def test_steps_ahead_of_one_gone_too_far_are_taken_back_too(bad, scale):
    """`bad` counts evaluations; those under way behind a bad one are evaluated for nothing, and again."""
    many, guard = Bowl(bad), Guard(1.0)
    descent = DescentAhead(many, start(), 0.03, guard)
    told, _ = run(descent, 12)
    assert len(told) == descent.launched == 12 and guard.step_scale == scale
    assert sum(bool(t.note) for t in told) == len(bad) - (6 + AHEAD + 1 in bad)  # two in a row make one note
    # The same evaluations, one at a time: of each bad one only itself is for nothing.
    firsts = sorted(bad)
    expected = Descent(Bowl({at - i * AHEAD for i, at in enumerate(firsts)}), start(), 0.03, Guard(1.0))
    same(run(expected, 12)[0], told, expected, descent)


def test_what_is_bad_from_the_start_is_an_error():
    with pytest.raises(StyleTransferError, match="step 1: lower the weights"):
        run(DescentAhead(Bowl({1}), start(), 0.03, Guard(1.0)), 3)
    with pytest.raises(StyleTransferError, match="lower the weights or the learning rate"):
        run(DescentAhead(Bowl(set(range(4, 400))), start(), 0.03, Guard(1.0)), 9)


def test_a_canvas_names_all_that_an_update_changes():
    canvas = start()
    before = copy.deepcopy(canvas.tensors())
    canvas.update(torch.randn(1, 3, 24, 32), 0.1)
    after = canvas.tensors()
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for now, then in zip(after, before, strict=True):
        now.copy_(then)
    again = start()
    for one in (canvas, again):
        one.update(torch.ones(1, 3, 24, 32), 0.1)
    assert torch.equal(canvas.pixels(), again.pixels())
