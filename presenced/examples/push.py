"""A push backend in small: it asks where a notification goes, and prints what it would send to a push service.

    echo 'bob,carol general: lunch at noon?' | python -m presenced.examples.push --url presence://push@127.0.0.1:5250

Reads lines `USER[,USER...] ABOUT: TEXT`. An ABOUT that ends in ! is urgent. What a person is not to be disturbed with
is asked about again once that is over, for as long as the program runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import presenced


class Pushes:
    """Sends what is to be sent now, and remembers what is to be sent later."""

    def __init__(self, service: presenced.Service) -> None:
        self._service = service
        self._later: dict[asyncio.Task[None], None] = {}

    async def notify(self, users: list[str], about: str, text: str) -> None:
        """Notify these users, each on the devices and at the time that are right for them."""
        urgency: presenced.Urgency = "urgent" if about.endswith("!") else "normal"
        routes = await self._service.routes(users, urgency=urgency, about=about.rstrip("!"))
        for user, route in routes.items():
            if route.verdict == "at":
                print(f"{user}: not before {route.at_ms} ({route.reason})", flush=True)
                task = asyncio.create_task(self._again(route.at_ms, user, about, text))
                self._later[task] = None
                task.add_done_callback(lambda done: self._later.pop(done, None))
            elif route.verdict == "none":
                print(f"{user}: nothing ({route.reason})", flush=True)
            for target in route.devices:
                if target.verdict in ("now", "silent"):
                    how = "with sound" if target.verdict == "now" else "silently"
                    # A push service would be given `target.meta`. Once it refuses that token:
                    # await self._service.set_device(user, target.device, meta="")
                    print(f"{user}: to {target.device} {how} ({target.reason}): {text}", flush=True)

    async def _again(self, at_ms: int, user: str, about: str, text: str) -> None:
        """Ask anew when the time has come: other things may hold by then."""
        await asyncio.sleep(max(0, at_ms - self._service.server_time_ms) / 1000)
        await self.notify([user], about, text)


async def run(url: str, token: str | None) -> None:
    """Until the end of standard input, or Ctrl-C."""
    try:
        async with presenced.connect_service(url, token=token) as service:
            pushes = Pushes(service)
            while line := await asyncio.to_thread(sys.stdin.readline):
                whom, _, text = line.strip().partition(":")
                users, _, about = whom.partition(" ")
                try:
                    await pushes.notify(users.split(","), about.strip(), text.strip())
                except presenced.PresenceError as error:
                    print(error.message, file=sys.stderr, flush=True)
    except asyncio.CancelledError:
        # A thread still waits for a line, and Python would wait for the thread.
        os._exit(130)


def main() -> None:
    parser = argparse.ArgumentParser(description="Says where notifications go.")
    parser.add_argument("--url", default="presence://push@127.0.0.1:5250", help="the URL of the presence server")
    parser.add_argument("--token", help="a token with the role service")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.url, options.token))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # A reader that has read enough, as `| head` does. Python would fail with the rest at the exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except presenced.PresenceError as error:
        sys.exit(f"push: {error.message}")


if __name__ == "__main__":
    main()
