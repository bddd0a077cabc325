"""The bar that shows how far a run is."""

from typing import Any

from tqdm import tqdm

from nst.cli.messages import ERRORS
from nst.errors import one_line
from nst.step import Step

BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"  # tqdm's own, but for `left`


class StepBar(tqdm):
    """tqdm's bar with the run's own time left.

    tqdm assumes that all steps take equally long, but steps of later stages paint larger pictures.
    """

    _seconds_left: float | None = None

    def __init__(self, steps: int):
        # The delay hides the bar until the first step, which is where unusable input is refused.
        super().__init__(total=steps, unit="step", file=ERRORS, delay=1e-3, bar_format=BAR_FORMAT)

    @property
    def format_dict(self) -> dict[str, Any]:
        """The values that `bar_format` can use."""
        left = "?" if self._seconds_left is None else self.format_interval(self._seconds_left)
        return super().format_dict | {"left": left}

    def show(self, step: Step) -> None:
        """Show a step; the steps with number 0 are those of the sketch."""
        self.set_description("sketch" if step.step == 0 else "", refresh=False)
        if step.step > 0:
            self._seconds_left = step.seconds_left
            losses = f"content {step.content_loss:.3g}, style {step.style_loss:.3g}, total {step.total_loss:.3g}"
            self.set_postfix_str(losses, refresh=False)
        self.update(step.step - self.n)

    def say(self, message: str) -> None:
        """Print `nst: <message>` above the bar."""
        self.write(f"nst: {one_line(message)}", file=ERRORS)
