"""Small trainings: labelled pictures of four colours, flags of a short run, and `train.py` with a narrow network."""

import csv
import json
import re
from pathlib import Path

import numpy as np

from helpers.shell import ROOT

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASS_COLOURS = {"sky": (60, 120, 240), "grass": (40, 180, 40), "brick": (220, 50, 30), "snow": (245, 245, 245)}
# All values are written out, so that another default recipe changes nothing in the tests.
SMALL_TRAINING = [
    "--size", 32, "--start-size", 32, "--batch-size", 16, "--optimizer", "adamw", "--lr", 1e-3, "--schedule",
    "one-cycle", "--weight-decay", 0.05, "--label-smoothing", 0.1, "--pooling", "average", "--augment",
    "--dataset-name", "colours", "--device", "cpu", "--precision", "float32",
]  # fmt: skip
NARROW = 1 / 8  # the width of networks for everything that does not depend on the number of channels


def coloured(name: str, number: int, side: int = 32) -> np.ndarray:
    """Return picture `number` of the class `name`: its colour with noise, (side, side, 3) uint8."""
    noise = np.random.default_rng([*name.encode(), number]).normal(0, 20, (side, side, 3))
    return (np.array(CLASS_COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)


def write_table(folder: Path, *rows: tuple, name: str = "train.csv") -> Path:
    with open(folder / name, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def write_narrow_program(path: Path, before: str = "") -> Path:
    """Write to `path` a program that is train.py with a narrow network, after the code `before`. Return `path`."""
    path.write_text(
        f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n{before}\nimport train\n\ntrain.main(width={NARROW})\n"
    )
    return path


def metrics_rows(run: Path) -> list[dict]:
    """Return the rows of a run's metrics.jsonl, one for each epoch."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(first: Path, second: Path) -> None:
    """Compare two safetensors files: the same keys, and every tensor equal bit by bit."""
    import torch
    from safetensors.torch import load_file

    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def train_py_refusal(result) -> str:
    """Check that train.py refused with one line and nothing on stdout. Return that line."""
    assert (result.code, result.stdout) == (1, ""), result.stderr
    assert re.fullmatch(r"train\.py: [^\n]+\n", result.stderr), result.stderr
    return result.stderr
