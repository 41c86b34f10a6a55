"""A connection that reads its socket itself: whatever comes and however, its protocol is told it once and in order, and
the number of a socket is free only once the protocol knows that it is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, cast

import pytest
from hypothesis import given, settings, strategies as st

from presenced.server.transports.plain_connection import FIRST_BYTES, MORE_BYTES, PlainConnection
from presenced.server.transports.readiness import Readiness
from tests.support.in_process import LOOPS
from tests.support.tiers import samples
from tests.support.until import PATIENCE_S

both_loops = pytest.mark.parametrize("loop", LOOPS)


class Listening(asyncio.Protocol):
    """Writes down what it is told."""

    def __init__(self, *, keeps_open: bool = False, received: Callable[[bytes], object] | None = None) -> None:
        self.keeps_open = keeps_open
        self.received = received
        self.data = b""
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connection = cast(PlainConnection, transport)

    def data_received(self, data: bytes) -> None:
        assert "eof" not in self.told
        self.data += data
        if self.received is not None:
            self.received(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keeps_open

    def connection_lost(self, exc: Exception | None) -> None:
        assert "lost" not in self.told
        os.fstat(self.connection.fileno())  # its number is still its own
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("full")

    def resume_writing(self) -> None:
        self.told.append("empty")


class Peers:
    """Connections of one `Readiness`, each with its other end."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self.ends: list[socket.socket] = []

    def connect(self, protocol: asyncio.Protocol) -> socket.socket:
        """The peer's end, which does not block."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        peer.setblocking(False)
        self.ends.append(peer)
        PlainConnection(self.readiness, accepted, protocol)
        return peer

    def open(self, **options: Any) -> tuple[Listening, socket.socket]:
        protocol = Listening(**options)
        return protocol, self.connect(protocol)

    def end(self) -> None:
        for peer in self.ends:
            peer.close()


def play(loop: str, script: Callable[[Peers], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
    """Run the script; returns what reached the loop's own handler."""
    errors: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        peers = Peers()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await script(peers)
        finally:
            peers.end()
        await until(lambda: not peers.readiness._known)
        assert peers.readiness._epoll is None
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
    return errors


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def passes(count: int = 5) -> None:
    """Let whatever is there be told."""
    for _ in range(count):
        await asyncio.sleep(0)


async def read_all(peer: socket.socket) -> bytes:
    """What comes until the end."""
    parts = []
    while True:
        try:
            part = peer.recv(65_536)
        except BlockingIOError:
            await asyncio.sleep(0)
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)


async def send_all(peer: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[peer.send(data) :]
        except BlockingIOError:
            await asyncio.sleep(0)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


SIZES = (1, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, FIRST_BYTES + MORE_BYTES, 400_000)


@both_loops
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ends", [False, True])
def test_all_that_is_sent_comes_in_order_and_the_end_behind_it(loop: str, size: int, ends: bool) -> None:
    sent = os.urandom(size)

    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        await send_all(peer, sent)
        if ends:
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "lost" in one.told)
            assert one.told == ["eof", "lost"]
        else:
            await until(lambda: len(one.data) == size)
            assert one.told == []
        assert one.data == sent

    assert not play(loop, script)


