"""Makes each call of a Go presence service and of a TypeScript presence library, and prints what it returns.

    python -m presenced.examples.calls --url presence://backend@127.0.0.1:5250

The program acts for the user `example`. A device of this user is connected meanwhile: it shows the user's own state and
never makes the user online. The README lists the same calls side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable

import presenced


def show(call: str, result: object) -> None:
    """Print a call, by its name in the other system, and its result."""
    print(f"{call:20} {'done' if result is None else result}", flush=True)


async def do(call: str, doing: Awaitable[object]) -> None:
    show(call, await doing)


async def go_service(p: presenced.Service, user: str) -> None:
    await do("SetOnline", p.attach(user, "web", kind="browser", name="Firefox"))
    await do("SetAway", p.set_status(user, "away"))
    await do("GetStatus", p.get_status(user))
    await do("GetOnlineUsers", p.get_online_users())
    await do("UpdateLastSeen", p.touch(user, "web"))
    await do("SetOffline", p.detach(user, "web"))


async def typescript_library(p: presenced.Service, user: str) -> None:
    await p.attach(user, "web", kind="browser")
    await p.join(user, "web", "example-channel")
    await do("setStatus", p.set_status(user, "dnd", text="in a meeting", until=30 * 60))
    await do("getStatus", p.get_status(user))
    await do("getStatuses", p.get_statuses([user, "nobody-knows-me"]))
    await do("setCustomStatus", p.set_text(user, "at the dentist", emoji="🦷", until=60 * 60))
    await do("clearCustomStatus", p.clear_text(user))
    await do("recordActivity", p.record_activity(user, "message", channel="example-channel", device="web"))
    await do("getActivity", p.get_activity(user, limit=5))
    await do("setDeviceStatus", p.set_device_status(user, "web", "chat"))
    await do("getDevices", p.get_devices(user))
    await do("getOnlineUsers", p.get_online_users(channel="example-channel"))
    await do("/presence", p.command(user, "/presence auto", "web"))
    await do("sync", p.sync(user))
    await do("getSyncStatus", p.get_sync_status(user))
    await p.detach(user, "web")


async def events(p: presenced.Service, user: str) -> None:
    """Handlers are called for each event as it happens. `p.events()` iterates over the same events from a cursor."""
    online: asyncio.Queue[presenced.Event] = asyncio.Queue()
    changed: asyncio.Queue[presenced.Event] = asyncio.Queue()
    offline: asyncio.Queue[presenced.Event] = asyncio.Queue()
    ends = [p.on("online", online.put), p.on("status_change", changed.put), p.on("offline", offline.put)]
    await p.attach(user, "web")
    await p.detach(user, "web")
    await do("online", online.get())
    await do("statusChange", changed.get())
    await do("offline", offline.get())
    for end in ends:
        end()


def intervals(p: presenced.Service) -> None:
    """The options of `presenced serve` set these times, and the server tells them to every client."""
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
    parser.add_argument("--url", default="presence://backend@127.0.0.1:5250", help="the URL of the presence server")
    parser.add_argument("--token", help="a token with the role service")
    parser.add_argument("--device-url", default="presence://example@127.0.0.1:5250/display?priority=-1")
    parser.add_argument("--device-token", help="a token for the user of that device")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.url, options.token, options.device_url, options.device_token))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # A reader that has read enough, as `| head` does. Python would fail with the rest at the exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except presenced.PresenceError as error:
        sys.exit(f"calls: {error.message}")


if __name__ == "__main__":
    main()
