"""Compare the times that are predicted with those that runs take."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from nst.estimation import estimate
from nst.models.checkpoints import load_backbone
from nst.settings import StyleSettings
from nst.stylization import stylize

SIDES = (256, 512, 768, 1024)  # px
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Forecast:
    """Times of one whole run in seconds.

    before: estimated before the run, as the page shows it. early: estimated after a tenth of the steps. real: taken.
    """

    side: int
    precision: str
    before: float
    early: float
    real: float


def compare_forecasts(
    photo: Image.Image,
    painting: Image.Image,
    sides: Sequence[int] = SIDES,
    precisions: Sequence[str] = PRECISIONS,
    **changes,
) -> Iterator[Forecast]:
    """Paint with the default preset at every size, in every precision, and yield the times. changes: of the settings.

    The first estimate in a precision also measures this machine, which is not counted, as on the page.
    """
    for precision in precisions:
        for side in sides:
            settings = StyleSettings.preset("balanced", size=side, precision=precision, **changes)
            before = estimate(photo.size, settings, load_backbone(settings.backbone)).seconds
            tenth, early = math.ceil(settings.steps / 10), math.nan
            for step in stylize(photo, painting, settings, preview_every=0.25):
                if step.step == tenth:
                    early = step.seconds + step.seconds_left
            yield Forecast(side, precision, before, early, step.seconds)


def ratio_of(predicted: float, real: float) -> float:
    """Return how many times one is the other, at least 1."""
    return max(predicted / real, real / predicted)
