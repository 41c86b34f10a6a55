"""What a test says to a `TestServer` in Python's words: settings as arguments, lengths of time, who is meant."""

from __future__ import annotations

from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from presenced.client.client_base import ConnectedClient, connection_of
from presenced.config.rules import validate
from presenced.config.settings import Settings
from presenced.durations import parse_duration_ms
from presenced.limits import DURATION_MS_MAX
from presenced.testing.errors import TestServerError
from presenced.testing.faults import Concerns
from presenced.wire.messages import Hello

Length = float | timedelta | str
"""A length of time: seconds, a timedelta, or as on a command line (`5m`, `1h30m`, `200ms`)."""

_LENGTHS = ("heartbeat", "grace", "away_after", "offline_after", "change_spacing", "events_keep_for", "drain_spread")
_LISTS = ("kind_grace", "idle", "grounds")
_VALUES = (
    "reciprocal",
    "change_burst",
    "channels_join",
    "channels_watch",
    "rate",
    "events_record",
    "events_keep",
    "issuer",
    "audience",
    "check",
)
SETTINGS = (*_LENGTHS, *_LISTS, *_VALUES)
"""What may be given."""


def milliseconds(length: Length, what: str) -> int:
    """A length of time in whole milliseconds. Raises `TestServerError`."""
    if isinstance(length, str):
        try:
            return parse_duration_ms(length)
        except ValueError as error:
            raise TestServerError(f"{what}: {error}") from None
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TestServerError(f"{what} is {length!r}; give seconds, a timedelta, or a text such as 5m")
    if not 0 <= seconds < 1e9:
        raise TestServerError(f"{what} is {length!r}; give a time that is not negative, and less than thirty years")
    return round(seconds * 1000)


def make_settings(given: dict[str, Any]) -> Settings:
    """The settings of a server in development, memory and loopback, but for what is given. Raises `TestServerError` for
    a name that is none, `SettingsError` for a value that a server would refuse."""
    made: dict[str, Any] = {"dev": True, "rate": 0, "memory_bytes": 0, "listen": "127.0.0.1:0"}
    # As long as a test lasts, `history` has everything.
    made["events_keep_for_ms"] = DURATION_MS_MAX
    for name, value in given.items():
        if name in _LENGTHS:
            made[f"{name}_ms"] = milliseconds(value, name)
        elif name in _LISTS:
            made[name] = (value,) if isinstance(value, str) else tuple(value)
        elif name in _VALUES:
            made[name] = value
        else:
            near = get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
            raise TestServerError(f"a TestServer has no setting {name!r}; {hint}")
    settings = Settings(**made)
    validate(settings)
    settings.policy()
    return settings


def moment_ns(now: datetime | None) -> datetime | None:
    """The same, checked. Raises `TestServerError`."""
    if now is not None and now.tzinfo is None:
        raise TestServerError("now is a datetime without a time zone; write datetime(2026, 1, 5, 9, tzinfo=UTC)")
    return now


def concerns_of(who: Any) -> tuple[Concerns, str]:
    """Which links are meant by a client, by `USER`, `USER/DEVICE` or the name of a service, or by nothing (all); and
    how they are called in a message. Raises `TestServerError`."""
    if who is None:
        return _everybody, "anybody"
    if isinstance(who, str):
        user, _, device = who.partition("/")
        if device:
            return (lambda hello: hello.user == user and hello.device == device), who
        return (lambda hello: hello.user == user), who
    client = getattr(who, "_client", who)
    if not isinstance(client, ConnectedClient):
        raise TestServerError(
            f"{who!r} is no client; give one that `connect` has returned, or a text such as 'anna' or 'anna/laptop'"
        )
    instance = connection_of(client).identity.instance
    return (lambda hello: hello.instance == instance), repr(client)


def _everybody(hello: Hello) -> bool:
    return True
