"""Plays dialogues with a server: the runner is the clients, and the server runs in dev mode (protocol.md, 1.3)."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from presenced.conformance import dialogue_files as steps
from presenced.conformance.client_play import PATIENCE_S, SAID_LINES
from presenced.conformance.link_ends import BadBytes, LinkEnd, TransportName, opened
from presenced.conformance.message_types import Elements, filled, name_of
from presenced.conformance.outcome import Outcome, StepFailed
from presenced.conformance.patterns import Bound, made, message_mismatch


class ServerAddress(NamedTuple):
    """Where a server is to be held; a port of 0 = not over this transport."""

    host: str
    port: int
    """For frames over TCP."""
    http_port: int = 0
    """For WebSocket."""

    def port_of(self, transport: TransportName) -> int:
        """The port for a transport."""
        return self.port if transport == "tcp" else self.http_port


class ServerNodes(NamedTuple):
    """The nodes of one server (protocol.md, 28): one link after the other is opened at the next of them."""

    addresses: Sequence[ServerAddress]
    settled: Callable[[], Awaitable[None]] | None = None
    """Returns once the nodes have told each other what they know. A script is written for one node, where whoever asks
    knows what was done before: so this is awaited before another link than that of the last step is looked at."""


class OpenedLink:
    """A link of the runner's: what came on it and no step has taken."""

    def __init__(self, end: LinkEnd, told: Callable[[Any], None]) -> None:
        self.end = end
        self.came: deque[Elements] = deque()
        self.has_ended = False
        self.fault = ""
        self._passed_over: set[str] = set()
        self._told = told
        self._task = asyncio.create_task(self._read())

    def pass_over(self, types: list[str]) -> None:
        """Drop messages of these types, from now on and those that have come."""
        self._passed_over |= set(types)
        self.came = deque(one for one in self.came if name_of(one) not in self._passed_over)

    def next_of(self, kind: str) -> Elements | None:
        """The first message of a type that no step has taken."""
        found = next((one for one in self.came if name_of(one) == kind), None)
        if found is not None:
            self.came.remove(found)
        return found

    async def close(self) -> None:
        """Close the connection and wait for the reader."""
        self.end.lose()
        await self._task

    async def _read(self) -> None:
        message = None
        while True:
            try:
                message = await self.end.receive()
            except BadBytes as error:
                self.fault, message = str(error), None
            if message is None:
                break
            whole = filled(message) if isinstance(message, list) else message
            if name_of(whole) not in self._passed_over:
                self.came.append(whole)
            self._told(message)
        self.has_ended = True
        self._told(None)


class ServerPlay:
    """The state of one dialogue."""

    def __init__(self, nodes: ServerNodes, transport: TransportName, patience_s: float) -> None:
        self._settled = nodes.settled
        self._addresses = itertools.cycle(nodes.addresses)
        self._last_link = ""
        self.transport = transport
        self.patience_s = patience_s
        self.bound: Bound = {}
        self.links: dict[str, OpenedLink] = {}
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        self.changed = asyncio.Event()

    def unsettle(self) -> None:
        """A link says hello: its device is attached behind the welcome, where other nodes have a say in it."""
        self._last_link = ""

    async def turn_to(self, name: str) -> None:
        """The next step is about the link of this name."""
        if self._settled is not None and name != self._last_link:
            await self._settled()
        self._last_link = name

    async def open(self, name: str) -> None:
        """Open a link under this name. Raises `StepFailed`."""

        def told(message: Any) -> None:
            self.note(f"{name} <- {'(closed)' if message is None else json.dumps(message, ensure_ascii=False)}")
            self.changed.set()

        address = next(self._addresses)
        try:
            async with asyncio.timeout(self.patience_s):
                end = await opened(self.transport, address.host, address.port_of(self.transport))
        except (OSError, BadBytes) as error:
            raise StepFailed("a connection", str(error) or type(error).__name__) from error
        self.links[name] = OpenedLink(end, told)

    def note(self, line: str) -> None:
        """Keep a line of what was said, for the report."""
        self.said.append(line if len(line) < 400 else f"{line[:400]}...")

    async def until(self, find: Callable[[], Any], expected: str, came: Callable[[], str]) -> Any:
        """Wait until `find` returns something else than None, and return that. Raises `StepFailed`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience_s):
                while (found := find()) is None:
                    self.changed.clear()
                    await self.changed.wait()
                return found
        raise StepFailed(expected, f"{came()} in {self.patience_s:g} s")

    async def pass_time(self, for_ms: int, is_over: Callable[[], bool]) -> None:
        """Let so much time pass, or less if `is_over` comes to be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(for_ms / 1000):
                while not is_over():
                    self.changed.clear()
                    await self.changed.wait()

    async def stop(self) -> None:
        """Close all links."""
        for link in self.links.values():
            await link.close()


