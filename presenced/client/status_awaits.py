"""How an application waits for somebody's status: a coroutine that ends once, whatever becomes of the link."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import get_args

from presenced.address import check_label
from presenced.client.exchange import ClientExchange
from presenced.client.protocol.awaited_statuses import AwaitedStatus, AwaitedStatuses
from presenced.client.values import Lasting, lasting_ms
from presenced.errors import AddressError, PresenceError
from presenced.limits import AWAIT_KINDS_MAX, AWAIT_MS_MAX
from presenced.wire.messages import ONLINE_STATUSES, Awaited, Record, Status

_DAYS_MAX = AWAIT_MS_MAX // 86_400_000


async def await_status(
    exchange: ClientExchange,
    awaited: AwaitedStatuses,
    user: str,
    statuses: list[Status],
    kinds: list[str],
    least_ms: int,
    most_ms: int,
) -> Record | None:
    """Wait until the user shows one of these statuses; the record then, None if it has not come to be in `most_ms`.

    Raises `RequestError` if the server refuses, `RequestTimeout` if it does not answer though the link is there, and
    what a closed client raises.
    """
    exchange.link_state.refuse_closed()
    answer: asyncio.Future[Awaited] = exchange.loop.create_future()

    def told(said: Awaited | PresenceError | None) -> None:
        if answer.done():
            return
        if isinstance(said, Awaited):
            answer.set_result(said)
        else:
            answer.set_exception(said or exchange.link_state.closed_error())

    due_ms = exchange.now_ms() + most_ms
    one = AwaitedStatus(user, statuses, kinds, least_ms, due_ms, told)
    awaited.add(one, exchange.now_ms())
    try:
        await asyncio.wait({answer}, timeout=most_ms / 1000)
        if not answer.done() and exchange.is_linked:
            # The server's clock decides, and its answer is on its way.
            await asyncio.wait({answer}, timeout=exchange.request_timeout_s)
        if not answer.done():
            if exchange.is_linked:
                raise exchange.late_error()
            return None
        said = answer.result()
    finally:
        awaited.release(one)
    return said.record if said.met else None


def wanted_statuses(statuses: Iterable[str] | None, *, available: bool, not_dnd: bool) -> list[Status]:
    """The statuses that are meant. Raises `AddressError` for one that there is not, and if none is left."""
    if isinstance(statuses, str):
        raise AddressError(f"give a list of statuses, not the string {statuses!r}", "bad_request")
    known: tuple[Status, ...] = get_args(Status)
    given = list(ONLINE_STATUSES if statuses is None else statuses)
    for status in given:
        if status not in known:
            raise AddressError(f"{status!r} is not a status; use one of {', '.join(known)}", "bad_request")
    wanted = [
        status
        for status in known
        if status in given and not (available and status == "offline") and not (not_dnd and status == "dnd")
    ]
    if not wanted:
        raise AddressError(
            "no status is left to wait for; name one that available and not_dnd do not leave out", "bad_request"
        )
    return wanted


def wanted_kinds(kinds: Iterable[str]) -> list[str]:
    """The kinds, once each. Raises `AddressError` for one that breaks the rules, and for too many."""
    if isinstance(kinds, str):
        raise AddressError(f"give a list of kinds, not the string {kinds!r}", "bad_request")
    given = list(dict.fromkeys(kinds))
    for kind in given:
        check_label(kind, "kind")
    if len(given) > AWAIT_KINDS_MAX:
        raise AddressError(f"{len(given)} kinds are more than {AWAIT_KINDS_MAX}", "bad_request")
    return given


def waiting_ms(lasting: Lasting, what: str, *, or_none: bool = False) -> int:
    """How long to wait, or how long it must have held, in milliseconds. Raises `AddressError`."""
    ms = lasting_ms(lasting, or_none=or_none)
    if ms > AWAIT_MS_MAX:
        raise AddressError(f"{what} is longer than {_DAYS_MAX} days", "bad_request")
    return ms
