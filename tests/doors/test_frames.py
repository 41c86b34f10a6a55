"""Frames that no client may send: each ends its link with its code, before hello and after it, and disturbs nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from presenced.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX
from presenced.server.transports.close_codes import CLOSE_CODES
from tests.support.doors import serving
from tests.support.in_process import InProcess
from tests.support.lowering import lower_in_process
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    JSON,
    MSGPACK,
    OPCODES,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    Received,
    client_frame,
    encoded,
    said,
)
from tests.support.wire import Bystander

BOTH = pytest.mark.parametrize("kind", [JSON, MSGPACK])


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[InProcess, int]]:
    with serving(grace_ms=0) as found:
        yield found


@pytest.fixture(scope="module")
def port(running: tuple[InProcess, int]) -> int:
    return running[1]


@pytest.fixture(scope="module")
def beside(running: tuple[InProcess, int]) -> Iterator[Bystander]:
    bystander = Bystander(running[0].port)
    yield bystander
    bystander.close()


BREACHES: dict[str, bytes] = {
    "no mask": client_frame(PING, b"x", mask=None),
    "no mask and no data": b"\x89\x00",
    "reserved bit 1, as with compression": client_frame(TEXT, b"[4,1]", rsv=4),
    "reserved bit 2": client_frame(TEXT, b"[4,1]", rsv=2),
    "reserved bit 3": client_frame(PING, rsv=1),
    **{f"opcode {opcode}": client_frame(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping in pieces": client_frame(PING, b"x", fin=False),
    "a ping of 126 bytes": client_frame(PING, bytes(126)),
    "a close frame of 126 bytes": client_frame(CLOSE, b"\x03\xe8" + bytes(124)),
    "a close frame of one byte": client_frame(CLOSE, b"\x03"),
    "a close code that is never sent": client_frame(CLOSE, (1005).to_bytes(2, "big")),
    "a close code below 1000": client_frame(CLOSE, (999).to_bytes(2, "big")),
    "a close reason that is no UTF-8": client_frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff\xfe"),
    "a continuation of nothing": client_frame(CONT, b"x"),
    "a message within a message": client_frame(TEXT, b"[", fin=False) + client_frame(TEXT, b"4,1]"),
    "a close frame within a message": client_frame(TEXT, b"[", fin=False) + client_frame(CLOSE, b"\x03\xe8"),
    "http": b"GET /ws HTTP/1.1\r\n\r\n",
    "the greatest length": b"\x81\xff" + b"\xff" * 8 + bytes(4),
}


@pytest.mark.parametrize("is_open", [False, True], ids=["before hello", "after hello"])
@pytest.mark.parametrize("data", BREACHES.values(), ids=list(BREACHES))
def test_what_breaks_the_framing(port: int, beside: Bystander, data: bytes, is_open: bool) -> None:
    with RawWebSocket(port) as link:
        if is_open:
            link.greet("mallory")
        link.send(data)
        messages, close_code, reason = link.ended()
        expected = "frame_too_large" if data[1:2] == b"\xff" else "bad_frame"
        assert messages[-1][:2] == [65, expected]
        assert (close_code, reason) == (CLOSE_CODES[expected], expected)
    beside.check()


@BOTH
def test_bytes_one_by_one(port: int, kind: str) -> None:
    """A peer may cut its frames anywhere: also within a head."""
    with RawWebSocket(port, kind) as link:
        hello = said(kind, 1, [1], "", "slowly", "tab")
        long = said(kind, 7, 1, ["x" * 100, "y" * 100])
        assert long[1] & 0x7F == 126, "its length is in the two bytes behind"
        for byte in hello + client_frame(PING, b"in between") + long:
            link.send(bytes([byte]))
        heard = [link.frame() for _ in range(3)]
        assert Received(PONG, b"in between") in heard, "at once, and perhaps before the welcome"
        messages = [link.decoded(one) for one in heard if one is not None and one.opcode != PONG]
        assert [message[0] for message in messages] == [64, 69]


@BOTH
def test_hello_and_a_longer_message_in_one_write(port: int, kind: str) -> None:
    """The bound of the first message is not that of the second, though both are here before the first is read."""
    with RawWebSocket(port, kind) as link:
        names = [f"{'n' * 60}{number}" for number in range(256)]
        behind = said(kind, 7, 1, names)
        assert HELLO_BYTES_MAX < len(behind) < FRAME_BYTES_MAX
        link.send(said(kind, 1, [1], "", "eager", "tab") + behind)
        assert link.hear()[0] == 64
        assert len(link.until(69)[4]) == 256


@BOTH
@pytest.mark.parametrize("is_open", [False, True], ids=["before hello", "after hello"])
def test_the_bounds_on_messages(port: int, beside: Bystander, kind: str, is_open: bool) -> None:
    """At the bound a message is read, and one byte above it is refused by its head, before it is sent; in one frame, or
    in many."""
    most = FRAME_BYTES_MAX if is_open else HELLO_BYTES_MAX
    filler = (
        b"[" + b" " * (most - 2) + b"]" if kind == JSON else b"\xc5" + (most - 3).to_bytes(2, "big") + bytes(most - 3)
    )
    assert len(filler) == most
    opcode = OPCODES[kind]
    for frames, code in {
        client_frame(opcode, filler): "bad_frame",
        client_frame(opcode, filler + b" ")[:14]: "frame_too_large",
        client_frame(opcode, filler[:-9], fin=False) + client_frame(CONT, filler[-9:]): "bad_frame",
        client_frame(opcode, filler[:-9], fin=False) + client_frame(CONT, bytes(10)): "frame_too_large",
    }.items():
        with RawWebSocket(port, kind) as link:
            if is_open:
                link.greet("bounded")
            link.send(frames)
            messages, close_code, _ = link.ended()
            assert messages[-1][1] == code and close_code == CLOSE_CODES[code]
    beside.check()


@pytest.mark.parametrize(("kind", "opcode"), [(JSON, BINARY), (MSGPACK, TEXT)])
@pytest.mark.parametrize("is_open", [False, True], ids=["before hello", "after hello"])
def test_frames_of_the_other_kind(port: int, kind: str, opcode: int, is_open: bool) -> None:
    with RawWebSocket(port, kind) as link:
        if is_open:
            link.greet("confused")
        link.send(client_frame(opcode, encoded(kind, 1, [1], "", "confused", "tab")))
        messages, _, reason = link.ended()
        assert messages[-1][1] == reason == "bad_frame"


NO_TEXT: dict[str, bytes] = {
    "a byte that UTF-8 has not": b'[4,1,"\xff"]',
    "half a character": b'[4,1,"\xc3"]',
    "half of a surrogate pair": b'[4,1,"\xed\xa0\x80"]',
    "too many bytes for a character": b'[4,1,"\xc0\xaf"]',
    "beyond Unicode": b'[4,1,"\xf4\x90\x80\x80"]',
    "an escape for half of a pair": b'[4,1,"\\ud800"]',
    "a byte order mark": b"\xef\xbb\xbf[4,1]",
    "a control character": b'[4,1,"\x00"]',
    "words of javascript": b"[4,NaN]",
    "a comma too many": b"[4,1,]",
    "two values": b"[4,1][4,2]",
    "UTF-16": "[4,1]".encode("utf-16"),
}


@pytest.mark.parametrize("data", NO_TEXT.values(), ids=list(NO_TEXT))
def test_text_that_is_no_json_in_utf_8(port: int, beside: Bystander, data: bytes) -> None:
    with RawWebSocket(port) as link:
        link.greet("garbled")
        link.send(client_frame(TEXT, data))
        messages, _, reason = link.ended()
        assert messages[-1][1] == reason == "bad_frame"
    beside.check()


@pytest.mark.parametrize("data", [b'[4,1,"\\ud83d"]', b'[4,1,"\xed\xa0\xbd"]'], ids=["escape", "bytes"])
def test_half_of_a_surrogate_pair_is_told_in_words(port: int, data: bytes) -> None:
    with RawWebSocket(port) as link:
        link.greet("garbled")
        link.send(client_frame(TEXT, data))
        messages, _, _ = link.ended()
        assert messages[-1][1] == "bad_frame" and "\\ud83d is half of a surrogate pair" in messages[-1][2]


@BOTH
def test_a_character_may_be_cut_between_two_frames(port: int, kind: str) -> None:
    with RawWebSocket(port, kind) as link:
        link.greet("whole")
        message = encoded(kind, 5, 1, "dnd", "M\N{LATIN SMALL LETTER U WITH DIAERESIS}sli")
        if kind == JSON:
            message = '[5,1,"dnd","M\N{LATIN SMALL LETTER U WITH DIAERESIS}sli"]'.encode()
        at = message.index(b"\xc3") + 1
        link.send(client_frame(OPCODES[kind], message[:at], fin=False) + client_frame(PING, b"?"))
        link.send(client_frame(CONT, b"", fin=False) + client_frame(CONT, message[at:]))
        assert link.frame() == Received(PONG, b"?")
        assert link.until(67)[1] == 1


@BOTH
def test_what_is_nested_deep_is_refused(port: int, beside: Bystander, kind: str) -> None:
    bomb = b"[4,1," + b"[" * 30_000 + b"]" * 30_000 + b"]" if kind == JSON else b"\x93\x04\x01" + b"\x91" * 60_000
    with RawWebSocket(port, kind) as link:
        link.greet("deep")
        link.send(client_frame(OPCODES[kind], bomb) + said(kind, 4, 2))
        found = link.frame()
        assert found is not None
        got = link.decoded(found)
        assert got[:2] == [65, "bad_frame"] or got[:3] == [66, 1, "bad_request"]
    beside.check()


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4999, None])
def test_a_close_frame_is_answered_with_its_own_code_and_ends_the_connection(port: int, code: int | None) -> None:
    data = (
        code.to_bytes(2, "big") + "auf Wiedersehen, M\N{LATIN SMALL LETTER U WITH DIAERESIS}sli".encode()
        if code
        else b""
    )
    with RawWebSocket(port) as link:
        link.greet("polite")
        link.send(client_frame(CLOSE, data))
        assert link.drain()[-1] == Received(CLOSE, data)


def test_what_comes_behind_a_close_frame_is_not_done(port: int, beside: Bystander) -> None:
    with RawWebSocket(port) as watcher, RawWebSocket(port) as link:
        watcher.greet("watcher")
        watcher.say(9, 1, ["gone"])
        watcher.until(69)
        link.greet("gone")
        link.send(client_frame(CLOSE, b"\x03\xe8") + said(JSON, 5, 1, "dnd"))
        link.drain()
        told = [watcher.hear()[1][1]]
        while told[-1] != "offline":
            told.append(watcher.hear()[1][1])
        assert told == ["online", "offline"]
    beside.check()


BEGUN: dict[str, bytes] = {
    "one byte of a head": b"\x81",
    "a head": b"\x81\xfe\x01\x00",
    "half a frame": said(JSON, 5, 1, "dnd")[:-3],
    "half a ping": client_frame(PING, bytes(100))[:-3],
    "a message without its last piece": client_frame(TEXT, b"[4,", fin=False) + client_frame(PING, b"x"),
}


@pytest.mark.parametrize("data", BEGUN.values(), ids=list(BEGUN))
def test_what_is_begun_has_to_be_whole_in_time(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of TCP. What came in pieces and is whole by then does not count."""
    lower_in_process(monkeypatch, FRAME_TIMEOUT_MS=200)
    with serving() as (_, port), RawWebSocket(port) as whole, RawWebSocket(port) as link:
        whole.greet("whole")
        for piece in (b"\x81", said(JSON, 4, 1)[1:5], said(JSON, 4, 1)[5:], client_frame(PING, b"x")):
            whole.send(piece)
        assert whole.hear()[:2] == [68, 1]
        link.greet("trickling")
        link.send(data)
        messages, close_code, reason = link.ended()
        assert messages[-1][:2] == [65, "frame_timeout"]
        assert (close_code, reason) == (4002, "frame_timeout")
        whole.say(4, 2)
        assert whole.hear()[:2] == [68, 2]
