"""The command line: paint one photo (`nst CONTENT STYLE -o OUT.png`), a folder (`nst batch`), a clip (`nst video`), or
one photo with many settings (`nst grid`); find the subject of a photo (`nst subject`); keep a style (`nst style`); or
serve the page (`nst app`).

`python -m nst` is the same command.
"""

import sys
from collections.abc import Sequence

from nst.cli import batch, grid, painting, style, subject, video
from nst.cli.messages import say
from nst.engine.waiting import wait_briefly
from nst.errors import StyleTransferError
from nst.memory_limit import is_out_of_memory, too_little_memory
from nst.stop_signals import StopRequest, catch_stop_signals

COMMANDS = {  # the functions, and what a signal means before there is anything to keep
    "": (painting.run, "stopped before the first step; nothing was saved"),
    "batch": (batch.run, "stopped"),
    "grid": (grid.run, "stopped before the first picture was finished; nothing was saved"),
    "subject": (subject.run, "stopped; nothing was saved"),
    "style": (style.run, "stopped; nothing was saved"),
    "video": (video.run, "stopped"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: the picture is painted, or Ctrl-C has stopped it after the first step; then it is saved as it is.
    1: some pictures of a batch or a grid could not be painted.
    2: the input cannot be used; one line on stderr says why.
    130, 143, 129: Ctrl-C, SIGTERM or SIGHUP (a closed terminal) has ended a batch, a video, or a picture before its
    first step.
    After the first step, SIGTERM and SIGHUP save the picture as Ctrl-C does, but keep these statuses, so that a script
    can tell this from a finished picture. `timeout` itself returns 124.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    wait_briefly()
    if arguments[:1] == ["app"]:  # the server ends on signals in its own way
        return _serve_page(arguments[1:])
    with catch_stop_signals() as stop:
        return _run(arguments, stop)


def _run(arguments: Sequence[str], stop: StopRequest) -> int:
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    run, lost = COMMANDS[command]
    try:
        return run(arguments[1:] if command else arguments, stop)
    except StyleTransferError as error:
        stop.hold()
        say(str(error))
        return 2
    except KeyboardInterrupt:
        stop.hold()
        say(lost)
        return stop.status
    except BrokenPipeError:
        return 128 + 13  # as a program that SIGPIPE ended (`nst ... | head`)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        say(str(too_little_memory()))
        return 2


def _serve_page(arguments: Sequence[str]) -> int:
    from nst.web.server import main as serve_app

    return serve_app(arguments, program="nst app")
