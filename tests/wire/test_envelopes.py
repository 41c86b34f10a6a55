"""The type and the id of a message from its bytes, held against the codec."""

from __future__ import annotations

import msgspec
import pytest

from presenced.wire.codec import CLIENT_MESSAGES, SERVER_MESSAGES, decode_client, encode
from presenced.wire.envelopes import Envelope, envelope_of, with_id
from presenced.wire.messages import Done, Error, Message
from tests.support.samples import SAMPLES

IDS = (1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1)


@pytest.mark.parametrize("kind", CLIENT_MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_the_envelope_of_a_request(kind: type[Message]) -> None:
    message = SAMPLES[kind]
    assert envelope_of(encode(message)).type == kind.__struct_config__.tag
    if "id" not in kind.__struct_fields__:
        assert envelope_of(encode(message)).id == 0
        return
    for number in IDS:
        payload = encode(msgspec.structs.replace(message, id=number))
        assert envelope_of(payload).id == number
        for other in IDS:
            assert decode_client(with_id(payload, other)) == msgspec.structs.replace(message, id=other)


@pytest.mark.parametrize("kind", SERVER_MESSAGES.values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fields", [0, 1, 20])
def test_the_envelope_of_an_answer(kind: type[Message], fields: int) -> None:
    tag = kind.__struct_config__.tag
    rest = ["rest"] * fields
    for number in IDS:
        payload = encode([tag, number, *rest])
        if kind.__struct_fields__[0] != "id":
            assert envelope_of(payload) == Envelope(tag, 0)
            continue
        assert envelope_of(payload) == Envelope(tag, number)
        for other in IDS:
            assert with_id(payload, other) == encode([tag, other, *rest])


def test_an_error_that_answers_nothing_has_no_id() -> None:
    assert envelope_of(encode(Error(0, "bad_request", ""))).id == 0
    assert envelope_of(encode(Done(3, 0))).id == 3
