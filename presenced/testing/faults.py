"""What a test has gone wrong between a server and its clients, for as long as it wants.

A fault begins where it is made and ends with its `end`, or with the block that it is entered for:

    with server.read_only():
        ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from presenced.errors import CODES
from presenced.testing.errors import TestServerError
from presenced.wire.messages import Hello

Concerns = Callable[[Hello], bool]
"""Whether a fault is about the link whose hello this is."""

FREEZE: Final = "freeze"
CUT: Final = "cut"
REFUSE: Final = "refuse"


class InjectedFault:
    """Something that is wrong until its end; made by the methods of a `TestServer`."""

    def __init__(self, what: str, end: Callable[[], None]) -> None:
        self._what = what
        self._end: Callable[[], None] | None = end

    def end_by(self, run: Callable[[Callable[[], None]], object]) -> None:
        """Let `run` call what ends it: on another thread, where the server is."""
        end = self._end
        if end is not None:
            self._end = partial(_run, run, end)

    @property
    def is_active(self) -> bool:
        """Whether it has not been ended."""
        return self._end is not None

    def end(self) -> None:
        """It is over. Does nothing the second time."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<fault {self._what}{'' if self.is_active else ', over'}>"


class LinkFault:
    """What befalls links: those that are there, and those that come while it lasts."""

    def __init__(self, what: str, concerns: Concerns, code: str = "", message: str = "", retry_ms: int = 0) -> None:
        self.what = what
        """`FREEZE`: nothing arrives, either way, and nobody is told. `CUT`: links break before they are greeted.
        `REFUSE`: hellos are answered by a goodbye with the code."""
        self.concerns = concerns
        self.code = code
        self.message = message
        self.retry_ms = retry_ms


class RequestFault:
    """Requests of a kind that are refused, or that nobody answers (no code)."""

    def __init__(self, kinds: tuple[type, ...], concerns: Concerns, code: str, message: str, retry_ms: int) -> None:
        self.kinds = kinds
        self.concerns = concerns
        self.code = code
        self.message = message
        self.retry_ms = retry_ms


class Faults:
    """All that is wrong at the moment with one server."""

    def __init__(self) -> None:
        self.delay_ns = 0
        """So long every message is on its way."""
        self.is_paused = False
        """The server stands still."""
        self._links: dict[LinkFault, None] = {}
        self._requests: dict[RequestFault, None] = {}

    def set_delay(self, delay_ns: int) -> None:
        """Every message takes so long from now on."""
        self.delay_ns = delay_ns

    def set_paused(self, paused: bool) -> None:
        """The server stands still, or goes on."""
        self.is_paused = paused

    def add(self, fault: LinkFault | RequestFault) -> None:
        """It begins."""
        if isinstance(fault, LinkFault):
            self._links[fault] = None
        else:
            self._requests[fault] = None

    def remove(self, fault: LinkFault | RequestFault) -> None:
        """It is over. Idempotent."""
        if isinstance(fault, LinkFault):
            self._links.pop(fault, None)
        else:
            self._requests.pop(fault, None)

    def clear(self) -> None:
        """Nothing is wrong any longer."""
        self._links.clear()
        self._requests.clear()
        self.delay_ns, self.is_paused = 0, False

    def of_link(self, what: str, hello: Hello) -> LinkFault | None:
        """The newest fault of this kind about the link."""
        return next((one for one in reversed(self._links) if one.what == what and one.concerns(hello)), None)

    @property
    def has_requests(self) -> bool:
        """Whether some requests are not to be handled."""
        return bool(self._requests)

    def of_request(self, hello: Hello, kind: type) -> RequestFault | None:
        """The newest fault about such a request on the link."""
        return next((one for one in reversed(self._requests) if kind in one.kinds and one.concerns(hello)), None)


def check_code(code: str, *, closes: bool) -> None:
    """Raise `TestServerError` unless a server says this code: with a goodbye, or in answer to a request."""
    known = CODES.get(code)
    if known is None or known.closes != closes:
        what = "ends a link" if closes else "refuses a request"
        codes = ", ".join(name for name, one in CODES.items() if one.closes == closes)
        raise TestServerError(f"{code!r} is no code with which a server {what}; give one of {codes}")


def _run(run: Callable[[Callable[[], None]], object], end: Callable[[], None]) -> None:
    run(end)
