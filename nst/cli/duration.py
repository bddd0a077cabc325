"""Say how long a long run will take, before it starts."""

from nst.cli.messages import say
from nst.estimation import estimate, step_pixels
from nst.io.sizes import fitted_size
from nst.models.checkpoints import load_backbone
from nst.settings import StyleSettings

LARGE_RUN = 15_000_000  # pixels of all steps: fewer take less than a minute on two cores, and are not worth a trial
LONG_RUN = 60  # seconds


def announce_duration(photo_size: tuple[int, int], settings: StyleSettings) -> None:
    """Print one line about a run of over a minute: `nst: 8192 x 5461 px takes about 25 minutes`."""
    if step_pixels(photo_size, settings) < LARGE_RUN:
        return
    seconds = estimate(photo_size, settings, load_backbone(settings.backbone)).seconds
    if seconds > LONG_RUN:
        width, height = fitted_size(photo_size, settings.stages(photo_size)[-1].long_side, settings.keep_aspect)
        say(f"{width} x {height} px takes about {_in_words(seconds)}")


def _in_words(seconds: float) -> str:
    """Return minutes, or from two hours on hours, with the unit."""
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{round(minutes / 60)} hours"
