"""Checks of those who follow events: whether each can still be told what it has missed."""

from __future__ import annotations

from typing import Final

from presenced.ops.checks.finding import Patient, Said

NAMED_MAX: Final = 5
"""Followers whom a sentence names."""


def followers(patient: Patient) -> Said:
    """Has a named follower missed events?"""
    status = patient.status
    lost = status.lost_followers
    if lost:
        more = f" and {len(lost) - NAMED_MAX} more" if len(lost) > NAMED_MAX else ""
        what = f"followers that have missed events which are not kept any longer: {', '.join(lost[:NAMED_MAX])}{more}"
        advice = (
            "start them, and they are told of it; raise events.keep_for or events.keep, or forget those that nobody "
            "uses (`presencectl followers --forget NAME` as their user)"
        )
        yield "warning", what, advice
    else:
        yield "ok", f"no follower with a name, of {status.named_followers:,}, has missed an event", ""
