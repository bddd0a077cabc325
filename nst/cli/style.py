"""The command `nst style save`: keep the style of paintings in a file, which takes their place."""

from collections.abc import Sequence

from nst.arguments import SETTING_FLAGS, ArgumentParser
from nst.cli.messages import print_result
from nst.errors import StyleTransferError
from nst.memory_limit import check_start
from nst.output.protection import check_writable, output_path, refuse_inputs
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings
from nst.stop_signals import StopRequest


def build_parser() -> ArgumentParser:
    """Return the parser of `nst style`."""
    parser = ArgumentParser(
        prog="nst style",
        description="Save the style of one or more paintings, without the paintings: statistics of their textures, "
        "their colours, and patches in random order. Use the file wherever a painting is named: "
        "nst photo.jpg waves.style -o result.png",
        epilog="The patches overlap, so that a small copy of a painting could be put together from them. A saved style "
        "fits the layers, the pooling and the backbone of the preset that it was saved with: balanced, quick and fine "
        "are the same in this. Exit status: 0, or 2 for input that cannot be used.",
    )
    parser.add_argument("action", choices=("save",), help="what to do")
    parser.add_argument("paintings", metavar="PAINTING", nargs="+", help="the paintings, which become one style")
    parser.add_argument("-o", "--output", metavar="NAME.style", required=True, help="where the style goes")
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET}): what the style is for")
    parser.add_argument("--size", type=int, metavar="N", help="long side of the largest results in px (default 2048)")
    parser.add_argument("--backbone", metavar="B", help=SETTING_FLAGS["backbone"][2])
    parser.add_argument("--device", metavar="D", help=SETTING_FLAGS["device"][2])
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Save a style; return the exit status. Raises StyleTransferError for input that cannot be used."""
    args = build_parser().parse_args(arguments)
    output = output_path(args.output, example="name.style")
    if output.suffix.lower() != ".style":
        raise StyleTransferError(f"{output.name}: a saved style needs the suffix .style.")
    check_writable(output)
    refuse_inputs([output], [*args.paintings, args.backbone or ""])
    flags = {name: getattr(args, name) for name in ("size", "backbone", "device")}
    settings = StyleSettings.preset(args.preset or DEFAULT_PRESET, **{k: v for k, v in flags.items() if v is not None})
    check_start()

    from nst.tools.style_files import LARGEST, save_style

    save_style(args.paintings, output, settings, settings.size if args.size else LARGEST)
    print_result(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0
