"""The GPU's optimizer launches steps ahead of the results it reads: tested on a processor, with stand-ins for CUDA."""

import copy

import pytest
import torch

import nst.canvas
from nst import StyleTransferError
from nst.canvas import Canvas
from nst.objective import Losses
from nst.optimize import Guard, Optimizer, Request
from nst.optimize_cuda import AHEAD, CudaOptimizer


class Event:
    def record(self):
        pass

    def synchronize(self):
        pass


class Bowl:
    """An objective that pulls a canvas to grey. The evaluations whose numbers are in `bad` return a NaN."""

    def __init__(self, bad=()):
        self.bad, self.evaluations = bad, 0

    def evaluate(self, pixels):
        self.evaluations += 1
        gap = pixels - 0.5
        loss = gap.square().mean() * (float("nan") if self.evaluations in self.bad else 1.0)
        zero = torch.zeros(())
        return Losses(loss, zero, loss, zero, 2 * loss), 4 * gap / gap.numel()


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(CudaOptimizer, "_record", lambda optimizer: optimizer._step_on_gpu)


def grey_noise(kind="pyramid"):
    return Canvas(torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)), kind)


def run(optimizer, steps, pictures=(), stop_after=None):
    """Return the results of all steps, and the numbers of the steps in the order in which they were launched."""
    launched = []

    def after_step(number):
        launched.append(number)
        return Request(picture=number in pictures, stop=number == stop_after)

    return list(optimizer.run(steps, after_step)), launched


def assert_same(results, others, optimizer, other):
    """Equal up to the rounding of the learning rate, which a GPU holds as float32."""
    losses, other_losses = (torch.tensor([result.losses for result in part]) for part in (results, others))
    torch.testing.assert_close(losses, other_losses, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(optimizer.canvas.pixels(), other.canvas.pixels(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", nst.canvas.KINDS)
def test_steps_launched_ahead_are_the_same_steps(kind):
    plain = Optimizer(Bowl(), grey_noise(kind), 0.03, Guard(1.0))
    ahead = CudaOptimizer(Bowl(), grey_noise(kind), 0.03, Guard(1.0))
    (results, launched), (results_ahead, launched_ahead) = run(plain, 12, {3, 7}), run(ahead, 12, {3, 7})
    assert_same(results, results_ahead, plain, ahead)
    assert launched == launched_ahead == list(range(1, 13))
    for number, (a, b) in enumerate(zip(results, results_ahead, strict=True), 1):
        assert (a.picture is None) == (b.picture is None) == (number not in {3, 7})
        assert a.picture is None or (a.picture.int() - b.picture.int()).abs().max() <= 1


def test_up_to_five_steps_are_under_way():
    optimizer = CudaOptimizer(Bowl(), grey_noise(), 0.03, Guard(1.0))
    under_way = [optimizer.launched - number for number, _ in enumerate(optimizer.run(12, lambda _: Request()))]
    assert under_way == [AHEAD + 1] * (12 - AHEAD) + list(range(1, AHEAD + 1))[::-1]


@pytest.mark.parametrize("make", [Optimizer, CudaOptimizer])
@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_a_stop_makes_its_step_the_last(make, stop_after):
    optimizer = make(Bowl(), grey_noise(), 0.03, Guard(1.0))
    results, launched = run(optimizer, 12, stop_after=stop_after)
    assert len(results) == stop_after and launched == list(range(1, stop_after + 1))


@pytest.mark.parametrize("bad, factor", [({6}, 0.5), ({6, 6 + AHEAD + 1}, 0.25), ({6, 15}, 0.25), ({2}, 0.5)])
def test_steps_launched_after_one_that_went_too_far_are_undone_with_it(bad, factor):
    """`bad` counts evaluations. Those under way behind a bad one are evaluated in vain, and evaluated again."""
    guard = Guard(1.0)
    optimizer = CudaOptimizer(Bowl(bad), grey_noise(), 0.03, guard)
    results, _ = run(optimizer, 12)
    assert len(results) == optimizer.launched == 12 and guard.rate_factor == factor
    # Two bad evaluations in a row make one note.
    assert sum(bool(result.note) for result in results) == len(bad) - (6 + AHEAD + 1 in bad)
    # The plain optimizer evaluates the same pictures, one at a time: only the bad evaluation itself is in vain.
    plain_bad = {number - index * AHEAD for index, number in enumerate(sorted(bad))}
    plain = Optimizer(Bowl(plain_bad), grey_noise(), 0.03, Guard(1.0))
    assert_same(run(plain, 12)[0], results, plain, optimizer)


def test_a_run_that_is_bad_from_the_start_ends_with_an_error():
    with pytest.raises(StyleTransferError, match="step 1: lower the weights"):
        run(CudaOptimizer(Bowl({1}), grey_noise(), 0.03, Guard(1.0)), 3)
    with pytest.raises(StyleTransferError, match="lower the weights or the learning rate"):
        run(CudaOptimizer(Bowl(set(range(4, 400))), grey_noise(), 0.03, Guard(1.0)), 9)


def test_the_tensors_of_a_canvas_are_all_that_an_update_changes():
    canvas = grey_noise()
    before = copy.deepcopy(canvas.tensors())
    canvas.update(torch.randn(1, 3, 24, 32), 0.1)
    after = canvas.tensors()
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for current, earlier in zip(after, before, strict=True):
        current.copy_(earlier)
    fresh = grey_noise()
    for each in (canvas, fresh):
        each.update(torch.ones(1, 3, 24, 32), 0.1)
    assert torch.equal(canvas.pixels(), fresh.pixels())
