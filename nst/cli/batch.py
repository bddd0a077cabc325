"""The command `nst batch`: paint a folder of photos."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nst.arguments import ArgumentParser, add_settings, with_flags
from nst.cli.messages import ERRORS, say
from nst.cli.named_styles import split_weight
from nst.errors import StyleTransferError, one_line
from nst.memory_limit import check_start
from nst.output.protection import check_folder
from nst.settings import DEFAULT_PRESET, StyleSettings
from nst.stop_signals import StopRequest

if TYPE_CHECKING:  # these wait for torch
    from tqdm import tqdm

    from nst.tools.batch import Job, Outcome
    from nst.tools.collection import PairJob

NAMED = 5  # files that are left out and named; folders of photos may hold one other file for each


def build_parser() -> ArgumentParser:
    """Return the parser of `nst batch`."""
    parser = ArgumentParser(
        prog="nst batch",
        description="Paint every picture in a folder, in one style or in every painting of a second folder; then a "
        "contact sheet shows all results. Finished pictures are left out, so the same command continues "
        "after a stop; under torchrun, each process paints its share.",
        epilog="Exit status: 0 if all pictures are painted, 1 if some could not be, 2 for input that cannot be used; "
        "130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP, which drop the picture that is not finished.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="the photos")
    add("--style", metavar="STYLE[:WEIGHT]", action="append", required=True, help="the painting; repeat it to mix "
        "several; or a folder: every painting in it paints every photo")  # fmt: skip
    add("--pairs", metavar="FILE.csv", type=Path, help="with a folder of paintings: paint only the pairs in "
        "this table, which has one pair a line: photo,painting")  # fmt: skip
    add("--out", metavar="DIR", required=True, type=Path, help="where the results go, as PNG files")
    add_settings(parser)
    add("--film", "--video", choices=("webp", "mp4"), help="also save how each was painted, beside it")
    add("--overwrite", action="store_true", help="also replace files that this program did not write")
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Paint a folder of photos; return the exit status.

    Raises StyleTransferError for input that cannot be used, and `Stopped` for a signal before the first picture.
    """
    args = build_parser().parse_args(arguments)
    settings = with_flags(StyleSettings.preset(args.preset or DEFAULT_PRESET), args)
    check_folder(args.out)
    check_start()

    from tqdm import tqdm

    from nst.pictures import Style
    from nst.tools.batch import count_failures, is_first_process, jobs_of_this_process, paint_all
    from nst.tools.collection import check_pairs, paint_pairs
    from nst.tools.picture_files import find_files

    styles = [Style(style.picture, style.weight) for style in map(split_weight, args.style)]
    paintings = _folder_of_paintings(args.style, [style.picture for style in styles], args.pairs)
    film = f".{args.film}" if args.film else None
    all_jobs = _plan_jobs(args, paintings)
    jobs = jobs_of_this_process(all_jobs)

    def show_progress(job, step) -> None:
        name = f"{job.source.name} in {job.painting.name}" if paintings else job.source.name
        bar.set_postfix_str(f"{name}, step {step.step} of {step.steps}")

    options = {"film": film, "overwrite": args.overwrite, "on_step": show_progress, "should_stop": stop.is_set}
    if paintings:
        check_pairs(all_jobs, settings, args.out, film, args.overwrite)
        outcomes = paint_pairs(jobs, settings, **options)
    else:
        outcomes = paint_all(jobs, styles, settings, **options)
    if is_first_process() and not args.pairs:
        for folder in filter(None, (args.folder, paintings)):
            _name_others(find_files(Path(folder))[1])
    stop.hold()  # a picture that is being written is finished first
    with tqdm(total=len(jobs), unit="picture", file=ERRORS) as bar:
        finished, failed = _paint(outcomes, bar, stop)
    if finished < len(jobs):
        progress = f"{finished - failed} of {len(jobs)} pictures are done"
        say(f"stopped; {progress}; run the same command again to continue")
        return stop.status
    failed = count_failures(failed, should_stop=stop.is_set)
    if failed and is_first_process():
        say(f"{failed} of {len(all_jobs)} pictures could not be painted")
    if paintings and not stop.is_set():
        sheet_failed = is_first_process() and not _update_sheet(all_jobs, settings, args)
        failed += count_failures(int(sheet_failed), "sheet", should_stop=stop.is_set)
    return 1 if failed else 0


def _plan_jobs(args: argparse.Namespace, paintings: str | None) -> "Sequence[Job]":
    from nst.tools.batch import plan
    from nst.tools.collection import plan_all, plan_pairs

    if not paintings:
        return plan(args.folder, args.out)
    if args.pairs:
        return plan_pairs(args.pairs, args.folder, paintings, args.out)
    return plan_all(args.folder, paintings, args.out)


def _paint(outcomes: "Iterator[Outcome]", bar: "tqdm", stop: StopRequest) -> tuple[int, int]:
    """Paint until all jobs are done or a signal comes; return how many have ended, and how many of them have failed."""
    finished, failed, errors = 0, 0, set()
    for outcome in outcomes:
        finished += 1
        if outcome.error:
            failed += 1
            if outcome.error not in errors:  # a photo fails in every painting
                bar.write(f"nst: {one_line(outcome.error)}", file=ERRORS)
            errors.add(outcome.error)
        bar.update()
        if stop.is_set():
            break
    return finished, failed


def _folder_of_paintings(texts: Sequence[str], styles: Sequence[str], pairs: Path | None) -> str | None:
    """Return the folder of paintings, or None if single paintings are given."""
    folder = next((style for style in styles if os.path.isdir(style)), None)
    if folder is None and pairs:
        raise StyleTransferError("--pairs needs a folder of paintings: --style FOLDER.")
    if folder is not None and list(texts) != [folder]:
        advice = "name one painting in it, and repeat --style for more; or give this folder alone, without a weight"
        raise StyleTransferError(f"{folder}: this is a folder; {advice}.")
    return folder


def _update_sheet(jobs: "Sequence[PairJob]", settings: StyleSettings, args: argparse.Namespace) -> bool:
    """Write the contact sheet; return whether it could be written."""
    from nst.tools.collection import update_sheet

    try:
        if path := update_sheet(jobs, settings, args.out, args.overwrite):
            say(f"the contact sheet is {path}")
    except StyleTransferError as error:
        say(str(error))
        return False
    return True


def _name_others(files: Sequence[Path]) -> None:
    """Say which files of the folder are left out."""
    if files:
        more = [f"{len(files) - NAMED} more"] if len(files) > NAMED else []
        names = ", ".join([path.name for path in files[:NAMED]] + more)
        say(f"skipped, because {'they are no pictures' if len(files) > 1 else 'it is no picture'}: {names}")
