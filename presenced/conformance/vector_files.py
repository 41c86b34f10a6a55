"""The files of vectors that are no dialogues, read strictly: what a file holds beyond its shape is an error.

A program in another language reads the files themselves; their shape is these structs.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all that stands in a file."""


class Vector(Strict, frozen=True):
    """What every case has."""

    name: str
    """What is tried, in words; no other case of the file has the same."""
    section: str
    """Of protocol.md, where it says what is owed."""


class FieldType(Strict, frozen=True):
    """A field as the tables of protocol.md have it."""

    name: str
    type: str
    default: Any = UNSET
    """UNSET = the field is required."""


class TypeVector(Vector, frozen=True, kw_only=True):
    """A type of message, or a value that travels inside one."""

    number: int | None
    """None = it has no type, and its first field is at 0."""
    sender: Literal["client", "server"] | None
    answer: str | None
    """The message that answers it first, unless an Error does; None = nothing does, or it is no request."""
    fields: list[FieldType]


class MessageVector(Vector, frozen=True, kw_only=True):
    """A message that every reader accepts."""

    message: str
    sender: Literal["client", "server"]
    hex: str
    """The payload in MessagePack."""
    json: list[Any]
    means: list[Any] | None = None
    """The message with the defaults of what it leaves off and without what nobody knows; None = `json` itself."""


class Owed(Strict, frozen=True):
    """How a server refuses: one of both."""

    error: tuple[int, str] | None = None
    """The id and the code of an Error; the link goes on."""
    goodbye: str | None = None
    """The code of a Goodbye; the link is closed."""


class RefusalVector(Vector, frozen=True, kw_only=True):
    """A payload that a server refuses."""

    message: str | None
    """The type of which a field is wrong; None = it is of no type, or in the wrong place."""
    state: Literal["new", "open"]
    """`new`: it is the first of its link. `open`: it comes after the welcome, on a link of the role `service`."""
    hex: str
    json: Any
    """None = only MessagePack can say it."""
    owed: Owed


class FramingVector(Vector, frozen=True, kw_only=True):
    """A stream of bytes over TCP."""

    longest: int
    """The longest payload, in bytes, that its reader takes."""
    pieces: list[str]
    """The bytes as they come, in hex."""
    payloads: list[str]
    """The payloads in them, in hex."""
    code: str | None
    """What is owed behind these; None = nothing, and the reader waits for more."""


class DigestVector(Vector, frozen=True, kw_only=True):
    """A record and its digest."""

    record: list[Any]
    digest: int


class ChecksumVector(Vector, frozen=True, kw_only=True):
    """What a link watches, and what Checked says of it."""

    records: list[list[Any]]
    users: int
    checksum: int


class TimeVector(Vector, frozen=True, kw_only=True):
    """The bounds of a time that is drawn at random, in milliseconds: before attempt `attempt` to come back, or before
    a token is renewed of whose time `left_ms` is left."""

    attempt: int | None = None
    retry_ms: int = 0
    """What the goodbye advised."""
    left_ms: int | None = None
    least_ms: int
    most_ms: int | None
    """None = no bound."""


class TextVector(Vector, frozen=True, kw_only=True):
    """A text, and where it may stand."""

    text: str
    is_name: bool
    is_line: bool
    """Whether it may be a status text."""


class UrlParts(Strict, frozen=True):
    """What a URL says, decoded."""

    tls: bool
    user: str
    token: str
    host: str
    port: int
    device: str
    kind: str
    name: str
    priority: int


class UrlVector(Vector, frozen=True, kw_only=True):
    """A URL and what it says."""

    url: str
    is_refused: bool
    parts: UrlParts | None = None


V = TypeVar("V", bound=Vector)


class VectorFile(Strict, Generic[V], frozen=True):
    """A whole file."""

    format: Literal[1]
    vectors: str
    """The name of the file without `.json`."""
    protocol: Literal[1]
    """The version of the protocol that it is about."""
    about: str
    sections: list[str]
    """The sections of protocol.md from which the cases come; those below them, too."""
    cases: list[V]


KINDS: Final[dict[str, type[Vector]]] = {
    "types": TypeVector,
    "messages": MessageVector,
    "refusals": RefusalVector,
    "framing": FramingVector,
    "digests": DigestVector,
    "checksums": ChecksumVector,
    "times": TimeVector,
    "texts": TextVector,
    "urls": UrlVector,
}
"""What each file holds."""


def vectors(name: str) -> VectorFile[Any]:
    """The file of this name (a key of `KINDS`). Raises `msgspec.ValidationError` if it is not of its shape."""
    text = files("presenced.conformance").joinpath("vectors", f"{name}.json").read_bytes()
    shape: Any = VectorFile
    file: VectorFile[Any] = msgspec.json.decode(text, type=shape[KINDS[name]])
    return file
