"""Ask people which of two results they prefer, without telling them whose is whose.

    python tests/tools/jury.py sheets PAIRS OURS OTHERS SHEETS KEY.json --seed 1
    python tests/tools/jury.py tally KEY.json VOTES.txt [KEY.json VOTES.txt ...]

PAIRS has NAME__content.jpg and NAME__style.jpg for every pair; OURS and OTHERS have results, NAME.png. A sheet shows
photo and painting, and below them the results A and B, in an order that the seed decides. Give each juror the sheets of
a seed of their own, and keep the key elsewhere. The question is: which would you rather hang on the wall, or share with
friends, as this photo painted in that style? A line of VOTES is the number of a sheet and A or B: "03 B".
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH = 620  # px of each result on a sheet


def scaled(path: Path, width: int = WIDTH, height: int | None = None) -> Image.Image:
    """Return a picture with that width or, if it is given, that height."""
    picture = Image.open(path).convert("RGB")
    factor = height / picture.height if height else width / picture.width
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS)


def draw_sheet(pairs: Path, name: str, left: Path, right: Path) -> Image.Image:
    """Return the sheet of one pair."""
    photo = scaled(pairs / f"{name}__content.jpg", WIDTH // 2)
    painting = scaled(pairs / f"{name}__style.jpg", height=photo.height)
    results = [scaled(folder / f"{name}.png") for folder in (left, right)]
    top = photo.height + 30
    sheet = Image.new("RGB", (2 * WIDTH + 10, top + max(picture.height for picture in results)), "white")
    sheet.paste(photo, (0, 0))
    sheet.paste(painting, (WIDTH + 10, 0))
    for letter, picture, x in zip("AB", results, (0, WIDTH + 10), strict=True):
        ImageDraw.Draw(sheet).text((x + WIDTH // 2, top - 20), letter, fill="black")
        sheet.paste(picture, (x, top))
    return sheet


def make_sheets(pairs: Path, ours: Path, others: Path, sheets: Path, key: Path, seed: int) -> None:
    """Write a sheet for every pair that both folders have a result for, and the key."""
    draw, entries = random.Random(seed), {}
    sheets.mkdir(parents=True)
    names = sorted({path.stem for path in ours.glob("*.png")} & {path.stem for path in others.glob("*.png")})
    draw.shuffle(names)
    for number, name in enumerate(names):
        ours_is_left = draw.random() < 0.5
        draw_sheet(pairs, name, *((ours, others) if ours_is_left else (others, ours))).save(sheets / f"{number:02}.png")
        entries[f"{number:02}"] = {"name": name, "ours": "A" if ours_is_left else "B"}
    key.write_text(json.dumps(entries, indent=1))


def count_votes(key: Path, votes: Path) -> Counter:
    """Return the number of votes for ours, by pair: 0 or 1."""
    entries, won = json.loads(key.read_text()), Counter()
    given = dict(re.findall(r"^\W*(\d\d)\W+([AB])\b", votes.read_text(), re.MULTILINE))
    if missing := sorted(entries.keys() - given.keys()):
        raise SystemExit(f"{votes}: no vote for sheet {', '.join(missing)}.")
    for number, entry in entries.items():
        won[entry["name"]] += given[number] == entry["ours"]
    return won


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets")
    for name in ("pairs", "ours", "others", "sheets", "key"):
        sheets.add_argument(name, type=Path)
    sheets.add_argument("--seed", type=int, required=True)
    commands.add_parser("tally").add_argument("files", nargs="+", type=Path)
    arguments = vars(parser.parse_args())
    if arguments.pop("command") == "sheets":
        make_sheets(**arguments)
        return
    files = arguments["files"]
    jurors = [count_votes(key, votes) for key, votes in zip(files[::2], files[1::2], strict=True)]
    for name in sorted(jurors[0]):
        print(f"{name}: {sum(juror[name] for juror in jurors)} of {len(jurors)}")
    totals = [juror.total() for juror in jurors]
    print(f"{sum(totals)} of {sum(map(len, jurors))} votes for ours {tuple(totals)}")


if __name__ == "__main__":
    main()
