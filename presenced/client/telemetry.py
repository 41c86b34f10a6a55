"""What a client tells of its work to whoever measures it: requests, links, pushes.

The interface is neutral. `presenced.opentelemetry` is one implementation of it, and an application can pass another to
`connect(..., telemetry=...)`. Without one, none of this is called: a client that nobody measures pays for a comparison
with None here and there, and for no object.

Methods are called in the client's event loop, in the middle of its work: they return soon and do not raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from presenced.errors import PresenceError
from presenced.wire.codec import CLIENT_MESSAGES, SERVER_MESSAGES


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """Which client it is: the address of its server, and who it is there."""

    server_address: str
    server_port: int
    user: str
    device: str
    role: str


class CallTelemetry(Protocol):
    """One request under way."""

    def ended(self, error: BaseException | None) -> None:
        """The request has its reply (None), or raises `error` to its caller."""


class ClientTelemetry(Protocol):
    """What one client tells, from its first link to its end."""

    def connecting(self) -> AbstractContextManager[None]:
        """Entered while the first link is opened. What the client calls later, also the application's callbacks, runs
        in the `contextvars` context that is the current one inside of it."""

    def call_begun(self, method: str) -> CallTelemetry:
        """A caller asks the server, and waits: called in the caller's own context. `method` is the name of the request
        in programs, such as `get_status`."""

    def link_opened(self) -> None:
        """A link is open: the first, or another one after `link_lost`."""

    def link_lost(self, reason: PresenceError) -> None:
        """The link is lost, and another will be tried."""

    def attempt_failed(self, reason: PresenceError) -> None:
        """An attempt to come back has failed, and another will follow."""

    def ended(self, reason: PresenceError | None) -> None:
        """No link will follow; None if the owner closed the client."""

    def pushed(self, kind: str) -> None:
        """The server has told something without being asked, such as `presence`."""

    def users_watched(self, number: int) -> None:
        """So many users are watched by name from now on."""


class Telemetry(Protocol):
    """What measures clients: called once for each client that connects."""

    def client(self, facts: ClientFacts) -> ClientTelemetry:
        """A client is about to connect."""


METHODS: Final[dict[str, str]] = {
    "Get": "get_status",
    "AddActivity": "record_activity",
    "Await": "await_status",
    "Forget": "forget_device",
    "GetHistory": "history",
    "GetFollowers": "followers",
    "GetSync": "get_sync_status",
}
"""The names of requests in programs, where they are not those of their messages with small letters."""

_LATER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")

NAMES: Final[dict[type, str]] = {
    kind: METHODS.get(kind.__name__) or _LATER_CAPITAL.sub("_", kind.__name__).lower()
    for kind in (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES.values())
}
"""The name of each type of message in programs: `set_status` of SetStatus."""


@contextmanager
def measured(telemetry: ClientTelemetry | None, kind: type[object]) -> Iterator[None]:
    """The block asks the server, and waits for the replies to one or many requests of this type: one call."""
    call = telemetry.call_begun(NAMES[kind]) if telemetry is not None else None
    raised: BaseException | None = None
    try:
        yield
    except BaseException as error:
        raised = error
        raise
    finally:
        if call is not None:
            call.ended(raised)


class DefaultTelemetry:
    """What measures the clients to which no telemetry is given as they connect."""

    def __init__(self) -> None:
        self.telemetry: Telemetry | None = None

    def set(self, telemetry: Telemetry | None) -> None:
        """From now on this one; None: nothing."""
        self.telemetry = telemetry


default: Final = DefaultTelemetry()
"""That of this process."""
