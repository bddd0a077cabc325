"""The running server: limits on what it takes, headers on what it gives, files kept in bounds, and a clean end."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from nst import StyleTransferError
from nst.web import storage
from nst.web.api import answer_with_pictures
from nst.web.options import Options
from nst.web.pages import KeptPages
from nst.web.run_queue import RunQueue

MAX_UPLOAD = 40_000_000  # bytes of a picture
MAX_BODY = 8_000_000  # bytes of any other request: settings, and small pictures written out in them
VISITORS = 50  # whose state (gallery, frames) is kept; then that of who was here longest ago goes
SWEEP_SECONDS = 10  # between two looks at the storage
SILENCE_SECONDS = 20  # a slot is free again within thirty: what was under way when it fell silent counts too
ENDING_SECONDS = 5  # for runs to end with the picture so far when the server is asked to go
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]
# What Gradio has for developers, and nothing of this page uses.
CLOSED = ("/monitoring", *(f"/gradio_api/{name}" for name in (
    "dev/", "monitoring", "process_recording", "profiling", "proxy=", "vibe-", "undo-vibe-", "stream/", "run-history",
)))  # fmt: skip
STREAMS = ("/gradio_api/queue/data", "/gradio_api/call/")
_log = logging.getLogger("app")


def serve(options: Options, build: Callable[[Options, RunQueue], gr.Blocks], **launch_options: Any) -> None:
    """Serve the page that `build` makes until SIGTERM or Ctrl-C; then end the runs, the files and the process.

    Raises StyleTransferError if the port or the folder for temporary files cannot be used.
    """
    asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_end.set())
    root = storage.open_storage()
    try:
        queue = RunQueue(options)
        demo = build(options, queue)
        _launch(demo, options, **launch_options)
        print(f"Serving on {demo.local_url}", flush=True)
        lasting = frozenset(path for _, _, path in storage.stored_files(root))  # pictures of the page itself
        while not asked_to_end.wait(SWEEP_SECONDS):
            sweep(lasting, options.disk_limit)
        queue.stop_all(ENDING_SECONDS)
        for _ in range(20 * ENDING_SECONDS):  # the last pictures on their way
            if not Gate.streams:
                break
            time.sleep(0.05)
        demo.close(verbose=False)
    finally:
        storage.close_storage()
    logging.shutdown()
    os._exit(0)  # Python would take seconds to take itself apart, and crash under a step that has not ended


def sweep(lasting: frozenset[str], disk_limit: int) -> None:
    """Delete old files, and the oldest where they fill too much; a failure is logged and tried again the next time."""
    try:
        storage.bound(storage.open_storage(), storage.KEEP_SECONDS, disk_limit * 1_000_000, lasting)
    except Exception:
        _log.exception("the storage could not be swept")


def _launch(demo: gr.Blocks, options: Options, **launch_options: Any) -> None:
    try:
        demo.launch(
            server_name=options.host,
            server_port=options.port,
            prevent_thread_lock=True,
            max_file_size=MAX_UPLOAD,
            app_kwargs={"middleware": [Middleware(Gate), Middleware(KeptPages)], "openapi_url": None},
            quiet=True,
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,  # its Node process would outlive this one
            mcp_server=True,
            state_session_capacity=VISITORS,
            **launch_options,
        )
    except OSError as error:
        where = f"{options.host}, port {options.port}"
        raise StyleTransferError(
            f"{where}: cannot be served on ({str(error).partition('.')[0]}); choose with --host, --port."
        ) from error
    answer_with_pictures(demo)
    for listening in demo.server.servers:
        for one in listening.sockets:
            _end_when_silent(one)


def _end_when_silent(listening: socket.socket) -> None:
    """Have the system end accepted connections whose other end answers nothing; its own patience is a quarter hour.

    A stream sends something every 15 s at least, so that there is always something to be answered.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections take it over from the socket that accepts them
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)


class Gate:
    """Before Gradio: its endpoints for developers are not there, bodies are bounded; every answer has `HEADERS`."""

    streams = 0  # visitors who are being told about their runs

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        is_stream = scope["path"].startswith(STREAMS) and scope["method"] == "GET"

        async def answer(message):
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in HEADERS if one[0] not in present)]
            await send(message)

        if scope["path"].startswith(CLOSED):
            await PlainTextResponse("Not found.", 404)(scope, receive, answer)
            return
        headers = dict(scope["headers"])
        # Multipart is what files come in; room for the form around the largest of them.
        multipart = headers.get(b"content-type", b"").startswith(b"multipart/")
        limit = MAX_UPLOAD + 100_000 if multipart else MAX_BODY
        length = headers.get(b"content-length", b"0")
        taken, more = 0, True

        async def hear(most: int):
            nonlocal taken, more
            message = await receive()
            taken += len(message.get("body", b""))
            more = bool(message.get("more_body"))
            if taken > most:
                raise _TooLargeError
            return message

        Gate.streams += is_stream
        try:
            if not length.isdigit() or int(length) > limit:
                raise _TooLargeError
            await self.app(scope, lambda: hear(limit), answer)
        except Exception as error:
            if started:
                raise
            status, text = _in_words(error, limit)
            with contextlib.suppress(_TooLargeError):  # heard out: whoever still sends would see no answer
                while more:
                    await hear(5 * limit)
            await PlainTextResponse(text, status, {"connection": "close"})(scope, receive, answer)
        finally:
            Gate.streams -= is_stream


def _in_words(error: Exception, limit: int) -> tuple[int, str]:
    if isinstance(error, _TooLargeError):
        return 413, f"Too large: at most {limit // 1_000_000} MB are taken."
    _log.error("a request failed", exc_info=error)
    if isinstance(error, OSError):
        return 507, "The server cannot keep files now. Try again later."
    return 500, "The server could not do that."


class _TooLargeError(Exception):
    """More bytes than the limit, whatever the header said."""
