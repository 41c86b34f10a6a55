"""The short way for heartbeats never answers otherwise than the reader and the codec do."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from presenced.limits import FRAME_BYTES_MAX, IDLE_MS_MAX
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.lone_heartbeat import NO_REPORT, lone_heartbeat
from presenced.wire.messages import Heartbeat


def codecs_answer(data: bytes) -> int | None:
    """What the reader and the codec make of it, in the terms of `lone_heartbeat`."""
    reader = FrameReader(FRAME_BYTES_MAX)
    reader.feed(data)
    try:
        payloads = reader.take(2)
        if len(payloads) != 1 or reader.pending_bytes:
            return None
        message = decode_client(payloads[0])
    except Exception:
        return None
    if not isinstance(message, Heartbeat):
        return None
    return NO_REPORT if message.idle_ms is None else message.idle_ms


@given(st.one_of(st.none(), st.integers(0, IDLE_MS_MAX)))
@example(127)
@example(128)
@example(255)
@example(256)
@example(65_535)
@example(65_536)
@example(2**32 - 1)
@example(2**32)
@example(IDLE_MS_MAX)
def test_every_heartbeat_in_its_shortest_form_is_recognized(idle_ms: int | None) -> None:
    assert lone_heartbeat(frame(encode(Heartbeat(idle_ms)))) == (NO_REPORT if idle_ms is None else idle_ms)


def test_one_that_leaves_the_report_out_is_recognized() -> None:
    assert lone_heartbeat(frame(b"\x91\x02")) == NO_REPORT


def near_heartbeats() -> st.SearchStrategy[bytes]:
    """Bytes that are one, or nearly: cut, changed, doubled, longer, of another width."""
    whole = st.builds(lambda idle_ms: frame(encode(Heartbeat(idle_ms))), st.integers(0, 2**32 + 5))
    wide = st.builds(
        lambda value, width: frame(b"\x92\x02" + bytes([0xCC + width]) + value.to_bytes(1 << width, "big")),
        st.integers(0, 255),
        st.integers(0, 3),
    )
    far = st.integers(IDLE_MS_MAX - 2, IDLE_MS_MAX + 2).map(
        lambda idle_ms: frame(b"\x92\x02\xcf" + idle_ms.to_bytes(8, "big"))
    )
    signed = st.integers(-(2**31), -1).map(lambda value: frame(b"\x92\x02\xd2" + value.to_bytes(4, "big", signed=True)))
    some = st.one_of(whole, wide, far, signed)
    cut = st.builds(lambda data, size: data[:size], some, st.integers(0, 16))
    changed = st.builds(
        lambda data, at, value: data[: at % len(data)] + bytes([value]) + data[at % len(data) + 1 :],
        some,
        st.integers(0, 16),
        st.integers(0, 255),
    )
    return st.one_of(some, cut, changed, st.builds(lambda one, other: one + other, some, cut))


@given(near_heartbeats())
def test_what_it_recognizes_is_what_the_codec_would_have_read(data: bytes) -> None:
    found = lone_heartbeat(data)
    assert found is None or found == codecs_answer(data), data.hex()


@pytest.mark.parametrize("idle_ms", [IDLE_MS_MAX + 1, 2**63])
def test_what_is_out_of_range_is_left_to_the_codec(idle_ms: int) -> None:
    data = frame(b"\x92\x02\xcf" + idle_ms.to_bytes(8, "big"))
    assert lone_heartbeat(data) is None
    with pytest.raises(BadMessage):
        decode_client(data[4:])
