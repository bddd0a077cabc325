"""Paint many photos in many paintings: all in all, or chosen pairs. A contact sheet shows them together.

A painting's pictures have a folder of their own, which is the folder of `nst batch PHOTOS --style PAINTING`.
"""

import csv
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nst.engine.hardware import choose_hardware
from nst.errors import StyleTransferError, quote
from nst.models.checkpoints import load_backbone
from nst.output.contact_sheet import CELL_SIDE, Heading, contact_sheet, contents_of, save_sheet
from nst.output.protection import check_folder, check_replaceable, refuse_inputs
from nst.output.recipe import public_name, read_recipe
from nst.pictures import Style, load_painting
from nst.settings import StyleSettings
from nst.tools.batch import Job, Outcome, choose_names, find_pictures, paint_all

SHEET = "contact-sheet.png"
MAX_TABLE = 1 << 24  # bytes of a table of pairs: a quarter of a million pairs


@dataclass(frozen=True)
class PairJob(Job):
    """A photo to paint in the style of one painting, and the PNG file that the result is written to."""

    painting: Path


def plan_all(photos: str | os.PathLike, paintings: str | os.PathLike, out: str | os.PathLike) -> list[PairJob]:
    """Return a job for every photo in every painting, one painting after the other: its targets are computed once.

    A result is called `<painting>/<photo>.png`. Where two names would be the same, both are whole names, as in `plan`.

    Raises StyleTransferError as `plan` does, for both folders.
    """
    pairs = itertools.product(find_pictures(photos, out), find_pictures(paintings, out))
    return _jobs(list(pairs), Path(photos), Path(paintings), Path(out))


def plan_pairs(
    table: str | os.PathLike, photos: str | os.PathLike, paintings: str | os.PathLike, out: str | os.PathLike
) -> list[PairJob]:
    """Return a job for every line of a table: a CSV file with the columns photo and painting, with or without a header.

    The paths in the table are relative to the two folders, and may lead to folders below them.

    Raises StyleTransferError as `plan_all` does, and for a line, with its number, that names no two files.
    """
    photos, paintings = Path(photos), Path(paintings)
    for folder in (photos, paintings):
        find_pictures(folder, out)
    pairs = [
        (_find(photos, "photo", photo, where), _find(paintings, "painting", painting, where))
        for where, photo, painting in _read_table(Path(table))
    ]
    if not pairs:
        raise StyleTransferError(f"{Path(table).name}: there are no pairs in it.")
    return _jobs(list(dict.fromkeys(pairs)), photos, paintings, Path(out))


def _read_table(path: Path) -> list[tuple[str, str, str]]:
    """Return the lines of a table of pairs: where the line is, for messages, and its two columns."""
    try:
        if path.stat().st_size > MAX_TABLE:
            raise StyleTransferError(f"{path.name}: over the limit of {MAX_TABLE >> 20} MB.")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not a table in UTF-8"
        raise StyleTransferError(f"{path.name}: cannot be read ({reason}).") from error
    if lines and [cell.strip().casefold() for cell in lines[0][1]] == ["photo", "painting"]:
        del lines[0]
    for number, line in lines:
        if len(line) != 2:
            advice = "two columns are needed, photo and painting, with a comma between them"
            raise StyleTransferError(f"{path.name}, line {number}: {quote(','.join(line))}; {advice}.")
    return [(f"{path.name}, line {number}", line[0].strip(), line[1].strip()) for number, line in lines]


