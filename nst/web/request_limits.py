"""Limits on requests before Gradio sees them: closed endpoints, bounded bodies, readable errors, our headers."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from starlette.responses import PlainTextResponse

MAX_UPLOAD = 40_000_000  # bytes of a picture
MAX_FORM = 100_000  # bytes of the form around an uploaded picture
MAX_BODY = 8_000_000  # bytes of any other request: settings, and small pictures written out in them
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]
# Endpoints that Gradio has for developers. The page uses none of them.
CLOSED_PATHS = (
    "/monitoring",
    "/gradio_api/dev/",
    "/gradio_api/monitoring",
    "/gradio_api/process_recording",
    "/gradio_api/profiling",
    "/gradio_api/proxy=",
    "/gradio_api/vibe-",
    "/gradio_api/undo-vibe-",
    "/gradio_api/stream/",
    "/gradio_api/run-history",
)
STREAM_PATHS = ("/gradio_api/queue/data", "/gradio_api/call/")
_log = logging.getLogger("app")


def route_path(scope) -> str:
    """Return a request's path as Gradio sees it: without the root path, if the proxy has left that before it."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class OpenStreams:
    """The number of responses that are telling visitors about their runs."""

    def __init__(self):
        self._count = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count one stream for as long as the block lasts."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until no stream is open, at most `seconds`. Return whether none is open."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout=seconds)

    def _add(self, number: int) -> None:
        with self._changed:
            self._count += number
            self._changed.notify_all()


class RequestLimits:
    """ASGI middleware that limits requests and completes responses.

    - `CLOSED_PATHS` are answered with 404.
    - Requests with too large a body are answered with 413, whether or not they announce its length.
    - An exception becomes a response of one line: 507 if the server cannot write files, else 500.
    - Every response gets `HEADERS`.
    """

    def __init__(self, app, streams: OpenStreams):
        self._app = app
        self._streams = streams

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response, path = _Response(send), route_path(scope)
        if path.startswith(CLOSED_PATHS):
            await PlainTextResponse("Not found.", 404)(scope, receive, response.send)
            return
        headers = dict(scope["headers"])
        body = _BoundedBody(receive, _max_bytes(headers))
        is_stream = scope["method"] == "GET" and path.startswith(STREAM_PATHS)
        with self._streams.counted() if is_stream else contextlib.nullcontext():
            try:
                body.check_announced(headers)
                await self._app(scope, body.receive, response.send)
            except Exception as error:
                if response.has_started:
                    raise
                await body.discard()
                await _error_response(error, body.max_bytes)(scope, receive, response.send)


class _Response:
    """The response to one request: adds `HEADERS` where they are missing, and knows whether it has started."""

    def __init__(self, send):
        self._send = send
        self.has_started = False

    async def send(self, message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            present = {name.lower() for name, _ in message["headers"]}
            missing = [(name, value) for name, value in HEADERS if name not in present]
            message["headers"] = [*message["headers"], *missing]
        await self._send(message)


class _BoundedBody:
    """The body of one request: raises `_TooLargeError` as soon as it is longer than `max_bytes`."""

    def __init__(self, receive, max_bytes: int):
        self.max_bytes = max_bytes
        self._receive = receive
        self._bytes_received = 0
        self._has_more = True

    def check_announced(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_bytes:
            raise _TooLargeError

    async def receive(self):
        return await self._receive_up_to(self.max_bytes)

    async def discard(self) -> None:
        """Receive the rest of the body, within reason: a client that is still sending would not see the response."""
        with contextlib.suppress(_TooLargeError):
            while self._has_more:
                await self._receive_up_to(5 * self.max_bytes)

    async def _receive_up_to(self, max_bytes: int):
        message = await self._receive()
        self._bytes_received += len(message.get("body", b""))
        self._has_more = bool(message.get("more_body"))
        if self._bytes_received > max_bytes:
            raise _TooLargeError
        return message


class _TooLargeError(Exception):
    """The body is longer than the limit, or its announced length is."""


def _max_bytes(headers: dict[bytes, bytes]) -> int:
    is_form = headers.get(b"content-type", b"").startswith(b"multipart/")  # the form of an upload
    return MAX_UPLOAD + MAX_FORM if is_form else MAX_BODY


def _error_response(error: Exception, max_bytes: int) -> PlainTextResponse:
    if isinstance(error, _TooLargeError):
        status, text = 413, f"Too large: at most {max_bytes // 1_000_000} MB are taken."
    else:
        _log.error("a request failed", exc_info=error)
        if isinstance(error, OSError):
            status, text = 507, "The server cannot keep files now. Try again later."
        else:
            status, text = 500, "The server could not do that."
    return PlainTextResponse(text, status, {"connection": "close"})
