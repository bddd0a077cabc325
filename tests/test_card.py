"""The figures of a checkpoint for people: superclasses, curves, model card."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.numpy import save_file

from helpers.shell import ROOT
from nst.models.card import (
    SUPERCLASSES,
    card_files,
    model_card,
    superclass_accuracy,
    training_record,
    write_curves,
)
from nst.models.checkpoints import bundled_checkpoint, read_metadata

FIGURES = [
    (32, 4.2, 6.5, 3.9, 11.0),
    (48, 3.1, 24.0, 3.3, 21.5),
    (64, 2.6, 37.5, 2.2, 43.0),
    (64, 2.1, 48.0, 2.3, 41.0),
]
NAMES = ("size", "train_loss", "train_top1", "test_loss", "test_top1")
ROWS = [{"epoch": epoch, **dict(zip(NAMES, row, strict=True))} for epoch, row in enumerate(FIGURES, 1)]
# The superclass of each of the 100 classes in alphabetical order, as the archive's `coarse_labels` number them.
COARSE = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13 14 17 18
10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17
8 14 13
"""


@pytest.fixture(scope="module")
def classes() -> list[str]:
    """The names of CIFAR-100's classes, from the bundled checkpoint."""
    with safe_open(ROOT / "checkpoints" / "vgg19-cifar100.safetensors", "np") as file:
        return json.loads(file.metadata()["classes"])


# Superclasses


def test_the_superclasses_are_those_of_cifar_100(classes):
    groups = {name: members.split() for name, members in SUPERCLASSES.items()}
    assert [len(members) for members in groups.values()] == [5] * 20
    assert sorted(member for members in groups.values() for member in members) == classes == sorted(set(classes))
    assert list(groups) == sorted(groups)
    for name, number in zip(classes, map(int, COARSE.split()), strict=True):
        assert name in list(groups.values())[number], name


def test_the_accuracy_of_a_superclass_is_the_mean_of_its_five_classes(classes):
    top1 = dict.fromkeys(classes, 50.0) | {"oak_tree": 10.0, "willow_tree": 20.0, "worm": 100.0, "whale": 0.01}
    accuracy = superclass_accuracy(top1)
    assert (accuracy.pop("trees"), accuracy.pop("non-insect invertebrates")) == (36.0, 60.0)
    assert (accuracy.pop("aquatic mammals"), set(accuracy.values()), len(accuracy)) == (40.0, {50.0}, 17)


def test_other_classes_have_no_superclasses(classes):
    assert superclass_accuracy({}) == {}
    assert superclass_accuracy(dict.fromkeys(classes[1:], 50.0)) == {}
    assert superclass_accuracy(dict.fromkeys([*classes, "unicorn"], 50.0)) == {}


# Curves


def polylines(svg: ET.Element, colour: str) -> list[np.ndarray]:
    """Return the points of every line in that colour that has one point for each epoch (a line in a legend has 3)."""
    lines = []
    for path in svg.iter("{http://www.w3.org/2000/svg}path"):
        points = re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))
        if len(points) == len(ROWS) and f"stroke: {colour}" in path.get("style", ""):
            lines.append(np.array(points, float))
    return lines


def test_the_curves_show_every_epoch_at_its_place(tmp_path):
    svg = ET.parse(write_curves(ROWS, tmp_path / "curves.svg")).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    training, test = polylines(svg, "#8a8a8a"), polylines(svg, "#c2410c")
    assert len(training) == len(test) == 2
    for key, drawn in (("loss", (training[0], test[0])), ("top1", (training[1], test[1]))):
        values = np.array([row[f"{split}_{key}"] for split in ("train", "test") for row in ROWS])
        (x, y), epochs = np.concatenate(drawn).T, np.tile([1.0, 2.0, 3.0, 4.0], 2)
        for coordinates, quantity, sign in ((x, epochs, 1), (y, values, -1)):  # an SVG's y grows downwards
            slope, start = np.polyfit(quantity, coordinates, 1)
            np.testing.assert_allclose(coordinates, slope * quantity + start, atol=1e-3)
            assert slope * sign > 0
    text = " ".join(svg.itertext())
    assert all(word in text for word in ("cross entropy", "top-1 in %", "training", "test", "epoch"))


