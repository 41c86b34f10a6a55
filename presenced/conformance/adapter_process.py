"""The adapter of a client under test: a process that speaks lines of JSON (protocol.md, 27.3).

One process serves all dialogues at once, since each has a client of its own, by number.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from presenced.conformance.outcome import StepFailed

LINE_BYTES_MAX = 1 << 20


class AdapterDied(Exception):
    """The adapter has ended, or said something that is no line of its protocol. The text says what."""


class AdapterProcess:
    """A running adapter. `start` makes it; `stop` ends it."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self._process = process
        self.name = str(hello.get("adapter", "an adapter without a name"))
        self.commands = frozenset(hello.get("commands", ()))
        self.transports: list[str] = list(hello.get("transports", ()))
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._listeners: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._why_ended = ""
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: list[str]) -> AdapterProcess:
        """Start the adapter and hear its first line. Raises `AdapterDied`."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LINE_BYTES_MAX)
        except OSError as error:
            raise AdapterDied(f"{command[0]} cannot be started: {error.strerror or error}") from error
        assert process.stdout is not None
        line = await process.stdout.readline()
        try:
            return cls(process, json.loads(line))
        except (ValueError, AttributeError) as error:
            assert process.stdin is not None
            process.stdin.close()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise AdapterDied(f"the adapter began with {line!r}, which is not one JSON object") from error

    async def stop(self) -> None:
        """End the adapter: its input ends, and then it does; one that does not is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._task

    def listen(self, client: int, listener: Callable[[dict[str, Any]], None]) -> None:
        """Hand each event of this client to `listener`, as it comes."""
        self._listeners[client] = listener

    def call(self, client: int, command: str, arguments: dict[str, Any]) -> asyncio.Future[Any]:
        """Tell the adapter to do something; the future has the line that answers it. Raises `AdapterDied`."""
        self.refuse_ended()
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"call": number, "client": client, "do": command, **arguments})
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return answer

    def refuse_ended(self) -> None:
        """Raise `AdapterDied` if it has ended."""
        if self._why_ended:
            raise AdapterDied(self._why_ended)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        why = "the adapter has ended"
        async for line in self._process.stdout:
            try:
                said = json.loads(line)
                if "call" in said:
                    answer = self._calls.pop(said["call"])
                    if not answer.done():  # nobody waits any longer for what comes too late
                        answer.set_result(said)
                else:
                    self._listeners[said["client"]](said)
            except (ValueError, KeyError, TypeError, AttributeError):
                why = f"the adapter said {line!r}, which is neither an answer nor an event"
                break
        self._why_ended = why
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(AdapterDied(why))
                waiting.exception()


def checked_error(said: dict[str, Any]) -> dict[str, Any] | None:
    """The error in an answer of the adapter; None if there is none."""
    error = said.get("error")
    if error is not None and not isinstance(error, dict):
        raise StepFailed("an error of the adapter that is an object with a code", f"it was {error!r}")
    return error
