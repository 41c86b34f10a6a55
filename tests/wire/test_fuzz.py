"""Hostile bytes: whatever a peer sends, only `BadMessage` and `ProtocolError` come out of the wire layer."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from presenced.errors import CODES, ProtocolError
from presenced.limits import FRAME_BYTES_MAX
from presenced.wire import messages
from presenced.wire.codec import CLIENT_MESSAGES, BadMessage, decode_client, decode_server, encode
from presenced.wire.frames import FrameReader, frame
from tests.support.samples import SAMPLES
from tests.support.tiers import samples
from tests.wire.strategies import WRONG_VALUES, messages_of

FRAMES = 500_000
BATCH = 500

VALID = [
    encode(message)
    for message in (
        *SAMPLES.values(),
        messages.Hello([1, 2, 65535], "t" * 60, "zażółć", "tab-1", "web", "My tab", -5, "dnd", 12, "user", "x/1"),
        messages.Heartbeat(),
        messages.Heartbeat(123_456),
        messages.Ping(2**32 - 1),
        messages.SetStatus(3, "dnd", "in a meeting", "🌴", 1_800_000),
        messages.SetStatus(4, text=""),
        messages.SetDevice(5, "away", -128),
        messages.Get(6, ["bob", "carol", "dave"]),
        messages.Who(7, "bob", 256),
        messages.Watch(8, [f"user{number}" for number in range(20)]),
        messages.Unwatch(9, ["bob"]),
    )
]

HEADS = [b"\xdc", b"\xdd", b"\xd9", b"\xda", b"\xdb", b"\xc4", b"\xc6", b"\xc7", b"\xc9", b"\xde", b"\xdf"]
LENGTHS = [
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\xff\xff",
    b"\x00\x00\x00\x01",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
]
LAYERS = [b"\x91", b"\x81", b"\x81\x01", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\x92\x07"]
ODD_VALUES = list(WRONG_VALUES.values())


def flip_bits(dice: random.Random, payload: bytes) -> bytes:
    changed = bytearray(payload)
    for _ in range(dice.randrange(1, 4)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut_off(dice: random.Random, payload: bytes) -> bytes:
    return payload[: dice.randrange(1, len(payload) + 1)]


def splice(dice: random.Random, payload: bytes) -> bytes:
    other = dice.choice(VALID)
    return payload[: dice.randrange(1, len(payload) + 1)] + other[dice.randrange(len(other)) :]


def lie_about_length(dice: random.Random, payload: bytes) -> bytes:
    at = dice.randrange(len(payload))
    return payload[:at] + dice.choice(HEADS) + dice.choice(LENGTHS) + payload[at + dice.randrange(2) :]


def nest(dice: random.Random, payload: bytes) -> bytes:
    at = dice.randrange(len(payload))
    return payload[:at] + dice.choice(LAYERS) * dice.randrange(1, 200) + payload[at:]


def put_odd_value(dice: random.Random, payload: bytes) -> bytes:
    at = dice.randrange(1, len(payload) + 1)
    return payload[:at] + dice.choice(ODD_VALUES) + payload[at + 1 :]


def make_random(dice: random.Random, payload: bytes) -> bytes:
    return dice.randbytes(dice.randrange(1, 48))


def make_random_fields(dice: random.Random, payload: bytes) -> bytes:
    return bytes([0x90 + dice.randrange(8), dice.randrange(12)]) + dice.randbytes(dice.randrange(24))


def leave(dice: random.Random, payload: bytes) -> bytes:
    return payload


MUTATIONS = [
    flip_bits,
    cut_off,
    splice,
    lie_about_length,
    nest,
    put_odd_value,
    make_random,
    make_random_fields,
    leave,
]


def batch(dice: random.Random, count: int) -> list[bytes]:
    return [dice.choice(MUTATIONS)(dice, dice.choice(VALID)) for _ in range(count)]


def outcome(payload: bytes) -> str:
    """Decode and name what came of it; anything but a message or `BadMessage` fails the test with the bytes."""
    try:
        message = decode_client(payload)
    except BadMessage as error:
        if error.code not in CODES or len(str(error)) > 200 or not 0 <= error.request_id < 2**32:
            pytest.fail(f"{payload.hex()}: {error.code} {error.request_id} {error}")
        return error.code
    except BaseException as error:
        pytest.fail(f"{payload.hex()}: {error!r} escaped")
    if decode_client(encode(message)) != message:
        pytest.fail(f"{payload.hex()}: {message} is not what it encodes to")
    return "message"


@pytest.mark.slow
def test_half_a_million_frames_and_only_the_one_error_escapes() -> None:
    dice = random.Random(5250)
    outcomes: Counter[str] = Counter()
    for _ in range(FRAMES // BATCH):
        payloads = batch(dice, BATCH)
        stream = b"".join(map(frame, payloads))
        reader = FrameReader(FRAME_BYTES_MAX)
        taken: list[bytes] = []
        at = 0
        while at < len(stream):
            piece = dice.randrange(1, 4_096)
            reader.feed(stream[at : at + piece])
            at += piece
            taken += reader.take(BATCH)
        assert taken == payloads
        outcomes.update(map(outcome, taken))
    assert outcomes.total() == FRAMES
    assert set(outcomes) == {"message", "bad_request", "unknown_type", "bad_frame"}
    assert min(outcomes.values()) > FRAMES // 200, f"one outcome is hardly tried: {outcomes}"


def test_streams_with_broken_framing_end_with_a_protocol_error_or_wait() -> None:
    dice = random.Random(1999)
    ends: Counter[str] = Counter()
    for _ in range(2_000):
        stream = bytearray(b"".join(map(frame, batch(dice, 8))))
        for _ in range(dice.randrange(1, 5)):
            stream[dice.randrange(len(stream))] = dice.randrange(256)
        if dice.random() < 0.01:
            # Chance hardly ever makes a length of 0.
            stream[:4] = bytes(4)
        reader = FrameReader(FRAME_BYTES_MAX)
        end = "waits"
        try:
            for at in range(0, len(stream), 97):
                reader.feed(bytes(stream[at : at + 97]))
                for payload in reader.take(64):
                    assert 0 < len(payload) <= FRAME_BYTES_MAX
                    outcome(payload)
        except ProtocolError as error:
            end = error.code
        ends[end] += 1
    assert set(ends) == {"waits", "bad_frame", "frame_too_large"}


@given(st.binary(max_size=400))
@settings(max_examples=samples(300), deadline=None)
def test_any_bytes_either_way(payload: bytes) -> None:
    for decode in (decode_client, decode_server):
        try:
            decode(payload)
        except BadMessage as error:
            assert error.code in CODES


@given(st.data())
@settings(max_examples=samples(300), deadline=None)
def test_any_message_with_any_bytes_in_its_middle(data: st.DataObject) -> None:
    kind: Any = data.draw(st.sampled_from(list(CLIENT_MESSAGES.values())))
    payload = encode(data.draw(messages_of(kind)))
    start = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(start, len(payload)))
    outcome(payload[:start] + data.draw(st.binary(max_size=12)) + payload[end:])
