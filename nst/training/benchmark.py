"""Measure the speed of the training step, in turns with a plain float32 loop."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from nst.engine.allocator import keep_freed_memory
from nst.engine.hardware import Hardware, describe_machine
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models.vgg import VGG19
from nst.training.data import normalize
from nst.training.recipes import Recipe
from nst.training.trainer import Trainer

TURNS = 5


def benchmark_step(recipe: Recipe, hardware: Hardware, width: float = 1.0) -> dict:
    """Return the pictures per second of `Trainer`'s step and of a plain loop, medians of five turns, and their ratio.

    Both have the same network and batch. The plain loop is contiguous float32 with AdamW.
    """
    keep_freed_memory()  # for the plain loop too
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (recipe.batch_size * 8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 100, (len(images),), generator=generator)
    trainer = Trainer(recipe, images, labels, 100, hardware, IMAGENET_MEAN, IMAGENET_STD, width=width)
    trainer.network.train()
    plain = VGG19(100, width=width, batch_norm=True, pooling=recipe.pooling).to(hardware.device)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=recipe.lr)

    def plain_step() -> None:
        x = normalize(images[: trainer.batch].to(hardware.device), IMAGENET_MEAN, IMAGENET_STD, recipe.size)
        loss = F.cross_entropy(plain(x), labels[: trainer.batch].to(hardware.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def trainer_step() -> None:
        trainer.train_step(recipe.size)[0].item()

    plain_step(), trainer_step()  # the first steps also choose kernels
    turns = [(_seconds(plain_step), _seconds(trainer_step)) for _ in range(TURNS)]
    plain_seconds, trainer_seconds = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    return {
        "size": recipe.size,
        "batch": trainer.batch,
        "plain_float32": round(trainer.batch / plain_seconds, 1),
        "ours": round(trainer.batch / trainer_seconds, 1),
        "ratio": round(plain_seconds / trainer_seconds, 2),
        "made_on": describe_machine(hardware),
    }


def _seconds(step: Callable[[], None]) -> float:
    """Return the mean seconds of two steps."""
    started = time.perf_counter()
    step()
    step()
    return (time.perf_counter() - started) / 2
