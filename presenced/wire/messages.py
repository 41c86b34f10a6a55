"""Every message of the protocol as a typed struct: validation, dispatch and documentation in one place.

A message is one msgpack array `[type, field, ...]`. Types 1 to 63 are the client's, 64 to 127 the server's, so
neither side can speak for the other. Fields are only ever added at the end: a reader ignores elements that it
does not know and takes the default for those that are missing. No maps, floats or extension types.

The decoders are msgspec's typed ones: an array that claims more elements than the type has costs nothing, and
whatever is wrong raises one exception class (`BadMessage`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, dataclass_transform

import msgspec
from msgspec import Meta

from presenced.limits import (
    DURATION_MS_MAX,
    IDLE_MS_MAX,
    REQUEST_ID_MAX,
    USERS_PER_REQUEST_MAX,
    VERSIONS_MAX,
)

PROTOCOL_VERSION = 1
PROTOCOL_VERSIONS = (1,)

Status = Literal["chat", "online", "away", "xa", "dnd", "offline"]
"""What watchers see of a user; XMPP's show values (RFC 6121, 4.7.2.1) with names for plain available and gone."""

DeviceStatus = Literal["chat", "online", "away", "xa", "dnd"]
"""What a device says of itself. It cannot say offline: it leaves, or the user claims to be offline."""

StatusRequest = Literal["chat", "online", "away", "xa", "dnd", "offline", "auto"]
"""What a person may ask for: a status, or `auto`, which ends the manual one."""

Role = Literal["user", "service", "admin"]

RequestId = Annotated[int, Meta(ge=1, le=REQUEST_ID_MAX)]
Priority = Annotated[int, Meta(ge=-128, le=127)]
IdleMs = Annotated[int, Meta(ge=0, le=IDLE_MS_MAX)]
DurationMs = Annotated[int, Meta(ge=0, le=DURATION_MS_MAX)]
Users = Annotated[list[str], Meta(min_length=1, max_length=USERS_PER_REQUEST_MAX)]


class BadMessage(Exception):
    """A payload that is not a message. `request_id` is the id it carries, or 0; the text says what is wrong."""

    def __init__(self, code: str, text: str, request_id: int) -> None:
        super().__init__(text)
        self.code = code
        self.request_id = request_id


@dataclass_transform(frozen_default=True)
class _Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Frozen, and outside the cyclic collector: messages hold only scalars, strings and lists of them."""


# --- what watchers see ----------------------------------------------------------------------------------------


class Record(_Message):
    """A user as watchers see them: the merge of all devices and claims. Carries no type: it travels in others."""

    user: str
    status: Status
    text: str
    emoji: str
    since_ms: int
    """Wall time at which this status began; 0 for a user never seen."""
    last_seen_ms: int
    """Wall time of the last contact while the user is offline; 0 while they are not, or were never seen."""
    device: str
    """The primary device: the live one with the most recent input. Empty while the user is offline."""
    version: int
    """The server's change counter at this record's last change; 0 for a user never seen."""


# --- client to server -----------------------------------------------------------------------------------------


class Hello(_Message, tag=1):
    """The first message of a link: who this is, on which device, and which protocol versions it speaks."""

    versions: Annotated[list[Annotated[int, Meta(ge=0, le=65535)]], Meta(min_length=1, max_length=VERSIONS_MAX)]
    token: str
    user: str
    device: str
    kind: str = ""
    name: str = ""
    priority: Priority = 0
    status: DeviceStatus = "online"
    idle_ms: IdleMs | None = None
    role: Role = "user"
    agent: str = ""


class Heartbeat(_Message, tag=2):
    """The client is alive; the person's last input was `idle_ms` ago (null: no report). Has no reply."""

    idle_ms: IdleMs | None = None


class Bye(_Message, tag=3):
    """The device leaves now: no grace. The server closes the link; no reply."""


class Ping(_Message, tag=4):
    """Asks for a pong: is the server there, and what time does it have?"""

    id: RequestId


class SetStatus(_Message, tag=5):
    """Set the user's manual status, text, or both at once; what is null stays as it is."""

    id: RequestId
    status: StatusRequest | None = None
    text: str | None = None
    emoji: str | None = None
    for_ms: DurationMs = 0
    """How long what is set here holds; 0 = until it is changed."""


