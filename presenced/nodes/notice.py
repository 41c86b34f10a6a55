"""What a node tells its supervisor: the messages that it would send to systemd (sd_notify(3)). Pure."""

from __future__ import annotations

from typing import NamedTuple

NOTICE_BYTES_MAX = 4_096


class Notice(NamedTuple):
    """One message."""

    is_ready: bool = False
    is_stopping: bool = False
    is_alive: bool = False
    """A sign of life."""
    wants_time: bool = False
    """A slow start or stop goes on."""
    status: str | None = None
    """None = it says nothing of that."""


def parse_notice(data: bytes) -> Notice:
    """The message; what is unknown in it is passed over, and so is what is no text."""
    lines = data.decode("utf-8", "replace").split("\n")
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    status = fields.get("STATUS")
    return Notice(
        is_ready=fields.get("READY") == "1",
        is_stopping=fields.get("STOPPING") == "1",
        is_alive=fields.get("WATCHDOG") == "1",
        wants_time="EXTEND_TIMEOUT_USEC" in fields,
        status=None if status is None else "".join(mark for mark in status if mark.isprintable()),
    )
