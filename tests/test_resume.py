"""A training is stopped, killed, short of disk space or diverging; then it is resumed.

The networks are narrow, so their states are small. Every bit of the weights must still be the same.
"""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers.shell import ENVIRONMENT, ROOT, shell
from helpers.training import (
    NARROW,
    SMALL_TRAINING,
    assert_same_weights,
    metrics_rows,
    train_py_refusal,
    write_narrow_program,
    write_table,
)
from nst.engine.hardware import choose_hardware
from nst.models.checkpoints import read_metadata
from nst.training import trainer as training
from nst.training.recipes import Recipe
from nst.training.trainer import Trainer

pytestmark = pytest.mark.slow

THREE = [*SMALL_TRAINING, "--epochs", 3]


def into(runs: Path, name: str) -> list:
    """Return the flags that name the run's folder and its checkpoint."""
    return ["--run", runs / name, "--output", runs / f"{name}.safetensors"]


@pytest.fixture(scope="module")
def whole(tables, runs):
    """Train for three epochs of three steps without interruption."""
    result = shell(write_narrow_program(runs / "narrow.py"), "--data", tables, *into(runs, "whole"), *THREE)
    assert result.returncode == 0, result.stderr
    return result


def assert_as_whole(runs: Path, name: str) -> None:
    """Check that the run `name` ended as the uninterrupted one did, and that it left no unfinished file."""
    assert_same_weights(runs / f"{name}.safetensors", runs / "whole.safetensors")
    rows, expected = metrics_rows(runs / name), metrics_rows(runs / "whole")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for key in ("test_top1", "test_loss"):
        assert [row[key] for row in rows] == [row[key] for row in expected]
    assert sorted(path.name for path in (runs / name).iterdir()) == ["metrics.jsonl", "state.pt"]


def saved_step(run: Path) -> int:
    return torch.load(run / "state.pt", weights_only=True)["step"]


# Ctrl-C


SLOW = """
import time
import nst.training.trainer

step = nst.training.trainer.Trainer.train_step
nst.training.trainer.Trainer.train_step = lambda *arguments: (time.sleep(0.3), step(*arguments))[1]
"""
OFTEN = """
import itertools, time

hours = itertools.count(0, 3600)
time.monotonic = lambda: next(hours)  # so that the state is saved after every step
"""


