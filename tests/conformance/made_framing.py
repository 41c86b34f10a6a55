"""Streams of bytes, and the payloads that are cut from them or the code that is owed (protocol.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.packing import packed

Case = dict[str, Any]

HELLO_MAX = 8_192
CLIENT_MAX = 65_536
SERVER_MAX = 1_048_576


def framing() -> Iterator[Case]:
    yield from _whole()
    yield from _limits()


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def _case(
    name: str, pieces: list[bytes], payloads: list[bytes], code: str | None = None, most: int = CLIENT_MAX
) -> Case:
    return {
        "name": name,
        "section": "2",
        "longest": most,
        "pieces": [piece.hex() for piece in pieces],
        "payloads": [payload.hex() for payload in payloads],
        "code": code,
    }


def _whole() -> Iterator[Case]:
    ping, pong = packed([4, 7]), packed([68, 7, 1767225600000])
    two = frame(ping) + frame(pong)
    yield _case("one frame in one piece", [frame(ping)], [ping])
    yield _case("one frame, byte by byte", [bytes([byte]) for byte in frame(ping)], [ping])
    yield _case("two frames in one piece", [two], [ping, pong])
    for at in (1, 3, 4, 5, 6, 7, 8, 11, 12):
        yield _case(f"two frames cut at byte {at}", [two[:at], two[at:]], [ping, pong])
    yield _case("a frame that is not whole", [frame(ping)[:-1]], [])
    yield _case("a whole frame and the head of the next", [frame(ping) + b"\x00\x00"], [ping])
    yield _case("a payload of one byte, which is no message", [frame(b"\xc0")], [b"\xc0"])


def _limits() -> Iterator[Case]:
    ping = packed([4, 7])
    yield _case("length 0", [b"\x00\x00\x00\x00"], [], "bad_frame")
    yield _case("length 0 behind a frame", [frame(ping) + b"\x00\x00\x00\x00"], [ping], "bad_frame")
    longest = {"a hello": HELLO_MAX, "a client after hello": CLIENT_MAX, "a server": SERVER_MAX}
    for sender, most in longest.items():
        over = (most + 1).to_bytes(4, "big")
        yield _case(f"one byte over the longest of {sender}", [over], [], "frame_too_large", most)
        yield _case(f"the head of the longest of {sender}", [most.to_bytes(4, "big")], [], None, most)
    yield _case("a length of 4 GiB", [b"\xff\xff\xff\xff"], [], "frame_too_large")
    yield _case("what begins a handshake of TLS", [b"\x16\x03\x01\x02"], [], "frame_too_large")
    yield _case("what begins a request of HTTP", [b"GET / HTTP/1.1\r\n"], [], "frame_too_large")
    longest_hello = packed(["x" * (HELLO_MAX - 4)])
    assert len(longest_hello) == HELLO_MAX
    yield _case("a payload as long as a hello may be", [frame(longest_hello)], [longest_hello], None, HELLO_MAX)
    behind = frame(ping) + (CLIENT_MAX + 1).to_bytes(4, "big") + frame(ping)
    yield _case("nothing is read behind a length that is refused", [behind], [ping], "frame_too_large")
