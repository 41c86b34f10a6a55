"""Values of the client's interface and the checks of its arguments, made before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, get_args

from presenced.address import check_name
from presenced.errors import AddressError
from presenced.limits import COMMAND_BYTES_MAX, DURATION_MS_MAX, IDLE_MS_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import (
    ActivityInfo,
    AudienceLevel,
    ContactInfo,
    DeviceInfo,
    DeviceStatus,
    Record,
    Source,
    Status,
    StatusRequest,
)

Until = timedelta | datetime | float | None
"""Until when something holds: a duration (timedelta, or a number of seconds), a point in time, or None = for good."""

Idle = float | timedelta
"""How long ago a person's last input was: a number of seconds, or a timedelta."""

Lasting = float | timedelta
"""How long something lasts: a number of seconds, or a timedelta."""

Moment = datetime | timedelta | None
"""A point in time: an aware datetime, or how long ago (a timedelta)."""


class MembersPage(NamedTuple):
    """Who is online in a channel: exact counts, in all and by status, one page of records in order of name, and what
    to pass as `after` for the next page (empty: this was the last)."""

    total: int
    counts: dict[str, int]
    next: str
    records: list[Record]


class Schedule(NamedTuple):
    """A status that recurs each week: `windows` as `set_schedule` takes them."""

    zone: str
    windows: list[tuple[str, str, str] | tuple[str, str, str, DeviceStatus]]
    status: str


class SyncStatus(NamedTuple):
    """How many of a user's connected devices show the user's own state of `version`."""

    user: str
    version: int
    synced: int
    total: int
    last_sync_ms: int
    """Wall time at which a device last acknowledged this version; 0 = none has."""
    devices: dict[str, int]
    """Each device and the version that it shows; 0 = none yet."""


class Answer(NamedTuple):
    """The answer to a chat command: `text` to show to the person, and the data that it speaks of."""

    ok: bool
    """False: nothing was done, and `text` says why."""
    text: str
    verb: str
    records: list[Record]
    devices: list[DeviceInfo]
    activities: list[ActivityInfo]


class ContactsPage(NamedTuple):
    """A user's contacts, or what has changed in the list since a version of it."""

    version: int
    """Of the list; pass it as `since` the next time."""
    contacts: list[ContactInfo]
    """In order of name; those whose `asks` is true wait for an answer."""
    removed: list[str]
    """Names that are not in the list any longer; only where `is_whole` is false."""
    is_whole: bool
    """`contacts` is the whole list; otherwise what has changed in it."""


class Blocked(NamedTuple):
    """Whom a user has blocked, and from whom the user hides; names in order."""

    blocked: list[str]
    hidden: list[str]


class Audience(NamedTuple):
    """To whom a user shows which field: the arguments of `set_audience`."""

    text: AudienceLevel
    last_seen: AudienceLevel
    device: AudienceLevel
    always: list[str]
    never: list[str]


class Attachment(NamedTuple):
    """A device for `attach_many`; a plain tuple with these in this order will do."""

    user: str
    device: str
    kind: str = ""
    name: str = ""
    priority: int = 0
    status: DeviceStatus = "online"
    idle: Idle | None = None
    meta: str | None = None
    focus: str = ""
    for_at_most: Lasting | None = None
    """See `Service.attach`."""


class Taken(NamedTuple):
    """A device that a service has lost without its own doing."""

    user: str
    device: str
    why: str
    """`replaced`: another client attached it, or it came with a link of its own. `kicked`: its user was kicked.
    `ended`: its lease has ended, and it is gone. `lost`: no heartbeat for it came in time, so that it went into grace;
    it is attached again by itself. Else the code with which the server refused to have it attached again, such as
    `device_limit`."""

    @property
    def is_over(self) -> bool:
        """Whether this client does not hold it any longer."""
        return self.why != "lost"


class ValidStatus(NamedTuple):
    """A record, and how long it holds."""

    record: Record
    valid_until_ms: int
    """Wall time of its next change if nothing happens; 0 = none is to come, or it is not told."""


class ViewChecks(NamedTuple):
    """The checks of what a client shows, over all its links."""

    made: int
    failed: int


class WhoPage(NamedTuple):
    """Who is online: the exact count, one page of records in order of name, and what to pass as `after` for the
    next page (empty: this was the last)."""

    total: int
    next: str
    records: list[Record]


def check_interval(every_s: float | None) -> float | None:
    """The time between two checks of what a client shows. Raises `AddressError` unless it is a second or more."""
    if every_s is not None and not every_s >= 1:
        raise _refused(f"check_every is {every_s}; give a number of seconds from 1 up, or None for never")
    return every_s


def duration_ms(until: Until, server_ms: int) -> int:
    """`until` as the milliseconds to put on the wire (0 = for good); `server_ms` is the server's wall time.

    Raises `AddressError` for a naive datetime, a time that is not in the future or one over a year away.
    """
    if until is None:
        return 0
    if isinstance(until, datetime):
        left_ms = _wall_ms(until, "until") - server_ms
    elif isinstance(until, timedelta):
        left_ms = int(until / timedelta(milliseconds=1))
    elif isinstance(until, bool) or not isinstance(until, int | float):
        raise _refused(f"until is a {type(until).__name__}; give a timedelta, an aware datetime or seconds")
    elif until != until:
        raise _refused("until is not a number")
    else:
        left_ms = int(max(0, min(until * 1000, DURATION_MS_MAX + 1)))
    if left_ms <= 0:
        raise _refused("until is not in the future; leave it out to set something for good")
    if left_ms > DURATION_MS_MAX:
        raise _refused("until is more than 366 days away; leave it out to set something for good")
    return left_ms


