"""TLS handshakes that come to nothing leave nothing, and what a link under TLS does not read is bounded."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from pathlib import Path

import pytest

from presenced import limits
from presenced.server.server import Server
from presenced.wire.messages import Get, Ping
from tests.support.certificates import make_certificate
from tests.support.in_process import LOOPS, InProcess
from tests.support.until import PATIENCE_S
from tests.support.wire import PONG, RECORDS, opened

TRIES = 30


def protocols() -> int:
    """Objects of handshakes that are still there, whoever holds them."""
    return sum(type(one).__name__ in ("SSLProtocol", "SSLError") for one in gc.get_objects())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_failed_handshake_needs_no_collector(loop: str, tmp_path: Path) -> None:
    """With asyncio each has 256 KiB of buffers, and the oldest generation is looked at rarely."""
    cert, key = make_certificate(tmp_path, "used")
    with InProcess(loop, tls_cert=str(cert), tls_key=str(key)) as node:
        gc.collect()
        gc.disable()
        try:
            before = protocols()
            for _ in range(TRIES):
                with socket.create_connection(("127.0.0.1", node.port), PATIENCE_S) as peer:
                    peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    with contextlib.suppress(ConnectionError):
                        while peer.recv(4096):
                            pass
            node.until(lambda server: server.stats.handshakes_failed == TRIES and not server.links)
            assert node.ask(lambda _: protocols()) - before <= TRIES // 10
        finally:
            gc.enable()


@pytest.mark.parametrize("loop", LOOPS)
def test_unread_replies_under_tls_are_bounded_and_all_come_in_order(loop: str, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "used")
    trust = ssl.create_default_context(cafile=str(cert))
    names = [f"somebody-with-a-long-name-{number:0>90}" for number in range(256)]

    def unread(server: Server) -> tuple[int, int]:
        (link,) = server.links
        assert link.session is not None and link.transport is not None
        return link.session.reply_bytes, link.transport.unsent_bytes

    with InProcess(loop, rate=0, tls_cert=str(cert), tls_key=str(key)) as node:
        with opened(node.port, "asker", tls=trust, receive_bytes=4096) as link:
            # As much as fits into the buffers of the way there, in whole frames: a write that is cut off cannot be
            # gone on with under TLS.
            asked = [Get(number, names) for number in range(1, 25)]
            link.send(*asked)
            # All that one turn answers may be with the transport already, which has not got rid of it.
            node.until(lambda server: sum(unread(server)) > 0 and next(iter(server.links)).intake.paused > 0)
            waiting, written = node.ask(unread)
            assert waiting + written <= limits.OUTBOX_BYTES_MAX + 64_000
            for message in asked:
                got = link.next()
                assert got[:2] == [RECORDS, message.id] and len(got[4]) == len(names)
            link.send(Ping(99))
            assert link.next()[:2] == [PONG, 99]
            assert node.ask(unread) == (0, 0)
