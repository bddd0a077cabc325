"""The options that the app's host decides, by flags of `python app.py` or by environment variables."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields

from nst.arguments import ArgumentParser
from nst.errors import StyleTransferError

ROOT_PATH = re.compile(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]*[\w~-])*", re.ASCII)  # no part of dots alone
BACKBONES = [("CIFAR-100 (bundled)", "cifar100"), ("ImageNet (downloads 548 MB once)", "imagenet")]


def _option(default: int | str, variable: str, text: str, low: int = 0, high: int = 0):
    """Return a dataclass field with its environment variable, its help text and, for a number, its bounds."""
    return field(default=default, metadata={"variable": variable, "text": text, "bounds": (low, high)})


@dataclass(frozen=True)
class Options:
    """Every field is a flag (`--queue-size`) and an environment variable; a flag overrides the variable."""

    host: str = _option("127.0.0.1", "GRADIO_SERVER_NAME", "address to serve on; 0.0.0.0 is every network, :: IPv6 too")
    port: int = _option(7860, "GRADIO_SERVER_PORT", "port to serve on", 1, 65535)
    root_path: str = _option("", "GRADIO_ROOT_PATH", "path under which a proxy serves the page, such as /painter")
    queue_size: int = _option(20, "NST_QUEUE_SIZE", "visitors who may wait; others are told that it is full", 1, 10_000)
    max_size: int = _option(1024, "NST_MAX_SIZE", "largest long side of a result, in px", 64, 4096)
    time_limit: int = _option(900, "NST_TIME_LIMIT", "seconds until a run ends with the picture so far", 1, 86_400)
    concurrency: int = _option(1, "NST_CONCURRENCY", "runs at once; they share the processor", 1, 64)
    disk_limit: int = _option(2000, "NST_DISK_LIMIT", "MB that uploads and results may fill; the oldest go", 10, 10**6)
    clip_seconds: int = _option(10, "NST_CLIP_SECONDS", "longest clip that is painted as a film", 1, 3600)
    styles: str = _option("", "NST_STYLES", "folder of saved styles (nst style save) that the page offers")


def read_options(arguments: Sequence[str], environment: Mapping[str, str], program: str = "app.py") -> Options:
    """Return the options: flags override environment variables, which override the defaults.

    An empty variable counts as none. `--help` prints the options under the command's name `program`, and exits.

    Raises StyleTransferError, naming the flag or variable, for a value that cannot be used.
    """
    parser = ArgumentParser(prog=program, description="Serve the page.")
    for option in fields(Options):
        text, variable, default = option.metadata["text"], option.metadata["variable"], option.default or "none"
        parser.add_argument(_flag(option), metavar="X", help=f"{text} (default {default}; or {variable})")
    flags = vars(parser.parse_args(list(arguments)))
    values = {}
    for option in fields(Options):
        variable = option.metadata["variable"]
        if flags[option.name] is not None:
            values[option.name] = _parse(option, flags[option.name], source=_flag(option))
        elif environment.get(variable):
            values[option.name] = _parse(option, environment[variable], source=variable)
    return Options(**values)


def _flag(option: Field) -> str:
    return f"--{option.name.replace('_', '-')}"


def _parse(option: Field, text: str, source: str) -> int | str:
    """Return the option's value. Raises StyleTransferError, which names `source`, for a text that is none."""
    if option.name == "root_path":
        return _parse_root_path(text, source)
    if option.name == "styles":
        if not os.path.isdir(text):
            raise StyleTransferError(f"{source} must be a folder of saved styles, not {text[:40]!r}.")
        return text
    if option.type is str:
        if not text or any(character.isspace() for character in text):
            raise StyleTransferError(f"{source} must be an address such as 127.0.0.1, not {text!r}.")
        return text
    low, high = option.metadata["bounds"]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise StyleTransferError(f"{source} must be a whole number from {low} to {high}, not {text[:40]!r}.")
    return int(text)


def _parse_root_path(text: str, source: str) -> str:
    """Return a path such as `/painter`, or a whole address, without a slash at its end; empty for none."""
    path = text.rstrip("/")
    path = f"/{path}" if path and not path.startswith(("/", "http://", "https://")) else path
    if not ROOT_PATH.fullmatch(path):
        raise StyleTransferError(
            f"{source} must be a path such as /painter or https://host/painter, not {text[:40]!r}."
        )
    return path
