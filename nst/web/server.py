"""The server: `main` reads the options and serves the page until SIGTERM or Ctrl-C, then ends cleanly.

Gradio reads environment variables when it is imported. So this module imports nothing that imports Gradio before
`main` has set them.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from nst.engine.allocator import give_back_memory, limit_arenas
from nst.engine.waiting import wait_briefly
from nst.errors import StyleTransferError
from nst.memory_limit import check_start, is_out_of_memory, too_little_memory
from nst.web.options import Options, read_options
from nst.web.storage import Storage, open_storage, stored_files

MAX_STATES = 50  # visitors whose state (gallery, film frames) stays in memory; the longest absent lose theirs first
SWEEP_SECONDS = 10  # between two sweeps of the storage
SILENCE_SECONDS = 20  # until a silent connection ends; with the step that is under way, its slot is free within 30 s
ENDING_SECONDS = 5  # that runs have to end with the picture so far, when the server is asked to end


def main(arguments: Sequence[str], program: str = "app.py") -> int:
    """Serve the page. Return 1, after one line on stderr, if an option, the port or the storage cannot be used.

    program: the command's name in messages. Once the page is served, SIGTERM or Ctrl-C ends the process with status 0,
    and this function does not return. Ctrl-C during the start returns 130.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # Gradio's servers are not called
    limit_arenas()
    wait_briefly()
    try:
        options = read_options(arguments, os.environ, program)
        check_start("nst.web.layout")
        with open_storage() as storage:
            serve(options, storage)
    except StyleTransferError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while the server was starting
        return 130
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f"{program}: {too_little_memory()}", file=sys.stderr)
        return 1
    logging.shutdown()
    os._exit(0)  # Python's own end would take seconds, and would crash under a step that has not ended


def serve(options: Options, storage: Storage) -> None:
    """Serve the page until SIGTERM or Ctrl-C, then end every run with the picture so far.

    Raises StyleTransferError if the host or the port cannot be used.
    """
    from nst.web.layout import build
    from nst.web.request_limits import OpenStreams
    from nst.web.run_queue import RunQueue

    is_ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_ending.set())
    queue, streams = RunQueue(options), OpenStreams()
    demo = build(options, queue)
    _launch(demo, options, streams)
    print(f"Serving on {demo.local_url}", flush=True)
    page_files = frozenset(file.path for file in stored_files(storage.root))  # pictures that the page itself shows
    while not is_ending.wait(SWEEP_SECONDS):
        storage.sweep(options.disk_limit * 1_000_000, page_files)
        give_back_memory()
    queue.stop_all(ENDING_SECONDS)
    streams.wait_for_end(ENDING_SECONDS)  # the last pictures are on their way to the visitors
    demo.close(verbose=False)


def _launch(demo, options: Options, streams) -> None:
    from starlette.middleware import Middleware

    from nst.web.api import answer_with_pictures
    from nst.web.page_cache import PageCache
    from nst.web.request_limits import MAX_UPLOAD, RequestLimits
    from nst.web.theme import CSS, SCRIPT, THEME

    middleware = [Middleware(RequestLimits, streams=streams), Middleware(PageCache)]
    try:
        demo.launch(
            server_name=options.host,
            server_port=options.port,
            prevent_thread_lock=True,
            max_file_size=MAX_UPLOAD,
            app_kwargs={"middleware": middleware, "openapi_url": None},
            quiet=True,
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,  # its Node process would outlive this one
            mcp_server=True,
            state_session_capacity=MAX_STATES,
            theme=THEME,
            css=CSS,
            js=SCRIPT,
            footer_links=["api"],
        )
    except OSError as error:
        raise StyleTransferError(
            f"{options.host}, port {options.port}: cannot be served on ({str(error).partition('.')[0]}); choose with "
            "--host, --port."
        ) from error
    answer_with_pictures(demo)
    for server in demo.server.servers:
        for listening in server.sockets:
            _end_silent_connections(listening)


def _end_silent_connections(listening: socket.socket) -> None:
    """Have the system end accepted connections whose other end acknowledges nothing for `SILENCE_SECONDS`.

    By default the system waits a quarter of an hour. A stream sends something every 15 s at least, so that there is
    always something to acknowledge.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it from the socket that accepts them
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)
