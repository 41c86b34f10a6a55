"""A connection under TLS by itself, on both loops: what comes and goes, and every way in which it ends."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.config.settings import Settings
from presenced.server.tls import load_tls
from presenced.server.transports.readiness import READ, Readiness
from presenced.server.transports.tls_connection import RECORDS_PER_WAKE, TlsConnection
from presenced.server.transports.tls_handshake import open_tls
from tests.support.certificates import make_certificate
from tests.support.in_process import LOOPS
from tests.support.lowering import lower_in_process
from tests.support.until import PATIENCE_S

Talk = Callable[["Side"], Coroutine[Any, Any, None]]


class Heard(asyncio.Protocol):
    """The server's protocol: keeps what it is told."""

    def __init__(self) -> None:
        self.connection: TlsConnection | None = None
        self.data = b""
        self.told: list[str] = []
        self.lost = asyncio.Event()
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsConnection)
        self.connection = transport
        transport.set_write_buffer_limits(high=0)
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.told.append("data")

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.error = exc
        self.lost.set()


class Side:
    """A server's end on this loop, and the raw socket of a client."""

    def __init__(self, context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
        self.raw, self.theirs = socket.socketpair()
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        self.theirs.setblocking(False)
        self.raw.settimeout(PATIENCE_S)
        self.heard = Heard()
        self.readiness = Readiness()
        self._context, self._trust = context, trust

    def opening(self) -> asyncio.Task[None]:
        return asyncio.ensure_future(open_tls(self.readiness, self.heard, self.theirs, self._context))

    async def client(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
        """The client's end, once both have shaken hands."""
        opening = self.opening()
        self._trust.minimum_version = self._trust.maximum_version = version
        made = await asyncio.to_thread(
            self._trust.wrap_socket, self.raw, server_hostname="localhost", suppress_ragged_eofs=False
        )
        await asyncio.wait_for(opening, PATIENCE_S)
        return made

    @property
    def connection(self) -> TlsConnection:
        assert self.heard.connection is not None
        return self.heard.connection

    async def gone(self) -> None:
        await asyncio.wait_for(self.heard.lost.wait(), PATIENCE_S)
        assert self.heard.told.count("lost") == 1 and self.heard.told[-1] == "lost"
        assert self.connection.get_extra_info("socket").fileno() == -1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Talk], None]]:
    """Runs a test's talk on each loop, and holds the loop to have met no exception."""
    cert, key = make_certificate(tmp_path, "used")
    tls = load_tls(Settings(tls_cert=str(cert), tls_key=str(key)))
    assert tls is not None
    context, trust = tls.context, ssl.create_default_context(cafile=str(cert))
    errors: list[dict[str, Any]] = []

    def start(talk: Talk) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, told: errors.append(told))
            side = Side(context, trust)
            try:
                await talk(side)
            finally:
                side.raw.close()
                side.theirs.close()
                if side.heard.connection is not None:
                    side.heard.connection.abort()
                await asyncio.sleep(0.0)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    yield start
    assert errors == []


async def received(client: ssl.SSLSocket, size: int) -> bytes:
    def read() -> bytes:
        came = b""
        while len(came) < size:
            came += client.recv(65_536)
        return came

    return await asyncio.to_thread(read)


