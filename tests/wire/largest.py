"""How large each message of the server can become: the sum of what `limits` allows for its fields.

A message is never cut or split where it is made: that none exceeds a frame follows from the limits alone, and this is
where it is added up. A field without a bound in here fails at once, as do limits that allow too much. Every frame that
a link of the virtual world is sent is held against it.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from presenced import limits
from presenced.core.precedence import COVERED_MAX
from presenced.wire.codec import SERVER_MESSAGES
from presenced.wire.messages import ONLINE_STATUSES, Message

CODE_CHARS_MAX: Final = 32
"""Of an error code, the verb of a command, and the reason of an event: words that the server chooses."""

_DEVICES = 2 * limits.DEVICES_PER_USER_MAX
"""Those that count and those that look in."""

_CLAIMS = limits.CLAIMS_PER_USER_MAX + 2 + COVERED_MAX
"""The person's own, what that covers, and the schedule's are not counted."""

_DEADLINES = 4 * _DEVICES + _CLAIMS + 3
"""Of each device the end of its link or grace, of its token, and its two idle times; each claim; the texts; the
schedule."""

STRINGS: Final[dict[str, int]] = {
    **dict.fromkeys(
        "user device focus about channel claim contact next left users removed blocked hidden always never".split(),
        limits.NAME_BYTES_MAX,
    ),
    **dict.fromkeys(("kind", "name", "activity", "groups"), limits.LABEL_BYTES_MAX),
    **dict.fromkeys(("code", "verb", "reason", "schedule_status"), CODE_CHARS_MAX),
    **dict.fromkeys(("old", "new"), limits.TEXT_BYTES_MAX),
    "message": 4 * limits.MESSAGE_CHARS_MAX,
    "text": limits.TEXT_BYTES_MAX,
    **dict.fromkeys(("emoji", "old_emoji", "new_emoji"), limits.EMOJI_BYTES_MAX),
    "payload": limits.PAYLOAD_BYTES_MAX,
    "note": limits.NOTE_BYTES_MAX,
    # A few names in a sentence.
    "sentence": 3 * limits.NAME_BYTES_MAX + 128,
    "meta": limits.META_BYTES_MAX,
    "zone": limits.ZONE_BYTES_MAX,
    "resume": 4 * limits.RESUME_CHARS_MAX,
}
"""Bytes of UTF-8 of a field of this name."""

LISTS: Final[dict[str, int]] = {
    "Records.records": limits.USERS_PER_REQUEST_MAX,
    "WhoPage.records": limits.USERS_PER_REQUEST_MAX,
    "MembersPage.records": limits.USERS_PER_REQUEST_MAX,
    "ChannelCounts.records": limits.CHANNEL_BATCH_MAX,
    "ChannelCounts.left": limits.CHANNEL_BATCH_MAX,
    "MembersPage.left": limits.USERS_PER_REQUEST_MAX,
    "MembersPage.counts": len(ONLINE_STATUSES),
    "ChannelCounts.counts": len(ONLINE_STATUSES),
    "DeviceList.devices": _DEVICES,
    "OwnState.devices": _DEVICES,
    "SyncState.devices": _DEVICES,
    "CommandReply.devices": _DEVICES,
    "CommandReply.records": limits.COMMAND_LISTED_MAX,
    "CommandReply.activities": limits.COMMAND_LISTED_MAX,
    "ActivityList.activities": limits.ACTIVITIES_PER_USER_MAX,
    "ClaimList.claims": _CLAIMS,
    "OwnState.claims": _CLAIMS,
    "ClaimsPage.users": limits.USERS_PER_REQUEST_MAX + _CLAIMS,
    "ClaimsPage.claims": limits.USERS_PER_REQUEST_MAX + _CLAIMS,
    "ClaimList.windows": limits.WINDOWS_MAX,
    # A page has as many contacts as are kept as changes.
    "ContactList.contacts": limits.CONTACT_CHANGES_KEPT,
    "ContactList.removed": limits.CONTACT_CHANGES_KEPT,
    "ContactInfo.groups": limits.CONTACT_GROUPS_MAX,
    "ContactRecords.records": limits.CONTACT_CHANGES_KEPT,
    "BlockList.blocked": limits.BLOCKED_MAX,
    "BlockList.hidden": limits.BLOCKED_MAX,
    "AudienceInfo.always": limits.AUDIENCE_NAMES_MAX,
    "AudienceInfo.never": limits.AUDIENCE_NAMES_MAX,
    "Explanation.devices": _DEVICES,
    "Explanation.claims": _CLAIMS,
    "Explanation.deadlines": _DEADLINES,
    "NextInfo.because": _DEADLINES,
    "Records.valid_until_ms": limits.USERS_PER_REQUEST_MAX,
    "Routes.routes": limits.USERS_PER_REQUEST_MAX,
    # One user may have more; all users of an answer have so many together.
    "RouteInfo.devices": limits.ROUTED_DEVICES_MAX // limits.USERS_PER_REQUEST_MAX,
    "HistoryPage.events": limits.HISTORY_EVENTS_MAX,
    "FollowerList.followers": limits.FOLLOWERS_PER_USER_MAX,
}
"""Elements of a list."""

TEXTS: Final[dict[str, int]] = {
    # A line for each of what is listed: at worst a name, a channel or a label, and how long ago.
    "CommandReply.text": max(limits.COMMAND_LISTED_MAX, _DEVICES) * (2 * limits.NAME_BYTES_MAX + 64)
    + limits.COMMAND_BYTES_MAX,
}
"""Strings that are longer than others of their name."""

_INT_BYTES = 9
_LENGTH_BYTES = 5


def bytes_of(message: type[Message]) -> int:
    """The most that a message of this type can have. O(fields)."""
    hints = get_type_hints(message, include_extras=True)
    fields = msgspec.structs.fields(message)
    return _LENGTH_BYTES + _INT_BYTES + sum(_bytes(hints[field.name], message, field.name) for field in fields)


def _bytes(kind: Any, message: type[Message], field: str) -> int:
    origin, parts = get_origin(kind), get_args(kind)
    place = f"{message.__name__}.{field}"
    if origin is Annotated:
        return _bytes(parts[0], message, field)
    if origin is Literal:
        return _LENGTH_BYTES + max(len(word) for word in parts)
    if origin in (UnionType, Union):
        return max(_bytes(part, message, field) for part in parts if part is not NoneType)
    if origin is list:
        return _LENGTH_BYTES + LISTS[place] * _bytes(parts[0], message, field)
    if kind is str:
        return _LENGTH_BYTES + (TEXTS[place] if place in TEXTS else STRINGS[field])
    if kind in (int, bool):
        return _INT_BYTES
    return bytes_of(kind)


LARGEST: Final[dict[type[Message], int]] = {message: bytes_of(message) for message in SERVER_MESSAGES.values()}
"""Of each message of the server."""
