"""The state of one dialogue with a client: the runner is the server, and an adapter drives the client."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from presenced.conformance.adapter_process import AdapterDied, AdapterProcess
from presenced.conformance.dialogue_files import ClientDialogue
from presenced.conformance.link_ends import BadBytes, LinkEnd, TransportName, accepted
from presenced.conformance.message_types import Elements, fault, filled, name_of, request_id
from presenced.conformance.model_server import ModelServer
from presenced.conformance.outcome import StepFailed
from presenced.conformance.patterns import Bound

PATIENCE_S: Final = 20.0
"""How long a step waits for what it expects, unless the caller says otherwise. A busy machine is slow."""

SAID_LINES: Final = 12
_clients = itertools.count(1)


class ServedLink:
    """A link that the client has opened: what came on it, and what the script has still to answer."""

    def __init__(self, end: LinkEnd, opened_s: float) -> None:
        self.end = end
        self.opened_s = opened_s
        self.came: list[Elements] = []
        self.sent_s = opened_s
        """When the runner has last sent something."""
        self.came_s = opened_s
        """When the last message has come that the script answers by hand."""
        self.by_hand: deque[Elements] = deque()
        self.waiting: dict[int, str] = {}
        """The requests without an answer: id to type."""
        self.is_greeted = False
        """The hello is answered; what is behind it is handled from then on."""
        self.behind_hello: list[Elements] = []
        self.has_ended = False
        self.is_dropped = False
        """The script has ended it."""

    def next_by_hand(self) -> Elements | None:
        """The next message that the script answers; None if none has come."""
        return self.by_hand.popleft() if self.by_hand else None

    def all_by_hand(self, types: Iterable[str]) -> list[Elements]:
        """Those of these types that have come, which the script answers no longer."""
        found = [one for one in self.by_hand if name_of(one) in types]
        self.by_hand = deque(one for one in self.by_hand if one not in found)
        return found


class ClientPlay:
    """The state of one dialogue. The steps are in `client_steps`."""

    def __init__(
        self, dialogue: ClientDialogue, adapter: AdapterProcess, transport: TransportName, patience_s: float
    ) -> None:
        self.patience_s = patience_s
        self.dialogue = dialogue
        self.adapter = adapter
        self.transport = transport
        self.client = next(_clients)
        self.model = ModelServer(dialogue.world)
        self.by_hand = set(dialogue.by_hand)
        self.bound: Bound = {}
        self.links: list[ServedLink] = []
        self.opened = 0
        """How many links the script has taken note of."""
        self.ended_s = 0.0
        """When the last link ended, by the loop's clock."""
        self.calls: dict[str, asyncio.Future[Any]] = {}
        self.events: deque[dict[str, Any]] = deque()
        self.fault = ""
        """What the client has done that no client may."""
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen for the client."""
        self.adapter.listen(self.client, self._hear)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Have the adapter drop the client, and close all links."""
        with suppress(AdapterDied, TimeoutError):
            async with asyncio.timeout(5):
                await self.adapter.call(self.client, "forget", {})
        if self._server is not None:
            self._server.close()
        for link in self.links:
            link.end.lose()

    @property
    def port(self) -> int:
        """Where the client is to connect."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def link(self) -> ServedLink:
        """The latest link that the script knows of."""
        if not self.opened:
            raise StepFailed("a link", "the script has no `opens` before this step")
        return self.links[self.opened - 1]

    def note(self, line: str) -> None:
        """Keep a line of what was said, for the report."""
        self.said.append(line if len(line) < 300 else f"{line[:300]}...")

    def next_link(self) -> bool:
        """Take note of the next link; returns whether the client has opened one."""
        has_next = len(self.links) > self.opened
        self.opened += has_next
        return has_next

    def hand_over(self, types: Iterable[str]) -> list[Elements]:
        """The script answers messages of these types no longer. Returns those that wait on the present link."""
        self.by_hand -= set(types)
        return self.link.all_by_hand(types)

    def take_event(self, event: dict[str, Any], *, passes_over: bool) -> None:
        """The script has this event, and passes over those of its kind before it, or there are none."""
        kind = event.get("event")
        if passes_over:
            while (earlier := next(one for one in self.events if one.get("event") == kind)) is not event:
                self.events.remove(earlier)
        self.events.remove(event)

    # --- waiting ----------------------------------------------------------------------------------------------

    async def until(self, find: Callable[[], Any], expected: str, came: Callable[[], str]) -> Any:
        """Wait until `find` returns something else than None, and return that. Raises `StepFailed`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience_s):
                while True:
                    self.adapter.refuse_ended()
                    if self.fault:
                        raise StepFailed(expected, self.fault)
                    found = find()
                    if found is not None:
                        return found
                    await self._something_new()
        failed = [f"{name} failed: {call.result()['error']}" for name, call in self.calls.items() if _has_failed(call)]
        raise StepFailed(expected, "; ".join([f"{came()} in {self.patience_s:g} s", *failed]))

    async def pass_time(self, for_ms: int, check: Callable[[], None]) -> None:
        """Let so much time pass; `check` raises `StepFailed` for what must not happen meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(for_ms / 1000):
                while True:
                    check()
                    await self._something_new()
        check()

    async def _something_new(self) -> None:
        """Wait for a message, the end of a link, an event or an answer of the adapter."""
        self.changed.clear()
        await self.changed.wait()

    def call(self, name: str, command: str, arguments: dict[str, Any]) -> None:
        """Tell the adapter to do something."""
        self.note(f"application -> {json.dumps({'do': command, **arguments})}")
        self.calls[name] = self.adapter.call(self.client, command, arguments)
        self.calls[name].add_done_callback(lambda call: self.changed.set())

    def _hear(self, event: dict[str, Any]) -> None:
        self.note(f"application <- {json.dumps({key: value for key, value in event.items() if key != 'client'})}")
        self.events.append(event)
        self.changed.set()

    # --- the server's side ------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            end = await accepted(self.transport, reader, writer)
        except BadBytes as error:
            self._blame(str(error))
            writer.close()
            return
        link = ServedLink(end, self.loop.time())
        self.links.append(link)
        self.note(f"link {len(self.links)} opened")
        self.changed.set()
        while True:
            try:
                message = await end.receive()
            except BadBytes as error:
                if not link.is_dropped:
                    self._blame(str(error))
                message = None
            if message is None:
                break
            self._take(link, message)
            self.changed.set()
        link.has_ended = True
        self.over(link)
        end.hang_up()
        self.note(f"link {self.links.index(link) + 1} over")
        self.changed.set()

    def over(self, link: ServedLink) -> None:
        """The link is over, for one end at least."""
        if link is self.links[-1] and not link.is_dropped:
            link.is_dropped = True
            self.ended_s = self.loop.time()
            self.model.link_ended()

    def _take(self, link: ServedLink, message: Any) -> None:
        self.note(f"client -> {json.dumps(message, ensure_ascii=False)}")
        wrong = fault(message)
        if wrong:
            self._blame(wrong)
            return
        whole = filled(message)
        number = request_id(whole)
        if number and number in link.waiting:
            self._blame(f"two requests are on their way with the id {number}: {link.waiting[number]} and another")
        link.came.append(whole)
        if number:
            link.waiting[number] = name_of(whole)
        if link.is_greeted or name_of(whole) == "Hello":
            self._handle(link, whole)
        else:
            link.behind_hello.append(whole)

    def _handle(self, link: ServedLink, message: Elements) -> None:
        if name_of(message) in self.by_hand:
            link.came_s = self.loop.time()
            link.by_hand.append(message)
        else:
            self.answer(link, message)

    def answer(self, link: ServedLink, message: Elements) -> None:
        """Have the model answer a message."""
        for answer in self.model.answer(message):
            self.say(link, answer)
        if name_of(message) == "Bye":
            link.end.hang_up()

    def say(self, link: ServedLink, message: Elements) -> None:
        """Send a message to the client."""
        self._leaving(link, message)
        link.end.send(message)
        self._sent(link, message)

    async def say_in_pieces(self, link: ServedLink, message: Elements, count: int) -> None:
        """Send a message to the client in so many pieces."""
        self._leaving(link, message)
        await link.end.send_in_pieces(message, count)
        self._sent(link, message)

    def _leaving(self, link: ServedLink, message: Elements) -> None:
        self.note(f"client <- {json.dumps(message, ensure_ascii=False)}")
        link.waiting.pop(request_id(message), None)

    def _sent(self, link: ServedLink, message: Elements) -> None:
        link.sent_s = self.loop.time()
        if name_of(message) == "Welcome" and not link.is_greeted:
            link.is_greeted = True
            for behind in link.behind_hello:
                self._handle(link, behind)

    def _blame(self, what: str) -> None:
        self.fault = self.fault or what
        self.changed.set()


def _has_failed(call: asyncio.Future[Any]) -> bool:
    return call.done() and call.exception() is None and bool(call.result().get("error"))
