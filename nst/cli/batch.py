"""The command `nst batch`: paint a folder of photos."""

import os
from collections.abc import Sequence
from pathlib import Path

from nst.arguments import ArgumentParser, add_settings, with_flags
from nst.cli.messages import ERRORS, say
from nst.cli.styles import split_weight
from nst.errors import StyleTransferError, one_line
from nst.memory_limit import check_start
from nst.output.protection import check_folder
from nst.settings import DEFAULT_PRESET, StyleSettings
from nst.stop_signals import StopRequest

NAMED = 5  # files that are left out and named; folders of photos may hold one other file for each


def build_parser() -> ArgumentParser:
    """Return the parser of `nst batch`."""
    parser = ArgumentParser(
        prog="nst batch",
        description="Paint every picture in a folder. Finished pictures are left out, so the same command continues "
        "after a stop; under torchrun, each process paints its share.",
        epilog="Exit status: 0 if all pictures are painted, 1 if some could not be, 2 for input that cannot be used; "
        "130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP, which drop the picture that is not finished.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="the photos")
    add("--style", metavar="STYLE[:WEIGHT]", action="append", required=True, help="the painting; repeat it for several")
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
    from nst.tools.batch import count_failures, is_first_process, jobs_of_this_process, paint_all, plan
    from nst.tools.picture_files import find_files

    styles = [Style(style.picture, style.weight) for style in map(split_weight, args.style)]
    if folder := next((style.picture for style in styles if os.path.isdir(style.picture)), None):
        raise StyleTransferError(f"{folder}: this is a folder; name one painting in it, and repeat --style for more.")
    all_jobs = plan(args.folder, args.out)
    jobs, finished, failed = jobs_of_this_process(all_jobs), 0, 0
    film = f".{args.film}" if args.film else None

    def show_progress(job, step) -> None:
        bar.set_postfix_str(f"{job.source.name}, step {step.step} of {step.steps}")

    options = {"film": film, "overwrite": args.overwrite}
    outcomes = paint_all(jobs, styles, settings, on_step=show_progress, should_stop=stop.is_set, **options)
    if is_first_process():
        _name_others(find_files(Path(args.folder))[1])
    stop.hold()  # a picture that is being written is finished first
    with tqdm(total=len(jobs), unit="picture", file=ERRORS) as bar:
        for outcome in outcomes:
            finished += 1
            if outcome.error:
                failed += 1
                bar.write(f"nst: {one_line(outcome.error)}", file=ERRORS)
            bar.update()
            if stop.is_set():
                break
    if finished < len(jobs):
        progress = f"{finished - failed} of {len(jobs)} pictures are done"
        say(f"stopped; {progress}; run the same command again to continue")
        return stop.status
    failed = count_failures(failed, should_stop=stop.is_set)
    if failed and is_first_process():
        say(f"{failed} of {len(all_jobs)} pictures could not be painted")
    return 1 if failed else 0


def _name_others(files: Sequence[Path]) -> None:
    """Say which files of the folder are left out."""
    if files:
        more = [f"{len(files) - NAMED} more"] if len(files) > NAMED else []
        names = ", ".join([path.name for path in files[:NAMED]] + more)
        say(f"skipped, because {'they are no pictures' if len(files) > 1 else 'it is no picture'}: {names}")
