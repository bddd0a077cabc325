"""The command `nst subject`: find the subject of a photo, as a mask for `--region`."""

from collections.abc import Sequence

from nst.arguments import ArgumentParser
from nst.errors import StyleTransferError
from nst.memory_limit import check_start
from nst.output.protection import check_writable, output_path, refuse_inputs
from nst.stop_signals import StopRequest


def build_parser() -> ArgumentParser:
    """Return the parser of `nst subject`."""
    parser = ArgumentParser(
        prog="nst subject",
        description="Find the subject of a photo: write a mask of the photo's size that is white on the subject, for "
        "nst CONTENT STYLE --region MASK.png. Without a box or a hint it is sought in the middle of the photo.",
        epilog="Exit status: 0 if the mask is written, 2 for input that cannot be used.",
    )
    add = parser.add_argument
    add("photo", metavar="PHOTO", help="the photo")
    add("-o", "--output", metavar="MASK.png", required=True, help="where the mask goes")
    add("--box", type=int, nargs=4, metavar=("X", "Y", "W", "H"),
        help="the subject lies in this box: its left, its top, its width and its height in px")  # fmt: skip
    add("--hint", metavar="HINT.png", help="a mask of the photo, white on a few strokes that touch all of the subject")
    add("--background", action="store_true", help="make the mask white on the background instead")
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Write the mask; return the exit status.

    Raises StyleTransferError for input that cannot be used, and `Stopped` for a signal before the mask is written.
    """
    args = build_parser().parse_args(arguments)
    output = output_path(args.output, example="mask.png")
    if output.suffix.lower() != ".png":
        raise StyleTransferError(f"{output.name}: a mask is written as PNG; use the suffix .png.")
    check_writable(output)
    refuse_inputs([output], [args.photo, args.hint or ""])
    check_start()

    from PIL import ImageOps

    from nst.io.files import write_atomically
    from nst.io.reading import load_picture
    from nst.pictures import load_mask
    from nst.tools.subject import find_subject

    hint = load_mask(args.hint) if args.hint else None
    mask = find_subject(load_picture(args.photo), args.box, hint)
    mask = ImageOps.invert(mask) if args.background else mask
    stop.hold()  # a mask that is being written is finished first
    write_atomically(output, mask.save)
    return 0
