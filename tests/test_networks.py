"""The server in ordinary networks: proxies in the environment, IPv6, and hosts that cannot be served on."""

import errno
import os
import socket
import socketserver
import threading
import urllib.parse
from contextlib import closing, contextmanager

import pytest

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.server import call_tool, data_url, free_port, run_server, stylize_arguments
from helpers.shell import shell
from nst.web import listening
from nst.web.listening import browser_address, listen
from nst.web.proxies import without_proxies

NOWHERE = "127.0.0.1:9"  # where nothing answers, as with a proxy that is switched off


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


# --- the sockets ------------------------------------------------------------------------------------------------------


@contextmanager
def open_sockets(host: str):
    """Listen on a free port of a host. Yield the port and the first socket."""
    sockets = listen(host, 0) if host != "localhost" else listen(host, free_port())
    try:
        yield sockets[0].getsockname()[1], sockets[0]
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize(("host", "address"), [
    ("127.0.0.1", "http://127.0.0.1:{}/"),
    ("localhost", "http://localhost:{}/"),
    ("0.0.0.0", "http://127.0.0.1:{}/"),
    ("0", "http://127.0.0.1:{}/"),
    pytest.param("::1", "http://[::1]:{}/", marks=needs_ipv6),
    pytest.param("[::1]", "http://[::1]:{}/", marks=needs_ipv6),
    pytest.param("::", "http://[::1]:{}/", marks=needs_ipv6),
    pytest.param("0:0:0:0:0:0:0:0", "http://[::1]:{}/", marks=needs_ipv6),
    pytest.param("::ffff:127.0.0.1", "http://[::ffff:127.0.0.1]:{}/", marks=needs_ipv6),
])  # fmt: skip
def test_a_browser_reaches_the_socket_at_its_address(host, address):
    with open_sockets(host) as (port, listening_socket):
        url = browser_address(host, listening_socket)
        assert url == address.format(port)
        target = urllib.parse.urlparse(url)
        socket.create_connection((target.hostname, target.port), timeout=5).close()


@needs_ipv6
def test_every_network_of_ipv6_is_every_network_of_ipv4_too():
    with open_sockets("::") as (port, _):
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=5).close()


@pytest.mark.parametrize(("host", "reason"), [
    ("no-such-host.invalid", "no such host is known"),
    ("a" * 80, "no such host is known"),
    ("a..b", "no such host is known"),
    ("http://127.0.0.1", "no such host is known"),
    ("192.0.2.1", "this machine has no such address"),  # an address for documentation, which nobody has
])  # fmt: skip
def test_a_host_that_cannot_be_served_on_is_refused_with_the_reason(host, reason):
    message = refusal(listen, host, 7860)
    assert f"{host}, port 7860: cannot be served on ({reason})" in message and "--host" in message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", pytest.param("::", marks=needs_ipv6)])
def test_a_port_in_use_is_refused_on_every_host(host):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        message = refusal(listen, host, other.getsockname()[1])
    assert "another program uses this port" in message and "--port" in message


def test_where_localhost_has_no_ipv6_it_is_served_without(monkeypatch):
    def addresses(host, port):
        return [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]

    create_server = socket.create_server

    def create_without_ipv6(address, *, family, **options):
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no IPv6")
        return create_server(address, family=family, **options)

    monkeypatch.setattr(listening, "_addresses", addresses)
    monkeypatch.setattr(socket, "create_server", create_without_ipv6)
    (only,) = listen("localhost", free_port())
    with closing(only):
        assert only.family == socket.AF_INET


@pytest.mark.slow
def test_app_py_says_in_one_line_which_host_it_cannot_serve_on():
    done = shell("app.py", "--host", "no-such-host.invalid")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("app.py: no-such-host.invalid, port 7860: cannot be served on")


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variables", [
    {"ALL_PROXY": "socks4://127.0.0.1:9"},
    {"ALL_PROXY": "socks://127.0.0.1:9", "http_proxy": "::::", "https_proxy": "http://[::1"},
    {"NO_PROXY": "::1,fe80::/10", "no_proxy": "10.0.0.0/8,[::1]", "http_proxy": NOWHERE},
    {"SSL_CERT_FILE": "/no/such/file.pem"},
])  # fmt: skip
def test_gradios_clients_can_be_made_without_proxies_and_the_environment_stays_as_it_was(monkeypatch, variables):
    import httpx

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with without_proxies():
        httpx.Client().close()
    assert dict(os.environ) == before


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that notes what it is asked for, and gives nothing."""

    allow_reuse_address = daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.server.requests.append(self.rfile.readline().decode(errors="replace"))
            self.wfile.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.requests: list[str] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy():
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


def use_everything(server) -> None:
    """Load the page, paint over the API, and paint as a language model does."""
    for path in ("/", "/config", "/theme.css"):
        assert server.get(path)[0] == 200
    kind, content = server.stylize(stylize_arguments(server.upload_pair(48, 48), size=32, steps=1))
    assert kind == "complete", content
    photo, painting = (data_url(make_picture(48, 48, seed)) for seed in (1, 2))
    status, _ = call_tool(server.url, {"content": photo, "style": painting, "preset": "quick", "size": 32, "steps": 1})
    assert status.text.startswith("Done")


@pytest.mark.slow
@needs_ipv6
def test_a_proxy_is_asked_for_downloads_only(tmp_path, proxy):
    variables = {"http_proxy": f"http://{proxy.address}", "HTTPS_PROXY": f"http://{proxy.address}",
                 "no_proxy": "10.0.0.0/8,fe80::/10,[::1", "TORCH_HOME": str(tmp_path / "no weights")}  # fmt: skip
    with run_server(tmp_path, "--host", "::", **variables) as server:
        assert f"Serving on http://[::1]:{server.port}/\n" in server.log.read_text()
        for host in ("127.0.0.1", "[::1]"):
            server.url = f"http://{host}:{server.port}"
            use_everything(server)
        assert proxy.requests == []
        pictures = server.upload_pair(48, 48)
        kind, message = server.stylize(stylize_arguments(pictures, size=32, steps=1, backbone="imagenet"))
        assert kind == "error" and server.is_clear(message), message
        assert any(request.startswith("CONNECT download.pytorch.org:443") for request in proxy.requests)


@pytest.mark.slow
@pytest.mark.parametrize(("host", "variables"), [
    ("localhost", {"ALL_PROXY": f"socks5://{NOWHERE}", "HTTP_PROXY": f"socks5h://{NOWHERE}"}),
    ("0.0.0.0", {"ALL_PROXY": f"socks4://{NOWHERE}", "SSL_CERT_FILE": "/no/such/file.pem"}),
    ("127.0.0.1", {"http_proxy": "::::", "https_proxy": "http://[::1", "all_proxy": f"socks://{NOWHERE}",
                   "NO_PROXY": "::1,http://[", "GRADIO_SERVER_PORT": "nonsense"}),
])  # fmt: skip
def test_the_server_paints_whatever_the_environment_says_about_proxies(tmp_path, host, variables):
    with run_server(tmp_path, "--host", host, **variables) as server:
        use_everything(server)
