"""What the server does when memory is short: says so, ends the links that are owed most, gives memory back.

The core is told the level and refuses requests by it; `Server.admit` and the hello refuse links.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import logging
import random
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from presenced import limits
from presenced.durations import format_duration
from presenced.errors import ProtocolError
from presenced.server.memory import OK, REFUSING, Memory

if TYPE_CHECKING:
    from presenced.server.conversation import Conversation
    from presenced.server.links import Links
    from presenced.server.server import Server

log = logging.getLogger("presenced")

SLICE_LINKS = 1_000
"""Links that are weighed before the loop looks at its sockets again."""

ENDS_MIN = 4
ENDS_SHARE = 100
"""Of so many links one is ended each second, and at least the number above."""

HEAVY_BYTES = 65_536
"""Who is owed less is not ended: it would free nothing that is worth a lost link. A user's link that asks for nothing
and does not read stays below."""

HELD_BYTES = 64
"""About what one user costs in the dict of what a link is owed."""

GIVE_BACK_REST = 50
"""After giving memory back for some time the daemon does not do so for this many times as long: nobody may notice."""

FREE_BYTES_MAX = 32 << 20
FREE_SHARE = 8
FREE_LOOK_MS = 10_000
"""What the C library may hold that is free: so much, or this part of what is in use if that is more, and how often it
is asked."""

SHORT = "the server is short of memory and takes no new links; come back after the delay it gives"
ENDED = "the server is short of memory, and this link was owed more than others; come back after the delay it gives"


def retry_ms() -> int:
    """When somebody who is turned away may come back: not all at once."""
    return random.randint(limits.MEMORY_RETRY_MS, 4 * limits.MEMORY_RETRY_MS)


def refuse_hello(memory: Memory) -> None:
    """Raise the goodbye to a link that was admitted before memory ran short, and would need more of it now."""
    if memory.level:
        memory.refused_hellos += 1
        raise ProtocolError("busy", SHORT, retry_ms=retry_ms())


def glance(server: Server, now_ms: int) -> None:
    """Between two looks, in a turn: memory may grow by hundreds of megabytes in a second."""
    if server.memory.glance(now_ms):
        _change(server, now_ms)


def look(server: Server, now_ms: int) -> None:
    """Once a second: go by the memory that is in use, and free some if it is far too much."""
    if server.memory.look(now_ms):
        _change(server, now_ms)
    if now_ms >= server.memory.give_back_ms and (server.memory.level or _holds_much(server, now_ms)):
        began_ns = time.monotonic_ns()
        give_back()
        took_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        server.memory.give_back_ms = now_ms + took_ms * GIVE_BACK_REST
    if server.memory.wants_room(now_ms) and server.shedding is None:
        server.shedding = asyncio.get_running_loop().create_task(_shed(server))


def _holds_much(server: Server, now_ms: int) -> bool:
    """Whether the C library holds much that nobody uses, as after many links that did not read have gone."""
    memory = server.memory
    if now_ms < memory.free_look_ms:
        return False
    memory.free_look_ms = now_ms + FREE_LOOK_MS
    free = free_bytes()
    # What was given back goes on counting as free: only what has become free since then is worth the time.
    memory.given_back_bytes = min(memory.given_back_bytes, free)
    if free - memory.given_back_bytes < max(FREE_BYTES_MAX, memory.used_bytes // FREE_SHARE):
        return False
    memory.given_back_bytes = free
    return True


def _change(server: Server, now_ms: int) -> None:
    memory = server.memory
    server.engine.set_memory_level(memory.level)
    used, budget = memory.used_bytes >> 20, memory.budget_bytes >> 20
    if memory.level == OK:
        lasted = format_duration(now_ms - memory.since_ms)
        text = f"{used:,} of {budget:,} MiB: there is room again after {lasted}, nothing is refused"
        level = logging.INFO
    elif memory.level == REFUSING:
        text = f"{used:,} of {budget:,} MiB: refusing new links and what needs more memory"
        # It begins with this, or it is getting better.
        level = logging.ERROR if memory.since_ms == now_ms else logging.WARNING
    else:
        text, level = f"{used:,} of {budget:,} MiB: ending the links that are owed most as well", logging.ERROR
    server.report.event(now_ms, "memory", text, level=level)


async def _shed(server: Server) -> None:
    """End the links that are owed most. O(links), in slices."""
    try:
        for link in await _heaviest(server.links):
            server.memory.ended_links += 1
            link.end("busy", ENDED, retry_ms())
    finally:
        server.shedding = None


async def _heaviest(everybody: Links) -> list[Conversation]:
    found: list[tuple[int, int, Conversation]] = []
    links = list(everybody)
    most = max(ENDS_MIN, len(links) // ENDS_SHARE)
    for at, link in enumerate(links):
        weight = weight_of(link)
        if weight >= HEAVY_BYTES:
            # The number keeps links from being compared.
            entry = (weight, at, link)
            if len(found) < most:
                heapq.heappush(found, entry)
            else:
                heapq.heappushpop(found, entry)
        if at % SLICE_LINKS == SLICE_LINKS - 1:
            await asyncio.sleep(0)
    return [link for _, _, link in sorted(found, reverse=True)]


def weight_of(link: Conversation) -> int:
    """About how many bytes it holds that it was sent and does not read, or sent and were not taken so far."""
    transport, session = link.transport, link.session
    if transport is None or session is None or transport.is_closing:
        return 0
    owed = transport.unsent_bytes + link.reader.pending_bytes + HELD_BYTES * len(session.owed or ())
    return owed + (session.reply_bytes if session.owed is not None else 0)


def give_back() -> None:
    """Let the C library return to the kernel what is free in its heap: without that the memory of what was refused
    and ended stays resident, and counts. About a millisecond for each 100 MiB."""
    # The interpreter keeps thousands of freed tuples, lists and dicts for reuse. They lie scattered over its arenas,
    # and no arena can be given back then. Only a whole collection lets go of them. What is frozen is not looked at.
    gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def free_bytes() -> int:
    """What is free in the C library's heap; 0 if it cannot tell."""
    info = _mallinfo()
    return info().free if info is not None else 0


@cache
def _mallinfo() -> Callable[[], Any] | None:
    try:
        import ctypes

        class Info(ctypes.Structure):
            """mallinfo2(3): `fordblks` is the ninth of its ten."""

            _fields_ = [*((f"field{at}", ctypes.c_size_t) for at in range(8)), ("free", ctypes.c_size_t),
                        ("top", ctypes.c_size_t)]  # fmt: skip

        function = ctypes.CDLL(None).mallinfo2
        function.restype = Info
        return cast("Callable[[], Any]", function)
    except (ImportError, OSError, AttributeError, MemoryError):
        log.debug("memory: this C library cannot tell what it holds")
        return None


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        import ctypes

        return ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError, MemoryError):
        # Another C library, or one under which ctypes may make no callbacks: those give back by themselves, or not.
        log.debug("memory: this C library cannot be asked to give memory back")
        return None
