"""Recognize addresses (URLs) where a path is needed. This program opens no connection for a picture."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nst.errors import StyleTransferError

# Two letters at least: one is a drive. One slash is enough, because a Path turns `https://` into `https:/`.
ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/|(?P<data>data):", re.IGNORECASE)
SHOWN = 80  # characters of an address in a message; a whole picture may be written in it


def refuse_address(path: str | os.PathLike, advice: str, name: str | None = None) -> None:
    """Raise StyleTransferError if `path` is an address and no file. The message calls it `name`, if that is given.

    advice: what to do instead; for `file://` and `data:` the message knows better.
    """
    text = os.fsdecode(path).strip()
    match = ADDRESS.match(text)
    if not match or _is_there(path):
        return
    if match["data"]:
        advice = "the picture is written in the address itself; save it as a file, and give the path of that"
    elif match["scheme"].lower() == "file":
        advice = f"give the path without file://, which is {unquote(urlsplit(text).path)}"
    if isinstance(path, Path):
        text = text.replace(":/", "://", 1)
    shown = name or (text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")
    raise StyleTransferError(f"{shown}: this is an address, not a path: {advice}.")


def _is_there(path: str | os.PathLike) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a null byte
        return False
