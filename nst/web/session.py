"""What the page remembers of one visitor: the run that can be continued and saved, and the pictures painted so far.

It is plain data that can be pickled. Gradio keeps it for one browser session, and no other visitor's page can reach it.
Pictures and the state of the run are files beside the uploads, and are deleted with them; only the film's frames are
in memory.
"""

import contextlib
import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from nst import (
    Film,
    PaintingRecipe,
    RunState,
    Step,
    StrengthMixer,
    StyleSettings,
    StyleTransferError,
    load_photo,
    save_result,
    unrounded,
    with_strength,
)
from nst.io.sizes import fitted_size
from nst.io.transparency import transparency_of
from nst.seamless import periodic_photo
from nst.web.storage import new_result

MAX_ITEMS = 12  # pictures in the gallery
THUMBNAIL_SIDE = 512  # px
FILE_KINDS = {"PNG": (".png", 8), "PNG, 16 bits": (".png", 16), "TIFF, 16 bits": (".tif", 16)}  # suffix, bits a channel
DELETED = "The files of this picture have been deleted from the server, which keeps files for an hour: paint it again."


@dataclass
class Run:
    """A run on the page: its photo's file, settings and recipe, and its film, losses and result so far.

    losses: (step, content, style) of every step, weighted. last: the last step, once the run has ended. result: the PNG
    file, once it is saved. strength: of the picture that the page shows; the run and `result` have full strength.
    """

    photo: Path
    settings: StyleSettings
    recipe: PaintingRecipe
    film: Film = field(default_factory=Film)
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    last: Step | None = None
    result: Path | None = None
    strength: float = 1.0

    def add(self, step: Step) -> None:
        """Note the losses and the picture of a step."""
        self.film.add(step)
        if step.step == 0:  # a sketch, which has no losses
            return
        settings = self.settings
        content = settings.content_weight * step.content_loss + settings.laplacian_weight * step.laplacian_loss
        self.losses.append((step.step, content, settings.style_weight * step.style_loss))
        if step.state is not None:
            self.last = step
            self.recipe = replace(self.recipe, steps_done=step.step)

    def save(self) -> None:
        """Write the result and, beside it, the state to continue from; neither is kept in memory."""
        self.result = save_result(self.last.image, new_result(), self.recipe)
        self.last.state.save(self._state_file)
        self.last = replace(self.last, image=None, state=None)

    @property
    def _state_file(self) -> Path:
        return self.result.with_name("state.safetensors")

    def read_photo(self) -> Image.Image:
        """Return the photo as `load_photo` does. Raises StyleTransferError if it has been deleted."""
        return with_origin(load_photo(_existing(self.photo), name="The photo"), self.photo)

    def read_picture(self) -> Image.Image:
        """Return the result. Raises StyleTransferError if it has been deleted."""
        with Image.open(_existing(self.result)) as picture:
            return picture.convert("RGB")

    def read_photo_to_mix(self, size: tuple[int, int]) -> Image.Image:
        """Return the photo as the run saw it, in (width, height) `size`. Raises StyleTransferError as `read_photo`."""
        return periodic_photo(self.read_photo(), size) if self.settings.seamless else self.read_photo()

    def read_shown(self) -> Image.Image:
        """Return the picture at the strength that the page shows. Raises StyleTransferError if it has been deleted."""
        picture = self.read_picture()
        if self.strength == 1:
            return picture
        return StrengthMixer(self.read_photo_to_mix(picture.size), picture).picture(self.strength)

    def shown_recipe(self) -> PaintingRecipe:
        """Return the recipe of that picture."""
        return replace(self.recipe, settings=replace(self.recipe.settings, strength=self.strength))

    def check_files(self) -> None:
        """Raise StyleTransferError if the photo or the result has been deleted."""
        for path in (self.photo, self.result):
            _existing(path)

    def read_last_step(self) -> Step:
        """Return the last step with its picture and state. Raises StyleTransferError if they have been deleted."""
        return replace(self.last, image=self.read_picture(), state=RunState.load(_existing(self._state_file)))

    def delete_state(self) -> None:
        """Delete the saved state: this run can no longer be continued."""
        with contextlib.suppress(OSError):
            self._state_file.unlink()

    def continued(self, settings: StyleSettings, recipe: PaintingRecipe, state: RunState) -> "Run":
        """Return the run that continues this one from `state`, with that recipe; this one does not change."""
        if state.arrays.keys() == {"pixels"}:  # ZeroGPU leaves only a preview of a run that was stopped
            recipe = replace(recipe, repeatable=False)
        film = copy.copy(self.film)
        film.stored = [*film.stored]
        return Run(self.photo, settings, recipe, film, [*self.losses])

    def export(self, kind: str = "PNG", transparent: bool = False) -> Path:
        """Write the picture and its recipe to a new file of a kind of `FILE_KINDS`; return its path.

        transparent: put the photo's transparency back. Raises StyleTransferError if the photo has none.
        """
        suffix, bits = FILE_KINDS[kind]
        transparency = transparency_of(self.read_photo()) if transparent else {}
        if transparent and not transparency:
            raise StyleTransferError("The photo has no transparency to put back.")
        picture = self._unrounded() if bits == 16 else self.read_shown()
        return save_result(picture, new_result(f"stylized{suffix}"), self.shown_recipe(), **transparency)

    def _unrounded(self) -> np.ndarray:
        step = self.read_last_step()
        if self.strength != 1:
            step = with_strength(step, self.read_photo_to_mix(step.image.size), self.strength)
        return unrounded(step)


