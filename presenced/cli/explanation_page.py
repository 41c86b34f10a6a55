"""An explanation as a page for people, and as JSON for programs. Pure.

The order is that of the questions: what is seen, what decides, what everything else says and why it does not decide,
what comes next, and what else is pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict

from presenced.cli.output import clock_time, to_json
from presenced.wire.messages import (
    ClaimReason,
    ClaimReasonInfo,
    DeadlineInfo,
    DeviceReason,
    DeviceReasonInfo,
    Explanation,
    NextInfo,
    Record,
)

OF_DEVICES: dict[DeviceReason, str] = {
    "decides": "it decides",
    "same": "it says the same",
    "weaker": "another device has more to say",
    "unused_dnd": "nobody uses it, and another device is used: counts as away",
    "claim": "it counts, and a claim decides",
    "idle": "idle for too long: does not count",
    "negative": "negative priority: does not count",
    "gone": "gone: does not count",
}

OF_CLAIMS: dict[ClaimReason, str] = {
    "decides": "it decides",
    "no_device": "waits: no device counts",
    "hidden": "another claim hides the user",
    "weaker": "a claim of a stronger source holds",
    "older": "a newer claim of this source holds",
    "covered": "waits under a manual status with an end",
    "quiet_hours": "made before the quiet hours began",
}

_ENDS = {
    "claim_end": "the claim {} ends",
    "schedule": "the schedule changes",
    "text_end": "the text ends",
    "grace_end": "{} has not come back: it is gone",
    "lease_end": "the lease of {} ends: it is gone",
    "token_end": "the token of {} ends, and with it the link",
    "idle_away": "nobody has used {} for long: it counts as away",
    "idle_offline": "nobody has used {} for very long: it does not count",
    "silence": "{} is lost, unless it is heard before",
}
"""What comes due, with the device or the claim."""


def without_device(told: Explanation, device: str) -> Explanation:
    """The same without one device that does not count, such as the one of the command that asks."""
    others = [each for each in told.devices if each.device.device != device]
    is_alone = told.rule == "no_device" and all(each.reason == "gone" for each in others)
    return Explanation(
        **{
            **asdict(told),
            # The server's sentence would explain why the device that is left out does not count.
            "sentence": "no device is there" if is_alone else told.sentence,
            "devices": others,
            "deadlines": [each for each in told.deadlines if each.about != device or each.kind == "claim_end"],
        }
    )


def to_value(told: Explanation) -> dict[str, Any]:
    """The stable keys of an explanation."""
    following = told.next
    return {
        **to_json(told.record),
        "at_ms": told.at_ms,
        "rule": told.rule,
        "sentence": told.sentence,
        "devices": [{**asdict(each.device), "says": each.says, "reason": each.reason} for each in told.devices],
        "claims": [{**asdict(each.claim), "reason": each.reason} for each in told.claims],
        "deadlines": [asdict(each) for each in told.deadlines],
        "next": None
        if following is None
        else {**asdict(following), "because": [asdict(each) for each in following.because]},
    }


def page(told: Explanation) -> list[str]:
    """The lines for a person. Times are local."""
    lines = [_headline(told.record), "", f"Why: {told.sentence}."]
    if told.claims:
        lines += ["", "Claims, the strongest first", *_columns([_claim(each) for each in told.claims])]
    if told.devices:
        lines += ["", "Devices", *_columns([_device(each) for each in told.devices])]
    lines += ["", "Next, if nothing happens", *_columns(_next(told))]
    pending = [_deadline(each) for each in told.deadlines]
    if pending:
        lines += ["", "Pending", *_columns(pending)]
    return lines


def _headline(record: Record) -> str:
    if not record.version:
        return f"{record.user} was never seen, which shows as offline"
    parts = [f"{record.user} is {record.status}"]
    if record.since_ms:
        parts.append(f"since {clock_time(record.since_ms)}")
    if record.device:
        parts.append(f"on {record.device}")
    if record.last_seen_ms:
        parts.append(f"last seen {clock_time(record.last_seen_ms)}")
    words = " ".join(part for part in (record.emoji, record.text) if part)
    return ", ".join(parts) + (f": \u201c{words}\u201d" if words else "")


def _claim(each: ClaimReasonInfo) -> tuple[str, ...]:
    claim = each.claim
    holds = f"until {clock_time(claim.until_ms)}" if claim.until_ms else "until it is ended"
    if claim.device:
        holds += f" or {claim.device} is gone"
    return claim.claim, claim.status, f"from {claim.source}", holds, OF_CLAIMS[each.reason]


def _device(each: DeviceReasonInfo) -> tuple[str, ...]:
    device = each.device
    if device.state == "gone":
        life = f"seen {clock_time(device.last_seen_ms)}"
    elif device.state == "grace":
        life = "connection lost"
    else:
        life = "connected"
    counts_as = "" if device.status in (each.says, "offline") else f", as {device.status}"
    return (
        device.device,
        each.says + counts_as,
        life,
        f"used {clock_time(device.last_active_ms)}",
        OF_DEVICES[each.reason],
    )


def _next(told: Explanation) -> list[tuple[str, ...]]:
    following = told.next
    if following is None:
        return [("nothing is to change by itself",)]
    because = "; ".join(dict.fromkeys(_words(each) for each in following.because))
    return [(clock_time(following.at_ms), _changes(told.record, following), because)]


def _changes(record: Record, following: NextInfo) -> str:
    """What differs then."""
    parts: list[str] = []
    if following.status != record.status:
        parts.append(following.status)
    if (following.text, following.emoji) != (record.text, record.emoji):
        words = " ".join(part for part in (following.emoji, following.text) if part)
        parts.append(f"text \u201c{words}\u201d" if words else "no text")
    if following.device and following.device != record.device:
        parts.append(f"on {following.device}")
    return ", ".join(parts)


def _deadline(each: DeadlineInfo) -> tuple[str, ...]:
    return clock_time(each.at_ms), _words(each)


def _words(each: DeadlineInfo) -> str:
    return _ENDS[each.kind].format(each.about)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their cells below each other, and nothing behind the last."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
