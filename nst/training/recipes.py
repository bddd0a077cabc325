"""The training recipes by name, with the reason beside each setting; the schedule of rates and of picture sizes."""

import math
from dataclasses import dataclass, fields, replace

from nst.errors import StyleTransferError
from nst.layers import LAYERS
from nst.models.vgg import POOLINGS

OPTIMIZERS = ("adam", "adamw", "muon")
SCHEDULES = ("constant", "one-cycle")


@dataclass(frozen=True)
class Recipe:
    """The settings of a training. The defaults are the recipe `default`.

    Raises StyleTransferError for a wrong setting, naming its flag.
    """

    epochs: int = 20
    batch_size: int = 256  # pictures per step, over all processes together; 128 learns no more per epoch, and is slower
    # Top-1 after one epoch on pictures kept aside: Muon 33 %, AdamW 13 %, SGD no better than AdamW.
    optimizer: str = "muon"  # with AdamW for the first convolution, the classifier, biases and batch norm
    lr: float = 1e-3  # Adam's, at the peak of the schedule
    muon_lr: float = 0.05  # at the peak; the spectral norm of a step of each matrix
    schedule: str = "one-cycle"
    weight_decay: float = 0.05  # Adam's; decoupled: each step shrinks the matrices by lr * decay
    muon_weight_decay: float = 0.05
    label_smoothing: float = 0.1
    size: int = 40  # side of the pictures in px in the last epochs and in the test
    start_size: int = 32  # side in the first epochs (Howard 2018); a run from 24 to 48 px ended at 71.4 %
    pooling: str = "max"  # 32 % after one epoch, against 26 % with average pooling
    augment: bool = True  # random flips, and shifts by up to an eighth; one view of each picture per epoch
    crop: float = 1.0  # below 1: random squares instead of shifts; the smallest side relative to the picture's
    freeze: str = ""  # the layer up to which convolutions are not trained; by default all are
    seed: int = 0

    def __post_init__(self):
        for field in fields(self):
            value, kind = getattr(self, field.name), field.type if isinstance(field.type, type) else type(field.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise StyleTransferError(f"{flag(field.name)}: {value!r} is not of the type {kind.__name__}.")
        smallest = {"epochs": 1, "batch_size": 1, "size": 32, "start_size": 16}
        for name, low in smallest.items():
            if getattr(self, name) < low:
                raise StyleTransferError(f"{flag(name)} must be {low} or more.")
        if not 0 < self.lr < math.inf or not 0 < self.muon_lr < math.inf:
            raise StyleTransferError("--lr and --muon-lr must be above 0.")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.muon_weight_decay < math.inf:
            raise StyleTransferError("--weight-decay and --muon-weight-decay must be 0 or more.")
        if not 0 <= self.label_smoothing < 1:
            raise StyleTransferError("--label-smoothing must be at least 0 and below 1.")
        if not 0 < self.crop <= 1:
            raise StyleTransferError("--crop must be above 0 and at most 1.")
        choices_by_name = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "pooling": POOLINGS, "freeze": ("", *LAYERS)}
        for name, choices in choices_by_name.items():
            if getattr(self, name) not in choices:
                raise StyleTransferError(f"{flag(name)}: choose from {', '.join(filter(None, choices))}.")


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


RECIPES = {
    "default": Recipe(),
    # The plain recipe of tutorials, to compare with. It is slow: it enlarges pictures of 32 px to 224 px, and trains
    # on 3.5 of them per second on two cores. The mean loss is 4.70 in its first ten steps, 4.66 in the next ten.
    "seed": Recipe(
        batch_size=25,
        optimizer="adam",
        schedule="constant",
        weight_decay=0.0,
        label_smoothing=0.0,
        size=224,
        start_size=224,
        pooling="max",
        augment=False,
    ),
    # For the network that the app paints with. Start it from a finished run with `--start-from`. Half an epoch of these
    # settings turns fine scratches into strokes. The learning rate stays high to the end: lowering it makes the network
    # a better classifier, and a worse painter. Larger pictures and close-ups make the strokes broader.
    "painter": Recipe(
        epochs=1,
        batch_size=128,
        schedule="constant",
        size=64,
        start_size=64,
        pooling="average",
        crop=0.375,
    ),
    # After `painter`, and started from it: the layers that paint are frozen, those above learn to classify again.
    "cooldown": Recipe(epochs=1, size=40, start_size=40, pooling="average", freeze="conv3_1"),
}


def choose_recipe(name: str, **changes) -> Recipe:
    """Return the recipe `name` with some settings changed. Raises StyleTransferError for a wrong name or setting."""
    if name not in RECIPES:
        raise StyleTransferError(f"Unknown recipe {name!r}: choose from {', '.join(RECIPES)}.")
    return replace(RECIPES[name], **changes)


def schedule(step: int, steps: int, recipe: Recipe) -> float:
    """Return the factor of the learning rates at a step, from 0 to 1.

    It is constant, or one cycle (Smith & Topin 2017): it rises linearly for 15 % of the run, then falls to zero along a
    cosine.
    """
    if recipe.schedule == "constant":
        return 1.0
    warmup = max(1, round(0.15 * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def picture_size(epoch: int, recipe: Recipe) -> int:
    """Return the side of the pictures in an epoch, in px.

    It grows from `start_size` through the geometric mean, a multiple of 8, to `size`, with equal time for each. The
    time is proportional to the area: of 20 epochs from 24 to 48 px, 11 are at 24, 6 at 32 and 3 at 48. From 32
    to 40 px, where the mean is 32 again, 15 are at 32 and 5 at 40. A single epoch is at `size`.
    """
    middle = 8 * round(math.sqrt(recipe.start_size * recipe.size) / 8)
    sizes = (recipe.start_size, middle, recipe.size)
    times = [side**-2 for side in sizes]
    ends = (recipe.epochs * sum(times[: i + 1]) / sum(times) for i in range(2))
    return next((side for side, end in zip(sizes, ends, strict=False) if epoch + 1 <= end), recipe.size)
