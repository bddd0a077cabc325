"""The one family of errors that a caller can mend."""


class StyleTransferError(ValueError):
    """Something the caller can mend: a picture, a setting, a checkpoint. Its message is one line, fit to be shown."""
