"""The adapter of the Python client: `python -m presenced.conformance.adapters.python_adapter`.

It reads lines of JSON from its input and writes others (protocol.md, 27.3). It does with what every application has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import presenced

Arguments = dict[str, Any]


def say(line: Arguments) -> None:
    """Write one line for the runner."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def shown(record: presenced.Record) -> Arguments:
    """What an application shows of a user."""
    names = ("user", "status", "text", "emoji", "device")
    return {name: getattr(record, name) for name in names}


def error_of(error: Exception) -> Arguments:
    """An error as the runner reads it."""
    if isinstance(error, presenced.PresenceError):
        return {"code": error.code, "temporary": error.temporary, "message": str(error)}
    return {"code": "adapter_failed", "temporary": False, "message": repr(error)}


class Driven:
    """One client of the runner's, and what it watches. Each method that is a command has its name."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._client: Any = None
        """A `Client` or a `Service`."""
        self._watches: list[presenced.Watch] = []
        self._channels: dict[str, presenced.ChannelWatch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _tell(self, event: str, **fields: Any) -> None:
        say({"client": self._number, "event": event, **fields})

    def _follow(self, stream: AsyncIterator[Any], tell: Callable[[Any], None]) -> None:
        async def run() -> None:
            # The end of the client is told as its state.
            with suppress(presenced.PresenceError):
                async for item in stream:
                    tell(item)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _changed(self, change: presenced.Change) -> None:
        self._tell("change", **shown(change.new))

    # --- the link ---------------------------------------------------------------------------------------------

    async def connect(self, arguments: Arguments) -> Arguments:
        where = urlsplit(arguments["url"])
        options: Arguments = {"host": where.hostname, "port": where.port, "user": arguments["user"]}
        options |= {"token": self._token(arguments), "timeout_s": arguments.get("timeout_ms", 10_000) / 1000}
        if "check_every_ms" in arguments:
            options["check_every"] = arguments["check_every_ms"] / 1000
        if arguments["role"] == "service":
            self._client = await presenced.connect_service(**options)
        else:
            for name in ("device", "kind", "name", "status", "contacts"):
                if name in arguments:
                    options[name] = arguments[name]
            self._client = await presenced.connect(sync=False, **options)
        client: presenced.Client | presenced.Service = self._client
        self._tell("state", state="connected", code=None)
        client.on_state(self._moved)
        if isinstance(client, presenced.Service):
            client.on_taken(self._taken)
        return {"user": client.welcome.user, "device": client.welcome.device}

    async def connect_with_checks(self, arguments: Arguments) -> Arguments:
        """The same, and hold what is shown against the server's checksum each `check_every_ms`."""
        return await self.connect(arguments)

    def _token(self, arguments: Arguments) -> str | Callable[[], str]:
        tokens = list(arguments.get("tokens", ()))
        if not tokens:
            return str(arguments.get("token", ""))
        return lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]

    def _moved(self, state: str, reason: presenced.PresenceError | None) -> None:
        word = "reconnecting" if state == "connecting" else state
        self._tell("state", state=word, code=reason.code if reason is not None else None)

    def _taken(self, taken: presenced.Taken) -> None:
        self._tell("taken", user=taken.user, device=taken.device, why=taken.why)

    async def close(self, arguments: Arguments) -> None:
        await self._client.close(bye=arguments.get("bye", True))

    async def forget(self, arguments: Arguments) -> None:
        """The dialogue is over, however it went."""
        if self._client is not None:
            await self._client.close(bye=False)
        for task in list(self._tasks):
            task.cancel()

    async def nothing(self, arguments: Arguments) -> None:
        """Its answer says that what was asked before it has begun."""

    async def ping(self, arguments: Arguments) -> None:
        await self._client.ping()

    # --- users ------------------------------------------------------------------------------------------------

    async def watch(self, arguments: Arguments) -> None:
        watch = self._client.watch(*arguments["users"])
        await watch.start()
        self._watches.append(watch)
        self._follow(watch, self._changed)

    async def unwatch(self, arguments: Arguments) -> None:
        for watch in self._watches:
            named = [user for user in arguments["users"] if user in watch.users]
            if named:
                await watch.remove(*named)

    async def get_status(self, arguments: Arguments) -> Arguments:
        return shown(await self._client.get_status(arguments["user"]))

    async def get_statuses_apart(self, arguments: Arguments) -> int:
        """Each user in a request of their own, and all at once."""
        return len(await asyncio.gather(*map(self._client.get_status, arguments["users"])))

    async def set_status(self, arguments: Arguments) -> None:
        for_ms = arguments.get("for_ms")
        until = None if for_ms is None else for_ms / 1000
        await self._client.set_status(arguments["status"], arguments.get("text"), arguments.get("emoji"), until)

    async def contacts(self, arguments: Arguments) -> None:
        watch = self._client.contacts()
        await watch.start()
        self._follow(watch, self._changed)

    async def watch_all(self, arguments: Arguments) -> None:
        watch = self._client.watch_all()
        await watch.start()
        self._follow(watch, self._changed)

    # --- channels ---------------------------------------------------------------------------------------------

    async def watch_channel(self, arguments: Arguments) -> None:
        watch = self._client.watch_channel(arguments["channel"])
        await watch.start()
        self._channels[arguments["channel"]] = watch
        self._follow(watch, self._member)

    def _member(self, change: presenced.MemberChange) -> None:
        if change.record is None:
            return
        is_in = change.kind != "leave"
        status = change.record.status if is_in else "offline"
        self._tell("member", channel=change.channel, user=change.user, is_in=is_in, status=status)

    async def members(self, arguments: Arguments) -> Arguments:
        watch = self._channels[arguments["channel"]]
        return {"total": watch.total, "users": sorted(watch.members)}

    async def join(self, arguments: Arguments) -> None:
        await self._client.join(arguments["channel"])

    async def leave(self, arguments: Arguments) -> None:
        await self._client.leave(arguments["channel"])

    # --- services ---------------------------------------------------------------------------------------------

    async def attach(self, arguments: Arguments) -> None:
        await self._client.attach(arguments["user"], arguments["device"])

    async def detach(self, arguments: Arguments) -> None:
        await self._client.detach(arguments["user"], arguments["device"], lost=arguments.get("lost", False))

    async def follow(self, arguments: Arguments) -> None:
        self._follow(
            self._client.events(),
            lambda event: self._tell("happening", kind=event.kind, user=event.user, old=event.old, new=event.new),
        )


COMMANDS = [name for name in vars(Driven) if not name.startswith("_")]


async def run() -> None:
    """Serve the runner until its input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say({"adapter": f"presenced for Python {presenced.__version__}", "transports": ["tcp"], "commands": COMMANDS})
    clients: dict[int, Driven] = {}
    tasks: set[asyncio.Task[None]] = set()
    async for line in reader:
        call = json.loads(line)
        driven = clients.setdefault(call["client"], Driven(call["client"]))
        task = asyncio.create_task(answer(call, getattr(driven, call["do"])))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def answer(call: Arguments, command: Callable[[Arguments], Awaitable[Any]]) -> None:
    """Do what a line says, and write the line that answers it."""
    try:
        value = await command(call)
    except Exception as error:
        say({"call": call["call"], "error": error_of(error)})
    else:
        say({"call": call["call"], "value": value})


if __name__ == "__main__":
    logging.disable()
    asyncio.run(run())