def _find(folder: Path, kind: str, name: str, where: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not (folder / path).is_file():
        raise StyleTransferError(f"{where}: there is no {kind} {quote(name)} in {folder}.")
    return folder / path


def _jobs(pairs: list[tuple[Path, Path]], photos: Path, paintings: Path, out: Path) -> list[PairJob]:
    """Return the jobs of pairs (photo, painting), in order of paintings, then of photos."""
    photo_names = choose_names(sorted({photo.relative_to(photos) for photo, _ in pairs}))
    painting_names = choose_names(sorted({painting.relative_to(paintings) for _, painting in pairs}))
    jobs = []
    for photo, painting in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        name = painting_names[painting.relative_to(paintings)], f"{photo_names[photo.relative_to(photos)]}.png"
        jobs.append(PairJob(photo, out.joinpath(*name), painting))
    count = Counter(str(job.target).casefold() for job in jobs)
    if clashing := [job for job in jobs if count[str(job.target).casefold()] > 1]:
        names = f"{clashing[0].source.name} in {clashing[0].painting.name}"
        raise StyleTransferError(f"{clashing[0].target}: two results would have this name; rename {names}.")
    return jobs


def check_pairs(
    jobs: Sequence[PairJob], settings: StyleSettings, folder: Path, film: str | None = None, overwrite: bool = False
) -> None:
    """Raise StyleTransferError if a result of the jobs, or the contact sheet in `folder`, would replace another file.

    The settings are checked too. film: as in `paint_all`.
    """
    check_replaceable(folder / SHEET, overwrite)
    suffixes = [".png", *([film] if film else [])]
    outputs = [folder / SHEET, *(job.target.with_suffix(suffix) for job in jobs for suffix in suffixes)]
    refuse_inputs(outputs, [*(path for job in jobs for path in (job.source, job.painting)), settings.backbone])
    for painted in {job.target.parent for job in jobs}:
        check_folder(painted)
    choose_hardware(settings.device, settings.precision)
    load_backbone(settings.backbone)


def paint_pairs(jobs: Sequence[PairJob], settings: StyleSettings, **options) -> Iterator[Outcome]:
    """Paint every job that is not done, and yield the outcome of each, in order. options: those of `paint_all`.

    A painting that cannot be read is an error of its jobs.
    """
    for path, group in itertools.groupby(jobs, lambda job: job.painting):
        group = list(group)
        try:
            painting = load_painting(path)
        except StyleTransferError as error:
            yield from (Outcome(job, painted=False, error=str(error)) for job in group)
            continue
        left = len(group)
        for outcome in paint_all(group, [Style(painting)], settings, **options):
            yield outcome
            left -= 1
        if left:  # it was stopped
            return


def update_sheet(
    jobs: Sequence[PairJob], settings: StyleSettings, folder: Path, overwrite: bool = False
) -> Path | None:
    """Write the contact sheet of all results into `folder`, and return its path; None if such a sheet is there already.

    Photos are in rows and paintings in columns. Instead of a result that is missing, or was painted with other
    settings, there is an empty frame.

    Raises StyleTransferError if the file is not a contact sheet, or cannot be written.
    """
    path = folder / SHEET
    recipes = {(job.source, job.painting): _recipe_in(job.target, settings) for job in jobs}
    photos, paintings = sorted({photo for photo, _ in recipes}), sorted({painting for _, painting in recipes})
    shown = [[str(file) for file in files] for files in (photos, paintings)]
    shown += [recipes.get(pair) for pair in itertools.product(photos, paintings)]
    contents = hashlib.sha256(json.dumps(shown).encode()).hexdigest()
    if contents_of(path) == contents:
        return None
    check_replaceable(path, overwrite)
    targets = {(job.source, job.painting): job.target for job in jobs if recipes[job.source, job.painting]}
    cells = [[targets.get((photo, painting)) for painting in paintings] for photo in photos]
    rows, columns = ([Heading(file.name, file) for file in files] for files in (photos, paintings))
    # The originals are as large as the results: side by side they can be compared.
    sheet = contact_sheet(cells, rows, columns, cell_side=min(CELL_SIDE, settings.size))
    return save_sheet(sheet, path, contents)


def _recipe_in(target: Path, settings: StyleSettings) -> str | None:
    """Return the recipe of a result if it was painted with these settings, otherwise None."""
    try:
        recipe = read_recipe(target)
    except StyleTransferError:
        return None
    return recipe.to_json() if recipe.settings == replace(settings, backbone=public_name(settings.backbone)) else None
