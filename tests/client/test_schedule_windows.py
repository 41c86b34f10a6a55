"""Weekly windows as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.client.schedule_windows import windows_of, written
from presenced.errors import AddressError
from presenced.wire.messages import Window

WORKDAYS = 1 + 2 + 4 + 8 + 16


@pytest.mark.parametrize(
    ("window", "made"),
    [
        (("mon-fri", "18:00", "08:00"), Window(WORKDAYS, 1080, 480)),
        (("mon", "9:05", "09:06"), Window(1, 545, 546)),
        (("Sunday", "00:00", "00:01"), Window(64, 0, 1)),
        (("sat, sun", "22:00", "24:00"), Window(96, 1320, 0)),
        (("fri-mon", "12:00", "13:00"), Window(1 + 16 + 32 + 64, 720, 780)),
        (("mon,wed-fri", "12:00", "13:00"), Window(1 + 4 + 8 + 16, 720, 780)),
        (("mon-sun", "12:00", "13:00"), Window(127, 720, 780)),
        (Window(3, 1, 2), Window(3, 1, 2)),
    ],
)
def test_it_is_read_as_it_is_meant(window: Any, made: Window) -> None:
    assert windows_of([window]) == [made]


def test_a_whole_day_is_one_window() -> None:
    assert windows_of([("sat", "00:00", "24:00")]) == [Window(32, 0, 0)]
    assert windows_of([("sat", "09:00", "09:00")]) == [Window(32, 540, 540)]
    assert written(Window(32, 0, 0)) == ("sat", "00:00", "24:00")


def test_a_window_may_have_a_status_of_its_own() -> None:
    assert windows_of([("sat", "00:00", "24:00", "xa")]) == [Window(32, 0, 0, "xa")]
    assert written(Window(32, 0, 0, "xa")) == ("sat", "00:00", "24:00", "xa")


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        (("mon", "24:00", "08:00"), "cannot start at 24:00"),
        (("monkey", "08:00", "09:00"), "not days"),
        (("mon-", "08:00", "09:00"), "not days"),
        (("", "08:00", "09:00"), "not days"),
        (("mon", "8", "09:00"), "not a time of day"),
        (("mon", "08:60", "09:00"), "not a time of day"),
        (("mon", "08:00", "24:01"), "not a time of day"),
        (("mon", "08:00"), "not a window"),
        (("mon", "08:00", "09:00", "offline"), "not a status of a window"),
        ("mon", "not a window"),
    ],
)
def test_what_cannot_be_meant_is_refused(window: Any, reason: str) -> None:
    with pytest.raises(AddressError, match=reason) as caught:
        windows_of([window])
    assert caught.value.code == "bad_schedule"


def test_none_and_too_many_are_refused() -> None:
    for windows in ([], [("mon", "08:00", "09:00")] * 29):
        with pytest.raises(AddressError):
            windows_of(windows)


@pytest.mark.parametrize("text", ["mon-fri", "mon", "sat,sun", "mon,wed", "mon-sun", "tue-thu"])
def test_what_is_written_is_read_back(text: str) -> None:
    assert written(windows_of([(text, "18:00", "08:05")])[0]) == (text, "18:00", "08:05")
