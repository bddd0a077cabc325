"""What the page remembers of a visitor: the run that can be continued and saved, and the pictures painted so far.

It is plain picklable data, held by Gradio for one session: nobody else's page can reach it.
"""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from nst import Film, PaintingRecipe, Step, StyleSettings, StyleTransferError, save_result, unrounded
from studio.storage import new_result

MAX_KEPT = 12  # pictures in the gallery
FILES = {"PNG": (".png", 8), "PNG, 16 bits": (".png", 16), "TIFF, 16 bits": (".tif", 16)}  # suffix, bits a channel


@dataclass
class Run:
    """A painting as it stands: the photo, what was asked for, the last step, and how it came about.

    losses: (step, content, style) of every step, weighted.
    """

    photo: Image.Image
    settings: StyleSettings
    recipe: PaintingRecipe
    film: Film = field(default_factory=Film)
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    last: Step | None = None

    def add(self, step: Step) -> None:
        weights = self.settings.content_weight, self.settings.style_weight
        self.losses.append((step.step, step.content_loss * weights[0], step.style_loss * weights[1]))
        self.film.add(step)
        if step.state is not None:
            self.last = step
            self.recipe = replace(self.recipe, steps_done=step.step)

    def continued(self, settings: StyleSettings, recipe: PaintingRecipe) -> "Run":
        """The same run about to go on; this one stays as it is."""
        film = copy.copy(self.film)
        film.frames = [*film.frames]
        return Run(self.photo, settings, recipe, film, [*self.losses])

    def save(self, kind: str = "PNG", transparent: bool = False) -> Path:
        """A new file with the picture and its recipe. Raises StyleTransferError if there is no transparency to keep."""
        suffix, bits = FILES[kind]
        opacity = self.photo.info.get("opacity") if transparent else None
        if transparent and opacity is None:
            raise StyleTransferError("The photo has no transparency to put back.")
        picture = unrounded(self.last) if bits == 16 else self.last.image
        return save_result(picture, new_result(f"stylized{suffix}"), self.recipe, opacity=opacity)


@dataclass(frozen=True)
class Kept:
    """A finished picture of the gallery: its PNG file, a smaller one to show, and its recipe."""

    path: Path
    shown: Path
    recipe: PaintingRecipe

    def caption(self) -> str:
        settings = self.recipe.settings
        weights = f"content {settings.content_weight:g} · style {settings.style_weight:g}"
        return f"{settings.size} px · {self.recipe.steps_done} steps · {weights}"


@dataclass
class Visit:
    """run: the latest. kept: the newest first; those whose files have been deleted are left out."""

    run: Run | None = None
    kept: list[Kept] = field(default_factory=list)

    def finish(self, run: Run) -> Path:
        """Make it the latest run and keep its picture; the PNG's path."""
        path = run.save()
        shown = path.with_name("shown.jpg")
        run.film.frames[-1].save(shown, quality=85)
        self.run = run
        self.kept = [Kept(path, shown, run.recipe), *self.still_there()][:MAX_KEPT]
        return path

    def still_there(self) -> list[Kept]:
        return [one for one in self.kept if one.path.exists() and one.shown.exists()]

    def finished_run(self) -> Run:
        """Raises StyleTransferError if there is none."""
        if self.run is None:
            raise StyleTransferError("Nothing has been painted yet.")
        return self.run
