"""What is said of JSON that cannot be read: half of a surrogate pair in words of our own, whatever the decoder says."""

import json

import msgspec
import pytest
from hypothesis import given, strategies as st

from presenced.wire.json_faults import json_fault

HALVES: dict[bytes, str] = {
    rb'["\ud83d"]': r"\ud83d",
    rb'["\uD83D cut"]': r"\ud83d",
    rb'["\ude00"]': r"\ude00",
    rb'["\ude00\ud83d"]': r"\ude00",
    rb'["\ud83d\ud83d\ude00"]': r"\ud83d",
    rb'["\ud83d \ude00"]': r"\ud83d",
    rb'["\ud83d\n"]': r"\ud83d",
    rb'["\ud83d\ude00", "\\\ud83d"]': r"\ud83d",
    b'["\xed\xa0\xbd"]': r"\ud83d",
    b'["\xed\xb8\x80"]': r"\ude00",
}


@pytest.mark.parametrize("data", HALVES, ids=repr)
def test_half_of_a_pair_is_named(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(data)
    assert json_fault(data, caught.value).startswith(f"{HALVES[data]} is half of a surrogate pair")


@pytest.mark.parametrize(
    "data", [b'["a"', rb'["\\ud83d"', rb'["\ud83d\ude00"', "[\N{GRINNING FACE}]".encode()], ids=repr
)
def test_all_else_is_told_as_the_decoder_tells_it(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(data)
    assert json_fault(data, caught.value) == str(caught.value)


@given(st.lists(st.sampled_from(["\ud83d", "\ude00", "\\", "u", "d83d", '"', "é", "\N{GRINNING FACE}"]), max_size=8))
def test_it_is_named_if_and_only_if_there_is_one(parts: list[str]) -> None:
    text = "".join(parts)
    data = json.dumps([text]).encode()
    lone = any("\ud800" <= character <= "\udfff" for character in json.loads(data)[0])
    assert json_fault(data, ValueError("other")).endswith("both halves") == lone
