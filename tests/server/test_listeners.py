"""Which addresses a server binds for what its setting names."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from presenced.server import listeners
from presenced.server.listeners import listen

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


def resolved_to(*hosts: str) -> Any:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (FAMILIES[one], socket.SOCK_STREAM, 6, "", (one, port) if "." in one else (one, port, 0, 0))
            for one in hosts
        ]

    return getaddrinfo


def bound(host: str, port: int = 0) -> list[tuple[str, int]]:
    listeners = listen(host, port)
    try:
        return [listener.getsockname()[:2] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def test_a_name_of_both_families_is_listened_on_at_both_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolved_to("::1", "127.0.0.1", "127.0.0.1"))
    found = bound("localhost")
    assert [host for host, _ in found] == ["::1", "127.0.0.1"], "each once"
    assert len({port for _, port in found}) == 1


def test_a_family_that_the_machine_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolved_to("::1", "127.0.0.1"))
    bind = listeners._bound

    def without_ipv6(family: socket.AddressFamily, *args: Any, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return bind(family, *args, **options)

    monkeypatch.setattr(listeners, "_bound", without_ipv6)
    assert [host for host, _ in bound("localhost")] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", resolved_to("::1"))
    with pytest.raises(OSError, match="Cannot assign"):
        listen("localhost", 0)


def test_what_cannot_be_bound_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolved_to("::1", "127.0.0.1"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError) as caught:
            listen("localhost", port)
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_INET6) as other:
            other.bind(("::1", port))


def test_every_address_alone_takes_both_families() -> None:
    [listener] = listen("::", 0)
    with listener:
        listener.listen()
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=10):
            pass
