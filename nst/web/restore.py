"""Settings that come from elsewhere than the controls: a preset, a link, a result's file, a picture of the gallery.

Every event here returns the preset, the settings that the controls belong to, the strength, and the controls' values.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from nst import PRESETS, StyleSettings, StyleTransferError, read_recipe
from nst.web.controls import CONTROLS, check_offered, control_values, settings_from
from nst.web.errors import readable_errors
from nst.web.gallery import describe_recipe, item_at
from nst.web.links import settings_from_query, settings_to_query
from nst.web.session import Session

UNCHANGED = [gr.skip()] * (3 + len(CONTROLS))


def show_settings_of_run(session: Session) -> list[Any]:
    """Show the settings of the latest run. The strength stays as the visitor has set it."""
    return UNCHANGED if session.run is None else show_but_strength(session.run.settings)


def choose_preset(preset: str) -> list[Any]:
    """Show the preset's settings. The strength stays: it is the finished picture's."""
    return show_but_strength(PRESETS[preset])


def apply_link(query: Mapping[str, str], max_size: int) -> list[Any]:
    """Show the settings that the page's address asks for. A link that cannot be used gives a warning."""
    try:
        settings = settings_from_query(query, max_size)
    except StyleTransferError as error:
        gr.Warning(f"The link's settings were left out: {error}")
        return UNCHANGED
    return _show(settings) if settings else UNCHANGED


def restore_from_file(file: str | None, max_size: int) -> list[Any]:
    """Show the settings that a result was painted with."""
    if not file:
        return UNCHANGED
    with readable_errors():
        recipe = read_recipe(file)
        settings = check_offered(recipe.settings, max_size)
    gr.Info("Settings restored. " + describe_recipe(recipe).replace("**", ""))
    return _show(settings)


def restore_from_gallery(session: Session, index: int | None, max_size: int) -> list[Any]:
    """Show the settings that the selected picture of the gallery was painted with."""
    with readable_errors():
        return _show(check_offered(item_at(session, index).recipe.settings, max_size))


def make_query(base: StyleSettings, preset: str | None, strength: float, **values: Any) -> str:
    """Return the query of a link to the current settings; the page puts its own address before it.

    values: of the controls, by field.
    """
    with readable_errors():
        return settings_to_query(replace(settings_from(base, values), strength=strength), preset)


def show_but_strength(settings: StyleSettings) -> list[Any]:
    """Show settings in the controls. The strength stays as the visitor has set it."""
    name, base, _, *values = _show(settings)
    return [name, base, gr.skip(), *values]


def _show(settings: StyleSettings) -> list[Any]:
    full = replace(settings, strength=1.0)
    preset = next((name for name, preset in PRESETS.items() if preset == full), None)
    return [preset, full, settings.strength, *control_values(settings).values()]
