"""Holds a server to the files of payloads: `messages`, `refusals` and `framing`, over real links."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from presenced.conformance.client_play import PATIENCE_S
from presenced.conformance.link_ends import BadBytes, LinkEnd, TcpEnd, TransportName, opened
from presenced.conformance.message_types import Elements, name_of
from presenced.conformance.outcome import Outcome, StepFailed
from presenced.conformance.server_play import ServerNodes
from presenced.conformance.vector_files import (
    FramingVector,
    MessageVector,
    Owed,
    RefusalVector,
    Vector,
    vectors,
)

V = TypeVar("V", bound=Vector)

_PING_ID: Final = 4_294_967_290
_PING: Final = [4, _PING_ID]
_HELLO_LONGEST: Final = 8_192
_CLIENT_LONGEST: Final = 65_536


class PayloadPlay:
    """Plays the files with one server, over one transport."""

    def __init__(self, nodes: ServerNodes, transport: TransportName, patience_s: float) -> None:
        self._addresses = itertools.cycle(nodes.addresses)
        self._transport = transport
        self._patience_s = patience_s

    async def play(self) -> list[Outcome]:
        """The outcome of each case, in the order of the files."""
        cases: list[RefusalVector] = vectors("refusals").cases
        playable = [case for case in cases if self._transport != "websocket" or case.json is not None]
        found: list[Outcome] = []
        by_type: dict[str, list[MessageVector]] = {}
        for case in vectors("messages").cases:
            if case.sender == "client" and case.message not in ("Hello", "Bye"):
                by_type.setdefault(case.message, []).append(case)
        for same in by_type.values():
            # A link of its own for each type, since an id of an await is taken as long as that goes on.
            found += await self._on_one_link(same, self._taken)
        found += await self._on_one_link([case for case in playable if case.owed.error is not None], self._refused)
        for case in playable:
            if case.owed.goodbye is not None:
                found.append(await self._outcome(case, partial(self._ended, case)))
        if self._transport == "tcp":
            for framing in vectors("framing").cases:
                if framing.longest <= _CLIENT_LONGEST:
                    found.append(await self._outcome(framing, partial(self._framed, framing)))
        return found

    # --- what is accepted, and what is refused on a link that goes on -----------------------------------------

    async def _on_one_link(
        self, cases: Sequence[V], play: Callable[[LinkEnd, V, int], Awaitable[None]]
    ) -> list[Outcome]:
        """Try the cases on one link. After one that fails another is opened, since what it has left behind must not be
        read as an answer to the next."""
        found: list[Outcome] = []
        end: LinkEnd | None = None

        async def tried(case: V, number: int) -> None:
            nonlocal end
            if end is None:
                end = await links.enter_async_context(self._link(is_greeted=True))
            await play(end, case, number)

        async with AsyncExitStack() as links:
            for number, case in enumerate(cases, 1):
                found.append(await self._outcome(case, partial(tried, case, number)))
                if found[-1].result == "failed":
                    await links.aclose()
                    end = None
        return found

    async def _taken(self, end: LinkEnd, case: MessageVector, number: int) -> None:
        """The message is not refused for its form; what else the server thinks of it is not looked at."""
        if case.message == "Await":
            end.send([case.json[0], number, *case.json[2:]])
        else:
            self._send(end, case.hex, case.json)
        for message in await self._until_pong(end):
            if name_of(message) == "Error" and message[2] in ("bad_request", "unknown_type"):
                raise StepFailed("a message that is accepted", f"the server answered {message}")

    async def _refused(self, end: LinkEnd, case: RefusalVector, number: int) -> None:
        self._send(end, case.hex, case.json)
        came = await self._until_pong(end)
        assert case.owed.error is not None
        expected = f"the error {list(case.owed.error)}"
        if len(came) != 1 or name_of(came[0]) != "Error":
            raise StepFailed(expected, f"the server answered {came}")
        if tuple(came[0][1:3]) != case.owed.error:
            raise StepFailed(expected, f"the server answered {came[0]}")

    # --- what ends a link -------------------------------------------------------------------------------------

    async def _ended(self, case: RefusalVector) -> None:
        async with self._link(is_greeted=case.state == "open") as end:
            self._send(end, case.hex, case.json)
            await self._goodbye(end, case.owed)

    async def _goodbye(self, end: LinkEnd, owed: Owed) -> None:
        message = await end.receive()
        if message is None or name_of(message) != "Goodbye" or message[1] != owed.goodbye:
            raise StepFailed(f"the goodbye {owed.goodbye}", f"there came {message}")
        if (more := await end.receive()) is not None:
            raise StepFailed("that the link is closed", f"there came {more}")

    async def _framed(self, case: FramingVector) -> None:
        is_hello = case.longest == _HELLO_LONGEST
        async with self._link(is_greeted=not is_hello) as end:
            assert isinstance(end, TcpEnd)
            for piece in case.pieces:
                end.send_bytes(bytes.fromhex(piece))
                await asyncio.sleep(0)
            # Behind the welcome each payload is answered, by whatever.
            for payload in [] if is_hello else case.payloads:
                message = await end.receive()
                is_message = bytes.fromhex(payload) != b"\xc0"
                if message is None or (is_message and name_of(message) == "Goodbye"):
                    raise StepFailed(f"an answer to {payload[:40]}", f"there came {message}")
            if case.code is not None:
                await self._goodbye(end, Owed(goodbye=case.code))

    # --- within -----------------------------------------------------------------------------------------------

    async def _outcome(self, case: Vector, play: Callable[[], Awaitable[None]]) -> Outcome:
        name = f"{case.name} [{self._transport}]"
        try:
            async with asyncio.timeout(self._patience_s):
                await play()
        except StepFailed as failure:
            return Outcome(name, case.section, "failed", "", "", failure.expected, failure.came)
        except (TimeoutError, OSError, BadBytes) as error:
            why = str(error) or f"nothing came in {self._patience_s:g} s"
            return Outcome(name, case.section, "failed", "", "", "an answer", why)
        return Outcome(name, case.section, "passed")

    @asynccontextmanager
    async def _link(self, *, is_greeted: bool) -> AsyncIterator[LinkEnd]:
        address = next(self._addresses)
        end = await opened(self._transport, address.host, address.port_of(self._transport))
        try:
            if is_greeted:
                await self._greet(end)
            yield end
        finally:
            end.lose()

    async def _greet(self, end: LinkEnd) -> None:
        """Say the hello of a service nobody else has the name of, and hear the welcome."""
        name = f"vectors-{secrets.token_hex(4)}"
        end.send([1, [1], "", name, "payloads", "", "", 0, "online", None, "service"])
        message = await end.receive()
        if message is None or name_of(message) != "Welcome":
            raise StepFailed("the welcome", f"there came {message}")

    def _send(self, end: LinkEnd, payload: str, value: Any) -> None:
        if self._transport == "websocket":
            end.send(value)
        else:
            end.send_payload(bytes.fromhex(payload))

    async def _until_pong(self, end: LinkEnd) -> list[Elements]:
        """What comes before the answer to a ping; pushes are left out, since they answer nothing."""
        end.send(_PING)
        came: list[Elements] = []
        while True:
            message = await end.receive()
            if message is None:
                raise StepFailed("a link that goes on", f"the server closed it, after {came}")
            if name_of(message) == "Goodbye":
                raise StepFailed("a link that goes on", f"the server said {message}")
            if name_of(message) == "Pong" and message[1] == _PING_ID:
                return came
            if name_of(message) not in ("Presence", "Event", "Taken", "Following"):
                came.append(message)


async def play_payloads(nodes: ServerNodes, transport: TransportName, patience_s: float = PATIENCE_S) -> list[Outcome]:
    """The outcomes of all payloads over this transport."""
    return await PayloadPlay(nodes, transport, patience_s).play()
