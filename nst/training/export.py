"""Export a trained network as a checkpoint, and measure checkpoints."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nst.engine.hardware import Hardware, choose_hardware, describe_machine
from nst.errors import StyleTransferError
from nst.models.card import CURVES_TITLE, superclass_accuracy, write_curves
from nst.models.checkpoints import load_backbone, save_checkpoint
from nst.output.protection import refuse_inputs
from nst.training.data import load_into_memory, open_split
from nst.training.metrics import read_rows
from nst.training.recipes import Recipe
from nst.training.trainer import Trainer, evaluate


def check_outputs(checkpoint: Path, run: Path, inputs: Iterable[str | os.PathLike]) -> None:
    """Raise StyleTransferError if a training would write over a file that is an input, or that no training wrote.

    run: the folder of the training state and the metrics.
    """
    curves, metrics = checkpoint.with_suffix(".svg"), run / "metrics.jsonl"
    refuse_inputs([checkpoint, curves, metrics, run / "state.pt"], inputs)
    if checkpoint.exists() and not _is_checkpoint(checkpoint):
        raise StyleTransferError(f"{checkpoint}: this file is no checkpoint; choose another --output.")
    if curves.exists() and f"<title>{CURVES_TITLE}</title>".encode() not in curves.read_bytes()[:1000]:
        raise StyleTransferError(f"{curves}: the training curves are written here, and this file has none; choose "
                                 "another --output.")  # fmt: skip
    read_rows(metrics)


def _is_checkpoint(path: Path) -> bool:
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def export_checkpoint(
    trainer: Trainer,
    path: Path,
    dataset: str,
    classes: Sequence[str],
    curve: list[dict],
    started_from: dict,
    test: tuple[Tensor, Tensor],
) -> dict:
    """Write the checkpoint, with its accuracy in its metadata, and its training curves; return the accuracy.

    The accuracy is that of the exported file: batch norm folded, weights in float16.

    dataset: its name. curve: rows by epoch, those of earlier runs first. started_from: the record of the run whose
    network this one started with, or an empty dictionary. test: images (N, 3, S, S) uint8 and labels (N,).
    """
    recipe, hardware = trainer.recipe, trainer.hardware
    metadata = {
        "dataset": dataset,
        "image_size": recipe.size,
        "mean": trainer.mean,
        "std": trainer.std,
        "pictures": len(trainer.images),
        "recipe": dataclasses.asdict(recipe),
        "made_on": describe_machine(hardware),
        "classes": list(classes),
        "epochs": len(curve),
        "curve": curve,
    }
    metadata |= {"started_from": started_from} if started_from else {}
    save_checkpoint(trainer.network, path, metadata)
    exported = load_backbone(path)
    float32 = Hardware(hardware.device, torch.float32, hardware.memory_format)
    network = exported.prepared(float32.device, float32.dtype, float32.memory_format)
    sizes = {"size": recipe.size, "mean": trainer.mean, "std": trainer.std}
    result = evaluate(network, *test, **sizes, hardware=float32, classes=classes)
    by_class = result.pop("top1_by_class")
    metadata |= {"top1": result["top1"], "top5": result["top5"], "top1_by_class": by_class}
    save_checkpoint(exported.network, path, metadata)
    write_curves(curve, path.with_suffix(".svg"))
    return result


def evaluate_checkpoint(path: str, data: str, size: int | None, device: str) -> dict:
    """Return the accuracy of a checkpoint on the test split of a data folder, in float32.

    size: side of the pictures in px; by default the size that the checkpoint was trained for.

    Raises StyleTransferError for a checkpoint without a classifier, or with fewer classes than the data.
    """
    backbone = load_backbone(path)
    if backbone.network.classifier is None:
        raise StyleTransferError(f"{path} holds no classifier, only features: there is nothing to measure.")
    size = Recipe(size=backbone.metadata.get("image_size", 32) if size is None else size).size
    split = open_split(data, "test", size, backbone.metadata.get("classes"))
    if len(split.classes) > (outputs := backbone.network.classifier[-1].out_features):
        raise StyleTransferError(f"{split.name} has {len(split.classes)} classes, the checkpoint {outputs}.")
    images, labels = load_into_memory(split)
    hardware = choose_hardware(device, "float32")
    network = backbone.prepared(hardware.device, hardware.dtype, hardware.memory_format)
    result = evaluate(network, images, labels, size=size, mean=backbone.mean, std=backbone.std, hardware=hardware,
                      classes=split.classes)  # fmt: skip
    superclasses = superclass_accuracy(result.pop("top1_by_class"))
    result |= {"top1_by_superclass": superclasses} if superclasses else {}
    return {"checkpoint": Path(path).name, "pictures": len(split), **result}