async def play(
    dialogue: steps.ServerDialogue,
    nodes: ServerNodes,
    transport: TransportName,
    patience_s: float = PATIENCE_S,
) -> Outcome:
    """Play one dialogue; each step waits for up to `patience_s`. It never raises for what the server does."""
    state, at = ServerPlay(nodes, transport, patience_s), ""
    suffix = secrets.token_hex(4)
    state.bound.update((name, f"{name}-{suffix}") for name in dialogue.names)
    name, section = f"{dialogue.name} [{transport}]", dialogue.section
    try:
        for number, step in enumerate(dialogue.steps, 1):
            at = f"{number}: {json.dumps(msgspec.to_builtins(step), ensure_ascii=False)}"
            await state.turn_to(step.on)
            await _TAKE[type(step)](state, step)
    except StepFailed as failure:
        said = tuple(state.said)
        return Outcome(name, section, "failed", dialogue.about, at, failure.expected, failure.came, said)
    finally:
        await state.stop()
    return Outcome(name, section, "passed", dialogue.about)


async def _open(play: ServerPlay, step: steps.OpenStep) -> None:
    await play.open(step.on)


async def _send(play: ServerPlay, step: steps.SendStep) -> None:
    message = made(step.message, play.bound)
    play.note(f"{step.on} -> {json.dumps(message, ensure_ascii=False)}")
    if name_of(message) == "Hello":
        play.unsettle()
    end = play.links[step.on].end
    if step.pieces > 1:
        try:
            await end.send_in_pieces(message, step.pieces)
        except BadBytes as error:
            raise StepFailed("a message in pieces that is taken", str(error)) from error
    else:
        end.send(message)


async def _send_garbage(play: ServerPlay, step: steps.SendGarbageStep) -> None:
    play.links[step.on].end.send_garbage()


async def _expect(play: ServerPlay, step: steps.ExpectStep) -> None:
    """The next message of the type of the pattern matches it. A refusal that nobody expects fails at once."""
    link = play.links[step.on]
    kind = step.message.type if isinstance(step.message, steps.Named) else name_of(step.message)
    expected = f"the message {msgspec.to_builtins(step.message)}"

    def find() -> Elements | None:
        found = link.next_of(kind)
        while step.among and found is not None and message_mismatch(step.message, found, dict(play.bound)):
            found = link.next_of(kind)
        if found is None and (refusal := link.next_of("Error") or link.next_of("Goodbye")):
            raise StepFailed(expected, f"the server refused: {refusal}")
        if found is None and link.has_ended:
            raise StepFailed(expected, link.fault or "the server closed the link")
        return found

    found = await play.until(find, expected, lambda: f"there came {[*link.came]}")
    why = message_mismatch(step.message, found, play.bound)
    if why:
        raise StepFailed(expected, f"{found}: {why}")


async def _pass_over(play: ServerPlay, step: steps.PassOverStep) -> None:
    play.links[step.on].pass_over(step.types)


async def _silence(play: ServerPlay, step: steps.SilenceStep) -> None:
    link = play.links[step.on]
    await play.pass_time(step.for_ms, lambda: bool(link.came))
    if link.came:
        raise StepFailed(f"no message for {step.for_ms} ms", f"there came {link.came[0]}")


async def _lose(play: ServerPlay, step: steps.LoseStep) -> None:
    play.note(f"{step.on} is lost")
    await play.links[step.on].close()


async def _hang_up(play: ServerPlay, step: steps.HangUpStep) -> None:
    play.links[step.on].end.hang_up()


async def _ends(play: ServerPlay, step: steps.EndsStep) -> None:
    link = play.links[step.on]
    await play.until(lambda: link.has_ended or None, "that the server closes the link", lambda: "it is still open")
    if link.fault:
        raise StepFailed("a link that is closed in order", link.fault)
    is_told = play.transport != "tcp" and step.close_code is not None
    if is_told and link.end.close_code != step.close_code:
        raise StepFailed(f"the close code {step.close_code}", f"it was {link.end.close_code}")


_TAKE: Final[dict[type, Callable[[ServerPlay, Any], Awaitable[None]]]] = {
    steps.OpenStep: _open,
    steps.SendStep: _send,
    steps.SendGarbageStep: _send_garbage,
    steps.ExpectStep: _expect,
    steps.PassOverStep: _pass_over,
    steps.SilenceStep: _silence,
    steps.LoseStep: _lose,
    steps.HangUpStep: _hang_up,
    steps.EndsStep: _ends,
}
