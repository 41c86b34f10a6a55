"""Encoding and decoding: from a message to the payload of a frame, and back (protocol.md, section 3).

The decoders are msgspec's typed ones: an array that claims more elements than the type has costs nothing, and
whatever is wrong raises one exception class (`BadMessage`). Which number means which type follows from the tags of the
types themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, cast, get_args

import msgspec

from presenced.wire.choices import with_choices
from presenced.wire.messages import ClientMessage, Message, RequestId, ServerMessage


class BadMessage(Exception):
    """A payload that is not a message. `request_id` is the id it carries, or 0; the text says what is wrong."""

    def __init__(self, code: str, text: str, request_id: int) -> None:
        super().__init__(text)
        self.code = code
        self.request_id = request_id


def _by_tag(union: object) -> dict[int, type[Message]]:
    types: tuple[type[Message], ...] = get_args(union)
    # Every message has a number for a tag, which msgspec's own types know nothing of.
    return {cast(int, one.__struct_config__.tag): one for one in types}


CLIENT_MESSAGES: Final = _by_tag(ClientMessage)
SERVER_MESSAGES: Final = _by_tag(ServerMessage)
"""The types of messages by their numbers, in the order of section 5 of protocol.md."""


# --- encoding and decoding ------------------------------------------------------------------------------------

_ENCODER: Final = msgspec.msgpack.Encoder()

encode = _ENCODER.encode

encode_into = _ENCODER.encode_into
"""The same into a `bytearray`; behind what it holds, with -1."""


def encoded_list(items: Sequence[bytes]) -> msgspec.Raw:
    """A list of what is encoded already, to be put into a message. O(bytes)."""
    return msgspec.Raw(list_head(len(items)) + b"".join(items))


def list_head(count: int) -> bytes:
    """What a list of so many begins with; they follow, each encoded. O(1)."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _decode_first_client(payload: bytes) -> ClientMessage:
    """Make the decoder and use it. It takes some milliseconds to make, and a client has no use for it, nor a daemon for
    that of the other direction."""
    global _decode_client
    _decode_client = msgspec.msgpack.Decoder(ClientMessage).decode
    return _decode_client(payload)


def _decode_first_server(payload: bytes) -> ServerMessage:
    global _decode_server
    _decode_server = msgspec.msgpack.Decoder(ServerMessage).decode
    return _decode_server(payload)


_decode_client: Callable[[bytes], ClientMessage] = _decode_first_client
_decode_server: Callable[[bytes], ServerMessage] = _decode_first_server


_WRONG_CHARS_MAX = 200

TOO_DEEP = "its elements are nested deeper than those of any message; send the fields of the message and nothing else"

_ARRAY_BYTES = {0xDC: 3, 0xDD: 5}
_INT_BYTES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
"""How many bytes an array header or an integer of MessagePack has, by its first byte, if it has more than that one."""


class _Head(msgspec.Struct, array_like=True, gc=False):
    """The start of any message, read once more when the whole could not be."""

    type: int
    id: msgspec.Raw = msgspec.Raw(b"\xc0")


_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_id = msgspec.msgpack.Decoder(RequestId).decode


def decode_client(payload: bytes) -> ClientMessage:
    """A client's message; raises `BadMessage` and nothing else, whatever the bytes are."""
    try:
        return _decode_client(payload)
    except Exception as error:
        raise _bad_message(payload, error, CLIENT_MESSAGES) from None


def decode_server(payload: bytes) -> ServerMessage:
    """A server's message; raises `BadMessage` and nothing else. A type of a later version is `unknown_type`."""
    try:
        return _decode_server(payload)
    except Exception as error:
        raise _bad_message(payload, error, SERVER_MESSAGES) from None


def _bad_message(payload: bytes, error: Exception, known: dict[int, type[Message]]) -> BadMessage:
    # Catching broadly is right here: besides msgspec's own classes, hostile bytes reach RecursionError (nesting)
    # and UnicodeDecodeError (strings), and a later codec version may add others.
    try:
        head = _head_of(payload)
    except Exception:
        return BadMessage("bad_frame", "the message is not an array that starts with a type number", 0)
    try:
        request_id = _decode_id(head.id)
    except Exception:
        request_id = 0
    message = known.get(head.type)
    if message is None:
        return BadMessage("unknown_type", f"there is no message type {head.type} in this direction", request_id)
    if "id" not in message.__struct_fields__:
        request_id = 0
    # Cut, because msgspec quotes a wrong word in full and that can be as long as the frame.
    wrong = TOO_DEEP if isinstance(error, RecursionError) else _naming_the_field(str(error), message)
    sentence = f"{message.__name__}: {wrong}"
    return BadMessage("bad_request", sentence[:_WRONG_CHARS_MAX], request_id)


def _head_of(payload: bytes) -> _Head:
    try:
        return _decode_head(payload)
    except RecursionError:
        return _decode_head(_first_two(payload))


def _first_two(payload: bytes) -> bytes:
    """The payload's first two elements, as far as they are integers, as an array of their own. The elements behind them
    are nested too deep for any decoder, and the request is to be answered all the same. O(1)."""
    at = 1 if payload[0] >> 4 == 9 else _ARRAY_BYTES[payload[0]]
    first = at + _int_bytes(payload[at])
    second = first + _int_bytes(payload[first])
    return bytes([0x91 + (second > first)]) + payload[at:second]


def _int_bytes(first: int) -> int:
    """The length in bytes of the integer that begins with this byte; 0 = no integer begins with it."""
    return 1 if first < 0x80 or first >= 0xE0 else _INT_BYTES.get(first, 0)


def _naming_the_field(wrong: str, message: type[Message]) -> str:
    """msgspec counts from 0, the type: `Expected ... - at `$[2][0]`` becomes `users[0]: Expected ...`."""
    fields = ("type", *message.__struct_fields__)
    short = _TOO_SHORT.fullmatch(wrong)
    if short is not None and int(short[1]) < len(fields):
        return f"the field {fields[int(short[1])]} is missing"
    what, _, place = wrong.rpartition(" - at `$")
    found = _PLACE.fullmatch(place)
    if found is None or int(found[1]) >= len(fields):
        return wrong
    if what.startswith("Expected "):
        # It has the name of Python's for what MessagePack calls nil, and the document null.
        what = what.replace("got `None`", "got `null`")
    field = fields[int(found[1])]
    return f"{field}{found[2]}: {what if found[2] else with_choices(what, message, field)}"


_TOO_SHORT = re.compile(r"Expected `array` of at least length [0-9]+, got ([0-9]+)")
_PLACE = re.compile(r"\[([0-9]+)\](.*)`", re.DOTALL)
