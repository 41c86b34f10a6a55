"""Weekly windows as people write them: `("mon-fri", "18:00", "08:00")`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from presenced.errors import AddressError
from presenced.limits import WINDOWS_MAX
from presenced.wire.messages import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ADVICE = 'write it like ("mon-fri", "18:00", "08:00") or ("sat,sun", "00:00", "24:00")'
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")

WindowLike = tuple[str, str, str] | Window


def windows_of(written: Iterable[WindowLike]) -> list[Window]:
    """The windows for the wire. A window whose end is not after its start ends on the day after; 24:00 is midnight.

    Raises `AddressError` (`bad_schedule`) for what cannot be read, has no length, or is too much.
    """
    windows = [window if isinstance(window, Window) else _window(window) for window in written]
    if not windows:
        raise _refused("there is no window in it; clear_schedule() ends a schedule")
    if len(windows) > WINDOWS_MAX:
        raise _refused(f"there are {len(windows)} windows; {WINDOWS_MAX} are allowed")
    return windows


def written(window: Window) -> tuple[str, str, str]:
    """A window of the wire as people write it."""
    return _days_text(window.days), _time_text(window.start_min), _time_text(window.end_min)


def _window(window: tuple[str, str, str]) -> Window:
    if isinstance(window, str) or len(window) != 3:
        raise _refused(f"{window!r} is no window; {_ADVICE}")
    days, start, end = window
    start_min, end_min = _minutes(start), _minutes(end)
    if start_min == 24 * 60:
        raise _refused(f"a window cannot start at 24:00; {_ADVICE}")
    end_min %= 24 * 60
    if start_min == end_min == 0 and end.strip() != "00:00":
        # A whole day, which has no minute at which it could end: two halves of it. Left to the caller, as one window
        # is to be one window: 00:00 to 24:00 is written as 00:00 to 00:00 on the wire, which has no length.
        raise _refused('a whole day is two windows: ("sat", "00:00", "12:00") and ("sat", "12:00", "24:00")')
    if start_min == end_min:
        raise _refused(f"a window from {start} to {end} has no length; {_ADVICE}")
    return Window(_days(days), start_min, end_min)


def _days(text: str) -> int:
    days = 0
    for part in text.lower().split(","):
        first, dash, last = (name.strip()[:3] for name in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise _refused(f"{text!r} are no days of the week; {_ADVICE}")
        day, until = DAYS.index(first), DAYS.index(last if dash else first)
        days |= 1 << day
        while day != until:
            day = (day + 1) % 7
            days |= 1 << day
    return days


def _minutes(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    minutes = int(match[1]) * 60 + int(match[2]) if match is not None else -1
    if match is None or int(match[2]) > 59 or minutes > 24 * 60:
        raise _refused(f"{text!r} is no time of day; {_ADVICE}")
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
