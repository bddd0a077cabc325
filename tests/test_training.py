"""`train.py` on a few pictures: its files, its measures and its refusals; the recipes; steps against their formulas."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.shell import shell
from helpers.training import (
    CLASS_COLOURS,
    MEAN,
    NARROW,
    SMALL_TRAINING,
    STD,
    coloured,
    metrics_rows,
    train_py_refusal,
    write_narrow_program,
    write_table,
)
from nst.engine.hardware import choose_hardware
from nst.training import trainer as training
from nst.training.data import normalize, open_split
from nst.training.recipes import RECIPES, Recipe, choose_recipe, picture_size, schedule
from nst.training.trainer import Trainer, autocast, evaluate

CPU = choose_hardware("cpu", "float32")


# In a shell


@pytest.fixture(scope="module")
def whole(tables, runs):
    """Train for three epochs of three steps."""
    result = shell(
        "train.py", "--data", tables, "--run", runs / "whole", "--output", runs / "whole.safetensors", "--epochs", 3,
        *SMALL_TRAINING,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_training_writes_a_row_for_each_epoch_and_learns(whole, runs):
    rows = metrics_rows(runs / "whole")
    assert [(row["epoch"], row["size"]) for row in rows] == [(1, 32), (2, 32), (3, 32)]
    losses = [row["train_loss"] for row in rows]
    assert losses[-1] < 0.9 * losses[0] and rows[-1]["train_top1"] > 50  # four classes
    assert all(row["images_per_second"] > 0 and 0 <= row["test_top1"] <= row["test_top5"] <= 100 for row in rows)


@pytest.mark.slow
def test_the_exported_checkpoint_is_small_and_describes_itself(whole, runs):
    path = runs / "whole.safetensors"
    assert path.stat().st_size < 45e6
    with safe_open(path, "np") as file:
        keys, metadata = set(file.keys()), {k: json.loads(v) for k, v in file.metadata().items() if k != "format"}
    assert not [key for key in keys if "running" in key]
    assert metadata["dataset"] == "colours" and metadata["classes"] == sorted(CLASS_COLOURS)
    assert (metadata["epochs"], metadata["image_size"], metadata["pooling"]) == (3, 32, "average")
    assert metadata["recipe"]["lr"] == 1e-3 and tuple(metadata["mean"]) == MEAN and tuple(metadata["std"]) == STD
    assert metadata["pictures"] == 48 and metadata["curve"] == metrics_rows(runs / "whole")
    assert "torch " + torch.__version__ in metadata["made_on"]
    assert (whole.stdout.count("\n"), json.loads(whole.stdout)["top1"]) == (1, metadata["top1"])
    assert np.mean(list(metadata["top1_by_class"].values())) == pytest.approx(metadata["top1"], abs=0.01)
    assert sorted(metadata["top1_by_class"]) == metadata["classes"]
    assert path.with_suffix(".svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_torchvisions_vgg19_measures_the_same_accuracy_and_loss(whole, runs):
    """torchvision's network loads the exported weights, and this test computes accuracy and cross entropy."""
    weights = {key: value.float() for key, value in load_file(runs / "whole.safetensors").items()}
    features = torchvision.models.vgg19(weights=None, init_weights=False).features
    for index, layer in enumerate(features):
        if isinstance(layer, torch.nn.MaxPool2d):
            features[index] = torch.nn.AvgPool2d(2)
    features.load_state_dict({k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")})
    names = sorted(CLASS_COLOURS)
    pixels = np.stack([coloured(name, number) for number in range(100, 104) for name in names])
    labels = torch.arange(4).repeat(4)
    x = torch.from_numpy((pixels / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        hidden = F.linear(features(x).mean((2, 3)), weights["classifier.0.weight"], weights["classifier.0.bias"])
        logits = F.linear(hidden.relu(), weights["classifier.3.weight"], weights["classifier.3.bias"])
    top1 = 100 * (logits.argmax(1) == labels).float().mean().item()
    loss = -logits.log_softmax(1)[torch.arange(16), labels].mean().item()
    with safe_open(runs / "whole.safetensors", "np") as file:
        by_class = json.loads(file.metadata()["top1_by_class"])
    for number, name in enumerate(names):
        accuracy = (logits.argmax(1) == labels)[labels == number].double().mean().item()
        assert by_class[name] == pytest.approx(100 * accuracy, abs=0.01)
    printed = json.loads(whole.stdout)
    assert printed["top1"] == pytest.approx(top1, abs=0.01) and printed["top5"] == 100
    assert printed["loss"] == pytest.approx(loss, abs=2e-3)


@pytest.mark.slow
def test_evaluate_prints_one_line_of_json(whole, runs, folders):
    path = runs / "whole.safetensors"
    before = path.read_bytes()
    result = shell("train.py", "--evaluate", path, "--data", folders, "--device", "cpu")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1), result.stderr
    measured, trained = json.loads(result.stdout), json.loads(whole.stdout)
    assert (measured["pictures"], measured["checkpoint"]) == (16, path.name)
    assert [measured[key] for key in ("top1", "top5", "loss")] == [trained[key] for key in ("top1", "top5", "loss")]
    assert path.read_bytes() == before


# Refusals


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--epochs", 0), ("--batch-size", 0), ("--lr", 0), ("--lr", "nan"), ("--size", 31), ("--start-size", 8),
     ("--weight-decay", -1), ("--label-smoothing", 1), ("--device", "tpu"), ("--precision", "int8"),
     ("--optimizer", "sgd"), ("--schedule", "cosine"), ("--pooling", "median"), ("--crop", 0), ("--freeze", "conv9_1")],
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_line(tables, tmp_path, train_py, flag, value):
    run, output = tmp_path / "run", tmp_path / "out.safetensors"
    train_py_refusal(train_py("--data", tables, "--run", run, "--output", output, *SMALL_TRAINING, flag, value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no folder", "no such data folder"),
        ("nothing in it", "found neither train.csv"),
        ("no test split", "found neither test.csv"),
        ("no such column", "no column 'label'"),
        ("missing picture", "train.csv, row 3: gone.png"),
        ("unknown label", "test.csv, row 2: label 'b'"),
        ("loose pictures", "holds no pictures"),
    ],
)
def test_unusable_data_is_refused_in_one_line(tmp_path, train_py, problem, message):
    data = tmp_path / "data"
    if problem != "no folder":
        data.mkdir()
        make_picture(32, 32).save(data / "good.png")
    train = {
        "no test split": [("image", "label"), ("good.png", "a")],
        "no such column": [("image", "class"), ("good.png", "a")],
        "missing picture": [("image", "label"), ("good.png", "a"), ("gone.png", "a")],
        "unknown label": [("image", "label"), ("good.png", "a")],
    }
    if problem in train:
        write_table(data, *train[problem])
    if problem in ("missing picture", "unknown label"):
        write_table(data, ("image", "label"), ("good.png", "b" if problem == "unknown label" else "a"), name="test.csv")
    if problem == "loose pictures":
        (data / "train").mkdir()
        shutil.move(data / "good.png", data / "train")
    assert message in train_py_refusal(train_py("--data", data, "--run", tmp_path / "run", *SMALL_TRAINING))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_broken_picture_is_refused_in_one_line_in_a_shell(tables, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    good = tables / "train_pictures" / "sky, 0.png"
    for name in ("train.csv", "test.csv"):
        write_table(tmp_path, ("image", "label"), (good, "a"), ("broken.png", "a"), name=name)
    result = shell("train.py", "--data", tmp_path, "--run", tmp_path / "run", *SMALL_TRAINING)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"train\.py: train\.csv, row 3: broken\.png: [^\n]+\n", result.stderr), result.stderr


@pytest.mark.parametrize(
    "output, message",
    [
        ("data/train.csv", "one of the inputs"),
        ("link.safetensors", "one of the inputs"),
        ("state.pt", "one of the inputs"),
        ("photo.png", "no checkpoint"),
        ("photo.safetensors", "photo.svg: the training curves"),
    ],
)
def test_a_training_never_writes_over_inputs_or_files_of_another_kind(tables, tmp_path, train_py, output, message):
    (tmp_path / "data").mkdir()
    shutil.copy(tables / "train.csv", tmp_path / "data")
    shutil.copy(tables / "test.csv", tmp_path / "data")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "data" / "test.csv")
    (tmp_path / "state.pt").write_bytes(b"a network")
    make_picture(32, 32).save(tmp_path / "photo.png")
    (tmp_path / "photo.svg").write_text("<svg>a drawing</svg>")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    arguments = ["--data", tmp_path / "data", "--run", tmp_path / "run", "--start-from", tmp_path / "state.pt"]
    assert message in train_py_refusal(train_py(*arguments, "--output", tmp_path / output, *SMALL_TRAINING))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_metrics_of_another_kind_are_kept(tables, tmp_path, train_py):
    (tmp_path / "metrics.jsonl").write_text("my own notes")
    output = tmp_path / "out.safetensors"
    result = train_py("--data", tables, "--run", tmp_path, "--output", output, *SMALL_TRAINING)
    assert "another folder for --run" in train_py_refusal(result)
    assert (tmp_path / "metrics.jsonl").read_text() == "my own notes"


def test_evaluating_a_missing_checkpoint_is_refused_in_one_line(tables, tmp_path, train_py):
    result = train_py("--evaluate", tmp_path / "no.safetensors", "--data", tables)
    assert "no such checkpoint" in train_py_refusal(result)


def test_evaluating_at_a_size_that_is_too_small_is_refused(random_checkpoint, tables, train_py):
    for size in (0, 31, -3):
        assert "--size" in train_py_refusal(train_py("--evaluate", random_checkpoint, "--data", tables, "--size", size))


@pytest.mark.parametrize("arguments", [[], ["--resume"], ["--evaluate", "any.safetensors"], ["--download"],
                                    ["--evaluate", "any.safetensors", "--push-to-hub", "owner/name"]])  # fmt: skip
def test_a_task_that_needs_pictures_is_refused_without_data(train_py, arguments):
    assert "--data is missing" in train_py_refusal(train_py(*arguments))


@pytest.mark.slow
def test_the_benchmark_prints_one_line_of_json(tmp_path):
    result = shell(write_narrow_program(tmp_path / "narrow.py"), "--benchmark", "--size", 32, "--batch-size", 8,
                   "--device", "cpu")  # fmt: skip
    assert (result.returncode, result.stdout.count("\n")) == (0, 1), result.stderr
    figures = json.loads(result.stdout)
    assert figures["plain_float32"] > 0 and figures["ours"] > 0 and figures["ratio"] > 0
    assert figures["ratio"] == pytest.approx(figures["ours"] / figures["plain_float32"], rel=0.05)
    assert (figures["size"], figures["batch"]) == (32, 8)


# Recipes


@pytest.mark.parametrize("name", ["", "Default", "nothing", None])
def test_an_unknown_recipe_is_refused_in_one_line(name):
    assert "default, seed" in refusal(choose_recipe, name)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("epochs", [0, -1, 2.0, "3", True, None]),
        ("batch_size", [0, 1.5, "many"]),
        ("size", [31, 0, 64.0]),
        ("start_size", [15, -32]),
        ("lr", [0, -1e-3, float("nan"), float("inf"), "0.1", None, False]),
        ("weight_decay", [-0.1, float("nan"), float("inf")]),
        ("label_smoothing", [-0.1, 1, 1.5, float("nan")]),
        ("optimizer", ["sgd", "", 3]),
        ("schedule", ["cosine", None]),
        ("pooling", ["median", ["max"]]),
        ("augment", [1, "yes", None]),
        ("crop", [0, 1.1, -0.5, float("nan"), "half"]),
        ("freeze", ["conv3", "all", None]),
        ("seed", [0.5, "0"]),
    ],
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_wrong_settings_are_refused_in_one_line_that_names_them(recipe, setting, values):
    for value in values:
        assert "--" + setting.replace("_", "-") in refusal(choose_recipe, recipe, **{setting: value})


