"""What people read about a checkpoint: its model card, its training curves, and its accuracy by superclass."""

import json
import os
from pathlib import Path

from huggingface_hub import ModelCardData

from nst.io.files import write_atomically
from nst.models.checkpoints import read_metadata
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
CURVES_TITLE = "Training curves"


def superclass_accuracy(top1_by_class: dict[str, float]) -> dict[str, float]:
    """Return the top-1 accuracy in percent by superclass, the mean over its classes.

    A picture counts as right if the network names its class, one of the hundred, not just its superclass. The result
    is empty unless the classes are those of CIFAR-100.
    """
    groups = {name: members.split() for name, members in SUPERCLASSES.items()}
    if {member for members in groups.values() for member in members} != set(top1_by_class):
        return {}
    return {
        name: round(sum(top1_by_class[member] for member in members) / len(members), 2)
        for name, members in groups.items()
    }


def training_record(checkpoint: str | os.PathLike) -> tuple[list[dict], dict[str, float]]:
    """Return how a checkpoint was trained, from its metadata.

    The first part is one row for each epoch, as in `metrics.jsonl`; the second is the top-1 accuracy in percent by
    superclass. Each is empty if the metadata does not hold it.
    """
    metadata = read_metadata(checkpoint)
    return metadata.get("curve", []), superclass_accuracy(metadata.get("top1_by_class", {}))


def write_curves(rows: list[dict], path: str | os.PathLike) -> Path:
    """Draw loss and top-1 by epoch, of training and test, as an SVG picture; return its path.

    rows: those of `metrics.jsonl`. Raises StyleTransferError if the file cannot be written.
    """
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
        metadata = {"Date": None, "Title": CURVES_TITLE}  # no clock: the same rows give the same bytes
        return write_atomically(path, lambda temporary: figure.savefig(temporary, metadata=metadata, facecolor="white"))


def card_files(metadata: dict, checkpoint: str | os.PathLike) -> dict[str, Path | bytes]:
    """Return the files to publish beside a checkpoint, by name: its card, and its curves if there is a picture of them.

    A README.md beside the checkpoint that names the checkpoint's file is its card. Otherwise the card is made from
    the metadata.
    """
    checkpoint = Path(checkpoint)
    curves = checkpoint.with_suffix(".svg")
    files: dict[str, Path | bytes] = {curves.name: curves} if curves.exists() else {}
    if text := _read_card(checkpoint):
        return files | {"README.md": text.replace(checkpoint.name, FILE).encode()}
    return files | {"README.md": model_card(metadata, FILE, curves.name if files else None).encode()}


def _read_card(checkpoint: Path) -> str | None:
    """Return the text of the README.md beside a checkpoint, if it names the checkpoint."""
    card = checkpoint.with_name("README.md")
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    return text if checkpoint.name in text else None


def model_card(metadata: dict, file: str, curves: str | None = None) -> str:
    """Return a README for the Hub, made from the metadata of the checkpoint `file`. curves: the picture's name."""
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
        ("input", f"RGB in [0, 1], minus {metadata.get('mean')}, divided by {metadata.get('std')}"),
        ("made on", metadata.get("made_on")),
    ]
    groups = superclass_accuracy(metadata.get("top1_by_class", {}))
    front_matter = ModelCardData(
        license="mit",
        library_name="pytorch",
        pipeline_tag="image-classification",
        tags=["vgg19", "neural-style-transfer"],
    )
    parts = [
        f"---\n{front_matter}\n---",
        f"# VGG19 trained on {dataset}",
        f"`{file}`: VGG19 (Simonyan & Zisserman 2014) with global average pooling and two fully connected layers, in "
        "float16; the batch norm of the training is folded into the convolutions. The keys are torchvision's "
        "(`features.N.weight`, …).",
        _table(("", ""), facts),
        f"![Training curves: loss and top-1 by epoch]({curves})" if curves else "",
        "## Accuracy by superclass\n\n" + _table(("superclass", "top-1 in %"), groups.items()) if groups else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: tuple, rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
