"""The page as Gradio makes it, made once: that takes it 20 ms for each visitor, and they come in crowds."""

import asyncio
from collections import OrderedDict

PATHS = ("/", "/config", "/theme.css")
ASKED_FOR = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")  # the page holds its own address
ADDRESSES = 16  # under which it is kept; anybody can send other headers


class KeptPages:
    """Answers a plain GET of one of `PATHS` with what it gave before under the same address; the rest goes through.

    What is not a whole page (another status, a cookie) is not kept.
    """

    def __init__(self, app):
        self.app = app
        self._kept: OrderedDict[tuple, list[dict]] = OrderedDict()
        self._making = asyncio.Lock()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PATHS or scope["query_string"]:
            await self.app(scope, receive, send)
            return
        headers = [one for one in scope["headers"] if one[0] in ASKED_FOR]
        key = (scope["path"], scope["scheme"], scope.get("root_path"), *sorted(headers))
        async with self._making:  # of a crowd that comes at once, the first has it made
            messages = self._kept.get(key) or await self._made(key, scope, receive)
        for message in messages:
            await send(dict(message))

    async def _made(self, key: tuple, scope, receive) -> list[dict]:
        messages = []

        async def note(message):
            messages.append(message)

        await self.app(scope, receive, note)
        start = messages[0]
        if start["status"] == 200 and all(name != b"set-cookie" for name, _ in start["headers"]):
            self._kept[key] = messages
            while len(self._kept) > len(PATHS) * ADDRESSES:
                self._kept.popitem(last=False)
        return messages
