"""How much of the painting is shown: the slider under the picture acts on a finished picture, and during a run.

`Session` keeps the picture of full strength. So every strength is mixed from it anew, and runs continue from it.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from PIL import Image

from nst import StrengthMixer, load_photo, load_picture
from nst.io.sizes import fitted_size
from nst.seamless import periodic_photo
from nst.settings import STRENGTHS
from nst.strength import photo_of_size
from nst.web.compare import compare_value
from nst.web.errors import readable_errors
from nst.web.gallery import gallery_value
from nst.web.session import Run, Session

SHOWN_SIDE = 1024  # px: what a moved slider shows; larger pictures are mixed at their full size for the download
PREVIEW_SIDE = 512  # px: previews of a run are mixed at this size, because mixing takes time from painting
MAX_MIXERS = 3  # pictures whose mixers stay in memory, 90 MB each at most


class RunStrengths:
    """The strength that the slider of each visitor has while a run paints, by the session's hash."""

    def __init__(self):
        self._strengths: dict[str | None, float] = {}

    @contextmanager
    def of_run(self, session: str | None, strength: float) -> Iterator[Callable[[], float]]:
        """Note a strength for as long as the block lasts; yield the function that returns the latest one."""
        self._strengths[session] = strength
        try:
            yield lambda: self._strengths.get(session, strength)
        finally:
            self._strengths.pop(session, None)

    def is_painting(self, session: str | None) -> bool:
        """Return whether this visitor has a run."""
        return session in self._strengths

    def note(self, session: str | None, strength: float) -> None:
        """Note the strength for this visitor's run."""
        self._strengths[session] = strength


class PreviewMixer:
    """Mixes the previews of one run with its photo."""

    def __init__(self, photo: Image.Image, seamless: bool):
        self._photo, self._seamless = photo, seamless
        self._small: Image.Image | None = None  # the photo at the previews' size

    def mix(self, preview: Image.Image, strength: float) -> Image.Image:
        """Return a preview at a strength; below or above 1 with no side over `PREVIEW_SIDE`."""
        if strength == 1:
            return preview
        preview = _shrunk(preview, PREVIEW_SIDE)
        if self._small is None:
            resized = periodic_photo if self._seamless else photo_of_size
            self._small = resized(self._photo, preview.size)
        return StrengthMixer(self._small, preview).picture(strength)


class StrengthEvents:
    """The events of the slider."""

    def __init__(self, strengths: RunStrengths):
        self._strengths = strengths

    def prepare(self, session: Session) -> None:
        """Read the pictures of a run that has just ended, so that the slider's first move acts at once."""
        with readable_errors():
            if session.run is not None:
                mixer_of(session.run).picture(0.5)

    def show(self, session: Session, strength: float, request: gr.Request) -> tuple:
        """Return the finished picture at a strength, and a download button that waits for `keep`.

        While a run paints, the strength is for its next preview.
        """
        if self._strengths.is_painting(request.session_hash):
            self._strengths.note(request.session_hash, strength)
            return gr.skip(), gr.skip()
        if session.run is None:
            return gr.skip(), gr.skip()
        with readable_errors():
            return mixer_of(session.run).picture(strength), gr.DownloadButton(interactive=False)

    def keep(self, session: Session, strength: float, kind: str, transparent: bool, request: gr.Request) -> tuple:
        """Give the latest result this strength: session, download button, before and after, and gallery."""
        if session.run is None or self._strengths.is_painting(request.session_hash):
            return (gr.skip(),) * 4
        with readable_errors():
            path = session.set_strength(strength)
            if (kind, transparent) != ("PNG", False):
                path = session.run.export(kind, transparent)
            comparison = compare_value(load_picture(session.run.read_photo()), session.run.read_shown())
        return session, gr.DownloadButton(value=str(path), interactive=True), comparison, gallery_value(session)


def strength_slider() -> gr.Slider:
    """Lay out the slider."""
    low, high = STRENGTHS
    return gr.Slider(low, high, 1, step=0.05, label="How much?", elem_id="strength",
                     info="0 is the photo, 1 the painting; above 1 is a little more than the painting.")  # fmt: skip


def mixer_of(run: Run) -> StrengthMixer:
    """Return the mixer of a finished run's picture, with no side over `SHOWN_SIDE`.

    Raises StyleTransferError if the picture or its photo has been deleted.
    """
    run.check_files()
    return _mixer(run.result, run.photo, run.settings.seamless)


@functools.lru_cache(MAX_MIXERS)
def _mixer(result: Path, photo_file: Path, seamless: bool) -> StrengthMixer:
    with Image.open(result) as picture:
        painting = _shrunk(picture.convert("RGB"), SHOWN_SIDE)
    photo = load_photo(photo_file, name="The photo")
    return StrengthMixer(periodic_photo(photo, painting.size) if seamless else photo, painting)


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    """Return the picture with no side over `side`."""
    return picture.resize(fitted_size(picture.size, side)) if max(picture.size) > side else picture