def with_origin(picture: Image.Image, path: Path) -> Image.Image:
    """Return the picture of an upload, with its file in its `info`."""
    picture.info["path"] = path
    return picture


def _existing(path: Path) -> Path:
    if not path.exists():
        raise StyleTransferError(DELETED)
    return path


@dataclass(frozen=True)
class GalleryItem:
    """A finished picture of the gallery: its PNG file, a small picture of it, and its recipe."""

    path: Path
    thumbnail: Path
    recipe: PaintingRecipe

    def caption(self) -> str:
        """Return size, steps and weights in one line."""
        settings = self.recipe.settings
        weights = f"content {settings.content_weight:g} · style {settings.style_weight:g}"
        return f"{settings.size} px · {self.recipe.steps_done} steps · {weights}"


def _gallery_item(run: Run) -> GalleryItem:
    """Write the files of a finished run for the gallery, at the run's strength."""
    path = run.result if run.strength == 1 else run.export()
    thumbnail = new_result("thumbnail.jpg")
    picture = run.read_shown()
    picture.resize(fitted_size(picture.size, min(THUMBNAIL_SIDE, max(picture.size)))).save(thumbnail, quality=90)
    return GalleryItem(path, thumbnail, run.shown_recipe())


@dataclass
class Session:
    """The state of one browser session.

    run: the latest run that ended with a picture. items: the gallery, the newest picture first.
    """

    run: Run | None = None
    items: list[GalleryItem] = field(default_factory=list)

    def finish(self, run: Run) -> Path:
        """Save a run's picture, put it into the gallery, and make it the latest run.

        Return the path of the PNG file, which has the strength of the run.
        """
        run.save()
        if self.run is not None:
            self.run.delete_state()
        self.run = run
        self.items = [_gallery_item(run), *self.existing_items()][:MAX_ITEMS]
        return self.items[0].path

    def set_strength(self, strength: float) -> Path:
        """Give the latest run's picture another strength, in the gallery too; return the path of its new PNG file.

        Raises StyleTransferError if there is no run, or if its files have been deleted.
        """
        run = self.latest_run()
        run.check_files()
        run.strength = strength
        self.items[0] = _gallery_item(run)
        return self.items[0].path

    def existing_items(self) -> list[GalleryItem]:
        """Return the gallery's pictures whose files have not been deleted."""
        return [item for item in self.items if item.path.exists() and item.thumbnail.exists()]

    def latest_run(self) -> Run:
        """Return the latest run. Raises StyleTransferError if there is none."""
        if self.run is None:
            raise StyleTransferError("Nothing has been painted yet.")
        return self.run
