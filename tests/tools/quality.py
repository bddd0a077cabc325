"""Score presets on pictures, with a judge that uses no network. Print the README's table.

    python tests/tools/quality.py --pair PHOTO PAINTING [PUBLISHED] [--pair ...] [--preset balanced ...] [--save DIR]
    python tests/tools/quality.py --pair ... --size 256 --style-weight 11 22 45 90 180    # the effect of the weight

PUBLISHED is a result of other authors for the same pair, which is scored too. Each cell is style / content as
`judge.py` defines them: a style distance (lower is better), and the agreement of edges with the photo (higher is
better). Values of different pairs cannot be compared.
"""

import argparse
import platform
import sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import judge

from nst import StyleSettings, stylize


def score(output: Path, pair: list[str]) -> str:
    """Return a cell of the table for the result in `output`."""
    result = judge.score(judge.load(output), judge.load(pair[1]), judge.load(pair[0]))
    return f"{result['style']:.3f} / {result['content']:.3f}"


def paint(pair: list[str], name: str, settings: StyleSettings, folder: Path) -> Path:
    """Paint the pair with the settings called `name`. Return the path of the saved result."""
    *_, last = stylize(*pair[:2], settings, preview_every=None)
    print(f"{Path(pair[0]).stem} x {Path(pair[1]).stem}, {name}: {last.seconds:.0f} s", file=sys.stderr)
    path = folder / f"{Path(pair[0]).stem}_{Path(pair[1]).stem}__{name}.png"
    last.image.save(path)
    return path


def save_contact_sheet(rows: list[list[Path]], path: Path, width: int = 480) -> None:
    """Save a picture with one row for each pair: photo, painting, the published result and ours."""
    rows = [[Image.open(file).convert("RGB") for file in row] for row in rows]
    height = width * 3 // 4
    canvas = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            picture.thumbnail((width, height), Image.Resampling.LANCZOS)
            canvas.paste(picture, (x * width, y * height))
    canvas.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", action="append", required=True, metavar="FILE")
    parser.add_argument("--preset", action="append")
    parser.add_argument("--size", type=int, help="long side in px, instead of the preset's")
    parser.add_argument("--style-weight", type=float, nargs="+", help="weights to paint with, instead of the preset's")
    parser.add_argument("--save", type=Path, default=Path("quality"), help="folder for pictures and contact sheet")
    args = parser.parse_args()
    presets = args.preset or ["balanced"]
    if not all(2 <= len(pair) <= 3 for pair in args.pair):
        parser.error("--pair takes a photo, a painting, and perhaps a published result")
    args.save.mkdir(parents=True, exist_ok=True)
    changes = {"size": args.size} if args.size else {}
    columns = {preset: StyleSettings.preset(preset, **changes) for preset in presets}
    if args.style_weight:
        columns = {
            f"{name} {weight:g}": replace(settings, style_weight=weight)
            for name, settings in columns.items()
            for weight in args.style_weight
        }
    print("| pair (style / content) | published | " + " | ".join(f"`{name}`" for name in columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    rows = []
    for pair in args.pair:
        ours = [paint(pair, name, settings, args.save) for name, settings in columns.items()]
        cells = [score(pair[2], pair) if len(pair) == 3 else "", *(score(path, pair) for path in ours)]
        print(f"| {Path(pair[0]).stem} x {Path(pair[1]).stem} | " + " | ".join(cells) + " |", flush=True)
        rows.append([*map(Path, pair), *ours])
    save_contact_sheet(rows, args.save / "sheet.png")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}", file=sys.stderr)


if __name__ == "__main__":
    main()
