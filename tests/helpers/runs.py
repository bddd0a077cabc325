"""Runs of `stylize` that take milliseconds. Their settings are the fixtures `fast` and `two_stages`."""

from helpers.pictures import make_picture
from helpers.refusals import refusal

CONTENT, STYLE = make_picture(80, 80, seed=1), make_picture(90, 70, seed=2)


def two_steps(checkpoint):
    """Return the settings of a very short run. checkpoint: of random weights."""
    from nst.settings import StyleSettings

    return StyleSettings(
        size=64, steps=2, scales=1, style_levels=1, content_layers=("conv2_1",), style_layers=("conv1_1",),
        backbone=str(checkpoint), device="cpu", precision="float32",
    )  # fmt: skip


def paint(settings, content=CONTENT, style=STYLE, **options):
    """Return the last step of a run."""
    from nst.stylization import stylize

    *_, last = stylize(content, style, settings, preview_every=None, **options)
    return last


def stopped_after(count: int, settings):
    """Return the last step of a run that is told to stop after `count` steps."""
    calls = iter(range(1, 1000))
    return paint(settings, should_stop=lambda: next(calls) >= count)


def refused_run(content=CONTENT, style=STYLE, settings=None, **options) -> str:
    """Start a run that must be refused. Return the message."""
    from nst.stylization import stylize

    return refusal(lambda: next(stylize(content, style, settings, **options)))
