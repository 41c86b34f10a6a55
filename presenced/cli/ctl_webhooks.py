"""What `presencectl webhooks` says of the delivery of events."""

from __future__ import annotations

import time
from typing import Any

from presenced.cli.output import Output
from presenced.cli.top_figures import age
from presenced.ops.formats import counted

WELL = ("starting", "delivering")
SAID = {
    "starting": "does not follow the events yet",
    "delivering": "takes the events",
    "failing": "takes nothing for now, and is tried now and then",
    "gone": "has said 410 (gone): nothing is posted until `presencectl reload`",
    "taken": "gets nothing: another program follows as webhooks of the user presenced",
}


def say_webhooks(output: Output, now: dict[str, Any]) -> bool:
    """Print the state of the delivery; returns whether it is well."""
    wall_ms = int(time.time() * 1000)
    lines = [f"{now['receiver']} {SAID.get(now['state'], now['state'])}"]
    behind = counted(now["behind"], "event") if now["behind"] >= 0 else "some that are lost, and all later events"
    late = f", the oldest {age(now['lag_ms'])} old" if now["lag_ms"] else ""
    lines.append(f"to deliver     {behind}{late}")
    last = f", the last {age(max(0, wall_ms - now['accepted_wall_ms']))} ago" if now["accepted_wall_ms"] else ""
    lines.append(f"accepted       {counted(now['accepted'], 'event')}{last}")
    failures = ", ".join(f"{number:,} {reason}" for reason, number in now["failures"].items() if number)
    lines.append(f"requests       {now['requests']:,}, of which failed: {failures or 'none'}")
    lines.append(f"given up       {counted(now['dead_letters'], 'event')}")
    if now["gaps"]:
        lines.append(f"lost           events, {counted(now['gaps'], 'time')}")
    if now["error"]:
        lines.append(f"last failure   {age(max(0, wall_ms - now['error_wall_ms']))} ago: {now['error']}")
    output.page(now, lines)
    return now["state"] in WELL


def say_test(output: Output, found: dict[str, Any]) -> bool:
    """Print what came of a test event; returns whether the receiver has accepted it."""
    said = f"said {found['status']}" if found["status"] else f"did not take it: {found['error']}"
    output.say(found, f"{found['receiver']} {said} (event {found['id']}, {found['took_ms']:,} ms)")
    return bool(found["ok"])
