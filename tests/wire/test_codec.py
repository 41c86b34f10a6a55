"""Every message against an independent codec, and every wrong one against the one error it may cause."""

from __future__ import annotations

import re
import struct
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from presenced.errors import CODES
from presenced.limits import FRAME_BYTES_MAX, IDLE_MS_MAX, REQUEST_ID_MAX, USERS_PER_REQUEST_MAX
from presenced.wire import messages
from presenced.wire.codec import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    BadMessage,
    decode_client,
    decode_server,
    encode,
    encoded_list,
)
from presenced.wire.messages import Get, Heartbeat, Ping, SetStatus, Who
from tests.support.samples import sample
from tests.support.tiers import samples
from tests.wire.strategies import WRONG_VALUES, admits, fields_of, messages_of, plain

DECODERS = [(CLIENT_MESSAGES, decode_client), (SERVER_MESSAGES, decode_server)]
ALL_MESSAGES = [(kind, decode) for table, decode in DECODERS for kind in table.values()]
IDS = [kind.__name__ for kind, _ in ALL_MESSAGES]


def refused(payload: bytes, decode: Any = decode_client) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        decode(payload)
    assert caught.value.code in CODES
    assert len(str(caught.value)) <= 200
    return caught.value


# --- right messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "decode"), ALL_MESSAGES, ids=IDS)
@given(data=st.data())
@settings(max_examples=samples(20), deadline=None)
def test_round_trip_through_our_codec_and_through_another(kind: Any, decode: Any, data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    payload = encode(message)
    assert decode(payload) == message
    assert msgpack.unpackb(payload) == plain(message)
    again = decode(msgpack.packb(plain(message)))
    assert again == message
    assert type(again) is kind


@pytest.mark.parametrize(("kind", "decode"), ALL_MESSAGES, ids=IDS)
@given(data=st.data())
@settings(max_examples=samples(8), deadline=None)
def test_elements_that_a_later_version_adds_are_ignored(kind: Any, decode: Any, data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    extra = data.draw(
        st.lists(
            st.recursive(
                st.none() | st.booleans() | st.integers(-9, 2**64 - 1) | st.floats() | st.text() | st.binary(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=6,
            ),
            min_size=1,
            max_size=20,
        )
    )
    assert decode(msgpack.packb(plain(message) + extra)) == message


@pytest.mark.parametrize(("kind", "decode"), ALL_MESSAGES, ids=IDS)
@given(data=st.data())
@settings(max_examples=samples(5), deadline=None)
def test_missing_trailing_fields_take_their_defaults(kind: Any, decode: Any, data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    fields = fields_of(kind)
    required = sum(field.required for field in fields)
    elements = plain(message)
    for count in range(len(fields) + 1):
        payload = msgpack.packb(elements[: 1 + count])
        if count < required:
            assert refused(payload, decode).code == "bad_request"
            continue
        decoded = decode(payload)
        for position, field in enumerate(fields):
            default = field.default_factory() if callable(field.default_factory) else field.default
            expected = getattr(message, field.name) if position < count else default
            assert getattr(decoded, field.name) == expected


def test_tables_and_types_agree() -> None:
    for table, ranges in ((CLIENT_MESSAGES, (1, 63, 128, 191)), (SERVER_MESSAGES, (64, 127, 192, 255))):
        for tag, kind in table.items():
            assert ranges[0] <= tag <= ranges[1] or ranges[2] <= tag <= ranges[3]
            assert kind.__struct_config__.tag == tag
            assert kind.__struct_config__.array_like
    assert set(CLIENT_MESSAGES.values()) == set(messages.ClientMessage.__args__)
    assert set(SERVER_MESSAGES.values()) == set(messages.ServerMessage.__args__)


def test_every_tagged_struct_of_the_module_is_in_a_table() -> None:
    tagged = {
        thing
        for thing in vars(messages).values()
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct) and thing.__struct_config__.tag is not None
    }
    assert tagged == set(CLIENT_MESSAGES.values()) | set(SERVER_MESSAGES.values())


def test_requests_have_their_id_first() -> None:
    for table, _ in DECODERS:
        for kind in table.values():
            assert "id" not in kind.__struct_fields__[1:]


def test_bounds_are_inclusive() -> None:
    assert decode_client(msgpack.packb([4, REQUEST_ID_MAX])) == Ping(REQUEST_ID_MAX)
    assert decode_client(msgpack.packb([2, IDLE_MS_MAX])) == Heartbeat(IDLE_MS_MAX)
    assert decode_client(msgpack.packb([8, 1, "", 256])) == Who(1, "", 256)
    users = ["u" * 128] * USERS_PER_REQUEST_MAX
    payload = msgpack.packb([7, 1, users])
    assert decode_client(payload) == Get(1, users)
    assert len(payload) <= FRAME_BYTES_MAX, "the longest allowed request fits into a frame"


# --- wrong messages -------------------------------------------------------------------------------------------


def payload_with(kind: type[Any], position: int, value: bytes) -> bytes:
    """A message with 7 as its id, right values before `position` and `value` there."""
    elements = [*map(msgpack.packb, plain(sample(kind, 7))[: 1 + position]), value]
    return msgpack.Packer().pack_array_header(len(elements)) + b"".join(elements)


WRONG_FIELDS = {
    kind: [
        (position, field, word, value)
        for position, field in enumerate(fields_of(kind))
        for word, value in WRONG_VALUES.items()
        if not admits(field.type, word)
    ]
    for kind in CLIENT_MESSAGES.values()
}


@pytest.mark.parametrize("kind", [kind for kind, wrong in WRONG_FIELDS.items() if wrong])
def test_a_wrong_field_is_a_bad_request_with_its_id(kind: Any) -> None:
    """Each field with each wrong value, in one test a message: 2,228 tests cost half a minute of pytest alone."""
    for position, field, word, value in WRONG_FIELDS[kind]:
        where = f"{kind.__name__}.{field.name} is {word}"
        error = refused(payload_with(kind, position, value))
        assert error.code == "bad_request", where
        assert error.request_id == (7 if "id" in kind.__struct_fields__ and field.name != "id" else 0), where
        # Fields behind it may be missing as well. Of bytes that are no UTF-8 the decoder does not say where they are.
        named = "|".join(kind.__struct_fields__)
        assert re.match(
            rf"{kind.__name__}: (({named})\b.*: |the field ({named}) is missing|.*UTF-8|'utf-8' codec)", str(error)
        ), where


@pytest.mark.parametrize(
    "elements",
    [
        [7, 7, []],
        [7, 7, ["u"] * (USERS_PER_REQUEST_MAX + 1)],
        [9, 7, ["u"] * (USERS_PER_REQUEST_MAX + 1)],
        [10, 7, ["u"] * 60_000],
        [8, 7, "", USERS_PER_REQUEST_MAX + 1],
        [8, 7, "", -1],
        [5, 7, "invisible"],
        [5, 7, None, None, None, -1],
        [5, 7, None, None, None, 367 * 86_400_000],
        [6, 7, "offline"],
        [6, 7, "online", 128],
        [6, 7, "online", -129],
    ],
)
def test_a_value_out_of_range_is_a_bad_request(elements: list[Any]) -> None:
    error = refused(msgpack.packb(elements))
    assert (error.code, error.request_id) == ("bad_request", 7)


@pytest.mark.parametrize("request_id", [0, -1, REQUEST_ID_MAX + 1, 2**64 - 1, 1.0, True, None, "1", [1]])
def test_an_id_that_cannot_be_read_is_zero(request_id: Any) -> None:
    error = refused(msgpack.packb([4, request_id]))
    assert (error.code, error.request_id) == ("bad_request", 0)


@pytest.mark.parametrize("tag", [0, 131, 191, -1, -(2**63), 2**63, 2**64 - 1, *SERVER_MESSAGES])
def test_a_type_that_is_not_a_clients_is_unknown(tag: int) -> None:
    error = refused(msgpack.packb([tag, 7, "alice"]))
    assert (error.code, error.request_id) == ("unknown_type", 7)
    assert refused(msgpack.packb([tag])).request_id == 0


def test_a_servers_message_of_a_later_version_is_unknown_and_a_clients_never_valid() -> None:
    assert refused(msgpack.packb([127, 7]), decode_server).code == "unknown_type"
    for tag in CLIENT_MESSAGES:
        assert refused(msgpack.packb([tag, 7]), decode_server).code == "unknown_type"


NOT_MESSAGES = {
    "nothing": b"",
    "an empty array": b"\x90",
    "a map": b"\x81\x04\x01",
    "an integer": b"\x04",
    "a text": b"\xa1a",
    "null first": b"\x91\xc0",
    "true for type 1": b"\x92\xc3\x01",
    "a float for type 4": b"\x92\xcb\x40\x10\x00\x00\x00\x00\x00\x00\x01",
    "a text for type 4": b"\x92\xa14\x01",
    "an ext for the type": b"\x92\xd4\x05\x04\x01",
    "an array for the type": b"\x92\x91\x04\x01",
    "an array that is cut off": b"\x92\x04",
    "a text that is cut off": b"\x93\x07\x01\xd9\xff",
    "an array of four thousand million": b"\xdd\xff\xff\xff\xff\x04\x01",
    "users of four thousand million": b"\x93\x07\x01\xdd\xff\xff\xff\xff",
    "a text of four thousand million": b"\x93\x07\x01\x91\xdb\xff\xff\xff\xff",
    "a byte after the message": b"\x92\x04\x01\x00",
    "two messages": b"\x92\x04\x01\x92\x04\x01",
    "the byte that msgpack never uses": b"\xc1",
    "that byte inside": b"\x93\x04\x01\xc1",
}


@pytest.mark.parametrize("payload", NOT_MESSAGES.values(), ids=NOT_MESSAGES.keys())
def test_what_is_no_message_at_all_is_a_bad_frame(payload: bytes) -> None:
    error = refused(payload)
    assert (error.code, error.request_id) == ("bad_frame", 0)


def bomb(head: bytes, layer: bytes, innermost: bytes) -> bytes:
    layers = (FRAME_BYTES_MAX - len(head) - len(innermost)) // len(layer)
    return head + layer * layers + innermost


LAYERS = {
    "arrays": b"\x91",
    "array16": b"\xdc\x00\x01",
    "array32": b"\xdd\x00\x00\x00\x01",
    "wide array32": b"\xdd\xff\xff\xff\xff",
    "maps": b"\x81\x01",
    "map keys": b"\x81",
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("innermost", [b"", b"\xc0"], ids=["open", "closed"])
@pytest.mark.parametrize(
    ("head", "code", "request_id"),
    [
        (b"", "bad_frame", 0),
        (b"\x92\x04", "bad_request", 0),
        (b"\x93\x04\x07", "bad_request", 7),
        (b"\xdc\x00\x03\xcc\x04\xce\xff\xff\xff\xff", "bad_request", 2**32 - 1),
        (b"\xdd\x00\x00\x00\x03\xd0\x04\xcd\x01\x00", "bad_request", 256),
        (b"\x93\x04\xff", "bad_request", 0),
        (b"\x93\x07\x07", "bad_request", 7),
        (b"\x93\x07\x07\x91", "bad_request", 7),
        (b"\x92\x02", "bad_request", 0),
        (b"\x93\x02\x07", "bad_request", 0),
        (b"\x93\x63\x07", "unknown_type", 7),
        (b"\x93\xa1x\x07", "bad_frame", 0),
    ],
    ids=[
        *("bare", "as id", "trailing", "behind wide numbers", "in a wide array", "behind a negative id"),
        *("as users", "in users", "as idle", "behind an idle time", "unknown type", "a word as type"),
    ],
)
def test_a_nested_bomb_of_a_whole_frame_is_an_answer_and_no_end(
    head: bytes, code: str, request_id: int, layer: bytes, innermost: bytes
) -> None:
    error = refused(bomb(head, layer, innermost))
    assert (error.code, error.request_id) == (code, request_id)
    if request_id and code == "bad_request":
        assert "deeper" in str(error) or "Expected" in str(error)


def test_extra_elements_are_ignored_however_deep_up_to_500() -> None:
    for layer in LAYERS.values():
        if not layer.startswith(b"\xdd\xff"):
            extra = layer * 500 + (b"\xc0" if layer != b"\x81" else b"\xc0" * 501)
            assert decode_client(b"\x93\x04\x07" + extra) == Ping(7), layer


def test_a_wrong_word_is_not_echoed_at_length() -> None:
    error = refused(msgpack.packb([5, 7, "\u20ac" * 20_000]))
    assert (error.code, error.request_id) == ("bad_request", 7)
    assert str(error).count("\u20ac") < 41 and "; there are chat, online, " in str(error)
    refusal = messages.Error(error.request_id, error.code, str(error))
    assert decode_server(encode(refusal)) == refusal


def test_a_heartbeats_idle_time_and_a_hellos_versions_are_not_taken_for_an_id() -> None:
    assert refused(msgpack.packb([1, 5, "", "alice", "laptop"])).request_id == 0
    assert refused(msgpack.packb([2, -5])).request_id == 0


def test_text_is_compared_as_bytes_and_keeps_every_character() -> None:
    text = "zażółć 🌴 \u200d\x00 ‮"
    assert decode_client(encode(SetStatus(1, text=text))) == SetStatus(1, text=text)


def test_integers_are_read_in_every_width() -> None:
    for wide in (b"\xcc\x07", b"\xcd\x00\x07", b"\xce" + struct.pack(">I", 7), b"\xcf" + struct.pack(">Q", 7)):
        assert decode_client(b"\x92\x04" + wide) == Ping(7)
        assert decode_client(b"\x92" + b"\xd0\x04" + wide) == Ping(7)


STATUSES = "; there are chat, online, away, xa, dnd, offline, auto"


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        (
            [5, 7, "x"],
            f"SetStatus: status: Invalid enum value 'x'{STATUSES}",
        ),
        (
            [5, 7, "x - at `$[3]`"],
            f"SetStatus: status: Invalid enum value 'x - at `$[3]`'{STATUSES}",
        ),
        ([5, 7, "dnd", 5], "SetStatus: text: Expected `str | null`, got `int`"),
        ([5, 7, "dnd", "", "", -1], "SetStatus: for_ms: Expected `int` >= 0"),
        ([5, "x"], "SetStatus: id: Expected `int`, got `str`"),
        ([5, None], "SetStatus: id: Expected `int`, got `null`"),
        (
            [5, 7, "got `None`"],
            f"SetStatus: status: Invalid enum value 'got `None`'{STATUSES}",
        ),
        ([6, 7, "busy"], "SetDevice: status: Invalid enum value 'busy'; there are chat, online, away, xa, dnd"),
        ([5], "SetStatus: the field id is missing"),
        ([7, 7, ["a", 5]], "Get: users[1]: Expected `str`, got `int`"),
        ([1, [1], ""], "Hello: the field user is missing"),
        ([20, 7, "Z", [[1, 2, 9999]], "dnd"], "SetSchedule: windows[0][2]: Expected `int` <= 1439"),
        ([20, 7, "Z", [[1, 2]], "dnd"], "SetSchedule: windows[0]: Expected `array` of at least length 3, got 2"),
    ],
)
def test_the_field_that_is_wrong_is_named(elements: list[Any], says: str) -> None:
    assert str(refused(msgpack.packb(elements), decode_client)) == says


def test_the_field_is_named_however_long_its_value_is() -> None:
    said = str(refused(msgpack.packb([5, 7, "x" * 5000]), decode_client))
    assert said.startswith("SetStatus: status: Invalid enum value 'xxx") and "x...'; there are chat, online, " in said


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_a_list_of_what_is_encoded_already_is_the_list_encoded(count: int) -> None:
    items = [*range(count)]
    assert encode(encoded_list([encode(item) for item in items])) == encode(items)
