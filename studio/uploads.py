"""Pictures that visitors give: read by nst, refused in words."""

from pathlib import Path

import gradio as gr

from nst import StyleTransferError, load_with_opacity


class Picture(gr.Image):
    """An upload read by nst, which handles what Gradio's own reader clips, drops or fails on.

    A transparent picture arrives on white; how opaque it was is in its `info["opacity"]`.
    """

    is_template = True  # Gradio's page then shows it as a gr.Image

    def preprocess(self, payload):
        if payload is None:
            return None
        try:
            given = payload.path or super().preprocess(payload)
            picture, opacity = load_with_opacity(given, name=Path(payload.orig_name or "The picture").name[-60:])
        except StyleTransferError as error:
            raise gr.Error(f"{self.label}: {error}", print_exception=False) from None
        if opacity is not None:
            picture.info["opacity"] = opacity
        return picture


def check_pictures(content, style, *others) -> list[dict]:
    """Shown inside the empty upload field, before anything is queued."""
    checks = [gr.validate(content is not None, "Add a photo."), gr.validate(style is not None, "Add a painting.")]
    return checks + [gr.validate(True, "") for _ in others]
