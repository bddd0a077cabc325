"""What people read about a checkpoint: its model card, its training curves, its accuracy by superclass."""

import json
import os
import re
from pathlib import Path

from safetensors import safe_open

from nst.io.files import write_atomically
from nst.models.hub import FILE

# The 20 superclasses of CIFAR-100, five classes each (Krizhevsky 2009).
SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}

# Of a card's table of epochs, as the rows of `metrics.jsonl` call them.
COLUMNS = {"epoch": "epoch", "training loss": "train_loss", "training top-1": "train_top1", "test loss": "test_loss",
           "test top-1": "test_top1"}  # fmt: skip

FRONT_MATTER = """---
license: mit
library_name: pytorch
pipeline_tag: image-classification
tags: [vgg19, neural-style-transfer]
---"""


def read_metadata(checkpoint: str | os.PathLike) -> dict:
    """What a safetensors checkpoint says of itself, without loading its weights, or torch."""
    with safe_open(checkpoint, "np") as file:
        return {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}


def superclass_accuracy(top1_by_class: dict[str, float]) -> dict[str, float]:
    """Top-1 in percent by superclass, the mean over its classes; empty unless the classes are CIFAR-100's.

    Right means the right class of the hundred, not just one of its superclass.
    """
    groups = {name: members.split() for name, members in SUPERCLASSES.items()}
    if {member for members in groups.values() for member in members} != set(top1_by_class):
        return {}
    return {
        name: round(sum(top1_by_class[member] for member in members) / len(members), 2)
        for name, members in groups.items()
    }


def training_figures(checkpoint: str | os.PathLike) -> tuple[list[dict], dict[str, float]]:
    """How a checkpoint was trained: rows by epoch, as in `metrics.jsonl`, and top-1 in percent by superclass.

    From the checkpoint's metadata, or, where that is older than these, from the tables of the card beside it. What
    neither says is left out.
    """
    metadata = read_metadata(checkpoint)
    curve, groups = metadata.get("curve", []), superclass_accuracy(metadata.get("top1_by_class", {}))
    for head, *rows in _tables(_written_card(checkpoint) or ""):
        if not curve and head[0] == "epoch":
            names = [COLUMNS.get(name, "") for name in head]
            pairs = [zip(names, row, strict=False) for row in rows]
            curve = [{name: float(cell.split()[0]) for name, cell in row if name} for row in pairs]
        elif not groups and head[0] == "superclass":
            groups = {name: float(value) for name, value, *_ in rows}
    return curve, groups


def _tables(text: str) -> list[list[list[str]]]:
    """The cells of every table of a Markdown text, row by row, without the line under its head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    tables = [[[cell.strip() for cell in line.strip("|").split("|")] for line in one.splitlines()] for one in found]
    return [[head, *rows] for head, _, *rows in tables]


def write_curves(rows: list[dict], path: str | os.PathLike) -> Path:
    """Draw loss and top-1 by epoch, of training and test, as an SVG picture. `rows`: those of `metrics.jsonl`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in rows]
    with rc_context({"svg.hashsalt": "nst", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(8, 3), layout="constrained")
        for axis, key in zip(figure.subplots(1, 2), ("loss", "top1"), strict=True):
            for split, label, colour in (("train", "training", "#8a8a8a"), ("test", "test", "#c2410c")):
                values = [row[f"{split}_{key}"] for row in rows]
                axis.plot(epochs, values, "o-", markersize=3, color=colour, label=label)
            axis.set(xlabel="epoch", title={"loss": "cross entropy", "top1": "top-1 in %"}[key])
            axis.grid(alpha=0.3)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(frameon=False)
        metadata = {"Date": None, "Title": "Training curves"}  # no clock: the same rows give the same bytes
        return write_atomically(path, lambda temporary: figure.savefig(temporary, metadata=metadata, facecolor="white"))


def card_files(metadata: dict, checkpoint: str | os.PathLike) -> dict[str, Path | bytes]:
    """What to publish beside a checkpoint, by name: its card, and its curves if they were drawn.

    A README.md beside the checkpoint that names its file is its card; otherwise one is made from the metadata.
    """
    checkpoint = Path(checkpoint)
    curves = checkpoint.with_suffix(".svg")
    files: dict[str, Path | bytes] = {curves.name: curves} if curves.exists() else {}
    if text := _written_card(checkpoint):
        return files | {"README.md": text.replace(checkpoint.name, FILE).encode()}
    return files | {"README.md": model_card(metadata, FILE, curves.name if files else None).encode()}


def _written_card(checkpoint: str | os.PathLike) -> str | None:
    """The README.md beside a checkpoint, if it names it."""
    checkpoint = Path(checkpoint)
    written = checkpoint.with_name("README.md")
    text = written.read_text(encoding="utf-8") if written.exists() else ""
    return text if checkpoint.name in text else None


def model_card(metadata: dict, file: str, curves: str | None = None) -> str:
    """A README for the Hub, from what the checkpoint `file` says of itself; `curves` is the picture's name."""
    dataset, size = metadata.get("dataset", "unknown data"), metadata.get("image_size")
    pictures, classes = metadata.get("pictures", "?"), len(metadata.get("classes", []))
    accuracy = (
        f"{metadata.get('top1')} % / {metadata.get('top5')} % (this file on the test pictures, one crop at {size} px)"
    )
    facts = [
        ("data", f"{dataset}, {pictures} training pictures, {classes} classes"),
        ("top-1 / top-5", accuracy),
        ("epochs", metadata.get("epochs")),
        ("recipe", f"`{json.dumps(metadata.get('recipe', {}))}`"),
        ("pooling", metadata.get("pooling")),
        ("input", f"RGB in [0, 1], less {metadata.get('mean')}, divided by {metadata.get('std')}"),
        ("made on", metadata.get("made_on")),
    ]
    groups = superclass_accuracy(metadata.get("top1_by_class", {}))
    parts = [
        FRONT_MATTER,
        f"# VGG19 trained on {dataset}",
        f"`{file}`: VGG19 (Simonyan & Zisserman 2014) with global average pooling and two fully connected layers, in "
        "float16, the batch norm it was trained with folded into the convolutions. The keys are torchvision's "
        "(`features.N.weight`, …).",
        _table(("", ""), facts),
        f"![Training curves: loss and top-1 by epoch]({curves})" if curves else "",
        "## Accuracy by superclass\n\n" + _table(("superclass", "top-1 in %"), groups.items()) if groups else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: tuple, rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
