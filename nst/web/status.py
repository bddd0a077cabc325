"""The lines of the status: plain sentences about a run."""

from nst import PaintingRecipe, Step

NOTHING_TO_STOP = "Nothing is being painted yet."
STOPPED_EARLY = "Stopped before it began."


def progress_line(step: Step) -> str:
    """Return the status of a run that is painting."""
    if step.step == 0:
        return f"Sketching · {duration(step.seconds)}"
    return f"Step {step.step} of {step.steps} · {duration(step.seconds_left)} left"


def ending_line(step: Step, time_limit: int) -> str:
    """Return the status after the last step. time_limit: the host's limit of a run, in seconds."""
    end = "Done" if step.step == step.steps else f"Stopped at step {step.step} of {step.steps}"
    if step.step < step.steps and step.seconds >= time_limit:
        end += f", by the limit of {duration(time_limit)} a run"
    return f"{end} · {duration(step.seconds)} · {step.image.width} x {step.image.height} px"


def recipe_warning(recipe: PaintingRecipe) -> str:
    """Return a sentence if the recipe cannot repeat its picture, otherwise an empty text."""
    if recipe.repeatable:
        return ""
    return "This run was continued with other settings or more steps. Its recipe cannot repeat the picture exactly."


def losses_text(step: Step) -> str:
    """Return content, style and total loss with three digits."""
    return f"content {step.content_loss:.3g} · style {step.style_loss:.3g} · total {step.total_loss:.3g}"


def duration(seconds: float) -> str:
    """Return seconds below 100 s, else minutes, with the unit."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
