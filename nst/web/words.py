"""Sentences about a run: the lines that stand in the status."""

from nst import PaintingRecipe, Step


def progress(step: Step) -> str:
    return f"Step {step.step} of {step.steps} · {duration(step.seconds_left)} left · {losses(step)}"


def ending(step: Step, time_limit: int) -> str:
    """`time_limit`: the host's, in seconds."""
    end = "Done" if step.step == step.steps else f"Stopped at step {step.step} of {step.steps}"
    if step.step < step.steps and step.seconds >= time_limit:
        end += f", by the limit of {duration(time_limit)} a run"
    return f"{end} · {duration(step.seconds)} · {step.image.width} x {step.image.height} px · {losses(step)}"


def afterwards(recipe: PaintingRecipe) -> str:
    """What has to be known of a picture's recipe; usually nothing."""
    if recipe.repeatable:
        return ""
    return "Continued with other settings or more steps: its recipe holds the last ones, and cannot repeat it exactly."


def losses(step: Step) -> str:
    return f"content {step.content_loss:.3g} · style {step.style_loss:.3g} · total {step.total_loss:.3g}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