def test_settings_can_be_changed_one_by_one():
    for name, recipe in RECIPES.items():
        changed = choose_recipe(name, epochs=3, lr=1, augment=not recipe.augment)
        assert (changed.epochs, changed.lr, changed.augment) == (3, 1, not recipe.augment)
        assert dataclasses.replace(changed, epochs=recipe.epochs, lr=recipe.lr, augment=recipe.augment) == recipe


@pytest.mark.slow
def test_every_recipe_can_be_chosen_in_the_shell(tables, tmp_path, train_narrow):
    for name, recipe in RECIPES.items():
        run, output = tmp_path / name, tmp_path / f"{name}.safetensors"
        result = train_narrow("--data", tables, "--run", run, "--output", output, "--recipe", name, "--epochs", 1,
                          "--size", 32, "--start-size", 32, "--no-augment", "--device", "cpu")  # fmt: skip
        assert result.code == 0, result.stderr
        with safe_open(output, "np") as file:
            written = json.loads(file.metadata()["recipe"])
        assert written == dataclasses.asdict(recipe) | {"epochs": 1, "size": 32, "start_size": 32, "augment": False}


def test_the_seed_recipe_keeps_its_plain_settings():
    """All other recipes are compared with it, so its settings must not change."""
    recipe = choose_recipe("seed")
    assert (recipe.epochs, recipe.batch_size, recipe.size, recipe.start_size) == (20, 25, 224, 224)
    assert (recipe.optimizer, recipe.lr, recipe.schedule, recipe.weight_decay) == ("adam", 1e-3, "constant", 0)
    assert (recipe.label_smoothing, recipe.augment, recipe.pooling) == (0, False, "max")


