"""The one family of errors that a caller can mend, and how wrong values are shown in it."""


class StyleTransferError(ValueError):
    """Something the caller can mend: a picture, a setting, a checkpoint. Its message is one line, fit to be shown.

    A file may be called whatever it likes: line breaks in its name become spaces, and what no screen shows (escape
    sequences, turned writing directions, broken Unicode) becomes a question mark.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else "?" for c in " ".join(message.split())))


def quote(value: object) -> str:
    """A wrong value as messages show it: at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of too many digits, a list inside itself a thousand times
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
