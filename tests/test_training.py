"""Labelled pictures in all three layouts, and `train.py` on a handful of them."""

import csv
import json
import pickle
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import ENVIRONMENT, ROOT, make_picture, shell
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from nst.data import ImageDataset, augment, normalise, open_split
from nst.errors import StyleTransferError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS = {"sky": (60, 120, 240), "grass": (40, 180, 40), "brick": (220, 50, 30), "snow": (245, 245, 245)}
SMALL = ["--size", 32, "--start-size", 32, "--batch-size", 16, "--device", "cpu", "--precision", "float32"]


def coloured(name: str, number: int, side: int = 32) -> np.ndarray:
    noise = np.random.default_rng([*name.encode(), number]).normal(0, 20, (side, side, 3))
    return (np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """Twelve training and four test pictures of each colour, listed in train.csv and test.csv."""
    folder = tmp_path_factory.mktemp("tables")
    for split, numbers in (("train", range(12)), ("test", range(100, 104))):
        (folder / f"{split}_pictures").mkdir()
        rows = [("image", "label")]
        for number in numbers:
            for name in COLOURS:
                path = Path(f"{split}_pictures") / f"{name}, {number}.png"
                Image.fromarray(coloured(name, number)).save(folder / path)
                rows.append((path, name))
        with open(folder / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def folders(tables, tmp_path_factory) -> Path:
    """The same pictures, one folder per class."""
    folder = tmp_path_factory.mktemp("folders")
    for split in ("train", "test"):
        for path in (tables / f"{split}_pictures").iterdir():
            target = folder / split / path.name.split(",")[0]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (folder / "train" / "sky" / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """The same pictures as the official python archive holds them; torchvision's loader without its md5 sums."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = sorted(COLOURS)
    for split, numbers in (("train", range(12)), ("test", range(100, 104))):
        data = [coloured(name, number).transpose(2, 0, 1).ravel() for number in numbers for name in names]
        labels = [index for _ in numbers for index in range(len(names))]
        content = {"data": np.stack(data), "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": ["everything"]}))
    loader = torchvision.datasets.CIFAR100
    monkeypatch.setattr(loader, "train_list", [["train", None]])
    monkeypatch.setattr(loader, "test_list", [["test", None]])
    monkeypatch.setattr(loader, "meta", {"filename": "meta", "key": "fine_label_names", "md5": None})
    return folder


def write_table(folder: Path, *rows: tuple, name: str = "train.csv") -> Path:
    with open(folder / name, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(StyleTransferError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# ImageDataset


def test_items_are_the_pictures_resized_and_normalised(tables):
    dataset = ImageDataset(tables / "train.csv", size=48)
    assert len(dataset) == 48 and dataset.classes == sorted(COLOURS)
    for index in (0, 7, 47):
        name = list(COLOURS)[index % 4]
        picture = Image.fromarray(coloured(name, index // 4)).resize((48, 48), Image.Resampling.LANCZOS)
        expected = (np.asarray(picture, np.float64) / 255 - MEAN) / STD
        tensor, label = dataset[index]
        assert (tensor.shape, tensor.dtype, type(label)) == ((3, 48, 48), torch.float32, int)
        np.testing.assert_allclose(tensor.permute(1, 2, 0), expected, atol=1e-5)
        assert dataset.classes[label] == name


@pytest.mark.parametrize("workers", [0, 2])
def test_it_feeds_a_data_loader(tables, workers):
    dataset = ImageDataset(tables / "train.csv", size=32)
    batches = list(torch.utils.data.DataLoader(dataset, batch_size=10, num_workers=workers))
    assert [tuple(x.shape) for x, _ in batches] == [(10, 3, 32, 32)] * 4 + [(8, 3, 32, 32)]
    assert torch.cat([y for _, y in batches]).bincount().tolist() == [12] * 4


def described(dataset: ImageDataset) -> list:
    items = [dataset[index] for index in range(len(dataset))]
    return sorted((dataset.classes[label], tensor.numpy().tobytes()) for tensor, label in items)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_three_layouts_hold_the_same(tables, folders, archive, split):
    datasets = [open_split(folder, split, 32) for folder in (tables, folders, archive, archive.parent)]
    expected = described(datasets[0])
    assert len(expected) == (48 if split == "train" else 16)
    for dataset in datasets[1:]:
        assert dataset.classes == datasets[0].classes == ["brick", "grass", "sky", "snow"]
        assert described(dataset) == expected


def test_archive_pictures_have_their_own_labels(archive):
    dataset = ImageDataset.from_cifar100(archive.parent, 32, train=False)
    pictures, labels = dataset.in_memory()
    for picture, label in zip(pictures, labels, strict=True):
        middle = picture.float().mean((1, 2)).numpy()
        nearest = min(COLOURS, key=lambda name: np.abs(middle - COLOURS[name]).sum())
        assert dataset.classes[label] == nearest


def test_columns_and_classes_can_be_chosen(tables, tmp_path):
    path = tables / "train_pictures" / "sky, 0.png"
    table = write_table(tmp_path, ("kind", "file", "image"), ("b", path, "x"), ("a", path, "x"), name="any.csv")
    dataset = ImageDataset(table, 32, image_column="file", label_column="kind")
    assert (dataset.classes, dataset.labels) == (["a", "b"], [1, 0])
    dataset = ImageDataset(table, 32, image_column="file", label_column="kind", classes=["c", "b", "a"])
    assert (dataset.classes, dataset.labels) == (["c", "b", "a"], [1, 2])


def test_integer_labels_keep_their_numbers(tables, tmp_path):
    path = tables / "train_pictures" / "sky, 0.png"
    dataset = ImageDataset(write_table(tmp_path, ("image", "label"), (path, 10), (path, 2), (path, 9)), 32)
    assert dataset.labels == [10, 2, 9]
    assert dataset.classes == [str(number) for number in range(11)]


def test_tables_from_spreadsheets_are_read(tables, tmp_path):
    shutil.copy(tables / "train_pictures" / "sky, 0.png", tmp_path / "Größe, 1.png")
    text = '\ufeffimage,label\r\n"Größe, 1.png","sky, blue"\r\n'
    (tmp_path / "train.csv").write_bytes(text.encode())
    dataset = ImageDataset(tmp_path / "train.csv", 32)
    assert dataset.classes == ["sky, blue"] and dataset[0][0].shape == (3, 32, 32)


def test_in_memory_keeps_small_squares_and_scales_the_rest(tables, tmp_path):
    pixels, labels = ImageDataset(tables / "test.csv", size=64).in_memory()
    assert (pixels.shape, pixels.dtype, labels.dtype) == ((16, 3, 32, 32), torch.uint8, torch.int64)
    np.testing.assert_array_equal(pixels[5].permute(1, 2, 0), coloured("grass", 101))
    for number, size in enumerate([(40, 40), (60, 40), (40, 40)]):
        make_picture(*size, seed=number).save(tmp_path / f"{number}.png")
    table = write_table(tmp_path, ("image", "label"), ("0.png", "a"), ("1.png", "b"), ("2.png", "a"))
    pixels, labels = ImageDataset(table, size=36).in_memory()
    assert pixels.shape == (3, 3, 36, 36) and labels.tolist() == [0, 1, 0]
    expected = make_picture(60, 40, seed=1).resize((36, 36), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels[1].permute(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("image", "kind"), ("a.png", "x")], "train.csv: no column 'label'; it has image, kind"),
        ([("file", "label"), ("a.png", "x")], "train.csv: no column 'image'"),
        ([("image", "label")], "train.csv: holds no pictures"),
        ([], "train.csv: no column 'image'"),
        ([("image", "label"), ("a.png", "x"), ("b.png",)], "train.csv, row 3"),
        ([("image", "label"), ("", "x")], "train.csv, row 2"),
        ([("image", "label"), ("a.png", "")], "train.csv, row 2"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, rows, said):
    assert refusal(ImageDataset, write_table(tmp_path, *rows)).startswith(said)


def test_files_that_are_no_tables_are_refused(tmp_path):
    assert refusal(ImageDataset, tmp_path / "no.csv") == "no.csv: no such file."
    (tmp_path / "train.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\0")
    assert refusal(ImageDataset, tmp_path / "train.csv").startswith("train.csv: ")
    assert refusal(ImageDataset, tmp_path).endswith("not a readable CSV file.")


def test_unusable_pictures_are_refused_with_their_row(tables, tmp_path):
    good = tables / "train_pictures" / "sky, 0.png"
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:100])
    rows = [("image", "label"), (good, "a"), ("gone.png", "a"), ("broken.png", "b")]
    dataset = ImageDataset(write_table(tmp_path, *rows), 32)
    assert dataset[0][1] == 0
    assert refusal(dataset.__getitem__, 1).startswith("train.csv, row 3: gone.png: no such file")
    assert refusal(dataset.__getitem__, 2).startswith("train.csv, row 4: broken.png: ")
    assert "row" in refusal(dataset.in_memory)


def test_labels_outside_the_classes_are_refused_with_their_row(tmp_path):
    table = write_table(tmp_path, ("image", "label"), ("a.png", "x"), ("b.png", "y"))
    assert refusal(ImageDataset, table, classes=["x", "z"]).startswith("train.csv, row 3: label 'y'")


def test_wrong_folders_are_refused(tmp_path):
    assert "no such data folder" in refusal(open_split, tmp_path / "no", "train", 32)
    assert "found neither train.csv" in refusal(open_split, tmp_path, "train", 32)
    (tmp_path / "train").mkdir()
    make_picture(32, 32).save(tmp_path / "train" / "loose.png")
    assert refusal(open_split, tmp_path, "train", 32) == "train: holds no pictures."
    assert "no such folder" in refusal(ImageDataset.from_folder, tmp_path / "no")


def test_a_damaged_or_missing_archive_is_refused(archive, monkeypatch):
    (archive / "train").write_bytes((archive / "train").read_bytes()[:200])
    assert "missing or damaged" in refusal(open_split, archive, "train", 32)
    (archive / "train").unlink()
    assert "missing or damaged" in refusal(open_split, archive.parent, "train", 32)

    def offline(self):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.CIFAR100, "download", offline)
    message = refusal(ImageDataset.from_cifar100, archive.parent, train=True, download=True)
    assert "could not be downloaded" in message


# Batches


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (8, 1), (4, 1)])
def test_augmented_pictures_are_mirrored_shifts_and_flips_and_nothing_else(side, padding):
    picture = torch.arange(3 * side * side, dtype=torch.int32).view(3, side, side)
    padded = np.pad(picture.numpy(), ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
    allowed = {}
    for dy in range(2 * padding + 1):
        for dx in range(2 * padding + 1):
            crop = padded[:, dy : dy + side, dx : dx + side]
            allowed[crop.tobytes()] = (dy, dx, False)
            allowed[crop[:, :, ::-1].tobytes()] = (dy, dx, True)
    augmented = augment(picture.expand(3000, -1, -1, -1), torch.Generator().manual_seed(3))
    drawn = [allowed[one.numpy().tobytes()] for one in augmented]
    assert len(set(drawn)) == len(allowed) == 2 * (2 * padding + 1) ** 2
    assert 0.45 < np.mean([flipped for _, _, flipped in drawn]) < 0.55


def test_augmentation_depends_on_nothing_but_its_generator():
    pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    before = pictures.clone()
    first, again, other = (augment(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(pictures, before) and first.dtype == torch.uint8


def test_normalise_is_torchvisions_at_the_same_size():
    pictures = [make_picture(32, 32, seed=seed) for seed in (1, 2)]
    recipe = torchvision.transforms.Compose(
        [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(MEAN, STD)]
    )
    batch = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    expected = torch.stack([recipe(picture) for picture in pictures])
    torch.testing.assert_close(normalise(batch, MEAN, STD, 32), expected, rtol=1e-5, atol=1e-6)
    assert batch.dtype == torch.uint8


@pytest.mark.parametrize("size", [64, 20])
def test_normalise_scales_as_pillow_does(size):
    picture = make_picture(32, 32, seed=4)
    batch = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float64) / 255
    found = normalise(batch, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=1.01 / 255)  # Pillow rounds to 8 bits, twice


# train.py, in a shell


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for training states, which are large: deleted when the tests are done."""
    folder = tmp_path_factory.mktemp("runs")
    yield folder
    shutil.rmtree(folder)


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tables, runs):
    """Three epochs of three steps without interruption."""
    result = shell(
        "train.py", "--data", tables, "--run", runs / "whole", "--output", runs / "whole.safetensors", "--epochs", 3,
        "--dataset-name", "colours", *SMALL,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def interrupted(tables, runs):
    """The same training, stopped with Ctrl-C after its first epoch; the step it stopped after."""
    arguments = ["train.py", "--data", tables, "--run", runs / "parts", "--output", runs / "parts.safetensors",
                 "--epochs", 3, "--dataset-name", "colours", *SMALL]  # fmt: skip
    process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, env=ENVIRONMENT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        assert json.loads(process.stderr.readline())["epoch"] == 1
        while not (runs / "parts" / "state.pt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    stopped = re.fullmatch(r"Stopped after step (\d+) of 9; continue with --resume\.", stderr.splitlines()[-1])
    assert stopped and "Traceback" not in stderr, stderr
    return int(stopped[1])


def test_training_writes_a_row_for_each_epoch_and_learns(whole, runs):
    rows = rows_of(runs / "whole")
    assert [(row["epoch"], row["size"]) for row in rows] == [(1, 32), (2, 32), (3, 32)]
    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.8 * losses[0]
    assert rows[-1]["train_top1"] > 90 and rows[-1]["test_top1"] > 70
    assert all(row["images_per_second"] > 0 and 0 <= row["test_top1"] <= row["test_top5"] <= 100 for row in rows)


def test_the_export_is_small_and_says_what_it_is(whole, runs):
    path = runs / "whole.safetensors"
    assert path.stat().st_size < 45e6
    with safe_open(path, "np") as file:
        keys, metadata = set(file.keys()), {k: json.loads(v) for k, v in file.metadata().items() if k != "format"}
    assert not [key for key in keys if "running" in key]
    assert metadata["dataset"] == "colours" and metadata["classes"] == sorted(COLOURS)
    assert (metadata["epochs"], metadata["image_size"], metadata["pooling"]) == (3, 32, "average")
    assert metadata["recipe"]["lr"] == 1e-3 and tuple(metadata["mean"]) == MEAN and tuple(metadata["std"]) == STD
    assert json.loads(whole.stdout)["top1"] == metadata["top1"]


def test_the_metrics_are_those_that_torchvisions_vgg19_finds(whole, runs):
    """The exported weights in torchvision's network: the same accuracy and cross entropy, counted here."""
    weights = {key: value.float() for key, value in load_file(runs / "whole.safetensors").items()}
    features = torchvision.models.vgg19(weights=None, init_weights=False).features
    for index, layer in enumerate(features):
        if isinstance(layer, torch.nn.MaxPool2d):
            features[index] = torch.nn.AvgPool2d(2)
    features.load_state_dict({k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")})
    names = sorted(COLOURS)
    pixels = np.stack([coloured(name, number) for number in range(100, 104) for name in names])
    labels = torch.arange(4).repeat(4)
    x = torch.from_numpy((pixels / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        hidden = F.linear(features(x).mean((2, 3)), weights["classifier.0.weight"], weights["classifier.0.bias"])
        logits = F.linear(hidden.relu(), weights["classifier.3.weight"], weights["classifier.3.bias"])
    top1 = 100 * (logits.argmax(1) == labels).float().mean().item()
    loss = -logits.log_softmax(1)[torch.arange(16), labels].mean().item()
    printed = json.loads(whole.stdout)
    assert printed["top1"] == pytest.approx(top1, abs=0.01) and printed["top5"] == 100
    assert printed["loss"] == pytest.approx(loss, abs=2e-3)


def test_evaluate_prints_one_line_of_json(whole, runs, folders):
    path = runs / "whole.safetensors"
    before = path.read_bytes()
    result = shell("train.py", "--evaluate", path, "--data", folders, "--device", "cpu")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1), result.stderr
    found, trained = json.loads(result.stdout), json.loads(whole.stdout)
    assert (found["pictures"], found["checkpoint"]) == (16, path.name)
    assert [found[key] for key in ("top1", "top5", "loss")] == [trained[key] for key in ("top1", "top5", "loss")]
    assert path.read_bytes() == before


def assert_same_weights(first: Path, second: Path) -> None:
    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_training_stopped_and_resumed_exports_the_same_weights(whole, interrupted, tables, runs):
    assert 3 <= interrupted < 9 and not (runs / "parts.safetensors").exists()
    result = shell(
        "train.py", "--data", tables, "--run", runs / "parts", "--output", runs / "parts.safetensors", "--epochs", 3,
        "--dataset-name", "colours", *SMALL, "--resume",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["loss"] == json.loads(whole.stdout)["loss"]
    assert_same_weights(runs / "parts.safetensors", runs / "whole.safetensors")
    assert [row["epoch"] for row in rows_of(runs / "parts")] == [1, 2, 3]
    for key in ("test_top1", "test_loss"):
        assert [row[key] for row in rows_of(runs / "parts")] == [row[key] for row in rows_of(runs / "whole")]


# train.py, in this process: the same script without waiting for torch again


@pytest.fixture
def train_py(monkeypatch, capsys):
    """Run train.py as a program; returns its exit status, stdout and stderr."""
    handler = signal.getsignal(signal.SIGINT)

    def run(*arguments: object):
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        random_state = torch.get_rng_state()
        code, message = 0, ""
        try:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        except SystemExit as end:  # a message means status 1 and goes to stderr, as the interpreter does it
            code, message = (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code, "")
        finally:
            signal.signal(signal.SIGINT, handler)
            torch.set_rng_state(random_state)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, stdout=out, stderr=err + message)

    return run


def refused(result) -> str:
    assert (result.code, result.stdout) == (1, ""), result.stderr
    assert re.fullmatch(r"train\.py: [^\n]+\n", result.stderr), result.stderr
    return result.stderr


def stop_at(monkeypatch, wanted: int) -> None:
    """Ctrl-C while that step, counted from 1, is being computed."""
    original = torch.optim.AdamW.step

    def step(self, *arguments, **options):
        step.count += 1
        if step.count == wanted:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **options)

    step.count = 0
    monkeypatch.setattr(torch.optim.AdamW, "step", step)


def test_going_on_from_an_earlier_state_exports_the_same_weights(whole, tables, runs, train_py, monkeypatch):
    """After a crash the last saved state may be older than the metrics; what came after it is done again."""
    run, output = runs / "crashed", runs / "crashed.safetensors"
    arguments = ["--data", tables, "--run", run, "--output", output, "--epochs", 3, "--dataset-name", "colours", *SMALL]
    batches = []

    def noted(images, generator):
        batches.append([image.numpy().tobytes() for image in images])
        return augment(images, generator)

    monkeypatch.setattr("nst.data.augment", noted)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        result = train_py(*arguments)
    assert result.code == 130 and "Stopped after step 4 of 9" in result.stderr
    shutil.copy(runs / "whole" / "metrics.jsonl", run)
    result = train_py(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert_same_weights(output, runs / "whole.safetensors")
    rows, expected = rows_of(run), rows_of(runs / "whole")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["test_loss"] for row in rows] == [row["test_loss"] for row in expected]
    epochs = [[one for batch in batches[start : start + 3] for one in batch] for start in (0, 3, 6)]
    assert all(len(set(epoch)) == len(epoch) == 48 for epoch in epochs)  # every picture once an epoch, the second too
    assert epochs[0] != epochs[1] != epochs[2] and set(epochs[0]) == set(epochs[1])
    shutil.rmtree(run)


def test_ctrl_c_in_the_last_batch_of_an_epoch_loses_no_row(folders, runs, train_py, monkeypatch):
    run = runs / "edge"
    arguments = ["--data", folders, "--run", run, "--output", runs / "edge.safetensors", "--epochs", 2, *SMALL,
                 "--batch-size", 24]  # fmt: skip
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        result = train_py(*arguments)
    assert result.code == 130 and "Stopped after step 2 of 4" in result.stderr
    assert [row["epoch"] for row in rows_of(run)] == [1]
    assert not (runs / "edge.safetensors").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 2)  # the very last step: nothing is left to stop
        result = train_py(*arguments, "--resume")
    assert result.code == 0, result.stderr
    assert [row["epoch"] for row in rows_of(run)] == [1, 2]
    assert (runs / "edge.safetensors").exists()
    shutil.rmtree(run)


def test_a_state_is_neither_overwritten_nor_continued_by_accident(whole, tables, runs, train_py):
    run = ["--data", tables, "--run", runs / "whole", "--output", runs / "other.safetensors", "--epochs", 3,
           "--dataset-name", "colours", *SMALL]  # fmt: skip
    before = (runs / "whole" / "state.pt").stat().st_mtime_ns
    assert "--resume" in refused(train_py(*run))
    for flag, value in (("--lr", 0.5), ("--batch-size", 8), ("--epochs", 4), ("--seed", 1), ("--pooling", "max"),
                        ("--weight-decay", 0), ("--label-smoothing", 0.2), ("--size", 40)):  # fmt: skip
        assert f"another {flag}: " in refused(train_py(*run, flag, value, "--resume"))
    assert (runs / "whole" / "state.pt").stat().st_mtime_ns == before
    assert not (runs / "other.safetensors").exists()


def test_a_state_of_other_classes_is_refused(whole, tables, runs, train_py, tmp_path):
    for split in ("train", "test"):
        with open(tables / f"{split}.csv", newline="") as file:
            rows = [(tables / image, "all") for image, _ in list(csv.reader(file))[1:]]
        write_table(tmp_path, ("image", "label"), *rows, name=f"{split}.csv")
    result = train_py("--data", tmp_path, "--run", runs / "whole", "--output", runs / "other.safetensors", "--epochs",
                      3, "--dataset-name", "colours", *SMALL, "--resume")  # fmt: skip
    assert "other classes" in refused(result)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "another file"])
def test_a_state_that_cannot_be_resumed_is_refused_in_one_line(tables, tmp_path, train_py, damage):
    state = tmp_path / "run" / "state.pt"
    state.parent.mkdir()
    torch.save({"weights": torch.zeros(1000)}, state)
    data = state.read_bytes()
    state.write_bytes({"empty": b"", "text": b"step 3", "truncated": data[:500]}.get(damage, data))
    if damage == "missing":
        state.unlink()
    result = train_py("--data", tables, "--run", state.parent, "--output", tmp_path / "out.safetensors", *SMALL,
                      "--resume")  # fmt: skip
    assert ("nothing to resume" if damage == "missing" else "damaged training state") in refused(result)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--epochs", 0), ("--batch-size", 0), ("--lr", 0), ("--lr", "nan"), ("--size", 31), ("--start-size", 8),
     ("--weight-decay", -1), ("--label-smoothing", 1), ("--device", "tpu"), ("--precision", "int8")],
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_line(tables, tmp_path, train_py, flag, value):
    run, output = tmp_path / "run", tmp_path / "out.safetensors"
    refused(train_py("--data", tables, "--run", run, "--output", output, *SMALL, flag, value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("problem", "said"),
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
def test_data_that_cannot_be_used_is_refused_in_one_line(tmp_path, train_py, problem, said):
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
    assert said in refused(train_py("--data", data, "--run", tmp_path / "run", *SMALL))
    assert not (tmp_path / "run").exists()


def test_the_shell_sees_one_line_and_a_status_for_a_broken_picture(tables, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    good = tables / "train_pictures" / "sky, 0.png"
    for name in ("train.csv", "test.csv"):
        write_table(tmp_path, ("image", "label"), (good, "a"), ("broken.png", "a"), name=name)
    result = shell("train.py", "--data", tmp_path, "--run", tmp_path / "run", *SMALL)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"train\.py: train\.csv, row 3: broken\.png: [^\n]+\n", result.stderr), result.stderr


def test_evaluating_what_is_no_checkpoint_is_refused_in_one_line(tables, tmp_path, train_py):
    assert "no such checkpoint" in refused(train_py("--evaluate", tmp_path / "no.safetensors", "--data", tables))


# Schedules


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(ROOT / "train.py"), run_name="train")


def test_the_learning_rate_rises_to_its_peak_once_and_falls_to_zero(script):
    rates = [script["learning_rate"](step, 200, 0.01) for step in range(200)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.01) and 28 <= peak <= 31
    np.testing.assert_allclose(np.diff(rates[:30]), 0.01 / 30)
    assert np.all(np.diff(rates[peak + 1 :]) < 0) and 0 < rates[-1] < 1e-5
    assert rates[115] == pytest.approx(0.005, rel=1e-6)  # half-way down
    assert script["learning_rate"](0, 1, 0.01) == pytest.approx(0.01)


def test_pictures_grow_in_eights_and_stay_for_the_last_quarter(script):
    sizes = [script["picture_size"](epoch, 8, 32, 64) for epoch in range(8)]
    assert sizes == [32, 40, 40, 48, 56, 56, 64, 64]
    assert [script["picture_size"](epoch, 4, 32, 50) for epoch in range(4)][-1] == 50
    assert script["picture_size"](0, 1, 32, 64) == 32
