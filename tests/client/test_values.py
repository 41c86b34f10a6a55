"""Arguments of the client's methods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from presenced.client.values import check_names, duration_ms
from presenced.errors import AddressError
from presenced.limits import DURATION_MS_MAX

SERVER = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
SERVER_MS = int(SERVER.timestamp() * 1000)


@pytest.mark.parametrize(
    ("until", "wanted_ms"),
    [
        (None, 0),
        (timedelta(minutes=30), 1_800_000),
        (90, 90_000),
        (0.25, 250),
        (SERVER + timedelta(hours=1), 3_600_000),
        (datetime(2030, 5, 1, 15, 0, tzinfo=timezone(timedelta(hours=2))), 3_600_000),
        (timedelta(days=366), DURATION_MS_MAX),
    ],
)
def test_until_becomes_a_duration_by_the_servers_clock(until: object, wanted_ms: int) -> None:
    assert duration_ms(until, SERVER_MS) == wanted_ms  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        (datetime(2030, 5, 1, 13, 0), "no time zone"),
        (SERVER, "not in the future"),
        (SERVER - timedelta(hours=1), "not in the future"),
        (timedelta(0), "not in the future"),
        (0, "not in the future"),
        (-5, "not in the future"),
        (float("-inf"), "not in the future"),
        (float("inf"), "more than 366 days"),
        (float("nan"), "not a number"),
        (timedelta(days=367), "more than 366 days"),
        (True, "bool"),
        ("30m", "str"),
    ],
)
def test_other_untils_are_refused_before_anything_is_sent(until: object, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        duration_ms(until, SERVER_MS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("al\u202eice", r"name 4322 of 5000, 'al\\u202eice': the user name holds U\+202E"),
        ("", "name 4322 of 5000, '': the user name is empty"),
        ("x" * 200, rf"name 4322 of 5000, '{'x' * 40}'\.\.\.: the user name is longer"),
        ("a\x1b[2J b", r"name 4322 of 5000, 'a\\x1b\[2J b': "),
        (7, "name 4322 of 5000 is of type int"),
    ],
)
def test_the_bad_name_among_thousands_is_named(bad: str, says: str) -> None:
    """So that it can be found, and without doing to a terminal or a log what is bad about it."""
    names = [f"u{number}" for number in range(5_000)]
    names[4_321] = bad
    with pytest.raises(AddressError, match=says) as caught:
        check_names(names)
    assert caught.value.message.isascii() and caught.value.message.isprintable()


def test_names_are_checked_and_kept_once_in_order() -> None:
    assert check_names(["b", "a", "b"]) == ["b", "a"]
    with pytest.raises(AddressError, match="empty"):
        check_names(["a", ""])
    with pytest.raises(AddressError, match="list of users"):
        check_names("alice")
