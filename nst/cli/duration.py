"""Say how long a long run will take, before it starts."""

from nst.cli.messages import say
from nst.estimation import estimate
from nst.io.sizes import fitted_size
from nst.models.checkpoints import load_backbone
from nst.settings import StyleSettings

LARGE_RUN = 15_000_000  # pixels of all steps: fewer take less than a minute on two cores, and are not worth a trial
STAGE_STEPS = 2  # that the preparation of a stage and the finish are counted as
LONG_RUN = 60  # seconds


def announce_duration(photo_size: tuple[int, int], settings: StyleSettings) -> None:
    """Print one line about a run of over a minute: `nst: 8192 x 5461 px takes about 25 minutes`."""
    sizes = [(fitted_size(photo_size, x.long_side, settings.keep_aspect), x.steps) for x in settings.stages(photo_size)]
    if sum(width * height * (steps + STAGE_STEPS) for (width, height), steps in sizes) < LARGE_RUN:
        return
    seconds = estimate(photo_size, settings, load_backbone(settings.backbone)).seconds
    if seconds > LONG_RUN:
        (width, height), _ = sizes[-1]
        say(f"{width} x {height} px takes about {_in_words(seconds)}")


def _in_words(seconds: float) -> str:
    """Return minutes, or from two hours on hours, with the unit."""
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{round(minutes / 60)} hours"
