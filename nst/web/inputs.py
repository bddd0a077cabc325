"""What a visitor gives: pictures, clips, and several paintings with weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData, ImageData
from gradio_client.utils import encode_file_path, is_file_obj_with_meta
from PIL import Image
from pydantic import ValidationInfo, model_validator

from nst import StyleTransferError, load_photo
from nst.io.reading import open_picture
from nst.web.errors import readable_errors
from nst.web.previews import SHOW_PREVIEW, is_shown_as_painted, write_preview
from nst.web.session import with_origin

MORE_PAINTINGS = (2, 3)  # the numbers of the paintings besides the first


def _check_mark(value: Any, info: ValidationInfo) -> Any:
    """Refuse a value from outside that is not marked as an uploaded file.

    Gradio checks only values with the mark. Others could name any file of the server.
    """
    is_from_outside = info.context and info.context.get("validate_meta")
    if is_from_outside and not is_file_obj_with_meta(value):
        message = 'An upload must be a file, {"path": ..., "meta": {"_type": "gradio.FileData"}}.'
        raise gr.Error(message, print_exception=False)
    return value


class PictureUpload(ImageData):
    """An uploaded picture."""

    check_mark = model_validator(mode="before")(_check_mark)


class ClipUpload(FileData):
    """An uploaded clip."""

    check_mark = model_validator(mode="before")(_check_mark)


class Picture(gr.Image):
    """An upload field whose pictures nst reads: Gradio's own reader clips some, loses parts, or fails.

    The picture is that of `nst.load_photo`, with its file in `info["path"]`.
    """

    data_model = PictureUpload
    is_template = True  # so that Gradio's page shows it as a gr.Image

    def preprocess(self, payload):
        """Return the picture as a PIL image, or None. Raises gr.Error for a file that cannot be used."""
        if payload is None:
            return None
        try:
            file = payload.path or super().preprocess(payload)
            picture = load_photo(file, name=Path(payload.orig_name or "The picture").name[-60:])
        except StyleTransferError as error:
            raise gr.Error(f"{self.label}: {error}", print_exception=False) from None
        return with_origin(picture, Path(payload.path or ""))

    def read_at_once(self) -> None:
        """Read every upload as soon as it arrives: show a preview of it where the browser would show it otherwise.

        An upload that cannot be used is refused, and removed from the page.
        """
        hidden = {"show_progress": "hidden", "api_visibility": "private"}
        preview = gr.JSON(visible=False)
        upload = self.upload(preview_of, self, preview, concurrency_limit=None, trigger_mode="multiple", **hidden)
        upload.success(None, [self, preview], self, js=SHOW_PREVIEW)
        upload.failure(lambda: None, None, self, queue=False, **hidden)


class ClipField(gr.Video):
    """An upload field for clips. The value is the file's path: nst reads it, and Gradio's own reader is not needed."""

    data_model = ClipUpload
    is_template = True

    def preprocess(self, payload):
        """Return the path of the file, or None."""
        return payload.path if payload else None


def preview_of(picture: Image.Image | None) -> dict[str, str] | None:
    """Return the preview of an upload for `SHOW_PREVIEW`, or None if browsers show the upload as it is painted."""
    if picture is None:
        return None
    file = picture.info["path"]
    with readable_errors(), open_picture(file) as image:
        if is_shown_as_painted(image):
            return None
    try:
        return {"of": str(file), "path": encode_file_path(write_preview(picture))}
    except (OSError, StyleTransferError):  # a full disk: the upload can be painted all the same
        return None


def check_pictures(*, content, style, **others) -> list[dict]:
    """Return a validation for each input: messages for missing pictures appear inside their empty upload fields."""
    has_style = style is not None or bool(others.get("saved_style"))
    checks = [gr.validate(content is not None, "Add a photo."), gr.validate(has_style, "Add a painting.")]
    return checks + [gr.validate(True, "") for _ in others]


@dataclass(frozen=True)
class WeightedPainting:
    """The components of a painting besides the first."""

    picture: Picture
    weight: gr.Slider


def weighted_paintings() -> dict[int, WeightedPainting]:
    """Lay out the paintings besides the first; return their components by number."""
    paintings = {}
    with gr.Row():
        for number in MORE_PAINTINGS:
            with gr.Column(min_width=200):
                picture = Picture(label=f"Painting {number}", elem_id=f"style_{number}", height=220, buttons=[],
                                  alt_text=f"Painting {number} to learn from",
                                  sources=["upload", "clipboard"], elem_classes="picture_field")  # fmt: skip
                picture.read_at_once()
                weight = gr.Slider(0.1, 5, 1, step=0.1, label=f"Weight of painting {number}",
                                   info="1 counts as much as the first painting.",
                                   elem_id=f"weight_{number}")  # fmt: skip
            paintings[number] = WeightedPainting(picture, weight)
    return paintings
