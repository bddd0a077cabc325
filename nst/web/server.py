"""The server: `main` reads the options and serves the page until SIGTERM or Ctrl-C, then ends cleanly.

Gradio reads environment variables when it is imported. So this module imports nothing that imports Gradio before
`main` has set them.
"""

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
from nst.web.listening import browser_address, cannot_serve, listen
from nst.web.options import Options, read_options
from nst.web.proxies import use_no_proxy_for_tools, without_proxies
from nst.web.storage import Storage, open_storage, stored_files

MAX_STATES = 50  # visitors whose state (gallery, film frames) stays in memory; the longest absent lose theirs first
SWEEP_SECONDS = 10  # between two sweeps of the storage
ENDING_SECONDS = 5  # that runs have to end with the picture so far, when the server is asked to end


def main(arguments: Sequence[str], program: str = "app.py") -> int:
    """Serve the page. Return 1, after one line on stderr, if an option, the port or the storage cannot be used.

    program: the command's name in messages. Once the page is served, SIGTERM or Ctrl-C ends the process with status 0,
    and this function does not return. Ctrl-C during the start returns 130.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # neither Gradio's servers are called
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nor, when a tool runs, the Hub
    limit_arenas()
    wait_briefly()
    try:
        options = read_options(arguments, os.environ, program)
        os.environ["GRADIO_SERVER_PORT"] = str(options.port)  # Gradio fails when it is imported if this is no number
        sockets = listen(options.host, options.port)
        _log_choices()
        check_start("nst.web.layout")
        with open_storage() as storage:
            serve(options, storage, sockets)
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


def _log_choices() -> None:
    """Print what this package chooses for the machine, with the reason: bf16 or float32."""
    log = logging.getLogger("nst")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())


def serve(options: Options, storage: Storage, sockets: list[socket.socket]) -> None:
    """Serve the page until SIGTERM or Ctrl-C, then end every run with the picture so far.

    sockets: which listen on the host and port of the options. Raises StyleTransferError if the page cannot be served.
    """
    is_ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_ending.set())
    with without_proxies():
        from nst.web.layout import build
        from nst.web.request_limits import OpenStreams
        from nst.web.run_queue import RunQueue

        queue, streams = RunQueue(options), OpenStreams()
        demo = build(options, queue)
        _launch(demo, options, streams, sockets)
    print(f"Serving on {demo.local_url}", flush=True)
    page_files = frozenset(file.path for file in stored_files(storage.root))  # pictures that the page itself shows
    while not is_ending.wait(SWEEP_SECONDS):
        storage.sweep(options.disk_limit * 1_000_000, page_files)
        give_back_memory()
    queue.stop_all(ENDING_SECONDS)
    streams.wait_for_end(ENDING_SECONDS)  # the last pictures are on their way to the visitors
    demo.close(verbose=False)


def _launch(demo, options: Options, streams, sockets: list[socket.socket]) -> None:
    import httpx
    from gradio.exceptions import ServerFailedToStartError
    from starlette.middleware import Middleware

    from nst.web.api import answer_with_pictures
    from nst.web.page_cache import PageCache
    from nst.web.request_limits import MAX_UPLOAD, RequestLimits
    from nst.web.theme import CSS, SCRIPT, THEME

    _use_sockets(sockets, options)
    use_no_proxy_for_tools()
    middleware = [Middleware(RequestLimits, streams=streams), Middleware(PageCache)]
    try:
        demo.launch(
            root_path=options.root_path,
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
    except (ServerFailedToStartError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise cannot_serve(options.host, options.port, "the app cannot reach itself there") from error
    answer_with_pictures(demo)


def _use_sockets(sockets: list[socket.socket], options: Options) -> None:
    """Have Gradio serve on these sockets. `launch` must stay the way to start: ZeroGPU hooks into it."""
    import uvicorn
    from gradio import http_server

    class Server(http_server.Server):
        def run(self, *_) -> None:
            super().run(sockets)

    def start_server(app, **_) -> tuple[str, int, str, Server]:
        server = Server(uvicorn.Config(app, log_level="warning"))
        server.run_in_thread()
        return options.host, options.port, browser_address(options.host, sockets[0]), server

    http_server.start_server = start_server
