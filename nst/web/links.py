"""Settings in a page's address: `?preset=fine&style_weight=60`. Nothing is kept on the server."""

from collections.abc import Mapping
from dataclasses import fields
from urllib.parse import urlencode

from nst import DEFAULT_PRESET, PRESETS, StyleSettings, StyleTransferError
from nst.web.controls import MACHINES_OWN, check_offered

CARRIED = [one.name for one in fields(StyleSettings) if one.name not in MACHINES_OWN]


def query_of(settings: StyleSettings, preset: str | None) -> str:
    """The query that `settings_in` reads: what differs from the preset, by default the one that differs least."""
    presets = [preset] if preset in PRESETS else sorted(PRESETS, key=lambda name: len(_changes(settings, name)))
    return urlencode({"preset": presets[0]} | _changes(settings, presets[0]), safe=",")


def _changes(settings: StyleSettings, preset: str) -> dict[str, str]:
    pairs = {name: (getattr(settings, name), getattr(PRESETS[preset], name)) for name in CARRIED}
    return {name: _text(value) for name, (value, usual) in pairs.items() if value != usual}


def settings_in(query: Mapping[str, str], max_size: int) -> StyleSettings | None:
    """The settings that a query asks for; None if it asks for none. Other parameters are left alone.

    Raises StyleTransferError for values that cannot be, or that the page does not offer.
    """
    asked = {name: query[name] for name in CARRIED if name in query}
    if not asked and "preset" not in query:
        return None
    preset = query.get("preset", DEFAULT_PRESET)
    usual = StyleSettings.preset(preset)
    changes = {name: _value(name, text, getattr(usual, name)) for name, text in asked.items()}
    return check_offered(StyleSettings.preset(preset, **changes), max_size)


def _text(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, text: str, like):
    """`text` as a value of the kind of `like`."""
    try:
        if isinstance(like, bool):
            return {"yes": True, "no": False}[text]
        return tuple(text.split(",")) if isinstance(like, tuple) else type(like)(text)
    except (KeyError, ValueError) as error:
        raise StyleTransferError(f"The link's {name} cannot be read: {text[:40]!r}.") from error
