"""The benchmark's counts, turns and report. No figure is tested: machines differ."""

import itertools
import json
import subprocess
import sys

import pytest
import torch

from nst.bench import table_row
from nst.layers import CHANNELS, layer_stride
from nst.models.checkpoints import load_backbone
from nst.reference import Reference
from nst.tools.benchmark.measurements import Target
from nst.tools.benchmark.timing import count_convolution_operations, median_seconds, run_lbfgs


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return torch.rand(1, 3, 48, 64), torch.rand(1, 3, 48, 64)


@pytest.fixture(scope="module")
def reference(pair):
    return Reference(*pair, load_backbone("cifar100"))


def test_lbfgs_descends_and_counts_evaluations(pair, reference):
    rows = run_lbfgs(reference, pair[0], 12)
    losses = [row["loss"] for row in rows]
    assert len(rows) == 12 and losses == sorted(losses, reverse=True) and losses[-1] < 0.7 * losses[0]
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))


def test_operations_are_two_for_each_product_of_a_direct_convolution_in_each_direction(pair, reference):
    count, inputs = 0, 3
    for layer in reference.layers:
        positions = (64 // layer_stride(layer)) * (48 // layer_stride(layer))
        count += 2 * 9 * inputs * CHANNELS[layer] * positions
        inputs = CHANNELS[layer]
    assert count_convolution_operations(reference, pair[0]) == 2 * count


@pytest.mark.parametrize("value, sense, met", [(3, ">=", True), (1, ">=", False), (1, "<=", True), (None, "<=", None)])
def test_a_target_says_whether_it_is_met(value, sense, met):
    target = Target("x", value, 2, sense)
    assert target.met is met
    assert ("MISSED" in table_row(target)) == (met is False)


def test_compared_work_takes_turns_after_a_warm_up():
    calls = []
    seconds = median_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=3)
    assert calls == list("ab") * 4 and set(seconds) == {"a", "b"}


@pytest.mark.slow
def test_json_is_one_object_and_a_second_run_builds_nothing():
    command = [sys.executable, "-m", "nst.bench", "--json", "--only", "again"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert set(report) == {"machine", "versions", "targets"}
    assert report["targets"][0] == {"name": "targets built by a second run", "value": 0.0, "goal": 0, "sense": "<=",
                                    "note": "", "met": True}  # fmt: skip
