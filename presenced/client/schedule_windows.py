"""Weekly windows as people write them: `("mon-fri", "18:00", "08:00")`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_args

from presenced.errors import AddressError
from presenced.limits import WINDOWS_MAX
from presenced.wire.messages import DeviceStatus, Window

DAY_MIN = 24 * 60
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NUMBERS = {name: number for number, name in enumerate(DAYS)} | dict(
    monday=0, tuesday=1, wednesday=2, thursday=3, friday=4, saturday=5, sunday=6
)
_ADVICE = 'write it like ("mon-fri", "18:00", "08:00") or ("sat,sun", "00:00", "24:00", "xa")'
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")

WindowLike = tuple[str, str, str] | tuple[str, str, str, DeviceStatus] | Window


def windows_of(written: Iterable[WindowLike]) -> list[Window]:
    """The windows for the wire. A window whose end is not after its start ends on the day after, so that it is a whole
    day if they are the same; 24:00 is midnight. A fourth part is the status that holds in the window, instead of the
    schedule's; where windows overlap the first holds.

    Raises `AddressError` (`bad_schedule`) for what cannot be read or is too much.
    """
    windows: list[Window] = []
    for window in written:
        windows.append(window if isinstance(window, Window) else _window(window))
    if not windows:
        raise _refused("the schedule has no window; clear_schedule() ends a schedule")
    if len(windows) > WINDOWS_MAX:
        raise _refused(f"there are {len(windows)} windows; {WINDOWS_MAX} are allowed")
    return windows


def written(window: Window) -> tuple[str, str, str] | tuple[str, str, str, DeviceStatus]:
    """A window of the wire as people write it."""
    # A whole day reads better as 00:00 to 24:00 than as 00:00 to 00:00.
    end_min = window.end_min or (DAY_MIN if not window.start_min else 0)
    times = _days_text(window.days), _time_text(window.start_min), _time_text(end_min)
    return (*times, window.status) if window.status else times


def _window(window: tuple[str, ...]) -> Window:
    if isinstance(window, str) or len(window) not in (3, 4):
        raise _refused(f"{window!r} is not a window; {_ADVICE}")
    days, start, end = _days(window[0]), _minutes(window[1]), _minutes(window[2])
    if start == DAY_MIN:
        raise _refused(f"a window cannot start at 24:00; {_ADVICE}")
    status = window[3] if len(window) == 4 else None
    if status is not None and status not in get_args(DeviceStatus):
        raise _refused(f"{status!r} is not a status of a window; use one of {', '.join(get_args(DeviceStatus))}")
    return Window(days, start, end % DAY_MIN, status)  # type: ignore[arg-type]  # as was checked


def _days(text: str) -> int:
    days = 0
    for part in text.lower().split(","):
        first, dash, last = (name.strip() for name in part.partition("-"))
        day = _DAY_NUMBERS.get(first)
        until = _DAY_NUMBERS.get(last) if dash else day
        if day is None or until is None:
            raise _refused(f"{text!r} are not days of the week; {_ADVICE}")
        days |= 1 << day
        while day != until:
            day = (day + 1) % 7
            days |= 1 << day
    return days


def _minutes(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    minutes = int(match[1]) * 60 + int(match[2]) if match is not None else -1
    if match is None or int(match[2]) > 59 or minutes > DAY_MIN:
        raise _refused(f"{text!r} is not a time of day; {_ADVICE}")
    return minutes


def _days_text(days: int) -> str:
    names = [day for number, day in enumerate(DAYS) if days & 1 << number]
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    is_run = len(names) > 2 and last - first == len(names) - 1
    return f"{names[0]}-{names[-1]}" if is_run else ",".join(names)


def _time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _refused(sentence: str) -> AddressError:
    return AddressError(sentence, "bad_schedule")
