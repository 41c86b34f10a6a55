"""The clients' end of TLS: what it lets through, what it refuses, and that it loses nothing on the way."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.errors import BenchError
from bench.load.links import wire_of
from bench.load.tls import Tls, make_tls
from bench.load.tls_socket import TlsSocket
from tests.support.until import PATIENCE_S

GREETING = b"INFO {}\r\n"


class Linked(NamedTuple):
    fd: int
    socket: TlsSocket


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls") / "made")


@contextlib.contextmanager
def served(
    tls: Tls, talk: Callable[[ssl.SSLSocket], None], *, greeting: tuple[bytes, ...] = (), set_up: str = ""
) -> Iterator[socket.socket]:
    """A client's plain socket to a server that says its greeting in these pieces, shakes hands and talks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    if set_up == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    ours, theirs = socket.socketpair()

    def serve() -> None:
        # A client that gives up is what some tests are about.
        with contextlib.suppress(OSError):
            for piece in greeting:
                theirs.sendall(piece)
            with context.wrap_socket(theirs, server_side=True) as secured:
                talk(secured)

    thread = threading.Thread(target=serve)
    ours.settimeout(PATIENCE_S)
    theirs.settimeout(PATIENCE_S)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join()
        theirs.close()


def echo(secured: ssl.SSLSocket) -> None:
    while data := secured.recv(65_536):
        secured.sendall(data)


@pytest.fixture
def any_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server here is of this process, and speaks what Python's settings say."""
    monkeypatch.setattr("bench.load.tls_socket.CIPHER", "TLS_AES_256_GCM_SHA384")


@pytest.mark.usefixtures("any_cipher")
@pytest.mark.parametrize("pieces", [(), (GREETING,), (GREETING[:4], GREETING[4:])])
def test_what_is_sent_before_the_handshake_is_over_comes_behind_it(tls: Tls, pieces: tuple[bytes, ...]) -> None:
    with served(tls, echo, greeting=pieces) as made:
        link = TlsSocket(made, tls.client, b"\r\n" if pieces else b"")
        link.sendall(b"one")
        link.sendall(b"two")
        came = link.recv()
        while len(came) < 6:
            came += link.recv()
        assert came == b"onetwo"
        link.close()


@pytest.mark.usefixtures("any_cipher")
def test_by_the_descriptor_all_of_a_long_stream_comes_once_and_the_end_is_told(tls: Tls) -> None:
    said = bytes(range(256)) * 400

    def talk(secured: ssl.SSLSocket) -> None:
        assert secured.recv(10) == b"?"
        secured.sendall(said)

    with served(tls, talk) as made:
        link = TlsSocket(made, tls.client)
        link.setblocking(False)
        wire = wire_of([Linked(link.fileno(), link)])
        wire.write(link.fileno(), b"?")
        came = b""
        with pytest.raises(BenchError, match="closed a link"):
            while select.select([link], [], [], PATIENCE_S)[0]:
                came += wire.read(link.fileno(), 10)
        assert came == said


@pytest.mark.usefixtures("any_cipher")
def test_what_is_available_is_all_there_is(tls: Tls) -> None:
    with served(tls, echo) as made:
        link = TlsSocket(made, tls.client)
        link.sendall(b"!")
        assert link.recv() == b"!"
        link.setblocking(False)
        wire = wire_of([Linked(link.fileno(), link)])
        assert wire.available(link.fileno()) == b""
        link.sendall(b"1" * 40_000)
        came = b""
        while len(came) < 40_000:
            assert select.select([link], [], [], PATIENCE_S)[0]
            came += wire.available(link.fileno())
        assert came == b"1" * 40_000
        link.close()


def test_a_server_with_another_cipher_is_found_out(tls: Tls) -> None:
    with served(tls, echo) as made:
        link = TlsSocket(made, tls.client)
        with pytest.raises(
            BenchError, match="it speaks TLSv1.3 with TLS_AES_256_GCM_SHA384, and the others TLSv1.3 wi"
        ):
            link.recv()


def test_a_server_with_an_older_version_is_not_spoken_to(tls: Tls) -> None:
    with served(tls, echo, set_up="TLS 1.2") as made:
        link = TlsSocket(made, tls.client)
        with pytest.raises(ssl.SSLError):
            link.recv()


def test_a_server_with_another_certificate_is_not_believed(tls: Tls, tmp_path: Path) -> None:
    with served(make_tls(tmp_path / "other"), echo) as made:
        link = TlsSocket(made, tls.client)
        with pytest.raises(ssl.SSLCertVerificationError):
            link.recv()
