"""Framing: however a stream is chopped up, the same payloads come out as from a naive twin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from presenced.errors import ProtocolError
from presenced.wire.frames import FrameReader, frame
from tests.support.tiers import samples

CAP = 300
ALL = 1_000_000

payloads_of_any_size = st.lists(st.binary(min_size=1, max_size=CAP), max_size=20)


def cut(stream: bytes, frame_bytes_max: int) -> tuple[list[bytes], str, int]:
    """The slow twin: the payloads of a whole stream, the error it ends with, and the bytes left over."""
    payloads: list[bytes] = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4], "big")
        if length == 0:
            return payloads, "bad_frame", 0
        if length > frame_bytes_max:
            return payloads, "frame_too_large", 0
        if len(stream) < 4 + length:
            break
        payloads.append(stream[4 : 4 + length])
        stream = stream[4 + length :]
    return payloads, "", len(stream)


def chop(stream: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    at = 0
    for size in sizes:
        pieces.append(stream[at : at + size])
        at += size
    pieces.append(stream[at:])
    return [piece for piece in pieces if piece]


def take_checked(reader: FrameReader, count: int) -> list[bytes]:
    """`take`, with what `has_frame` said before held against what came."""
    ready = reader.has_frame
    try:
        taken = reader.take(count)
    except ProtocolError:
        assert ready
        raise
    assert ready == bool(taken)
    assert len(taken) <= count
    return taken


def read(pieces: list[bytes], frame_bytes_max: int, count: int) -> tuple[list[bytes], str, int]:
    """What a reader gives that is fed piece by piece, `count` payloads taken after each, the rest at the end."""
    reader = FrameReader(frame_bytes_max)
    payloads: list[bytes] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            payloads += take_checked(reader, count)
        while taken := take_checked(reader, count):
            payloads += taken
    except ProtocolError as error:
        return payloads, error.code, reader.pending_bytes
    return payloads, "", reader.pending_bytes


@given(payloads_of_any_size, st.binary(max_size=3), st.lists(st.integers(0, 90), max_size=40), st.integers(1, 5))
def test_any_chopping_gives_the_same_payloads(payloads: list[bytes], tail: bytes, sizes: list[int], count: int) -> None:
    stream = b"".join(map(frame, payloads)) + tail
    assert read(chop(stream, sizes), CAP, count) == (payloads, "", len(tail))


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=CAP).map(frame),
            st.integers(0, CAP + 3).map(lambda length: length.to_bytes(4, "big")),
            st.integers(0, 2**32 - 1).map(lambda length: length.to_bytes(4, "big")),
            st.binary(max_size=12),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 90), max_size=40),
    st.integers(1, 5),
)
@settings(max_examples=samples(300))
def test_any_bytes_end_as_with_the_twin(parts: list[bytes], sizes: list[int], count: int) -> None:
    stream = b"".join(parts)
    assert read(chop(stream, sizes), CAP, count) == cut(stream, CAP)


def read_one_by_one(pieces: list[bytes], frame_bytes_max: int) -> tuple[list[bytes], str, int]:
    """What a reader gives by `take_one`, as far as it goes after each piece."""
    reader = FrameReader(frame_bytes_max)
    payloads: list[bytes] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while reader.has_frame:
                payload = reader.take_one()
                assert type(payload) is bytes
                payloads.append(payload)
            assert reader.take_one() is None
            assert reader.is_empty == (not reader.pending_bytes)
    except ProtocolError as error:
        assert reader.is_empty
        return payloads, error.code, reader.pending_bytes
    return payloads, "", reader.pending_bytes


parts_of_any_kind = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=CAP).map(frame),
        st.integers(0, CAP + 3).map(lambda length: length.to_bytes(4, "big")),
        st.binary(max_size=12),
    ),
    max_size=8,
)


@given(parts_of_any_kind, st.lists(st.integers(0, 90), max_size=40))
def test_payloads_that_are_taken_one_by_one_are_those_of_the_twin(parts: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(parts)
    assert read_one_by_one(chop(stream, sizes), CAP) == cut(stream, CAP)


@given(parts_of_any_kind)
def test_a_lone_frame_is_one_that_the_twin_finds_alone(parts: list[bytes]) -> None:
    data = b"".join(parts)
    payloads, error, rest = cut(data, CAP)
    reader = FrameReader(CAP)
    assert reader.lone(data) == (payloads[0] if len(payloads) == 1 and not error and not rest else None)
    assert reader.is_empty


def test_nothing_is_a_lone_frame_behind_a_piece_or_an_error() -> None:
    reader = FrameReader(CAP)
    reader.feed(frame(b"one")[:3])
    assert reader.lone(frame(b"two")) is None
    reader = FrameReader(CAP)
    reader.feed(b"\0\0\0\0")
    with pytest.raises(ProtocolError):
        reader.take_one()
    assert reader.lone(frame(b"more")) is None
    assert reader.take_one() is None


def test_take_gives_at_most_the_count_and_resumes() -> None:
    reader = FrameReader(CAP)
    reader.feed(b"".join(frame(bytes([number])) for number in range(10)))
    assert reader.pending_bytes == 50
    assert reader.take(4) == [b"\0", b"\1", b"\2", b"\3"]
    assert reader.pending_bytes == 30
    reader.feed(frame(b"\x0a"))
    assert reader.take(4) == [b"\4", b"\5", b"\6", b"\7"]
    assert reader.take(4) == [b"\x08", b"\x09", b"\x0a"]
    assert reader.take(4) == []
    assert reader.pending_bytes == 0


@pytest.mark.parametrize(
    ("head", "code"),
    [(b"\0\0\0\0", "bad_frame"), (b"\0\0\1\x2d", "frame_too_large"), (b"\xff\xff\xff\xff", "frame_too_large")],
)
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_a_bad_length_is_reported_after_the_payloads_before_it(head: bytes, code: str, count: int) -> None:
    reader = FrameReader(CAP)
    reader.feed(frame(b"one") + frame(b"two") + frame(b"three") + head + frame(b"never"))
    taken: list[bytes] = []
    while len(taken) < 3:
        taken += reader.take(count)
    assert taken == [b"one", b"two", b"three"]
    with pytest.raises(ProtocolError) as caught:
        reader.take(count)
    assert caught.value.code == code


def test_nothing_more_comes_after_an_error() -> None:
    reader = FrameReader(CAP)
    reader.feed(b"\0\0\0\0")
    with pytest.raises(ProtocolError):
        reader.take(ALL)
    reader.feed(frame(b"more"))
    assert reader.take(ALL) == []
    assert reader.pending_bytes == 0, "what comes after an error takes no memory"


def test_the_cap_is_the_longest_payload_and_can_be_raised() -> None:
    reader = FrameReader(8)
    reader.feed(frame(b"12345678"))
    assert reader.take(ALL) == [b"12345678"]
    reader.frame_bytes_max = 9
    reader.feed(frame(b"123456789"))
    assert reader.take(ALL) == [b"123456789"]
    reader.feed(frame(b"1234567890"))
    with pytest.raises(ProtocolError) as caught:
        reader.take(ALL)
    assert caught.value.code == "frame_too_large"


@pytest.mark.parametrize(
    ("head", "advice"),
    [
        (b"\0\1\0\1", "split the request"),
        (b"\x16\3\1\2", "looks like TLS or HTTP"),
        (b"GET ", "looks like TLS or HTTP"),
    ],
)
def test_bytes_of_another_protocol_are_not_called_a_long_request(head: bytes, advice: str) -> None:
    reader = FrameReader(CAP)
    reader.feed(head)
    with pytest.raises(ProtocolError, match=advice):
        reader.take(ALL)


def test_a_length_over_the_cap_is_refused_before_its_payload_is_buffered() -> None:
    reader = FrameReader(CAP)
    reader.feed((CAP + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolError):
        reader.take(ALL)


def test_an_unfinished_frame_is_held_back_and_counted() -> None:
    reader = FrameReader(CAP)
    whole = frame(b"x" * 100)
    for number in range(1, len(whole)):
        reader.feed(whole[number - 1 : number])
        assert reader.take(ALL) == []
        assert reader.pending_bytes == number
    reader.feed(whole[-1:])
    assert reader.take(ALL) == [b"x" * 100]
    assert reader.pending_bytes == 0


def buffers_used(stream: bytes, piece_bytes: int, count: int) -> int:
    """How many buffers the reader made for a stream that came in equal pieces: each stands for a copy."""
    reader = FrameReader(65_536)
    made = 0
    last: object = None
    for at in range(0, len(stream), piece_bytes):
        reader.feed(stream[at : at + piece_bytes])
        if reader._buffer is not last:
            made += 1
            last = reader._buffer
        reader.take(count)
    return made


def test_a_long_frame_that_trickles_is_not_copied_for_every_byte() -> None:
    assert buffers_used(frame(b"x" * 65_536), 1, 64) == 2


def test_little_pieces_behind_many_waiting_frames_are_not_copied_over_and_over() -> None:
    waiting = frame(b"x") * 20_000
    reader = FrameReader(65_536)
    reader.feed(waiting)
    reader.take(1)
    reader.feed(b"\0")
    buffer = reader._buffer
    taken = 0
    for _ in range(10_000):
        taken += len(reader.take(1))
        reader.feed(frame(b"y")[1:] + b"\0")
        assert reader._buffer is buffer
    assert taken == 10_000


def test_a_frame_carries_its_length_in_front() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert frame(b"x" * 70_000)[:4] == (70_000).to_bytes(4, "big")