@both_loops
def test_the_end_is_told_though_it_came_between_two_reads(loop: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open(received=lambda _: peer.shutdown(socket.SHUT_WR))
        peer.send(b"x" * 10)
        await until(lambda: "lost" in one.told)
        assert (one.data, one.told) == (b"x" * 10, ["eof", "lost"])

    assert not play(loop, script)


@both_loops
def test_nothing_is_read_while_it_is_paused_and_all_of_it_after(loop: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open(received=lambda _: one.connection.pause_reading())
        peer.send(b"first")
        await until(lambda: one.data)
        peer.send(b"second")
        await passes()
        assert one.data == b"first"
        peer.shutdown(socket.SHUT_WR)
        await passes()
        one.connection.resume_reading()
        assert one.data == b"first", "told inside of the call"
        await until(lambda: one.data == b"firstsecond")
        await passes()
        assert one.told == [], "the end was read of one that is paused"
        one.connection.resume_reading()
        await until(lambda: "lost" in one.told)

    assert not play(loop, script)


@both_loops
def test_what_the_kernel_does_not_take_follows_once_the_peer_reads(loop: str) -> None:
    sent = os.urandom(6_000_000)

    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        connection = one.connection
        connection.write(sent[:5_000_000])
        assert one.told == ["full"]
        left = connection.get_write_buffer_size()
        assert 0 < left < 5_000_000
        connection.write(sent[5_000_000:])
        assert one.told == ["full"]
        assert connection.get_write_buffer_size() == left + 1_000_000
        got = b""
        while len(got) < len(sent):
            try:
                got += peer.recv(1_000_000)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert got == sent
        await until(lambda: "empty" in one.told)
        assert one.told == ["full", "empty"]
        assert connection.get_write_buffer_size() == 0
        peer.send(b"and it is read still")
        await until(lambda: one.data)

    assert not play(loop, script)


@both_loops
@pytest.mark.parametrize("size", [1, 5_000_000])
@pytest.mark.parametrize("half", [False, True])
def test_a_close_comes_behind_what_was_written(loop: str, size: int, half: bool) -> None:
    sent = os.urandom(size)

    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        one.connection.write(sent)
        if half:
            one.connection.write_eof()
            one.connection.write(b"too late")
            peer.send(b"heard")
        else:
            one.connection.close()
            assert "lost" not in one.told, "told inside of the call"
        assert await read_all(peer) == sent
        if half:
            await until(lambda: one.data == b"heard")
            assert "lost" not in one.told
            peer.close()
        await until(lambda: "lost" in one.told)

    assert not play(loop, script)


@both_loops
def test_a_peer_that_has_ended_its_half_may_be_answered(loop: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open(keeps_open=True)
        peer.send(b"bye")
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: one.told == ["eof"])
        one.connection.resume_reading()
        await passes()
        assert one.told == ["eof"], "one end was told twice"
        one.connection.write(b"answer")
        one.connection.close()
        assert await read_all(peer) == b"answer"
        await until(lambda: one.told == ["eof", "lost"])

    assert not play(loop, script)


@both_loops
@pytest.mark.parametrize("state", ["reading", "paused", "full", "closing"])
def test_a_reset_loses_it_once(loop: str, state: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        connection = one.connection
        if state in ("full", "closing"):
            connection.write(b"x" * 5_000_000)
        if state == "closing":
            connection.close()
        if state == "paused":
            connection.pause_reading()
        reset(peer)
        await passes()
        if state == "paused":
            connection.resume_reading()
        await until(lambda: "lost" in one.told)
        connection.write(b"to nobody")
        connection.write_eof()
        connection.close()
        connection.abort()
        connection.pause_reading()
        connection.resume_reading()
        assert connection.get_extra_info("peername") is None
        await passes()
        assert one.told.count("lost") == 1

    assert not play(loop, script)


@both_loops
def test_its_number_is_given_to_nobody_before_its_protocol_knows(loop: str) -> None:
    async def script(peers: Peers) -> None:
        one, _ = peers.open()
        fd = one.connection.fileno()
        one.connection.abort()
        assert one.told == []
        other = os.open(os.devnull, os.O_RDONLY)
        assert other != fd
        os.close(other)
        await until(lambda: one.told == ["lost"])
        with pytest.raises(OSError):
            os.fstat(fd)

    assert not play(loop, script)


@both_loops
def test_one_that_another_drops_in_the_same_round_is_told_nothing_more(loop: str) -> None:
    async def script(peers: Peers) -> None:
        everyone = [Listening() for _ in range(4)]

        def drop_others(first: Listening) -> None:
            for other in everyone:
                if other is not first:
                    other.connection.abort()

        for one in everyone:
            one.received = lambda _, one=one: drop_others(one)  # type: ignore[misc]
            peers.connect(one).send(b"me")
        await until(lambda: sum(bool(one.data) for one in everyone))
        await passes()
        assert sorted(one.data for one in everyone) == [b"", b"", b"", b"me"]
        assert sorted(len(one.told) for one in everyone) == [0, 1, 1, 1]

    assert not play(loop, script)


@both_loops
@pytest.mark.parametrize("size", [2, 2 * FIRST_BYTES])
def test_a_protocol_that_raises_loses_its_connection_alone(loop: str, size: int) -> None:
    def fail(data: bytes) -> None:
        raise OSError("a bug of ours")

    async def script(peers: Peers) -> None:
        everyone = [Listening(received=fail if number == 1 else None) for number in range(4)]
        for one in everyone:
            peers.connect(one).send(b"x" * size)
        await until(lambda: all(one.data for one in everyone) and everyone[1].told)
        assert [one.told for one in everyone] == [[], ["lost"], [], []]

    errors = play(loop, script)
    assert [str(error["exception"]) for error in errors] == ["a bug of ours"]


@both_loops
def test_it_says_who_the_peer_is(loop: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        assert one.connection.get_extra_info("peername") == peer.getsockname()
        assert one.connection.get_extra_info("sslcontext") is None
        assert one.connection.get_extra_info("socket").fileno() == one.connection.fileno()

    assert not play(loop, script)


@both_loops
def test_one_that_there_is_no_room_for_is_closed(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, who: object, events: int) -> None:
        raise OSError(28, "No space left on device")

    async def script(peers: Peers) -> None:
        monkeypatch.setattr(peers.readiness, "watch", refuse)
        with pytest.raises(OSError):
            peers.open()
        assert await read_all(peers.ends[0]) == b""

    assert not play(loop, script)


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=3 * FIRST_BYTES), st.sampled_from(["pause", "resume", "pass"])),
        max_size=20,
    ),
    st.sampled_from(["open", "half", "closed"]),
)
@settings(max_examples=samples(40), deadline=None)
def test_whatever_the_peer_does_all_of_it_is_heard_in_order(steps: list[bytes | str], end: str) -> None:
    async def script(peers: Peers) -> None:
        one, peer = peers.open()
        sent = b""
        for step in steps:
            if isinstance(step, bytes):
                await send_all(peer, step)
                sent += step
            elif step == "pause":
                one.connection.pause_reading()
            elif step == "resume":
                one.connection.resume_reading()
            else:
                await passes(1)
        if end == "half":
            peer.shutdown(socket.SHUT_WR)
        elif end == "closed":
            peer.close()
        one.connection.resume_reading()
        await until(lambda: one.told == (["eof", "lost"] if end != "open" else []) and len(one.data) == len(sent))
        assert one.data == sent

    assert not play("uvloop", script)
