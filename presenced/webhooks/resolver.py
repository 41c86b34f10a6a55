"""The addresses of a receiver: looked up on a thread, and checked before anybody connects to one.

A connection is made to exactly the address that was checked, so that a name which resolves to another one a moment
later (DNS rebinding) is of no use.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, TypeVar

from presenced.webhooks.faults import DeliveryFault
from presenced.webhooks.networks import why_not_public

T = TypeVar("T")
NameLook = Callable[[str, int], list[str]]


class InThread(Protocol):
    """Does work on a thread that dies with the process."""

    def __call__(self, work: Callable[[], T], name: str) -> asyncio.Future[T]: ...


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, in the system's order of preference. Blocks; raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Looks names up, each once at a time: a resolver that hangs holds one thread, however many wait for it."""

    def __init__(self, in_thread: InThread, look: NameLook = look_up) -> None:
        self._in_thread = in_thread
        self._look = look
        self._pending: dict[tuple[str, int], asyncio.Future[list[str] | OSError]] = {}

    async def addresses(self, host: str, port: int, *, allow_private: bool) -> list[str]:
        """Addresses that a connection may be made to, at least one. Raises `DeliveryFault`."""
        key = host, port
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = self._in_thread(lambda: self._ask(host, port), "webhook name")
            pending.add_done_callback(lambda _: self._pending.pop(key))
        # Who gives up waiting must not take the answer from the others.
        found = await asyncio.shield(pending)
        if isinstance(found, OSError):
            raise DeliveryFault("name", f"the name {host} cannot be resolved: {found.strerror or found}")
        if allow_private:
            return found
        reasons = {address: why_not_public(address) for address in found}
        public = [address for address, reason in reasons.items() if not reason]
        if not public:
            said = ", ".join(f"{address} is {reason}" for address, reason in reasons.items())
            raise DeliveryFault("private", f"{host} has no public address ({said}); webhooks.allow_private allows it")
        return public

    def _ask(self, host: str, port: int) -> list[str] | OSError:
        try:
            found = self._look(host, port)
        except (OSError, UnicodeError) as error:
            return error if isinstance(error, OSError) else OSError(str(error))
        return found or OSError("it has no address")
