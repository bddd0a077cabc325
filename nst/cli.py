"""The command line: `python -m nst CONTENT STYLE -o OUT.png`."""

import argparse
import io
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from nst.errors import StyleTransferError
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings

SETTING_FLAGS = {  # flag: (type, metavar, help); each overrides the preset's value
    "size": (int, "N", "long side of the result in px"),
    "steps": (int, "N", "optimiser steps over all stages, at least one at the final size"),
    "content-weight": (float, "X", "how much the photo's structure counts"),
    "style-weight": (float, "X", "how much the painting's texture and colour count"),
    "tv-weight": (float, "X", "how much smoothness counts (total variation)"),
    "seed": (int, "N", "of the start, where it is noise"),
    "init": (str, "START", "start from the photo or from noise: content, noise"),
    "backbone": (str, "B", "cifar100 (bundled), imagenet, a .safetensors file, or a Hub id owner/name[@revision]"),
    "device": (str, "D", "auto, cpu, cuda or mps"),
    "precision": (str, "P", "auto, float32 or bf16"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        # One line instead of argparse's usage block: the message says what is wrong.
        self.exit(2, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nst", description="Paint a photo in the style of a picture.", allow_abbrev=False)
    parser.add_argument("content", metavar="CONTENT", help="the photo")
    parser.add_argument("style", metavar="STYLE", help="the painting")
    parser.add_argument("-o", "--output", metavar="OUT.png", required=True, type=Path, help="where the result goes")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET})")
    for flag, (kind, metavar, text) in SETTING_FLAGS.items():
        parser.add_argument(f"--{flag}", type=kind, metavar=metavar, help=text)
    parser.add_argument("--save-every", type=int, metavar="N", help="also save OUT-0000N.png every N steps")
    parser.add_argument("--json", action="store_true", help="print one line of JSON about the result")
    return parser


def run(args: argparse.Namespace) -> dict:
    """Paint, save, and return what `--json` prints."""
    started = time.perf_counter()
    changes = {flag.replace("-", "_"): getattr(args, flag.replace("-", "_")) for flag in SETTING_FLAGS}
    settings = StyleSettings.preset(args.preset)
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    if args.save_every is not None and args.save_every < 1:
        raise StyleTransferError("--save-every must be 1 or more.")
    output: Path = args.output
    _check_output(output)

    from tqdm import tqdm  # these wait for torch: only once the flags are known to be right

    from nst.files import write_atomically
    from nst.stylization import stylize

    def save(image, path: Path) -> None:
        write_atomically(path, image.save)

    interrupted: list[bool] = []
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        steps = stylize(
            args.content, args.style, settings, preview_every=args.save_every, should_stop=lambda: bool(interrupted)
        )
        # The delay keeps the bar away until the first step, where input that cannot be used is refused.
        with tqdm(total=settings.steps, unit="step", file=sys.stderr, delay=1e-3) as bar:
            for step in steps:
                losses = f"content {step.content_loss:.3g}, style {step.style_loss:.3g}, total {step.total_loss:.3g}"
                bar.set_postfix_str(f"{losses}, {step.seconds_left:.0f} s left", refresh=False)
                bar.update()
                if args.save_every and step.step % args.save_every == 0 and step.image:
                    save(step.image, output.with_name(f"{output.stem}-{step.step:05d}{output.suffix}"))
        save(step.image, output)
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted:
        print(f"nst: stopped at step {step.step} of {step.steps}; what was there is in {output}", file=sys.stderr)
    return {
        "output": str(output),
        "width": step.image.width,
        "height": step.image.height,
        "steps": step.step,
        "seconds": round(time.perf_counter() - started, 3),
        "content_loss": step.content_loss,
        "style_loss": step.style_loss,
        "tv_loss": step.tv_loss,
        "total_loss": step.total_loss,
        "backbone": settings.backbone,
        "preset": args.preset,
    }


def _check_output(output: Path) -> None:
    """Refuse before painting what could not be saved after it."""
    from PIL import Image

    Image.init()
    try:  # Pillow names formats that it cannot write, or not in colour
        Image.new("RGB", (16, 16)).save(io.BytesIO(), Image.EXTENSION[output.suffix.lower()])
    except Exception as error:
        raise StyleTransferError(f"{output.name}: not a picture format that can be written; use .png.") from error
    folder = next(parent for parent in output.absolute().parents if os.path.exists(parent))
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StyleTransferError(f"{output}: cannot be written there.")


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr for input that cannot be used.

    Ctrl-C saves the picture as it is and counts as success; before there is one, the status is 130.
    """
    args = build_parser().parse_args(argv)
    try:
        result = run(args)
    except StyleTransferError as error:
        print(f"nst: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nst: stopped before the first step; nothing was saved", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(result))
    return 0
