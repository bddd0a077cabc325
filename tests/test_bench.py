"""The bench's baseline computes what the app computes, its counts are torch's own, and its report is well-formed.

No figure is tested: machines differ.
"""

import itertools
import json
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nst.baseline import PlainLoop
from nst.engine.hardware import choose_hardware
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.settings import StyleSettings
from nst.tools import benchmark as bench
from nst.tools.benchmark import Target

CLASSIC = StyleSettings.preset("classic", precision="float32", device="cpu")


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return torch.rand(1, 3, 48, 64), torch.rand(1, 3, 48, 64)


@pytest.fixture(scope="module")
def loop(pair):
    return PlainLoop(load_backbone("cifar100"), CLASSIC, *pair)


def test_the_plain_loop_has_the_same_loss_and_gradient(pair, loop):
    content, style = pair
    extractor = build_extractor(load_backbone("cifar100"), CLASSIC, choose_hardware("cpu", "float32"))
    pixels = torch.rand(1, 3, 48, 64)
    losses, gradient = Objective(extractor, CLASSIC, content, [(style, 1.0, None)]).evaluate(pixels)
    plain_loss, plain_gradient = loop.evaluate(pixels)
    assert plain_loss == pytest.approx(losses.total.item(), rel=1e-4)
    assert (plain_gradient - gradient).norm() < 1e-3 * gradient.norm()


def test_lbfgs_descends_and_counts_evaluations(pair, loop):
    rows = loop.lbfgs(pair[0], 12)
    losses = [row["loss"] for row in rows]
    assert len(rows) == 12 and losses == sorted(losses, reverse=True) and losses[-1] < 0.7 * losses[0]
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))


def test_operations_are_those_that_torch_counts(loop):
    with FlopCounterMode(display=False) as counter:
        pixels = torch.rand(1, 3, 48, 64, requires_grad=True)
        features = loop._features(pixels)
        torch.autograd.grad(features[loop.layers[-1]].sum(), pixels)
    assert bench._operations(64, 48, loop.layers) == counter.get_total_flops()


@pytest.mark.parametrize("value, sense, met", [(3, ">=", True), (1, ">=", False), (1, "<=", True), (None, "<=", None)])
def test_a_target_says_whether_it_is_met(value, sense, met):
    target = Target("x", value, 2, sense)
    assert target.met is met
    assert ("MISSED" in bench.row(target)) == (met is False)


def test_turns_are_taken_and_medians_told():
    called = []
    seconds = bench.in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, turns=3)
    assert called == list("ab") * 4 and set(seconds) == {"a", "b"}


def test_json_is_one_object_and_a_second_run_builds_nothing():
    command = [sys.executable, "-m", "nst.tools.benchmark", "--json", "--only", "again"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert set(report) == {"machine", "versions", "targets"}
    assert report["targets"][0] == {"name": "targets built by a second run", "value": 0.0, "goal": 0, "sense": "<=",
                                    "note": "", "met": True}  # fmt: skip