def one_cycle(**changes) -> Recipe:
    return choose_recipe("default", schedule="one-cycle", **changes)


def test_the_learning_rate_rises_to_its_peak_once_and_falls_to_zero():
    rates = [schedule(step, 200, one_cycle()) for step in range(200)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(1) and 28 <= peak <= 31
    np.testing.assert_allclose(np.diff(rates[:30]), 1 / 30)
    assert np.all(np.diff(rates[peak + 1 :]) < 0) and 0 < rates[-1] < 1e-3
    assert rates[115] == pytest.approx(0.5, rel=1e-6)  # half-way down the slope
    assert schedule(0, 1, one_cycle()) == pytest.approx(1)


def test_a_constant_learning_rate_is_constant():
    assert {schedule(step, 50, choose_recipe("seed")) for step in range(50)} == {1}


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 8, 20])
def test_pictures_grow_to_their_full_size(epochs):
    sizes = [picture_size(epoch, one_cycle(epochs=epochs, start_size=32, size=100)) for epoch in range(epochs)]
    assert sizes == sorted(sizes) and sizes[-1] == 100
    assert sizes[0] == 32 or epochs == 1
    assert set(sizes) <= {32, 56, 100}  # 56 is near the geometric mean of 32 and 100
    assert {picture_size(epoch, choose_recipe("seed", epochs=epochs)) for epoch in range(epochs)} == {224}


