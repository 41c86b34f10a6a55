"""Each call of a Go presence service and of a TypeScript presence library, done here, and what it returns.

    python -m presenced.examples.calls --url presence://backend@127.0.0.1:5250

It speaks for a user `example`; a device of theirs that shows their own state and never makes them online stands by.
The README lists the same calls side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import presenced


def show(call: str, result: object) -> None:
    """`call` is what the other system names it."""
    print(f"{call:20} {result}", flush=True)


async def go_service(p: presenced.Service, user: str) -> None:
    show("SetOnline", await p.attach(user, "web", kind="browser", name="Firefox"))
    show("SetAway", await p.set_status(user, "away"))
    show("GetStatus", await p.get_status(user))
    show("GetOnlineUsers", await p.get_online_users())
    show("UpdateLastSeen", await p.touch(user, "web"))
    show("SetOffline", await p.detach(user, "web"))


async def typescript_library(p: presenced.Service, user: str) -> None:
    await p.attach(user, "web", kind="browser")
    await p.join(user, "web", "example-channel")
    show("setStatus", await p.set_status(user, "dnd", text="in a meeting", until=30 * 60))
    show("getStatus", await p.get_status(user))
    show("getStatuses", await p.get_statuses([user, "nobody-knows-me"]))
    show("setCustomStatus", await p.set_text(user, "at the dentist", emoji="🦷", until=60 * 60))
    show("clearCustomStatus", await p.clear_text(user))
    show("recordActivity", await p.record_activity(user, "message", channel="example-channel", device="web"))
    show("getActivity", await p.get_activity(user, limit=5))
    show("setDeviceStatus", await p.set_device_status(user, "web", "chat"))
    show("getDevices", await p.get_devices(user))
    show("getOnlineUsers", await p.get_online_users(channel="example-channel"))
    show("/presence", (await p.command(user, "/presence auto", "web")).text)
    show("sync", await p.sync(user))
    show("getSyncStatus", await p.sync_status(user))
    await p.detach(user, "web")


async def events(p: presenced.Service, user: str) -> None:
    """What happens is told as it happens; `p.events()` iterates over the same, and goes on from a cursor."""
    told: dict[str, asyncio.Queue[presenced.Event]] = {}
    ends = []
    for kind in ("online", "status_change", "offline"):
        queue = told[kind] = asyncio.Queue()
        ends.append(p.on(kind, queue.put))  # type: ignore[arg-type]  # each is one of the names
    await p.attach(user, "web")
    await p.detach(user, "web")
    for kind, queue in told.items():
        show({"status_change": "statusChange"}.get(kind, kind), await queue.get())
    for end in ends:
        end()


def intervals(p: presenced.Service) -> None:
    """`presenced serve` decides them for all, and tells every client."""
    show("heartbeatIntervalMs", p.welcome.heartbeat_ms)
    show("awayAfterMs", p.welcome.away_after_ms)
    show("offlineAfterMs", p.welcome.offline_after_ms)


async def run(url: str, token: str | None, device_url: str, device_token: str | None) -> None:
    async with (
        presenced.connect_service(url, token=token) as p,
        presenced.connect(device_url, token=device_token, sync=True) as device,
    ):
        await go_service(p, device.user)
        await typescript_library(p, device.user)
        await events(p, device.user)
        intervals(p)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes every call once and prints what it returns.")
    parser.add_argument("--url", default="presence://backend@127.0.0.1:5250", help="of the presence server")
    parser.add_argument("--token", help="with the role service")
    parser.add_argument("--device-url", default="presence://example@127.0.0.1:5250/display?priority=-1")
    parser.add_argument("--device-token", help="for the user of that device")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.url, options.token, options.device_url, options.device_token))
    except presenced.PresenceError as error:
        sys.exit(f"calls: {error.message}")


if __name__ == "__main__":
    main()