def until_of(until: Until) -> tuple[int, int]:
    """`until` as (for_ms, until_ms) of a claim, one of which is 0: a point in time is left to the server's clock.

    Raises `AddressError` as `duration_ms` does, but for a point in time in the past, which the server refuses.
    """
    if isinstance(until, datetime):
        return 0, _wall_ms(until, "until")
    return duration_ms(until, 0), 0


def moment_ms(moment: Moment, server_ms: int, what: str) -> int:
    """A moment as wall time; 0 for None. Raises `AddressError` for a naive datetime and for other types."""
    if moment is None:
        return 0
    if isinstance(moment, datetime):
        return _wall_ms(moment, what)
    if not isinstance(moment, timedelta):
        raise _refused(f"{what} is a {type(moment).__name__}; give an aware datetime, or a timedelta for how long ago")
    return max(1, server_ms - int(moment / timedelta(milliseconds=1)))


def idle_ms_of(idle: Idle) -> int:
    """Idle time in milliseconds. Raises `AddressError` for a negative one."""
    seconds = idle.total_seconds() if isinstance(idle, timedelta) else idle
    if not seconds >= 0:
        raise _refused("an idle time must not be negative")
    return int(min(seconds * 1000, IDLE_MS_MAX))


def lasting_ms(lasting: Lasting, *, or_none: bool = False) -> int:
    """How long something lasts, in milliseconds; `or_none`: it may be no time at all. Raises `AddressError`."""
    seconds = lasting.total_seconds() if isinstance(lasting, timedelta) else lasting
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _refused(f"a duration is of type {type(seconds).__name__}; give a number of seconds, or a timedelta")
    if not (0 <= seconds if or_none else 0 < seconds) or seconds * 1000 > DURATION_MS_MAX:
        least = "0 or more" if or_none else "more than 0"
        raise _refused(
            f"{shown(str(lasting))} is no duration of {least} and up to {DURATION_MS_MAX // 86_400_000} days"
        )
    return int(seconds * 1000) if or_none else max(1, int(seconds * 1000))


def _wall_ms(moment: datetime, what: str) -> int:
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise _refused(f"{what} has no time zone; write datetime.now(timezone.utc) + ... or give a timedelta")
    return max(1, int(moment.timestamp() * 1000))


def check_names(users: Iterable[str]) -> list[str]:
    """The names once each, in order; raises `AddressError` at the first that cannot be a user's."""
    if isinstance(users, str):
        raise _refused(f"give a list of users, not the string {users!r}")
    given = list(users)
    for number, name in enumerate(given):
        if not isinstance(name, str):
            raise _refused(f"name {number + 1} of {len(given)} is of type {type(name).__name__}, and names are strings")
        try:
            check_name(name, "user")
        except AddressError as error:
            if len(given) == 1:
                raise
            raise AddressError(
                f"name {number + 1} of {len(given)}, {shown(name)}: {error.message}", error.code
            ) from None
    return list(dict.fromkeys(given))


SHOWN_CHARS_MAX = 40


def shown(name: str) -> str:
    """A name that breaks the rules, as a message may show it: in ASCII, and at most `SHOWN_CHARS_MAX` characters."""
    return ascii(name[:SHOWN_CHARS_MAX]) + ("..." if len(name) > SHOWN_CHARS_MAX else "")


def check_status(status: str) -> None:
    """Raises `AddressError` unless a user can ask for this status."""
    _check_choice(status, get_args(StatusRequest))


def check_device_status(status: str) -> None:
    """Raises `AddressError` unless a device can have this status of its own."""
    _check_choice(status, get_args(DeviceStatus))


def check_limit(limit: int, least: int = 0, most: int = USERS_PER_REQUEST_MAX) -> None:
    """Raises `AddressError` for a page size that the server does not serve."""
    if not least <= limit <= most:
        raise _refused(f"limit must be from {least} to {most}")


def check_command(text: str) -> None:
    """Raises `AddressError` (`bad_text`) for a command that is too long."""
    if len(text.encode(errors="surrogatepass")) > COMMAND_BYTES_MAX:
        raise AddressError(f"the command is longer than {COMMAND_BYTES_MAX} bytes; shorten it", "bad_text")


def check_claim(source: str, status: str) -> None:
    """Raises `AddressError` for a source or status that a claim cannot have."""
    if source not in get_args(Source):
        raise _refused(f"{source!r} is not a source of a claim; use one of {', '.join(get_args(Source))}")
    _check_choice(status, get_args(Status))
    if status == "offline" and source != "manual":
        raise _refused(f"only the person hides: a claim with the source {source} cannot say offline; say xa")


def check_priority(priority: int) -> None:
    """Raises `AddressError` for a priority outside XMPP's range (RFC 6121, section 4.7.2.3)."""
    if not -128 <= priority <= 127:
        raise _refused("priority must be a whole number from -128 to 127")


def _check_choice(status: str, known: tuple[str, ...]) -> None:
    if status not in known:
        raise _refused(f"{status!r} is not a status; use one of {', '.join(known)}")


def _refused(sentence: str) -> AddressError:
    return AddressError(sentence, "bad_request")
