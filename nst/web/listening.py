"""The sockets that the server listens on, and the address under which a browser opens the page.

Gradio would try the port at another address than the one that it then serves on, would not say why it failed, and would
make addresses such as `http://:::7860/`, which nothing can open.
"""

import contextlib
import errno
import ipaddress
import socket

from nst.errors import StyleTransferError

SILENCE_SECONDS = 20  # until a silent connection ends; with the step that is under way, its slot is free within 30 s
REASONS = {
    errno.EADDRINUSE: "another program uses this port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no such address",
    errno.EACCES: "the system does not allow it",
}
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of an address: a name may have others


def listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of `host`: a name, or an address with or without brackets.

    The IPv6 address `::` is every network of IPv4 too.

    Raises StyleTransferError if the host is unknown or not this machine's, or if the port cannot be used.
    """
    sockets, absent = [], None
    try:
        for family, address in _addresses(host, port):
            try:
                sockets.append(_listening_socket(family, address))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error  # for example localhost's ::1, where IPv6 is off
        if not sockets:
            raise absent
    except (OSError, UnicodeError) as error:
        for listening in sockets:
            listening.close()
        raise cannot_serve(host, port, _reason(error)) from error
    return sockets


def browser_address(host: str, listening: socket.socket) -> str:
    """Return the address that a browser on this machine opens, such as `http://[::1]:7860/`.

    host: as it was given. listening: the first of its sockets.
    """
    number, port = listening.getsockname()[:2]
    if ipaddress.ip_address(number).is_unspecified:  # every network: a browser cannot open that
        host = "::1" if listening.family == socket.AF_INET6 else "127.0.0.1"
    host = host.strip("[]")
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def cannot_serve(host: str, port: int, reason: str) -> StyleTransferError:
    """Return the error for an address that cannot be served on."""
    return StyleTransferError(f"{host}, port {port}: cannot be served on ({reason}); choose with --host, --port.")


def _addresses(host: str, port: int) -> list[tuple[int, tuple]]:
    """Return (family, address) of each address of a host, without repetition."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    families = (socket.AF_INET, socket.AF_INET6)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found if family in families))


def _listening_socket(family: int, address: tuple) -> socket.socket:
    both_kinds = family == socket.AF_INET6 and socket.has_dualstack_ipv6()  # `::` then takes IPv4 too
    listening = socket.create_server(address, family=family, dualstack_ipv6=both_kinds)
    _end_silent_connections(listening)
    return listening


def _end_silent_connections(listening: socket.socket) -> None:
    """Have the system end accepted connections whose other end acknowledges nothing for `SILENCE_SECONDS`.

    By default the system waits a quarter of an hour. A stream sends something every 15 s at least, so that there is
    always something to acknowledge.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it from the socket that accepts them
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):  # the latter: a name that is too long, or has an empty part
        return "no such host is known"
    return REASONS.get(error.errno) or error.strerror or str(error)
