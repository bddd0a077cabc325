"""Settings that come from elsewhere than the controls: a preset, a link, a result's file, a picture of this visit."""

from typing import Any

import gradio as gr

from nst import PRESETS, StyleSettings, StyleTransferError, read_recipe
from nst.web.controls import CONTROLS, check_offered, settings_of, values_of
from nst.web.errors import readable_errors
from nst.web.gallery import description, picture_at
from nst.web.links import query_of, settings_in
from nst.web.visit import Visit

# Every event here returns the preset, the settings behind the controls, and the controls' values.
NOTHING = [gr.skip()] * (len(CONTROLS) + 2)


def preset_event(preset: str) -> list[Any]:
    return _shown(PRESETS[preset])


def arrival_event(max_size: int, request: gr.Request) -> list[Any]:
    """What the page's address asks for."""
    try:
        asked = settings_in(request.query_params, max_size)
    except StyleTransferError as error:
        gr.Warning(f"The link's settings were left out: {error}")
        return NOTHING
    return _shown(asked) if asked else NOTHING


def restore_event(max_size: int, file: str | None) -> list[Any]:
    """What a result was painted with."""
    if not file:
        return NOTHING
    with readable_errors():
        recipe = read_recipe(file)
        settings = check_offered(recipe.settings, max_size)
    gr.Info("Settings restored. " + description(recipe).replace("**", ""))
    return _shown(settings)


def reuse_event(max_size: int, visit: Visit, index: int | None) -> list[Any]:
    with readable_errors():
        return _shown(check_offered(picture_at(visit, index).recipe.settings, max_size))


def link_event(base: StyleSettings, preset: str | None, *values: Any) -> str:
    """The query of a link to the settings as they are; the page puts its own address before it."""
    with readable_errors():
        return query_of(settings_of(base, values), preset)


def _shown(settings: StyleSettings) -> list[Any]:
    preset = next((name for name, one in PRESETS.items() if one == settings), None)
    return [preset, settings, *values_of(settings)]
