"""The benchmark's counts, turns and report. No figure is tested: machines differ."""

import itertools
import json
import math
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture
from nst.bench import table_row
from nst.estimation import Estimate
from nst.layers import CHANNELS, layer_stride
from nst.models.checkpoints import load_backbone
from nst.reference import Reference
from nst.stylization import Step
from nst.tools.benchmark import forecasts
from nst.tools.benchmark.target import Target
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


def test_forecasts_are_the_estimates_before_a_run_and_after_a_tenth_of_it(monkeypatch):
    """A run of 40 steps in which every step takes 2 s, after a sketch of 5 s; the estimates are wrong on purpose."""
    monkeypatch.setattr(forecasts, "estimate", lambda size, settings, backbone: Estimate(settings.size / 10, 0))

    def stylize(photo, painting, settings, preview_every):
        yield Step(0, 40, 0, *[math.nan] * 5, seconds=5.0, seconds_left=math.nan)
        for number in range(1, 41):
            yield Step(number, 40, 0, *[1.0] * 5, seconds=5.0 + 2 * number, seconds_left=(40 - number) * 3.0)

    monkeypatch.setattr(forecasts, "stylize", stylize)
    photo = Image.new("RGB", (8, 6))
    first, second = forecasts.compare_forecasts(photo, photo, sides=(64, 128), precisions=["float32"])
    assert (first.side, first.precision, first.before) == (64, "float32", 6.4)
    assert (second.side, second.before) == (128, 12.8)
    assert (first.early, first.real) == (5 + 8 + 36 * 3, 85)  # after step 4 of 40
    assert forecasts.ratio_of(2, 8) == forecasts.ratio_of(8, 2) == 4


@pytest.mark.slow
def test_forecasts_of_real_runs_are_times(random_checkpoint):
    pair = make_picture(80, 60, 1), make_picture(60, 80, 2)
    started = time.perf_counter()
    runs = list(forecasts.compare_forecasts(*pair, sides=(64, 128), precisions=["float32"], steps=10,
                                            backbone=str(random_checkpoint)))  # fmt: skip
    seconds = time.perf_counter() - started
    assert [run.side for run in runs] == [64, 128]
    assert 0.3 * seconds < sum(run.real for run in runs) < seconds
    assert all(run.before > 0 and run.early > 0 for run in runs)


@pytest.mark.slow
def test_json_is_one_object_and_a_second_run_builds_nothing():
    command = [sys.executable, "-m", "nst.bench", "--json", "--only", "again"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert set(report) == {"machine", "versions", "targets"}
    assert report["targets"][0] == {"name": "targets built by a second run", "value": 0.0, "goal": 0, "sense": "<=",
                                    "note": "", "met": True}  # fmt: skip
