"""Values of the client's interface and the checks of its arguments, made before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, get_args

from presenced.address import check_name
from presenced.errors import AddressError
from presenced.limits import DURATION_MS_MAX
from presenced.wire.messages import DeviceStatus, Record, StatusRequest

Until = timedelta | datetime | float | None
"""Until when something holds: a duration (timedelta, or a number of seconds), a point in time, or None = for good."""


class WhoPage(NamedTuple):
    """Who is online: the exact count, one page of records in order of name, and what to pass as `after` for the
    next page (empty: this was the last)."""

    total: int
    next: str
    records: list[Record]


def duration_ms(until: Until, server_ms: int) -> int:
    """`until` as the milliseconds to put on the wire (0 = for good); `server_ms` is the server's wall time.

    Raises `AddressError` for a naive datetime, a time that is not in the future or one over a year away.
    """
    if until is None:
        return 0
    if isinstance(until, datetime):
        if until.tzinfo is None or until.utcoffset() is None:
            raise _refused("until has no time zone; write datetime.now(timezone.utc) + ... or give a timedelta")
        left_ms = int(until.timestamp() * 1000) - server_ms
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


def check_names(users: Iterable[str]) -> list[str]:
    """The names once each, in order; raises `AddressError` at the first that cannot be a user's."""
    if isinstance(users, str):
        raise _refused(f"give a list of users, not the string {users!r}")
    names = list(dict.fromkeys(users))
    for name in names:
        check_name(name, "user")
    return names


def check_status(status: str) -> None:
    _check_choice(status, get_args(StatusRequest))


def check_device_status(status: str) -> None:
    _check_choice(status, get_args(DeviceStatus))


def check_priority(priority: int) -> None:
    if not -128 <= priority <= 127:
        raise _refused("priority must be a whole number from -128 to 127")


def _check_choice(status: str, known: tuple[str, ...]) -> None:
    if status not in known:
        raise _refused(f"{status!r} is not a status; use one of {', '.join(known)}")


def _refused(sentence: str) -> AddressError:
    return AddressError(sentence, "bad_request")