def start(program: Path, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *map(str, [program, *arguments])], cwd=ROOT, env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_resumed_after_a_signal_exports_the_same_weights(whole, tables, runs, train_narrow, number, status):
    shutil.rmtree(runs / "parts", ignore_errors=True)
    (runs / "parts.safetensors").unlink(missing_ok=True)
    arguments = ["--data", tables, *into(runs, "parts"), *THREE]
    process = start(write_narrow_program(runs / "slow.py", SLOW), *arguments)
    try:
        assert json.loads(process.stderr.readline())["epoch"] == 1
        wait_for(runs / "parts" / "state.pt", process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status, stderr
    stopped = re.fullmatch(r"Stopped after step (\d+) of 9; continue with --resume\.", stderr.splitlines()[-1])
    assert stopped and "Traceback" not in stderr, stderr
    assert 3 <= int(stopped[1]) < 9 and saved_step(runs / "parts") == int(stopped[1])
    assert not (runs / "parts.safetensors").exists()
    result = train_narrow(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["loss"] == json.loads(whole.stdout)["loss"]
    assert_as_whole(runs, "parts")


def stop_at(monkeypatch, number: int) -> None:
    """Send Ctrl-C while step `number`, counted from 1, is being computed."""
    original = Trainer.train_step

    def step(*arguments):
        step.count += 1
        if step.count == number:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    step.count = 0
    monkeypatch.setattr(Trainer, "train_step", step)


def test_a_run_resumed_from_an_earlier_state_exports_the_same_weights(whole, tables, runs, train_narrow, monkeypatch):
    """After a crash the saved state may be older than the metrics: the epochs after it are trained again."""
    arguments = ["--data", tables, *into(runs, "crashed"), *THREE]
    batches = []
    original = training.augment

    def recorded_augment(images, generator):
        batches.append([image.numpy().tobytes() for image in images])
        return original(images, generator)

    monkeypatch.setattr(training, "augment", recorded_augment)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        result = train_narrow(*arguments)
    assert result.code == 130 and "Stopped after step 4 of 9" in result.stderr
    shutil.copy(runs / "whole" / "metrics.jsonl", runs / "crashed")
    result = train_narrow(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert_as_whole(runs, "crashed")
    epochs = [[image for batch in batches[start : start + 3] for image in batch] for start in (0, 3, 6)]
    assert all(len(set(epoch)) == len(epoch) == 48 for epoch in epochs)  # each picture once
    assert epochs[0] != epochs[1] != epochs[2] and set(epochs[0]) == set(epochs[1])


def test_the_default_recipe_in_bf16_is_resumed_exactly(tables, runs, train_narrow, monkeypatch):
    """The recipe has its own optimizer, and bf16 has other memory layouts."""
    settings = ["--data", tables, "--batch-size", 16, "--epochs", 2, "--device", "cpu", "--precision", "bf16"]
    assert train_narrow(*settings, *into(runs, "bf16")).code == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        assert train_narrow(*settings, *into(runs, "bf16-parts")).code == 130
    assert saved_step(runs / "bf16-parts") == 2
    assert train_narrow(*settings, *into(runs, "bf16-parts"), "--resume").code == 0
    assert_same_weights(runs / "bf16-parts.safetensors", runs / "bf16.safetensors")


def test_ctrl_c_in_the_last_batch_of_an_epoch_loses_no_row(folders, runs, train_narrow, monkeypatch):
    arguments = ["--data", folders, *into(runs, "edge"), *SMALL_TRAINING, "--epochs", 2, "--batch-size", 24]
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        result = train_narrow(*arguments)
    assert result.code == 130 and "Stopped after step 2 of 4" in result.stderr
    assert [row["epoch"] for row in metrics_rows(runs / "edge")] == [1]
    assert not (runs / "edge.safetensors").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 2)  # the last step of all: nothing is left to stop
        result = train_narrow(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert [row["epoch"] for row in metrics_rows(runs / "edge")] == [1, 2]
    assert (runs / "edge.safetensors").exists()


# A killed process


KILLED = """
import io, os, signal
import torch

save = torch.save
saves = []

def killed_save(state, path):
    complete = io.BytesIO()
    save(state, complete)
    saves.append(path)
    if len(saves) == {number}:
        with open(path, "wb") as file:
            file.write(complete.getvalue()[: len(complete.getvalue()) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    save(state, path)

torch.save = killed_save
"""


@pytest.mark.parametrize(("often", "number", "step"), [("", 2, 3), (OFTEN, 5, 4)], ids=["epoch's end", "amid an epoch"])
def test_a_run_killed_while_it_writes_a_state_keeps_the_earlier_one(
    whole, tables, runs, train_narrow, often, number, step
):
    name = f"killed-{number}"
    program = write_narrow_program(runs / f"{name}.py", often + KILLED.format(number=number))
    result = shell(program, "--data", tables, *into(runs, name), *THREE)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert saved_step(runs / name) == step
    (unfinished,) = (runs / name).glob(".state*")
    assert 0 < unfinished.stat().st_size < 0.6 * (runs / name / "state.pt").stat().st_size
    result = train_narrow("--data", tables, *into(runs, name), *THREE, "--resume")
    assert result.code == 0, result.stderr
    assert_as_whole(runs, name)


def test_a_run_killed_while_it_writes_its_first_state_starts_again(whole, tables, runs, train_narrow):
    program = write_narrow_program(runs / "killed-1.py", KILLED.format(number=1))
    arguments = ["--data", tables, *into(runs, "killed-1"), *THREE]
    assert shell(program, *arguments).returncode == -signal.SIGKILL
    assert "nothing to resume" in train_py_refusal(train_narrow(*arguments, "--resume"))
    assert train_narrow(*arguments).code == 0
    assert_as_whole(runs, "killed-1")


def test_a_run_killed_at_a_random_moment_is_resumed_to_the_same_weights(whole, tables, runs, train_narrow, rng):
    arguments = ["--data", tables, *into(runs, "any"), *THREE]
    process = start(write_narrow_program(runs / "often.py", SLOW.replace("0.3", "0.05") + OFTEN), *arguments)
    try:
        wait_for(runs / "any" / "state.pt", process)
        moment = rng.uniform(0, 1.5)
        time.sleep(moment)
    finally:
        process.kill()
        process.communicate()
    step = saved_step(runs / "any")
    result = train_narrow(*arguments, "--resume")
    assert result.code == 0, f"killed after {moment} s, at step {step}: {result.stderr}"
    assert_as_whole(runs, "any")


# Divergence and a full disk


def test_a_diverging_training_stops_and_keeps_its_state(whole, tables, runs, train_narrow, monkeypatch):
    original = training.normalize

    def damaged(*arguments):
        x = original(*arguments)
        damaged.count += len(x) == 16  # a batch of training; the 16 test pictures after each epoch count too
        return x * float("nan") if damaged.count == 6 else x

    damaged.count = 0
    arguments = ["--data", tables, *into(runs, "diverged"), *THREE]
    with monkeypatch.context() as patch:
        patch.setattr(training, "normalize", damaged)
        result = train_narrow(*arguments)
    assert result.code == 1 and not result.stdout
    row, message = result.stderr.splitlines()  # the first epoch's row, and one line
    assert json.loads(row)["epoch"] == 1
    assert message.startswith("train.py: The loss") and "epoch 2" in message and str(runs / "diverged") in message
    assert saved_step(runs / "diverged") == 3 and not (runs / "diverged.safetensors").exists()
    result = train_narrow(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert_as_whole(runs, "diverged")


def test_a_learning_rate_far_too_high_is_an_error_of_one_line(tables, runs, train_narrow):
    result = train_narrow("--data", tables, *into(runs, "high"), *THREE, "--lr", 1e30, "--schedule", "constant")
    assert result.code == 1 and not result.stdout
    assert re.fullmatch(r"train\.py: The loss [^\n]+ epoch 1;[^\n]+ --lr\.\n", result.stderr), result.stderr
    assert not (runs / "high" / "state.pt").exists() and not (runs / "high.safetensors").exists()


@pytest.fixture
def full_disk():
    """Call it with a number of bytes: no file can grow beyond it, and writing fails as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no file size limit to set")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(whole, tables, runs, train_narrow, full_disk, monkeypatch):
    arguments = ["--data", tables, *into(runs, "full"), *THREE]
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert train_narrow(*arguments).code == 130
    before = (runs / "full" / "state.pt").read_bytes()
    full_disk(len(before) // 2)
    result = train_narrow(*arguments, "--resume")
    assert result.code == 1 and not result.stdout
    row, message = result.stderr.splitlines()
    assert json.loads(row)["epoch"] == 2 and message.startswith("train.py: state.pt: cannot be written (")
    assert (runs / "full" / "state.pt").read_bytes() == before
    full_disk(-1)
    assert train_narrow(*arguments, "--resume").code == 0
    assert_as_whole(runs, "full")
    checkpoint = (runs / "full.safetensors").read_bytes()
    full_disk(len(checkpoint) // 2)
    result = train_narrow(*arguments, "--resume")  # only the export is left
    assert "full.safetensors: cannot be written (" in train_py_refusal(result)
    assert (runs / "full.safetensors").read_bytes() == checkpoint
    assert not list(runs.glob(".full*"))


# Refusals


def test_a_state_is_not_overwritten_or_resumed_by_accident(whole, tables, runs, train_narrow):
    run = ["--data", tables, "--run", runs / "whole", "--output", runs / "other.safetensors", *THREE]
    before = (runs / "whole" / "state.pt").stat().st_mtime_ns
    assert "--resume" in train_py_refusal(train_narrow(*run))
    for flag, value in (("--lr", 0.5), ("--batch-size", 8), ("--epochs", 4), ("--seed", 1), ("--pooling", "max"),
                        ("--weight-decay", 0), ("--label-smoothing", 0.2), ("--size", 40), ("--start-size", 40),
                        ("--optimizer", "adam"), ("--schedule", "constant")):  # fmt: skip
        assert f"another {flag}: " in train_py_refusal(train_narrow(*run, flag, value, "--resume"))
    assert "another --augment: True" in train_py_refusal(train_narrow(*run, "--no-augment", "--resume"))
    assert (runs / "whole" / "state.pt").stat().st_mtime_ns == before
    assert not (runs / "other.safetensors").exists()


@pytest.mark.parametrize("change", ["classes", "pictures"])
def test_a_state_of_other_pictures_is_refused(whole, tables, runs, train_narrow, tmp_path, change):
    for split in ("train", "test"):
        with open(tables / f"{split}.csv", newline="") as file:
            rows = [(tables / image, label) for image, label in list(csv.reader(file))[1:]]
        rows = rows[:40] if change == "pictures" else [(image, "all") for image, _ in rows]
        write_table(tmp_path, ("image", "label"), *rows, name=f"{split}.csv")
    result = train_narrow("--data", tmp_path, "--run", runs / "whole", "--output", runs / "other.safetensors", *THREE,
                      "--resume")  # fmt: skip
    assert ("other classes" if change == "classes" else "pictures: 48") in train_py_refusal(result)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "another file"])
def test_a_state_that_cannot_be_resumed_is_refused_in_one_line(tables, tmp_path, train_narrow, damage):
    state = tmp_path / "run" / "state.pt"
    state.parent.mkdir()
    torch.save({"weights": torch.zeros(1000)}, state)
    data = state.read_bytes()
    state.write_bytes({"empty": b"", "text": b"step 3", "truncated": data[:500]}.get(damage, data))
    if damage == "missing":
        state.unlink()
    result = train_narrow("--data", tables, "--run", state.parent, "--output", tmp_path / "out.safetensors",
                      *SMALL_TRAINING, "--resume")  # fmt: skip
    assert ("nothing to resume" if damage == "missing" else "damaged training state") in train_py_refusal(result)
    assert not (tmp_path / "out.safetensors").exists()


# A start with another run's network


def test_a_run_starts_with_the_network_of_another(whole, tables, runs, train_narrow):
    start = ["--data", tables, *SMALL_TRAINING, "--epochs", 1, "--seed", 5, "--start-from", runs / "whole" / "state.pt"]
    assert train_narrow(*start, *into(runs, "started")).code == 0
    metadata = read_metadata(runs / "started.safetensors")
    assert metadata["recipe"]["epochs"] == 1 and metadata["started_from"]["epochs"] == 3
    earlier, (row,) = metrics_rows(runs / "whole"), metrics_rows(runs / "started")
    assert metadata["curve"] == [*earlier, row | {"epoch": 4}] and metadata["epochs"] == 4
    assert "started_from" not in read_metadata(runs / "whole.safetensors")
    assert metrics_rows(runs / "started")[0]["train_loss"] < metrics_rows(runs / "whole")[0]["train_loss"]
    assert train_narrow(*start, *into(runs, "started"), "--resume").code == 0  # the state names its origin
    assert read_metadata(runs / "started.safetensors")["started_from"] == metadata["started_from"]
    third = ["--data", tables, *SMALL_TRAINING, "--epochs", 1, "--start-from", runs / "started" / "state.pt"]
    assert train_narrow(*third, *into(runs, "third")).code == 0
    metadata = read_metadata(runs / "third.safetensors")
    assert [row["epoch"] for row in metadata["curve"]] == [1, 2, 3, 4, 5]
    assert "curve" not in str(metadata["started_from"])


def test_start_from_loads_only_the_network(whole, runs):
    images = torch.randint(0, 256, (48, 3, 32, 32), dtype=torch.uint8)
    state = torch.load(runs / "whole" / "state.pt", weights_only=True)
    classes = state["network"]["classifier.3.bias"].numel()
    recipe = Recipe(batch_size=16, optimizer="adam")
    trainer = Trainer(recipe, images, torch.zeros(48, dtype=torch.long), classes, choose_hardware("cpu", "float32"),
                      (0.5,) * 3, (0.5,) * 3, width=NARROW)  # fmt: skip
    assert trainer.start_from(runs / "whole" / "state.pt") == state["recipe"]
    assert all(torch.equal(value, state["network"][name]) for name, value in trainer.network.state_dict().items())
    assert trainer.step == 0 and not any(optimizer.state for optimizer in trainer.optimizers)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_layers_do_not_change_and_the_layers_above_learn(whole, runs, optimizer):
    state = torch.load(runs / "whole" / "state.pt", weights_only=True)["network"]
    recipe = Recipe(batch_size=16, optimizer=optimizer, freeze="conv2_1", pooling="average")
    images = torch.randint(0, 256, (48, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(48, dtype=torch.long)
    trainer = Trainer(recipe, images, labels, state["classifier.3.bias"].numel(), choose_hardware("cpu", "float32"),
                      (0.5,) * 3, (0.5,) * 3, width=NARROW)  # fmt: skip
    trainer.start_from(runs / "whole" / "state.pt")
    trainer.network.train()
    for _ in range(2):
        trainer.train_step(32)
    unchanged = {name for name, value in trainer.network.state_dict().items() if torch.equal(value, state[name])}
    below = {name for name in state if name.startswith("features.") and int(name.split(".")[1]) < 10}  # conv2_1's ReLU
    assert below <= unchanged
    weights = {name for name in state if name.endswith("weight")}
    assert unchanged & weights == below & weights


@pytest.mark.parametrize("damage", ["missing", "damaged", "other classes"])
def test_an_unusable_state_to_start_from_is_refused_in_one_line(whole, tables, runs, tmp_path, train_narrow,
                                                                      damage):  # fmt: skip
    state, data = tmp_path / "other.pt", (runs / "whole" / "state.pt").read_bytes()
    if damage != "missing":
        state.write_bytes(data[:500] if damage == "damaged" else data)
    if damage == "other classes":
        for split in ("train", "test"):
            with open(tables / f"{split}.csv", newline="") as file:
                rows = [(tables / image, "all") for image, _ in list(csv.reader(file))[1:]]
            write_table(tmp_path, ("image", "label"), *rows, name=f"{split}.csv")
    data = tmp_path if damage == "other classes" else tables
    result = train_narrow("--data", data, *into(tmp_path, "run"), *SMALL_TRAINING, "--start-from", state)
    message = {"missing": "no such training state", "damaged": "a damaged training state"}.get(damage, damage)
    assert state.name in train_py_refusal(result) and message in train_py_refusal(result)
