"""What the page remembers of a visitor: the run that can be continued and saved, and the pictures painted so far.

It is plain picklable data, held by Gradio for one session: nobody else's page can reach it. Pictures and the state of
the run are files beside the uploads, and are deleted with them; only the film's frames are held.
"""

import contextlib
import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from nst import (
    Film,
    PaintingRecipe,
    RunState,
    Step,
    StyleSettings,
    StyleTransferError,
    load_with_opacity,
    save_result,
    unrounded,
)
from nst.web.storage import new_result

MAX_KEPT = 12  # pictures in the gallery
FILES = {"PNG": (".png", 8), "PNG, 16 bits": (".png", 16), "TIFF, 16 bits": (".tif", 16)}  # suffix, bits a channel
DELETED = "This picture's files have been deleted from the server, as all are after an hour: paint it anew."


@dataclass
class Run:
    """A painting as it stands: the photo's file, what was asked for, the last step, and how it came about.

    losses: (step, content, style) of every step, weighted. result: the PNG, once the run has ended.
    """

    photo: Path
    settings: StyleSettings
    recipe: PaintingRecipe
    film: Film = field(default_factory=Film)
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    last: Step | None = None
    result: Path | None = None

    def add(self, step: Step) -> None:
        settings = self.settings
        content = settings.content_weight * step.content_loss + settings.laplacian_weight * step.laplacian_loss
        self.losses.append((step.step, content, settings.style_weight * step.style_loss))
        self.film.add(step)
        if step.state is not None:
            self.last = step
            self.recipe = replace(self.recipe, steps_done=step.step)

    def file_away(self) -> None:
        """Write the result, and beside it what goes on from here; neither is held any longer."""
        self.result = save_result(self.last.image, new_result(), self.recipe)
        self.last.state.save(self._state)
        self.last = replace(self.last, image=None, state=None)

    @property
    def _state(self) -> Path:
        return self.result.with_name("state.safetensors")

    def read_photo(self) -> Image.Image:
        """Raises StyleTransferError once it has been deleted."""
        picture, opacity = load_with_opacity(_there(self.photo), name="The photo")
        return with_origin(picture, self.photo, opacity)

    def read_picture(self) -> Image.Image:
        """The result. Raises StyleTransferError once it has been deleted."""
        with Image.open(_there(self.result)) as picture:
            return picture.convert("RGB")

    def read_last(self) -> Step:
        """The last step with its picture and state. Raises StyleTransferError once they have been deleted."""
        return replace(self.last, image=self.read_picture(), state=RunState.load(_there(self._state)))

    def forget_state(self) -> None:
        """It is not gone on from here any more."""
        with contextlib.suppress(OSError):
            self._state.unlink()

    def continued(self, settings: StyleSettings, recipe: PaintingRecipe, state: RunState) -> "Run":
        """The same run about to go on from `state`; this one stays as it is."""
        recipe = recipe.continued(self.recipe)
        if state.arrays.keys() == {"pixels"}:  # a preview is all that ZeroGPU leaves of a run that was stopped
            recipe = replace(recipe, repeatable=False)
        film = copy.copy(self.film)
        film.stored = [*film.stored]
        return Run(self.photo, settings, recipe, film, [*self.losses])

    def save(self, kind: str = "PNG", transparent: bool = False) -> Path:
        """A new file with the picture and its recipe. Raises StyleTransferError if there is no transparency to keep."""
        suffix, bits = FILES[kind]
        opacity = self.read_photo().info.get("opacity") if transparent else None
        if transparent and opacity is None:
            raise StyleTransferError("The photo has no transparency to put back.")
        picture = unrounded(self.read_last()) if bits == 16 else self.read_picture()
        return save_result(picture, new_result(f"stylized{suffix}"), self.recipe, opacity=opacity)


def with_origin(picture: Image.Image, path: Path, opacity: Image.Image | None) -> Image.Image:
    """The picture of an upload, with where it lies and how opaque it was in its `info`."""
    picture.info |= {"path": path} | ({} if opacity is None else {"opacity": opacity})
    return picture


def _there(path: Path) -> Path:
    if not path.exists():
        raise StyleTransferError(DELETED)
    return path


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
        run.file_away()
        shown = run.result.with_name("shown.jpg")
        shown.write_bytes(run.film.stored[-1])
        if self.run is not None:
            self.run.forget_state()
        self.run = run
        self.kept = [Kept(run.result, shown, run.recipe), *self.still_there()][:MAX_KEPT]
        return run.result

    def still_there(self) -> list[Kept]:
        return [one for one in self.kept if one.path.exists() and one.shown.exists()]

    def finished_run(self) -> Run:
        """Raises StyleTransferError if there is none."""
        if self.run is None:
            raise StyleTransferError("Nothing has been painted yet.")
        return self.run
