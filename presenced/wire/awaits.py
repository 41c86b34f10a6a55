"""To be told once when somebody's status is as it is wanted: types 59, 60 and 92 (protocol.md, section 23.3)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import AWAIT_KINDS_MAX, AWAIT_MS_MAX, REQUEST_ID_MAX
from presenced.wire.types import Message, Record, RequestId, Status

AwaitedMs = Annotated[int, Meta(ge=1, le=AWAIT_MS_MAX)]
HeldMs = Annotated[int, Meta(ge=0, le=AWAIT_MS_MAX)]


class Await(Message, tag=59):
    """Answer once: as soon as the user shows one of these statuses, or when it has taken too long."""

    id: RequestId
    user: str
    for_at_most_ms: AwaitedMs
    """How long to wait."""
    statuses: Annotated[list[Status], Meta(max_length=6)] = []
    """Any of these will do; none = every status but offline."""
    kinds: Annotated[list[str], Meta(max_length=AWAIT_KINDS_MAX)] = []
    """And a device of one of these kinds counts; none = whatever the devices."""
    for_at_least_ms: HeldMs = 0
    """For how long it must have held."""


class CancelAwait(Message, tag=60):
    """Do not wait any longer: the await is answered now, before this request is."""

    id: RequestId
    request: Annotated[int, Meta(ge=1, le=REQUEST_ID_MAX)]
    """The id of the await."""


class Awaited(Message, tag=92):
    """The answer to await: it is so, or it has not come to be."""

    id: int
    met: bool
    record: Record
    """The user as this link is shown them at this moment."""