def test_many_records_at_once_come_in_order_and_others_are_served_between_them(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        with await side.client() as client:
            pieces = [b"%04d" % number for number in range(3 * RECORDS_PER_WAKE)]
            for piece in pieces:
                client.send(piece)
            passes = 0
            while len(side.heard.data) < 4 * len(pieces):
                before = side.heard.told.count("data")
                await asyncio.sleep(0)
                assert side.heard.told.count("data") - before <= RECORDS_PER_WAKE
                passes += side.heard.told.count("data") > before
            assert side.heard.data == b"".join(pieces)
            assert passes <= 6, "more than one record is read in a pass"

    run(talk)


def test_whoever_takes_over_is_told_of_the_very_next_record(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        other = Heard()

        class HandsOver(Heard):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                side.connection.set_protocol(other)

        side.heard = HandsOver()
        with await side.client() as client:
            client.send(b"upgrade")
            client.send(b"hello")
            await side.until(lambda: other.data != b"")
            assert (side.heard.data, other.data) == (b"upgrade", b"hello")
            assert side.connection.get_protocol() is other
        await asyncio.wait_for(other.lost.wait(), PATIENCE_S)

    run(talk)


def test_a_record_that_comes_byte_by_byte_is_whole_at_its_end(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        opening = side.opening()
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = side._trust.wrap_bio(came, goes, server_hostname="localhost")
        side.raw.setblocking(False)
        is_up = False
        while not (is_up and opening.done()):
            try:
                client.do_handshake()
                is_up = True
            except ssl.SSLWantReadError:
                pass
            for byte in goes.read():
                side.raw.send(bytes([byte]))
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            if select.select([side.raw], [], [], 0)[0]:
                came.write(side.raw.recv(65_536))
        client.write(b"a whole frame")
        for byte in goes.read():
            assert side.heard.data == b""
            side.raw.send(bytes([byte]))
            await asyncio.sleep(0)
        await side.until(lambda: side.heard.data != b"")
        assert side.heard.data == b"a whole frame" and side.heard.told == ["made", "data"]

    run(talk)


def test_what_the_kernel_does_not_take_is_told_and_goes_on_in_order(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        with await side.client() as client:
            first, second = b"1" * 600_000, b"2" * 100_000
            side.connection.write(first)
            assert side.heard.told == ["made", "pause"]
            assert side.connection.get_write_buffer_size() == len(first)
            side.connection.write(second)
            side.connection.write(b"")
            assert side.heard.told == ["made", "pause"]
            assert await received(client, 700_000) == first + second
            await side.until(lambda: "resume" in side.heard.told)
            assert side.connection.get_write_buffer_size() == 0
            side.connection.write(b"3")
            assert await received(client, 1) == b"3"
            assert side.heard.told == ["made", "pause", "resume"]

    run(talk)


def test_what_is_written_before_the_close_comes_and_then_the_word_that_it_was_all(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        with await side.client() as client:
            side.connection.write(b"1" * 300_000)
            side.connection.close()
            side.connection.close()
            side.connection.write(b"too late")
            assert side.connection.is_closing()
            client.send(b"dropped")
            assert await received(client, 300_000) == b"1" * 300_000
            # Without close_notify this raises, as ragged ends are told here.
            assert await asyncio.to_thread(client.recv, 10) == b""
            client.send(b"dropped as well, and no reset")
            assert "lost" not in side.heard.told and side.heard.data == b""
            client.close()
            await side.gone()
            assert side.heard.error is None

    run(talk)


def test_a_peer_that_does_not_close_is_not_waited_for_longer_than_a_handshake(
    run: Callable[[Talk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(side: Side) -> None:
        with await side.client():
            lower_in_process(monkeypatch, TLS_HANDSHAKE_S=0.02)
            side.connection.close()
            await side.gone()

    run(talk)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_peer_that_ends_is_told_of_and_the_connection_closes(run: Callable[[Talk], None], in_order: bool) -> None:
    async def talk(side: Side) -> None:
        client = await side.client()
        client.send(b"last")
        if in_order:
            with pytest.raises(ssl.SSLError):
                client.setblocking(False)
                client.unwrap()
        client.close()
        await side.gone()
        assert side.heard.data == b"last" and side.heard.told == ["made", "data", "eof", "lost"]

    run(talk)


@pytest.mark.parametrize("is_read", [True, False])
def test_a_reset_is_noticed_whether_the_connection_is_read_or_not(run: Callable[[Talk], None], is_read: bool) -> None:
    """uvloop tells nobody of it who watches a socket of their own."""

    async def talk(side: Side) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            side.raw.close()
            side.theirs.close()
            side.raw = socket.create_connection(listener.getsockname(), PATIENCE_S)
            side.theirs, _ = listener.accept()
        side.theirs.setblocking(False)
        client = await side.client()
        if not is_read:
            side.connection.pause_reading()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await side.gone()
        assert "data" not in side.heard.told

    run(talk)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_protocol_that_raises_loses_its_connection_and_no_other(loop: str) -> None:
    class Told:
        """Raises when it is told the second time."""

        def __init__(self, sock: socket.socket) -> None:
            self.sock, self.count, self.aborted = sock, 0, 0

        def ready(self, events: int) -> None:
            self.count += 1
            assert events == READ
            if self.sock.recv(100) == b"raise":
                raise ValueError("told")

        def abort(self) -> None:
            self.aborted += 1
            readiness.forget(self.sock.fileno())

    readiness = Readiness()

    async def main() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: errors.append(told))
        pairs = [socket.socketpair() for _ in range(3)]
        told = [Told(theirs) for _, theirs in pairs]
        for one in told:
            readiness.watch(one.sock.fileno(), one, READ)
        for (raw, _), said in zip(pairs, (b"1", b"raise", b"3"), strict=True):
            raw.send(said)
        async with asyncio.timeout(PATIENCE_S):
            while any(one.count < 1 for one in told):
                await asyncio.sleep(0)
        assert [one.aborted for one in told] == [0, 1, 0]
        assert [str(error["exception"]) for error in errors] == ["told"]
        for one in told:
            readiness.forget(one.sock.fileno())
        readiness.forget(told[0].sock.fileno())
        assert descriptors() == before, "the descriptor is given back once nobody is left"
        for raw, theirs in pairs:
            raw.close()
            theirs.close()

    def descriptors() -> int:
        return sum("eventpoll" in os.readlink(f"/proc/self/fd/{one}") for one in open_descriptors())

    def open_descriptors() -> list[str]:
        return [one for one in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{one}")]

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop()
        before = descriptors()
        runner.run(main())


def test_a_damaged_record_ends_the_connection_and_nothing_of_it_is_told(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        client = await side.client()
        raw = socket.socket(fileno=client.detach())
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        await side.gone()
        assert side.heard.data == b"" and isinstance(side.heard.error, ssl.SSLError)
        raw.close()

    run(talk)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05" + bytes(40), b"\0"])
def test_what_is_no_handshake_fails_it_with_an_alert_and_without_a_reset(
    run: Callable[[Talk], None], said: bytes
) -> None:
    async def talk(side: Side) -> None:
        opening = side.opening()
        side.raw.sendall(said)
        side.raw.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError):
            await asyncio.wait_for(opening, PATIENCE_S)
        assert side.heard.told == []
        came = b""
        while data := side.raw.recv(100):
            came += data
        assert came[:1] in (b"\x15", b""), "what is said is an alert, if anything"

    run(talk)


def test_a_handshake_that_stops_half_way_has_its_time_and_leaves_nothing(
    run: Callable[[Talk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(side: Side) -> None:
        lower_in_process(monkeypatch, TLS_HANDSHAKE_S=0.05)
        opening = side.opening()
        goes = ssl.MemoryBIO()
        client = side._trust.wrap_bio(ssl.MemoryBIO(), goes, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        hello = goes.read()
        side.raw.sendall(hello[: len(hello) // 2])
        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(opening, PATIENCE_S)
        assert side.raw.recv(100) == b"" and side.heard.told == []

    run(talk)


def test_a_handshake_can_be_broken_off(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        opening = side.opening()
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert side.raw.recv(100) == b"" and side.heard.told == []

    run(talk)


def test_what_is_not_read_stays_in_the_kernel(run: Callable[[Talk], None]) -> None:
    async def talk(side: Side) -> None:
        with await side.client() as client:
            assert side.connection.is_reading()
            side.connection.pause_reading()
            side.connection.pause_reading()
            client.setblocking(False)
            with pytest.raises(ssl.SSLWantWriteError):
                while True:
                    client.send(b"x" * 16_000)
            for _ in range(5):
                await asyncio.sleep(0)
            assert side.heard.data == b"" and not side.connection.is_reading()
            side.connection.resume_reading()
            await side.until(lambda: len(side.heard.data) >= 16_000)

    run(talk)


def test_a_session_is_resumed(run: Callable[[Talk], None]) -> None:
    """A client that kept its ticket spares both sides the signature."""

    async def talk(side: Side) -> None:
        with await side.client() as client:
            side.connection.write(b"!")
            assert await received(client, 1) == b"!"
            session = client.session
        again = Side(side._context, side._trust)
        opening = again.opening()
        made = await asyncio.to_thread(
            lambda: side._trust.wrap_socket(again.raw, server_hostname="localhost", session=session)
        )
        await opening
        assert made.session_reused
        again.connection.abort()
        made.close()
        await again.gone()

    run(talk)


def test_renegotiation_is_refused(tmp_path: Path) -> None:
    """By whoever speaks TLS 1.2, as 1.3 has none: a handshake costs the server much and its client little."""
    cert, key = make_certificate(tmp_path, "used")
    tls = load_tls(Settings(tls_cert=str(cert), tls_key=str(key)))
    assert tls is not None

    async def main() -> tuple[Heard, str]:
        heard = Heard()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{listener.getsockname()[1]}"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            accepted, _ = await asyncio.to_thread(listener.accept)
        accepted.setblocking(False)
        await open_tls(Readiness(), heard, accepted, tls.context)
        assert process.stdin is not None
        process.stdin.write(b"R\n")
        process.stdin.flush()
        said, _ = await asyncio.wait_for(asyncio.to_thread(process.communicate), PATIENCE_S)
        await asyncio.wait_for(heard.lost.wait(), PATIENCE_S)
        return heard, said.decode()

    heard, said = asyncio.run(main())
    assert "RENEGOTIATING" in said and "no renegotiation" in said
    assert heard.data == b""
