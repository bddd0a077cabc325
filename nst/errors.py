"""The error that a caller can correct, and how its messages show wrong values."""


class StyleTransferError(ValueError):
    """An error that the caller can correct: in a picture, a setting or a checkpoint.

    Its message is one line that a program can show as it is. A file name may contain anything, so line breaks become
    spaces, and characters that no screen shows (escape sequences, changes of writing direction, broken Unicode) become
    question marks.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """Return a message as one line of printable characters: see `StyleTransferError`."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))


def quote(value: object) -> str:
    """Return a wrong value as messages show it: at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer with too many digits, or a list nested a thousand deep
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
