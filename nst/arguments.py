"""Command-line arguments.

A parser that reports errors in one line, and flags for the settings that are changed most often.
"""

import argparse
from dataclasses import replace
from typing import NoReturn

from nst.errors import StyleTransferError
from nst.io.addresses import refuse_address
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings

SETTING_FLAGS = {  # flag: (type, metavar, help); each overrides the preset's value
    "size": (int, "N", "long side of the result in px"),
    "steps": (int, "N", "optimization steps over all stages, at least one at the final size"),
    "content-weight": (float, "X", "how much the photo's structure counts"),
    "laplacian-weight": (float, "X", "how much the photo's outlines count"),
    "style-weight": (float, "X", "how much the painting's texture and colour count"),
    "tv-weight": (float, "X", "how much smoothness counts (total variation)"),
    "style-scale": (float, "X", "above 1 for broader strokes, below 1 for finer ones: the painting's relative size"),
    "detail-above": (int, "N", "larger stages, in px, only add detail: strokes are as broad as in a smaller picture"),
    "preserve-colours": (bool, None, "keep the photo's colours, and paint only its luminance"),
    "sketch": (bool, None, "begin with a sketch: the photo put together from patches of the painting"),
    "match-palette": (bool, None, "at the end, give the result the painting's palette and smooth colour noise away"),
    "sharpness": (float, "X", "how much crisper the edges of strokes become at the end, 0 to 3 (not in videos)"),
    "seamless": (bool, None, "let copies of the result lie side by side without a seam; sides are multiples of 32 px"),
    "start-noise": (float, "X", "noise added at the start of every stage, 0 to 1: strokes grow from it"),
    "strength": (float, "X", "1 for the painting, 0 for the photo, between them a lighter painting; up to 1.5"),
    "seed": (int, "N", "seed of the noise"),
    "init": (str, "START", "start from content (the photo), style (the photo in the painting's colours) or noise"),
    "backbone": (str, "B", "cifar100 (bundled), imagenet, a .safetensors file, or a Hub id owner/name[@revision]"),
    "device": (str, "D", "auto, cpu, cuda or mps"),
    "precision": (str, "P", "auto, float32 or bf16"),
}


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that raises StyleTransferError, with one line, instead of printing its usage and exiting."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise StyleTransferError with argparse's message."""
        raise StyleTransferError(message)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `--preset` and the flags of `SETTING_FLAGS`."""
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET})")
    for flag, (kind, metavar, text) in SETTING_FLAGS.items():
        if kind is bool:
            parser.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(f"--{flag}", type=kind, metavar=metavar, help=text)


def with_flags(settings: StyleSettings, args: argparse.Namespace) -> StyleSettings:
    """Return `settings` changed by the flags that were given. Raises StyleTransferError for values out of range."""
    if args.backbone:
        refuse_address(args.backbone, "download the checkpoint first and give its path, or give a Hub id owner/name")
    names = [flag.replace("-", "_") for flag in SETTING_FLAGS]
    return replace(settings, **{name: value for name in names if (value := getattr(args, name)) is not None})
