"""Five hundred people who watch each other: a program that runs inside the container, with the installed client.

Arguments: how many, the server's host:port, the file with its secret. Prints `ready` when everybody is connected and
sees everybody whom they watch. For each line on standard input it waits until everybody is connected again, and
prints one line of JSON: what they were told since the last one, and whose records are no longer what they were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import presenced
from presenced.server.identity import mint
from presenced.server.keys import load_keys

NEIGHBOURS = 4
BUSY_EACH = 10
"""Every tenth says that they are busy."""

BACK_S = 20.0


class Person:
    """One device of one user, who watches the next few."""

    def __init__(self, number: int, crowd: Crowd) -> None:
        self.number = number
        self.crowd = crowd
        self.watched = [crowd.name(number + step) for step in range(1, NEIGHBOURS + 1)]
        self.seen: dict[str, presenced.Record] = {}
        self.told: list[str] = []
        self.lost = 0
        self.client: presenced.Client | None = None

    async def live(self) -> None:
        name = self.crowd.name(self.number)
        token = mint(self.crowd.secret, name, "user", int(time.time()), 3600)
        async with presenced.connect(f"presence://{name}@{self.crowd.address}/laptop", token=token) as client:
            client.on_state(self.on_state)
            if self.number % BUSY_EACH == 0:
                await client.set_status("dnd", text=f"{name} is busy")
            self.client = client
            await self.crowd.everybody_is_there()
            async for change in client.watch(*self.watched):
                self.seen[change.user] = change.new
                if change.kind != "snapshot":
                    self.told.append(f"{name} was told {change.kind} of {change.user}")

    def on_state(self, state: str, _: object) -> None:
        self.lost += state == "connecting"

    @property
    def is_connected(self) -> bool:
        return self.client is not None and self.client.state == "connected"


class Crowd:
    """All of them."""

    def __init__(self, count: int, address: str, secret: bytes) -> None:
        self.address = address
        self.secret = secret
        self.count = count
        self.people = [Person(number, self) for number in range(count)]
        self._all_there = asyncio.Event()
        self.service: presenced.Service
        """Sees everybody; the installed service lets people see their contacts alone."""

    def name(self, number: int) -> str:
        return f"person{number % self.count}"

    async def befriend(self) -> None:
        """Let neighbours be contacts."""
        token = mint(self.secret, "backend", "service", int(time.time()), 3600)
        self.service = await presenced.connect_service(f"presence://backend@{self.address}", token=token)
        steps = [step for step in range(-NEIGHBOURS, NEIGHBOURS + 1) if step]
        for number in range(self.count):
            contacts = [self.name(number + step) for step in steps]
            await self.service.set_contacts(self.name(number), contacts)

    async def everybody_is_there(self) -> None:
        """Nobody watches before everybody is online, so that all that is told later is a transition."""
        if all(person.client is not None for person in self.people):
            self._all_there.set()
        await self._all_there.wait()

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BACK_S
        while not holds():
            if time.monotonic() > deadline:
                sys.exit(f"it did not come about that {what}")
            await asyncio.sleep(0.02)

    async def records(self) -> dict[str, tuple[str, str, int]]:
        """Everybody's status, text and since when, as the server says now. A restart that took somebody for gone and
        then for back would have moved the last."""
        found = await self.service.get_statuses([self.name(number) for number in range(self.count)])
        return {name: (record.status, record.text, record.since_ms) for name, record in found.items()}

    async def report(self, before: dict[str, tuple[str, str, int]], began_s: float) -> dict[str, object]:
        await self.until("everybody was connected", lambda: all(person.is_connected for person in self.people))
        back_s = time.monotonic() - began_s
        # What was pushed to somebody before the answer to this arrives before it.
        await asyncio.gather(*(person.client.ping() for person in self.people if person.client is not None))
        now = await self.records()
        report = {
            "told": [line for person in self.people for line in person.told],
            "lost": sum(person.lost > 0 for person in self.people),
            "moved": sorted(name for name in before if now.get(name) != before[name]),
            "offline": sorted(name for name, (status, *_) in now.items() if status == "offline"),
            "back_s": round(back_s, 2),
        }
        for person in self.people:
            person.told.clear()
            person.lost = 0
        return report


async def main(count: int, address: str, secret_file: Path) -> None:
    crowd = Crowd(count, address, load_keys(str(secret_file))[0])
    await crowd.befriend()
    tasks = [asyncio.create_task(person.live()) for person in crowd.people]
    full = NEIGHBOURS
    await crowd.until("everybody saw their neighbours", lambda: all(len(one.seen) == full for one in crowd.people))
    before = await crowd.records()
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(await crowd.report(before, time.monotonic())), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