class SetDevice(_Message, tag=6):
    """Set this device's own status, priority, or both; what is null stays as it is."""

    id: RequestId
    status: DeviceStatus | None = None
    priority: Priority | None = None


class Get(_Message, tag=7):
    """Ask for the records of users."""

    id: RequestId
    users: Users


class Who(_Message, tag=8):
    """Ask who is online: a page of records in order of name, and the exact count."""

    id: RequestId
    after: str = ""
    limit: Annotated[int, Meta(ge=0, le=USERS_PER_REQUEST_MAX)] = 100


class Watch(_Message, tag=9):
    """Add users to this link's watch; the reply has their records, presence frames follow."""

    id: RequestId
    users: Users


class Unwatch(_Message, tag=10):
    """Take users off this link's watch."""

    id: RequestId
    users: Users


# --- server to client -----------------------------------------------------------------------------------------


class Welcome(_Message, tag=64):
    """The link is open. Tells the version chosen, the heartbeat to keep and the limits that hold."""

    version: int
    user: str
    device: str
    role: Role
    heartbeat_ms: int
    timeout_ms: int
    grace_ms: int
    away_after_ms: int
    offline_after_ms: int
    frame_bytes_max: int
    users_per_request_max: int
    watch_users_max: int
    server_time_ms: int
    epoch: int


class Goodbye(_Message, tag=65):
    """The server closes this link, and why. `retry_ms`: come back after it (0 = no advice)."""

    code: str
    message: str
    retry_ms: int = 0


class Error(_Message, tag=66):
    """A request was refused; nothing of it was applied. `id` is 0 if the request's could not be read."""

    id: int
    code: str
    message: str
    retry_ms: int = 0


class Done(_Message, tag=67):
    """The request was applied; `version` is the server's change counter after it."""

    id: int
    version: int


class Pong(_Message, tag=68):
    """The answer to ping, with the server's wall time."""

    id: int
    server_time_ms: int


class Records(_Message, tag=69):
    """The answer to get and watch: one record for each name asked, in that order."""

    id: int
    epoch: int
    version: int
    records: list[Record]


class WhoPage(_Message, tag=70):
    """The answer to who: how many users are online in all, one page of them, and where the next page starts."""

    id: int
    epoch: int
    version: int
    total: int
    next: str
    records: list[Record]


class Presence(_Message, tag=71):
    """A watched user changed. The same bytes go to every watcher."""

    record: Record


ClientMessage = Hello | Heartbeat | Bye | Ping | SetStatus | SetDevice | Get | Who | Watch | Unwatch
ServerMessage = Welcome | Goodbye | Error | Done | Pong | Records | WhoPage | Presence

CLIENT_MESSAGES: dict[int, type[_Message]] = {
    1: Hello,
    2: Heartbeat,
    3: Bye,
    4: Ping,
    5: SetStatus,
    6: SetDevice,
    7: Get,
    8: Who,
    9: Watch,
    10: Unwatch,
}
SERVER_MESSAGES: dict[int, type[_Message]] = {
    64: Welcome,
    65: Goodbye,
    66: Error,
    67: Done,
    68: Pong,
    69: Records,
    70: WhoPage,
    71: Presence,
}
"""By type number, as protocol.md lists them."""


# --- encoding and decoding ------------------------------------------------------------------------------------

encode = msgspec.msgpack.Encoder().encode

_decode_client: Callable[[bytes], ClientMessage] = msgspec.msgpack.Decoder(ClientMessage).decode
_decode_server: Callable[[bytes], ServerMessage] = msgspec.msgpack.Decoder(ServerMessage).decode


_WRONG_CHARS_MAX = 200


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


def _bad_message(payload: bytes, error: Exception, known: dict[int, type[_Message]]) -> BadMessage:
    # Catching broadly is right here: besides msgspec's own classes, hostile bytes reach RecursionError (nesting)
    # and UnicodeDecodeError (strings), and a later codec version may add others.
    try:
        head = _decode_head(payload)
    except Exception:
        return BadMessage("bad_frame", "the frame is not a msgpack array that starts with a type number", 0)
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
    return BadMessage("bad_request", f"{message.__name__}: {error}"[:_WRONG_CHARS_MAX], request_id)
