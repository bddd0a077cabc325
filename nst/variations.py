"""Variations: one photo painted in four ways, small and all at once, so that one of them can be chosen."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from nst.io.reading import PictureLike, load_photo
from nst.pictures import Style, load_styles
from nst.settings import StyleSettings
from nst.step import Step
from nst.stylization import stylize

STEPS_WITH_SKETCH, STEPS = 12, 40  # at most: four pictures of 256 px are wanted within 15 s
LARGEST_WEIGHT = 1e9  # of the style
SCALES = (0.25, 2.0)  # the range of `style_scale`


@dataclass(frozen=True)
class Variation:
    """A change of the settings. weight, scale: factors of `style_weight` and of `style_scale`."""

    name: str
    weight: float
    scale: float

    def change(self, settings: StyleSettings) -> StyleSettings:
        """Return the settings with this change, within the ranges of both settings. Size and steps stay."""
        smallest, largest = SCALES
        return replace(
            settings,
            style_weight=min(LARGEST_WEIGHT, settings.style_weight * self.weight),
            style_scale=min(largest, max(smallest, settings.style_scale * self.scale)),
        )


# Chosen by eye on four photos and paintings. With fine strokes a weight above 1 dissolved the photo; with broad ones a
# weight of 1 was hardly stronger than 0.35.
VARIATIONS = (
    Variation("light, fine brush", weight=0.35, scale=0.5),
    Variation("light, broad brush", weight=0.35, scale=1.8),
    Variation("strong, fine brush", weight=1.0, scale=0.5),
    Variation("strong, broad brush", weight=1.3, scale=1.8),
)


def vary(settings: StyleSettings, size: int = 256) -> list[StyleSettings]:
    """Return the settings of `VARIATIONS`, in their order, for small pictures that are painted quickly.

    size: long side in px; a smaller size of `settings` stays.
    """
    steps = min(settings.steps, STEPS_WITH_SKETCH if settings.sketch else STEPS)
    small = replace(settings, size=min(settings.size, size), steps=steps)
    return [variation.change(small) for variation in VARIATIONS]


def paint_together(
    content: PictureLike,
    style: PictureLike | Sequence[Style],
    settings: Sequence[StyleSettings],
    *,
    preview_every: int | float | None = 1,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[list[Step | None]]:
    """Paint a photo with several settings at once; after every step of any, yield the latest step of each.

    The runs take turns, a step each. A step is None until the first one of its run. All arguments are those of
    `stylize`, and `should_stop` ends every run after its next step.

    Raises StyleTransferError as `stylize` does.
    """
    name = None if isinstance(content, (str, os.PathLike)) else "The content picture"
    content, style = load_photo(content, name), load_styles(style)  # once for all runs
    latest: list[Step | None] = [None] * len(settings)
    with ExitStack() as stack:
        runs = {
            number: stack.enter_context(
                closing(stylize(content, style, item, preview_every=preview_every, should_stop=should_stop))
            )
            for number, item in enumerate(settings)
        }
        while runs:
            for number in list(runs):
                step = next(runs[number], None)
                if step is None:
                    del runs[number]
                    continue
                latest[number] = step
                yield list(latest)