def test_the_same_rows_give_the_same_bytes(tmp_path):
    first, again = (write_curves(ROWS, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == again
    assert write_curves(ROWS[:2], tmp_path / "a.svg").read_bytes() != first


@pytest.mark.parametrize("rows", [[], ROWS[:1]])
def test_a_short_training_has_curves_too(tmp_path, rows):
    assert ET.parse(write_curves(rows, tmp_path / "a.svg")).getroot().tag.endswith("svg")


# Model card


def metadata(classes) -> dict:
    top1 = dict.fromkeys(classes, 50.0) | {"oak_tree": 12.5}
    return {"dataset": "CIFAR-100", "epochs": 7, "image_size": 72, "mean": [0.11, 0.22, 0.33],
            "std": [0.44, 0.55, 0.66], "classes": classes, "pictures": 49_999, "recipe": {"lr": 0.0123}, "curve": ROWS,
            "made_on": "3 cores of X", "top1": 61.23, "top5": 87.65, "top1_by_class": top1,
            "pooling": "average"}  # fmt: skip


def test_the_card_shows_the_figures_of_the_metadata(classes):
    text = model_card(metadata(classes), "model.safetensors", "curves.svg")
    card = ModelCard(text)  # parses the front matter as the Hub does
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "image-classification")
    for figure in ("CIFAR-100", "61.23 % / 87.65 %", "72 px", "49999 training pictures", "100 classes", '"lr": 0.0123',
                   "0.11, 0.22, 0.33", "0.44, 0.55, 0.66", "average", "3 cores of X", "| epochs | 7 |",
                   "| trees | 42.5 |", "| people | 50.0 |", "`model.safetensors`", "](curves.svg)"):  # fmt: skip
        assert figure in card.text, figure


def test_a_card_leaves_out_figures_that_the_metadata_lacks():
    for figures in ({}, {"dataset": "dots", "top1": 12.5, "top5": 40.0, "pooling": "max"}):
        text = ModelCard(model_card(figures, "model.safetensors")).text
        assert "superclass" not in text and "![" not in text and "model.safetensors" in text
    assert "12.5 % / 40.0 %" in text and "dots" in text


def test_the_card_and_the_curves_are_published_with_the_checkpoint(tmp_path, classes):
    checkpoint = tmp_path / "mine.safetensors"
    files = card_files(metadata(classes), checkpoint)
    assert set(files) == {"README.md"} and b"![" not in files["README.md"]
    write_curves(ROWS, tmp_path / "mine.svg")
    files = card_files(metadata(classes), checkpoint)
    assert set(files) == {"README.md", "mine.svg"}
    assert files["mine.svg"] == tmp_path / "mine.svg" and b"](mine.svg)" in files["README.md"]


def test_a_card_written_by_hand_is_used_if_it_names_the_checkpoint(tmp_path, classes):
    checkpoint, readme = tmp_path / "mine.safetensors", tmp_path / "README.md"
    readme.write_text("# My network\n\n`mine.safetensors` paints für Könige.\n", encoding="utf-8")
    card = card_files(metadata(classes), checkpoint)["README.md"].decode()
    assert card == "# My network\n\n`model.safetensors` paints für Könige.\n"
    readme.write_text("# A folder of other things\n")
    assert b"61.23" in card_files(metadata(classes), checkpoint)["README.md"]


# The record of the training


def write_checkpoint(path, **metadata):
    """Write a checkpoint of one number with that metadata. Return its path."""
    save_file({"a": np.zeros(1, np.float32)}, path, {name: json.dumps(value) for name, value in metadata.items()})
    return path


def test_a_checkpoint_holds_the_record_of_its_training(tmp_path, classes):
    path = write_checkpoint(tmp_path / "a.safetensors", **metadata(classes))
    curve, groups = training_record(path)
    assert curve == ROWS and (groups["trees"], groups["people"]) == (42.5, 50.0)


def test_a_checkpoint_without_this_metadata_has_no_record(tmp_path):
    path = write_checkpoint(tmp_path / "old.safetensors", dataset="CIFAR-100")
    assert training_record(path) == ([], {})


def test_the_bundled_checkpoint_holds_the_record_of_its_training():
    curve, groups = training_record(bundled_checkpoint())
    assert [row["epoch"] for row in curve] == list(range(1, read_metadata(bundled_checkpoint())["epochs"] + 1))
    assert all({"train_loss", "train_top1", "test_top1"} <= row.keys() for row in curve)
    assert set(groups) == set(SUPERCLASSES)
    assert np.mean(list(groups.values())) == pytest.approx(read_metadata(bundled_checkpoint())["top1"], abs=0.05)
