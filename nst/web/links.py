"""Settings in the page's address: `?preset=fine&style_weight=60`. Nothing is stored on the server."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import urlencode

from nst import DEFAULT_PRESET, PRESETS, StyleSettings, StyleTransferError
from nst.web.controls import HOST_SETTINGS, check_offered, value_text

LINKED_FIELDS = [field.name for field in fields(StyleSettings) if field.name not in HOST_SETTINGS]


def settings_to_query(settings: StyleSettings, preset: str | None) -> str:
    """Return the query that `settings_from_query` reads: the preset, and what differs from it.

    preset: by default the preset that differs least from the settings.
    """
    presets = [preset] if preset in PRESETS else sorted(PRESETS, key=lambda name: len(_changes(settings, name)))
    return urlencode({"preset": presets[0]} | _changes(settings, presets[0]), safe=",")


def settings_from_query(query: Mapping[str, str], max_size: int) -> StyleSettings | None:
    """Return the settings that a query asks for; None if it asks for none. Other parameters are ignored.

    max_size: the largest size that the host allows, in px.

    Raises StyleTransferError for values that are impossible, or that the page does not offer.
    """
    texts = {name: query[name] for name in LINKED_FIELDS if name in query}
    if not texts and "preset" not in query:
        return None
    preset = query.get("preset", DEFAULT_PRESET)
    defaults = StyleSettings.preset(preset)
    changes = {name: _parse(name, text, getattr(defaults, name)) for name, text in texts.items()}
    return check_offered(StyleSettings.preset(preset, **changes), max_size)


def _changes(settings: StyleSettings, preset: str) -> dict[str, str]:
    pairs = {name: (getattr(settings, name), getattr(PRESETS[preset], name)) for name in LINKED_FIELDS}
    return {name: value_text(value, ",") for name, (value, default) in pairs.items() if value != default}


def _parse(name: str, text: str, default: Any) -> Any:
    """Return `text` as a value of the default's type."""
    try:
        if isinstance(default, bool):
            return {"yes": True, "no": False}[text]
        return tuple(text.split(",")) if isinstance(default, tuple) else type(default)(text)
    except (KeyError, ValueError) as error:
        raise StyleTransferError(f"The link's {name} cannot be read: {text[:40]!r}.") from error
