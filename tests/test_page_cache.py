"""The cache of the page, as the ASGI middleware that it is."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from nst.web.page_cache import PageCache


def get(cache: PageCache, path: str = "/", host: str = "a", query: bytes = b"") -> bytes:
    """Return the body of one response, through the middleware alone."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "scheme": "http",
             "headers": [(b"host", host.encode()), (b"cookie", b"another each time")]}  # fmt: skip
    messages = []

    async def send(message):
        messages.append(message)

    with ThreadPoolExecutor() as thread:  # playwright, in other tests, has an event loop in this one
        thread.submit(asyncio.run, cache(scope, None, send)).result()
    assert messages[0]["type"] == "http.response.start"
    return b"".join(message.get("body", b"") for message in messages)


def numbered_pages(status: int = 200, headers: tuple = ()):
    """Return an ASGI app whose responses have the number of the call and the host that was asked for."""
    hosts = []

    async def app(scope, receive, send):
        hosts.append(dict(scope["headers"])[b"host"])
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"page %d " % len(hosts), "more_body": True})
        await send({"type": "http.response.body", "body": b"for " + hosts[-1]})

    return app


def test_a_page_is_made_once_for_each_address():
    cache = PageCache(numbered_pages())
    assert get(cache) == get(cache) == b"page 1 for a"
    assert get(cache, host="b") == b"page 2 for b"  # the page contains its own address
    assert get(cache, path="/config") == b"page 3 for a"
    assert get(cache) == b"page 1 for a"


def test_queries_and_other_paths_are_not_cached():
    cache = PageCache(numbered_pages())
    assert [get(cache, query=b"size=300") for _ in range(2)] == [b"page 1 for a", b"page 2 for a"]
    assert [get(cache, path="/gradio_api/info") for _ in range(2)] == [b"page 3 for a", b"page 4 for a"]


@pytest.mark.parametrize(("status", "headers"), [(500, ()), (200, [(b"set-cookie", b"x")])])
def test_errors_and_pages_with_a_cookie_are_not_cached(status, headers):
    cache = PageCache(numbered_pages(status, headers))
    assert [get(cache), get(cache)] == [b"page 1 for a", b"page 2 for a"]


def test_the_cache_stays_small_however_many_addresses_are_asked_for():
    cache = PageCache(numbered_pages())
    for number in range(200):
        get(cache, host=str(number))
    assert len(cache) < 60
