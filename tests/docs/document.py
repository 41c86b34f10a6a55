"""Reads protocol.md: its sections, tables and examples, and what the code has to say in the words of the document.

The parser knows only Markdown headings, pipe tables and fenced blocks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from presenced import limits
from presenced.wire import codec, messages

PROTOCOL_MD = Path(__file__).parents[2] / "protocol.md"
TEXT = PROTOCOL_MD.read_text(encoding="utf-8")

MESSAGES = {**codec.CLIENT_MESSAGES, **codec.SERVER_MESSAGES}
NESTED: dict[str, Any] = {
    "Record": messages.Record,
    "Window": messages.Window,
    "ClaimInfo": messages.ClaimInfo,
    "DeviceInfo": messages.DeviceInfo,
    "ActivityInfo": messages.ActivityInfo,
    "SyncInfo": messages.SyncInfo,
    "ContactInfo": messages.ContactInfo,
    "ContactEntry": messages.ContactEntry,
    "DeviceReasonInfo": messages.DeviceReasonInfo,
    "ClaimReasonInfo": messages.ClaimReasonInfo,
    "DeadlineInfo": messages.DeadlineInfo,
    "NextInfo": messages.NextInfo,
    "TargetInfo": messages.TargetInfo,
    "RouteInfo": messages.RouteInfo,
    "FollowerInfo": messages.FollowerInfo,
}
"""The structs without a type, which travel inside others."""

STRUCTS: dict[str, Any] = {struct.__name__: struct for struct in MESSAGES.values()} | NESTED

NAME = "name"
NAME_OR_EMPTY = "name or empty"
STRING_LIMITS = {
    ("Hello", "token"): f"{limits.TOKEN_BYTES_MAX} bytes",
    ("Hello", "user"): NAME_OR_EMPTY,
    ("Hello", "device"): NAME_OR_EMPTY,
    ("Hello", "kind"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Hello", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Hello", "agent"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Hello", "meta"): f"{limits.META_BYTES_MAX} bytes",
    ("Hello", "focus"): NAME_OR_EMPTY,
    ("Attach", "meta"): f"{limits.META_BYTES_MAX} bytes",
    ("Attach", "focus"): NAME_OR_EMPTY,
    ("SetDevice", "meta"): f"{limits.META_BYTES_MAX} bytes",
    ("DeviceInfo", "meta"): f"{limits.META_BYTES_MAX} bytes",
    ("DeviceInfo", "focus"): NAME_OR_EMPTY,
    ("Focus", "focus"): NAME_OR_EMPTY,
    ("Route", "about"): NAME_OR_EMPTY,
    ("TargetInfo", "device"): NAME,
    ("TargetInfo", "kind"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("TargetInfo", "meta"): f"{limits.META_BYTES_MAX} bytes",
    ("RouteInfo", "user"): NAME,
    ("Hello", "resume"): f"{limits.RESUME_CHARS_MAX} characters",
    ("Welcome", "resume"): "",
    ("SetStatus", "text"): f"{limits.TEXT_BYTES_MAX} bytes",
    ("SetStatus", "emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("Event", "old_emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("Event", "new_emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("SetStatus", "user"): NAME_OR_EMPTY,
    ("SetStatus", "device"): NAME_OR_EMPTY,
    ("SetDevice", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("SetDevice", "user"): NAME_OR_EMPTY,
    ("SetDevice", "device"): NAME_OR_EMPTY,
    ("Who", "after"): NAME_OR_EMPTY,
    ("Attach", "user"): NAME,
    ("Attach", "device"): NAME,
    ("Attach", "kind"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Attach", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Detach", "user"): NAME_OR_EMPTY,
    ("Detach", "device"): NAME_OR_EMPTY,
    ("Forget", "device"): NAME,
    ("Forget", "user"): NAME_OR_EMPTY,
    ("GetDevices", "user"): NAME_OR_EMPTY,
    ("Touch", "user"): NAME_OR_EMPTY,
    ("Touch", "device"): NAME_OR_EMPTY,
    ("AddClaim", "claim"): NAME,
    ("AddClaim", "user"): NAME_OR_EMPTY,
    ("AddClaim", "device"): NAME_OR_EMPTY,
    ("FindClaims", "claim"): NAME_OR_EMPTY,
    ("Renew", "token"): f"{limits.TOKEN_BYTES_MAX} bytes",
    ("Revoke", "user"): NAME,
    ("Kick", "user"): NAME,
    ("Erase", "user"): NAME,
    ("Follow", "name"): NAME_OR_EMPTY,
    ("GetHistory", "user"): NAME_OR_EMPTY,
    ("GetFollowers", "user"): NAME_OR_EMPTY,
    ("ForgetFollower", "name"): NAME,
    ("ForgetFollower", "user"): NAME_OR_EMPTY,
    ("HistoryPage", "user"): NAME,
    ("FollowerList", "user"): NAME,
    ("FollowerInfo", "name"): NAME,
    ("ClaimInfo", "device"): NAME_OR_EMPTY,
    ("EndClaim", "claim"): NAME,
    ("EndClaim", "user"): NAME_OR_EMPTY,
    ("GetClaims", "user"): NAME_OR_EMPTY,
    ("SetSchedule", "zone"): f"{limits.ZONE_BYTES_MAX} bytes",
    ("SetSchedule", "user"): NAME_OR_EMPTY,
    ("AddActivity", "activity"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("AddActivity", "channel"): NAME_OR_EMPTY,
    ("AddActivity", "payload"): f"{limits.PAYLOAD_BYTES_MAX} bytes",
    ("AddActivity", "user"): NAME_OR_EMPTY,
    ("AddActivity", "device"): NAME_OR_EMPTY,
    ("GetActivity", "user"): NAME_OR_EMPTY,
    ("Join", "channel"): NAME,
    ("Join", "user"): NAME_OR_EMPTY,
    ("Join", "device"): NAME_OR_EMPTY,
    ("Leave", "channel"): NAME,
    ("Leave", "user"): NAME_OR_EMPTY,
    ("Leave", "device"): NAME_OR_EMPTY,
    ("GetMembers", "channel"): NAME,
    ("GetMembers", "after"): NAME_OR_EMPTY,
    ("WatchChannel", "channel"): NAME,
    ("UnwatchChannel", "channel"): NAME,
    ("Sync", "user"): NAME_OR_EMPTY,
    ("GetSync", "user"): NAME_OR_EMPTY,
    ("Command", "text"): f"{limits.COMMAND_BYTES_MAX} bytes",
    ("Command", "user"): NAME_OR_EMPTY,
    ("Command", "device"): NAME_OR_EMPTY,
    ("Welcome", "user"): NAME,
    ("Welcome", "device"): NAME_OR_EMPTY,
    ("Goodbye", "code"): "",
    ("Goodbye", "message"): "",
    ("Error", "code"): "",
    ("Error", "message"): "",
    ("WhoPage", "next"): NAME_OR_EMPTY,
    ("DeviceList", "user"): NAME,
    ("ClaimList", "user"): NAME,
    ("OwnState", "text"): f"{limits.TEXT_BYTES_MAX} bytes",
    ("OwnState", "emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("ClaimList", "zone"): f"{limits.ZONE_BYTES_MAX} bytes",
    ("ClaimList", "schedule_status"): "",
    ("ActivityList", "user"): NAME,
    ("MembersPage", "channel"): NAME,
    ("MembersPage", "next"): NAME_OR_EMPTY,
    ("ChannelEvent", "channel"): NAME,
    ("ChannelCounts", "channel"): NAME,
    ("OwnState", "user"): NAME,
    ("SyncState", "user"): NAME,
    ("Event", "user"): NAME_OR_EMPTY,
    ("Event", "old"): "",
    ("Event", "new"): "",
    ("Event", "reason"): "",
    ("CommandReply", "text"): "",
    ("CommandReply", "verb"): "",
    ("Record", "user"): NAME,
    ("Record", "text"): f"{limits.TEXT_BYTES_MAX} bytes",
    ("Record", "emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("Record", "device"): NAME_OR_EMPTY,
    ("ClaimInfo", "claim"): NAME,
    ("DeviceInfo", "device"): NAME,
    ("DeviceInfo", "kind"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("DeviceInfo", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("ActivityInfo", "activity"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("ActivityInfo", "channel"): NAME_OR_EMPTY,
    ("ActivityInfo", "device"): NAME_OR_EMPTY,
    ("ActivityInfo", "payload"): f"{limits.PAYLOAD_BYTES_MAX} bytes",
    ("SyncInfo", "device"): NAME,
    ("Block", "contact"): NAME,
    ("Block", "user"): NAME_OR_EMPTY,
    ("Unblock", "contact"): NAME,
    ("Unblock", "user"): NAME_OR_EMPTY,
    ("HideFrom", "contact"): NAME,
    ("HideFrom", "user"): NAME_OR_EMPTY,
    ("ShowAgain", "contact"): NAME,
    ("ShowAgain", "user"): NAME_OR_EMPTY,
    ("ShowTo", "contact"): NAME,
    ("ShowTo", "user"): NAME_OR_EMPTY,
    ("StopShowing", "contact"): NAME,
    ("StopShowing", "user"): NAME_OR_EMPTY,
    ("ShowTo", "device"): NAME_OR_EMPTY,
    ("StopShowing", "device"): NAME_OR_EMPTY,
    ("GetBlocked", "user"): NAME_OR_EMPTY,
    ("SetAudience", "user"): NAME_OR_EMPTY,
    ("GetAudience", "user"): NAME_OR_EMPTY,
    ("BlockList", "user"): NAME,
    ("AudienceInfo", "user"): NAME,
    ("Await", "user"): NAME,
    ("Subscribe", "contact"): NAME,
    ("Subscribe", "user"): NAME_OR_EMPTY,
    ("Approve", "contact"): NAME,
    ("Approve", "user"): NAME_OR_EMPTY,
    ("Cancel", "contact"): NAME,
    ("Cancel", "user"): NAME_OR_EMPTY,
    ("Unsubscribe", "contact"): NAME,
    ("Unsubscribe", "user"): NAME_OR_EMPTY,
    ("SetContact", "contact"): NAME,
    ("SetContact", "user"): NAME_OR_EMPTY,
    ("RemoveContact", "contact"): NAME,
    ("RemoveContact", "user"): NAME_OR_EMPTY,
    ("Subscribe", "note"): f"{limits.NOTE_BYTES_MAX} bytes",
    ("SetContact", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("GetContacts", "after"): NAME_OR_EMPTY,
    ("GetContacts", "user"): NAME_OR_EMPTY,
    ("SetContacts", "user"): NAME,
    ("ContactList", "user"): NAME,
    ("ContactList", "next"): NAME_OR_EMPTY,
    ("ContactChange", "user"): NAME,
    ("ContactInfo", "contact"): NAME,
    ("ContactInfo", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("ContactInfo", "note"): f"{limits.NOTE_BYTES_MAX} bytes",
    ("ContactEntry", "contact"): NAME,
    ("ContactEntry", "name"): f"{limits.LABEL_BYTES_MAX} bytes",
    ("Explain", "user"): NAME_OR_EMPTY,
    ("Explanation", "sentence"): "",
    ("DeadlineInfo", "about"): NAME_OR_EMPTY,
    ("NextInfo", "text"): f"{limits.TEXT_BYTES_MAX} bytes",
    ("NextInfo", "emoji"): f"{limits.EMOJI_BYTES_MAX} bytes",
    ("NextInfo", "device"): NAME_OR_EMPTY,
}
"""Limits on strings are checked by `address`, in bytes, not by the structs; this says which holds for which."""


class Section(NamedTuple):
    title: str
    body: str


class Example(NamedTuple):
    section: str
    payload: bytes
    length: int
    value: list[Any]


def sections() -> dict[str, Section]:
    """By number (`5.1`): title and the text up to the next heading."""
    found = {}
    pieces = re.split(r"^#{2,3} (\d+(?:\.\d+)?)\.? (.+)$", TEXT, flags=re.MULTILINE)
    for number, title, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        assert number not in found, f"section {number} stands twice in protocol.md"
        found[number] = Section(title, body)
    return found


def tables(body: str) -> list[list[dict[str, str]]]:
    """Every pipe table of `body` as rows by column name, backquotes kept."""
    found = []
    for block in re.findall(r"(?:^[ ]*\|.*\|\n)+", body, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        head, rule, *rows = lines
        assert all(set(cell) <= set("-:") for cell in rule), f"a table has no rule below its head: {head}"
        for row in rows:
            assert len(row) == len(head), f"a row has {len(row)} cells, its table {len(head)}: {row}"
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def table(body: str, first_column: str) -> list[dict[str, str]]:
    """The one table of `body` whose head begins with `first_column`."""
    blocks = [block for block in re.findall(r"(?:^\|.*\|\n)+", body, flags=re.MULTILINE)]
    matching = [block for block in blocks if block.startswith(f"| {first_column} |")]
    assert len(matching) == 1, f"{len(matching)} tables begin with the column {first_column!r}, not one"
    return tables(matching[0])[0]


def examples() -> list[Example]:
    found = []
    for number, section in SECTIONS.items():
        for digits, text in re.findall(r"```hex\n(.*?)```\n```json\n(.*?)```", section.body, flags=re.DOTALL):
            data = bytes.fromhex(digits)
            found.append(Example(number, data[4:], int.from_bytes(data[:4], "big"), json.loads(text)))
    return found


def decoded(example: Example) -> Any:
    client = example.value[0] in codec.CLIENT_MESSAGES
    return (codec.decode_client if client else codec.decode_server)(example.payload)


SECTIONS = sections()
EXAMPLES = examples()


def documented_structs() -> dict[str, tuple[str, int | None]]:
    """Struct name to (section number, type number) as the headings say."""
    found: dict[str, tuple[str, int | None]] = {"Record": ("6.1", None)}
    for number, section in SECTIONS.items():
        heading = re.fullmatch(r"(\w+) \((?:type (\d+)|no type)\)", section.title)
        if heading:
            found[heading[1]] = (number, int(heading[2]) if heading[2] else None)
    return found


DOCUMENTED = documented_structs()


# --- what the code says of a field, in the document's words ------------------------------------------------------


def type_words(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType():
            return "int"
        case inspect.BoolType():
            return "bool"
        case inspect.StrType() | inspect.LiteralType():
            return "string"
        case inspect.ListType(item_type=item):
            return f"list of {type_words(item)}"
        case inspect.StructType(cls=cls):
            return cls.__name__.removesuffix("Info").lower()
        case inspect.UnionType(types=types):
            return " or ".join(type_words(part) for part in types)
        case inspect.NoneType():
            return "null"
    raise AssertionError(f"protocol.md has no word for {kind}")


def default_words(field: inspect.Field) -> str:
    if field.required:
        return ""
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return f"`{json.dumps(default)}`"


def limit_words(struct: str, field: str, kind: inspect.Type) -> str | frozenset[str]:
    """The limit as text; a frozenset of words where any order will do."""
    match kind:
        case inspect.UnionType(types=types):
            (inner,) = (part for part in types if not isinstance(part, inspect.NoneType))
            return limit_words(struct, field, inner)
        case inspect.LiteralType(values=values):
            return frozenset(str(value) for value in values)
        case inspect.IntType(ge=low, le=high):
            return "" if low is None and high is None else f"{low} to {high}"
        case inspect.ListType(item_type=item, min_length=low, max_length=high):
            if high is None:
                return ""
            items = f"{low or 0} to {high} items"
            each = limit_words(struct, field, item) if isinstance(item, inspect.IntType) else ""
            return f"{items}, each {each}" if each else items
        case inspect.StrType():
            return STRING_LIMITS[struct, field]
    return ""