def test_each_size_takes_about_the_same_time():
    """The time of an epoch is proportional to the area."""
    sizes = [picture_size(epoch, choose_recipe("default", start_size=24, size=48)) for epoch in range(20)]
    times = [side**2 * sizes.count(side) for side in sorted(set(sizes))]
    assert sorted(set(sizes)) == [24, 32, 48]
    assert max(times) < 1.2 * min(times)


def test_the_start_size_gets_the_epochs_of_an_equal_middle_size():
    sizes = [picture_size(epoch, choose_recipe("default", start_size=32, size=40)) for epoch in range(20)]
    assert sizes == 15 * [32] + 5 * [40]


# Steps


def dots(count: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count` pictures of random dots, and labels of four classes."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % 4


@pytest.mark.parametrize("settings", [
    {"optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "label_smoothing": 0.0},
    {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.3, "label_smoothing": 0.2},
])  # fmt: skip
def test_training_steps_equal_the_formulas_of_the_papers(settings, monkeypatch):
    """The formulas: algorithm 1 of Kingma & Ba, the decay of Loshchilov & Hutter, and the smoothed cross entropy."""
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    # Adam's first steps follow the gradient's sign: Winograd's rounding of a zero would be a whole step.
    monkeypatch.setattr(training, "TrainedConv2d", torch.nn.Conv2d)
    images, labels = dots(10)
    recipe = choose_recipe("seed", size=32, start_size=32, batch_size=5, epochs=1, **settings)
    trainer = Trainer(recipe, images, labels, 4, CPU, MEAN, STD, width=NARROW)
    trainer.network.classifier[2].p = 0.0  # dropout
    trainer.network.train()
    weights = {name: p.detach().clone().requires_grad_() for name, p in trainer.network.named_parameters()}
    first = dict.fromkeys(weights, 0.0)
    second = dict.fromkeys(weights, 0.0)
    buffers = {name: b.clone() for name, b in trainer.network.named_buffers()}
    for step in (1, 2):
        part = slice(5 * step - 5, 5 * step)
        x = (images[part] / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        log = torch.func.functional_call(trainer.network, (weights, buffers), x).log_softmax(1)
        smooth = recipe.label_smoothing
        losses = -(1 - smooth) * log[range(5), labels[part]] - smooth * log.mean(1)
        gradients = torch.autograd.grad(losses.mean(), list(weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                mean, deviation = first[name] / (1 - 0.9**step), (second[name] / (1 - 0.999**step)).sqrt()
                decay = recipe.weight_decay if weight.dim() > 1 else 0.0
                weight.sub_(recipe.lr * decay * weight + recipe.lr * mean / (deviation + 1e-8))
        loss, correct = trainer.train_step(32)
        assert loss.item() == pytest.approx(losses.sum().item(), rel=1e-5)
        assert correct.item() == (log.argmax(1) == labels[part]).sum().item()
    parameters = dict(trainer.network.named_parameters())
    # The gradient of a bias before batch norm is only rounding, which Adam turns into whole steps.
    without_gradient = {id(convolution.bias) for convolution in trainer.network.convolutions().values()}
    for name, weight in weights.items():
        wrong = (parameters[name] - weight).abs() > 1e-5
        assert id(parameters[name]) in without_gradient or wrong.double().mean() < 1e-3, name


@pytest.mark.slow
def test_a_step_of_the_seed_recipe_at_224_px_changes_every_weight():
    images, labels = dots(2)
    trainer = Trainer(choose_recipe("seed"), images, labels, 100, CPU, MEAN, STD)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.network.train()
    loss, correct = trainer.train_step(picture_size(0, trainer.recipe))
    assert loss.isfinite() and loss > 0 and correct in (0, 1, 2)
    for name, weight in trainer.network.named_parameters():
        assert weight.isfinite().all(), name
        assert name.endswith("bias") or not torch.equal(weight, before[name]), name


def hundred_classes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count` pictures of each of 100 classes: a square and a ground in one of ten colours each, and noise."""
    colours = 255 * torch.tensor([
        (0, 0, 0), (1, 1, 1), (1, 0, 0), (1, 0.5, 0), (1, 1, 0), (0, 0.8, 0), (0, 1, 1), (0, 0.3, 1), (0.5, 0, 0.8),
        (1, 0.5, 0.7),
    ])  # fmt: skip
    labels = torch.arange(100).repeat(count)
    images = colours[labels // 10][:, :, None, None].expand(-1, -1, 32, 32).clone()
    images[:, :, 8:24, 8:24] = colours[labels % 10][:, :, None, None]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return images.add(noise, alpha=20).clamp(0, 255).byte(), labels


@pytest.mark.timeout(1800)  # a slow processor without bf16 takes five minutes, a busy one many more
@pytest.mark.parametrize("kind", ["generated", "CIFAR-100"])
@pytest.mark.slow
def test_the_seed_recipe_starts_to_learn_a_hundred_classes(kind):
    """Within an epoch it does better than chance (a loss of ln 100 = 4.6, 1 %) on pictures of another set."""
    if kind == "generated":
        steps, (images, labels) = 56, hundred_classes(10, seed=1)
        test_images, test_labels = hundred_classes(4, seed=2)
    else:
        folder = os.environ.get("CIFAR100", "")
        if not (Path(folder) / "train.csv").exists():
            pytest.skip("CIFAR100 names no folder with CIFAR-100's train.csv")
        dataset, steps = open_split(folder, "train", 64), 500
        by_class = np.argsort(dataset.labels, kind="stable").reshape(100, -1)
        chosen = by_class[:, :55].ravel()
        dataset.pictures, dataset.labels = [dataset.pictures[i] for i in chosen], [dataset.labels[i] for i in chosen]
        images, labels = dataset.in_memory()
        held_out = torch.arange(len(labels)) % 55 >= 50
        test_images, test_labels = images[held_out], labels[held_out]
        images, labels = images[~held_out], labels[~held_out]
    assert labels.unique().tolist() == test_labels.unique().tolist() == list(range(100))
    recipe, hardware = choose_recipe("seed", size=64, start_size=64), choose_hardware("cpu")
    trainer = Trainer(recipe, images, labels, 100, hardware, MEAN, STD)
    trainer.network.train()
    for _ in range(steps):
        trainer.train_step(picture_size(0, recipe))
    # Batch norm's running statistics lag tens of steps behind the weights, so they are measured again.
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches from here on
    with torch.no_grad(), autocast(hardware):
        for indices in torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:200].split(25):
            trainer.network(normalize(images[indices], MEAN, STD, 64))
    result = evaluate(trainer.network, test_images, test_labels, size=64, mean=MEAN, std=STD, hardware=hardware)
    assert result["loss"] < 4.4 and result["top1"] > 2, result
