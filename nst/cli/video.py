"""The command `nst video`: paint a clip."""

from collections.abc import Sequence
from pathlib import Path

from nst.arguments import ArgumentParser, add_settings, with_flags
from nst.cli.messages import ERRORS, say
from nst.errors import StyleTransferError
from nst.memory_limit import check_start
from nst.output.protection import check_replaceable, check_writable, output_path, refuse_inputs
from nst.settings import DEFAULT_PRESET, StyleSettings
from nst.stop_signals import StopRequest

FASTEST = 120  # frames a second


def build_parser() -> ArgumentParser:
    """Return the parser of `nst video`."""
    parser = ArgumentParser(
        prog="nst video",
        description="Paint a clip: the paint moves with the things in it, and does not flicker. The sound is kept. "
        "Finished frames are kept in OUT.mp4.frames until the video is whole: after a stop, the same command goes on. "
        "Under torchrun, each process paints some of the scenes.",
        epilog="Exit status: 0 if the video is painted, 2 for input that cannot be used; 130, 143 or 129 after Ctrl-C, "
        "SIGTERM or SIGHUP, which keep the finished frames.",
    )
    add = parser.add_argument
    add("clip", metavar="CLIP", help="the clip")
    add("--style", metavar="STYLE", required=True, help="the painting, or a saved style")
    add("-o", "--output", metavar="OUT.mp4", required=True, help="where the video goes")
    add("--fps", type=float, metavar="N", help="frames a second, 1 to 120 (default: the clip's own, at most 60)")
    add_settings(parser)
    add("--overwrite", action="store_true", help="also replace a file that this program did not write")
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Paint a clip; return the exit status.

    Raises StyleTransferError for input that cannot be used, and `Stopped` for a signal before the first frame.
    """
    args = build_parser().parse_args(arguments)
    output = output_path(args.output, example="painted.mp4")
    settings = with_flags(StyleSettings.preset(args.preset or DEFAULT_PRESET), args)
    if args.fps is not None and not 1 <= args.fps <= FASTEST:
        raise StyleTransferError(f"--fps must be from 1 to {FASTEST}, not {args.fps:g}.")
    if settings.seamless:
        raise StyleTransferError("A video cannot be seamless: leave out --seamless.")
    if output.suffix.lower() != ".mp4":
        raise StyleTransferError(f"{output.name}: a video is written as .mp4; name it {output.stem}.mp4.")
    check_writable(output)
    refuse_inputs([output], [args.clip, args.style, args.backbone or ""])
    check_start("nst.video.job")
    check_replaceable(output, args.overwrite)
    return _paint(args.clip, args.style, output, settings, args.fps, stop)


def _paint(clip: str, style: str, output: Path, settings: StyleSettings, fps: float | None, stop: StopRequest) -> int:
    from tqdm import tqdm

    from nst.video.clips import Clip
    from nst.video.job import paint_clip

    source = Clip(clip, fps)
    with tqdm(total=source.frame_count, unit="frame", file=ERRORS, delay=1e-3) as bar:

        def show(finished: int, total: int | None) -> None:
            if bar.n == 0:  # those of an earlier run say nothing about the time left
                bar.initial, bar.total = finished, total
            bar.update(finished - bar.n)

        try:
            paint_clip(source, style, output, settings, show, stop.is_set, stop.hold)
        except KeyboardInterrupt:
            stop.hold()
            bar.close()
            of = "" if bar.total is None else f" of about {bar.total}"
            say(f"stopped; {bar.n}{of} frames are done; run the same command again to continue")
            return stop.status
        bar.total = bar.n
    if source.damaged:
        say(f"warning: {source.name} is damaged: {source.damaged} parts of it could not be read and were left out")
    return 0
