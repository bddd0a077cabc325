"""Proxies: those of the environment are for downloads. What the app asks itself never goes through them."""

import contextlib
import functools
import os
from collections.abc import Iterator

# The library of Gradio's requests reads these whenever it is used, and fails for values that it does not understand:
# a proxy `socks4://...`, an exception `fe80::/10`, a file of certificates that does not exist.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """Use no proxy within the block, whatever the environment says; afterwards the environment is as before.

    Gradio asks itself while it starts, and prepares clients while it is imported. No download begins in that time.
    """
    before = {name: os.environ.get(name) for name in ("no_proxy", *CERTIFICATES)}
    for name in CERTIFICATES:
        os.environ.pop(name, None)
    os.environ["no_proxy"] = "*"  # counts more than NO_PROXY, and ends the reading of all other variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def use_no_proxy_for_tools() -> None:
    """Have the server for language models (MCP) ask this app directly: it is a client of the app while a tool runs."""
    import gradio.mcp
    from gradio_client import Client

    gradio.mcp.Client = functools.partial(Client, httpx_kwargs={"trust_env": False})
