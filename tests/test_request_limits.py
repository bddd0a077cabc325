"""The limits on requests, as the ASGI middleware that they are; `test_server.py` meets them over HTTP."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nst.web.request_limits import MAX_BODY, OpenStreams, RequestLimits

HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]


def request(app, path: str = "/gradio_api/queue/join", chunks=(b"",), headers=(), streams=None, root=""):
    """Send one request through the middleware. Return status, headers and body of the response."""
    chunks = list(chunks)
    messages = []

    async def receive():
        body = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": body, "more_body": bool(chunks)}

    async def send(message):
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "root_path": root, "headers": list(headers)}
    limits = RequestLimits(app, streams or OpenStreams())
    with ThreadPoolExecutor() as thread:  # playwright, in other tests, has an event loop in this one
        thread.submit(asyncio.run, limits(scope, receive, send)).result()
    start, *bodies = messages
    return start["status"], start["headers"], b"".join(message["body"] for message in bodies)


async def read_body(scope, receive, send):
    """Read the whole body and answer with its length."""
    length, has_more = 0, True
    while has_more:
        message = await receive()
        length, has_more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"origin")]})
    await send({"type": "http.response.body", "body": b"%d" % length})


def test_a_body_within_the_limit_passes_and_the_apps_own_headers_stay():
    status, headers, body = request(read_body, chunks=[b" " * (MAX_BODY - 1), b" "])
    assert (status, body) == (200, b"%d" % MAX_BODY)
    assert headers == [(b"Referrer-Policy", b"origin"), HEADERS[0]]


@pytest.mark.parametrize("length", [None, b"1", b"%d" % (MAX_BODY + 1), b"none"])
def test_a_longer_body_is_refused_whatever_its_announced_length(length):
    headers = [(b"content-length", length)] if length else []
    status, headers, body = request(read_body, chunks=[b" " * MAX_BODY, b" ", b" "], headers=headers)
    assert (status, body) == (413, b"Too large: at most 8 MB are taken.")
    assert set(HEADERS) <= set(headers) and (b"connection", b"close") in headers


@pytest.mark.parametrize(
    ("error", "status", "text"), [(OSError(28, "/a/path"), 507, b"cannot keep files"), (KeyError("/a"), 500, b"not do")]
)
def test_an_exception_becomes_a_response_of_one_line(error, status, text):
    async def fail(scope, receive, send):
        raise error

    response = request(fail)
    assert response[0] == status and text in response[2] and b"/" not in response[2]


def test_a_closed_path_never_reaches_the_app():
    async def fail(scope, receive, send):
        raise AssertionError("reached")

    assert request(fail, "/gradio_api/vibe-code")[0] == 404
    assert request(fail, "/painter/gradio_api/vibe-code", root="/painter")[0] == 404


def test_the_end_of_the_server_waits_for_open_streams():
    streams = OpenStreams()
    is_open, may_close = threading.Event(), threading.Event()

    async def stream(scope, receive, send):
        is_open.set()
        may_close.wait(30)
        await read_body(scope, receive, send)

    with ThreadPoolExecutor() as thread:
        response = thread.submit(request, stream, "/gradio_api/queue/data", streams=streams)
        assert is_open.wait(30)
        assert not streams.wait_for_end(0.01)
        may_close.set()
        assert streams.wait_for_end(30)
        assert response.result()[0] == 200
