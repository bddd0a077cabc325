"""Pictures that visitors give: read by nst, refused in words."""

from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio_client.utils import is_file_obj_with_meta
from pydantic import ValidationInfo, model_validator

from nst import StyleTransferError, load_with_opacity
from nst.web.visit import with_origin


class Upload(ImageData):
    """A picture from outside. Gradio checks only what is marked as a file: anything else could be any file here."""

    @model_validator(mode="before")
    @classmethod
    def marked(cls, value, info: ValidationInfo):
        from_outside = info.context and info.context.get("validate_meta")
        if from_outside and not is_file_obj_with_meta(value):
            message = 'A picture must be an uploaded file, {"path": ..., "meta": {"_type": "gradio.FileData"}}.'
            raise gr.Error(message, print_exception=False)
        return value


class Picture(gr.Image):
    """An upload read by nst, which handles what Gradio's own reader clips, drops or fails on.

    A transparent picture arrives on white; how opaque it was is in its `info["opacity"]`, the file in `info["path"]`.
    """

    data_model = Upload
    is_template = True  # Gradio's page then shows it as a gr.Image

    def preprocess(self, payload):
        if payload is None:
            return None
        try:
            given = payload.path or super().preprocess(payload)
            picture, opacity = load_with_opacity(given, name=Path(payload.orig_name or "The picture").name[-60:])
        except StyleTransferError as error:
            raise gr.Error(f"{self.label}: {error}", print_exception=False) from None
        return with_origin(picture, Path(payload.path or ""), opacity)

    def refuse_at_once(self) -> None:
        """Within the page: read a file as it is given, so that one that cannot be used is refused, and is gone."""
        hidden = {"show_progress": "hidden", "api_visibility": "private"}
        given = self.upload(lambda _: None, self, None, concurrency_limit=None, **hidden)
        given.failure(lambda: None, None, self, queue=False, **hidden)


def check_pictures(content, style, *others) -> list[dict]:
    """Shown inside the empty upload field, before anything is queued."""
    checks = [gr.validate(content is not None, "Add a photo."), gr.validate(style is not None, "Add a painting.")]
    return checks + [gr.validate(True, "") for _ in others]
