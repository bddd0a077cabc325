"""What the host of the app decides, by flags of `python app.py` or environment variables."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from nst import StyleTransferError

BACKBONES = [("CIFAR-100 (bundled)", "cifar100"), ("ImageNet (downloads 548 MB once)", "imagenet")]


def _option(default: int | str, variable: str, text: str, low: int = 0, high: int = 0):
    return field(default=default, metadata={"variable": variable, "text": text, "range": (low, high)})


@dataclass(frozen=True)
class Options:
    """Every field is a flag (`--queue-size`) and an environment variable; a flag counts more."""

    host: str = _option("127.0.0.1", "GRADIO_SERVER_NAME", "address to serve on; 0.0.0.0 is every network")
    port: int = _option(7860, "GRADIO_SERVER_PORT", "port to serve on", 1, 65535)
    queue_size: int = _option(20, "NST_QUEUE_SIZE", "visitors who may wait; the next are told it is full", 1, 10_000)
    max_size: int = _option(1024, "NST_MAX_SIZE", "largest long side of a result, in px", 64, 4096)
    time_limit: int = _option(900, "NST_TIME_LIMIT", "seconds until a run ends with the picture so far", 1, 86_400)
    concurrency: int = _option(1, "NST_CONCURRENCY", "runs at once; they share the processor", 1, 64)
    disk_limit: int = _option(2000, "NST_DISK_LIMIT", "MB that uploads and results may fill; the oldest go", 10, 10**6)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise StyleTransferError(message)


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The defaults, changed by the environment's variables, changed by the flags.

    Raises StyleTransferError, with the flag or variable to mend, for anything that cannot be used.
    """
    parser = _Parser(prog="app.py", description="Serve the app.", allow_abbrev=False)
    for one in fields(Options):
        variable, text = one.metadata["variable"], one.metadata["text"]
        parser.add_argument(_flag(one.name), metavar="X", help=f"{text} (default {one.default}; or {variable})")
    flags = vars(parser.parse_args(list(arguments)))
    options = Options()
    for one in fields(Options):
        variable = one.metadata["variable"]
        if (value := flags[one.name]) is not None:
            options = replace(options, **{one.name: _checked(one, value, _flag(one.name))})
        elif value := environment.get(variable):
            options = replace(options, **{one.name: _checked(one, value, variable)})
    return options


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _checked(one, value: str, source: str) -> int | str:
    if one.type is str:
        if not value or any(character.isspace() for character in value):
            raise StyleTransferError(f"{source} must be an address such as 127.0.0.1, not {value!r}.")
        return value
    low, high = one.metadata["range"]
    if not (value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high):
        raise StyleTransferError(f"{source} must be a whole number from {low} to {high}, not {value[:40]!r}.")
    return int(value)
