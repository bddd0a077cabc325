"""The one family of errors that a caller can mend."""


class StyleTransferError(ValueError):
    """Something the caller can mend: a picture, a setting, a checkpoint. Its message is one line, fit to be shown.

    A file may be called whatever it likes: line breaks in its name become spaces, and what no screen shows (escape
    sequences, turned writing directions, broken Unicode) becomes a question mark.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else "?" for c in " ".join(message.split())))
