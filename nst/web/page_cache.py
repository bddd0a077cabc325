"""A cache of the page: Gradio takes 20 ms to make it for each visitor, and visitors come in crowds."""

import asyncio
from collections import OrderedDict

from nst.web.request_limits import route_path

PATHS = ("/", "/config", "/theme.css")
ADDRESS_HEADERS = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")  # the page has its address
MAX_ADDRESSES = 16  # under which each path is cached; clients can send any headers, so there must be a bound


class PageCache:
    """ASGI middleware that answers a plain GET of one of `PATHS` with the response it had before at that address.

    Other requests pass through. Only whole pages are cached: status 200, and no cookie.
    """

    def __init__(self, app):
        self._app = app
        self._responses: OrderedDict[tuple, list[dict]] = OrderedDict()  # the ASGI messages of each response
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._responses)

    async def __call__(self, scope, receive, send):
        is_page = scope["type"] == "http" and scope["method"] == "GET" and route_path(scope) in PATHS
        if not is_page or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name in ADDRESS_HEADERS]
        key = (scope["path"], scope["scheme"], scope.get("root_path"), *sorted(headers))
        async with self._lock:  # when a crowd comes at once, only the first makes Gradio work
            messages = self._responses.get(key) or await self._respond(key, scope, receive)
        for message in messages:
            await send(dict(message))

    async def _respond(self, key: tuple, scope, receive) -> list[dict]:
        """Return the messages of Gradio's response, and cache them if they are a whole page."""
        messages = []

        async def record(message):
            messages.append(message)

        await self._app(scope, receive, record)
        start = messages[0]
        if start["status"] == 200 and all(name != b"set-cookie" for name, _ in start["headers"]):
            self._responses[key] = messages
            while len(self._responses) > len(PATHS) * MAX_ADDRESSES:
                self._responses.popitem(last=False)
        return messages
