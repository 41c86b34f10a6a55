"""What a test can have go wrong on a `TestServer`: links that break or hang, a server that stands still, says no,
cannot save, or loses its disk."""

from __future__ import annotations

from typing import Any

from presenced.testing.clock import VirtualClock
from presenced.testing.disk import Disk
from presenced.testing.errors import TestServerError
from presenced.testing.faults import CUT, FREEZE, REFUSE, InjectedFault, LinkFault, RequestFault, check_code
from presenced.testing.network import Network
from presenced.testing.options import Length, concerns_of, milliseconds
from presenced.testing.process import Process
from presenced.testing.request_names import request_kinds

Whose = Any
"""A client that `connect` has returned, or a text: `anna` (all links of the user, or of the service of this name) or
`anna/laptop`; None: everybody."""


class Failures:
    """See the module's docstring. The base of a test server, which says what there is."""

    _clock: VirtualClock
    _network: Network
    _process: Process | None
    _disk: Disk

    def _begin_use(self) -> None:
        """The test uses the server: it has to be open."""
        raise NotImplementedError

    # --- links ------------------------------------------------------------------------------------------------

    async def lose_link(self, who: Whose, code: str = "") -> None:
        """Break the link of `who` (a client, `anna` or `anna/laptop`), as a network does that is gone for a moment:
        both ends notice, and a client comes back by itself after its backoff, which takes some seconds of the clock.
        With a `code` it is the server that ends the link, with this goodbye (`kicked`, `replaced`, `busy`, ...).

        Raises `TestServerError` if there is no such link.
        """
        self._begin_use()
        if code:
            check_code(code, closes=True)
        concerns, name = concerns_of(who)
        links = self._network.concerned(concerns)
        if not links:
            there = ", ".join(self._network.names())
            raise TestServerError(f"the server has no link of {name}; there {f'are {there}' if there else 'is none'}")
        for link in links:
            if code:
                link.end(code)
            else:
                self._network.break_off(link)
        await self._clock.settle()

    def cut_off(self, who: Whose = None) -> InjectedFault:
        """Break the link of `who`, and each that they try to open, until the fault ends. Without `who` nobody has a
        link."""
        self._begin_use()
        concerns, _ = concerns_of(who)
        fault = self._add(LinkFault(CUT, concerns), f"cut_off({who!r})" if who is not None else "cut_off()")
        for link in self._network.concerned(concerns):
            self._network.break_off(link)
        return fault

    def freeze(self, who: Whose = None) -> InjectedFault:
        """Let nothing arrive on the link of `who`, either way, and tell nobody, until the fault ends: a phone without
        reception, a page that is asleep, a client that does not read. The server notices when the lease is over
        (`heartbeat` x 2.5), and the client when the server has been silent for long. What was sent meanwhile arrives
        at the end."""
        self._begin_use()
        concerns, _ = concerns_of(who)
        return self._add(LinkFault(FREEZE, concerns), f"freeze({who!r})" if who is not None else "freeze()")

    def slow(self, length: Length) -> InjectedFault:
        """Every message takes this long on its way, in each direction, until the fault ends."""
        self._begin_use()
        faults = self._network.faults
        before_ns = faults.delay_ns
        faults.set_delay(milliseconds(length, "the delay") * 1_000_000)
        return InjectedFault(f"slow({length!r})", lambda: faults.set_delay(before_ns))

    # --- the server -------------------------------------------------------------------------------------------

    def pause(self) -> InjectedFault:
        """The server stands still until the fault ends, as a process that was stopped: it reads nothing, answers
        nobody, and lets nothing expire. Connections to it come up, and nobody is greeted."""
        self._begin_use()
        process = self._running()
        self._network.faults.set_paused(True)
        process.pause()

        def go_on() -> None:
            self._network.faults.set_paused(False)
            self._network.thaw()
            process.go_on()

        return InjectedFault("pause()", go_on)

    def read_only(self, code: str = "read_only") -> InjectedFault:
        """The server can save nothing until the fault ends: requests for what must last are refused with the code
        (`read_only` for a full disk, `log_busy` for one that does not keep up), and presence goes on. What happened
        meanwhile is lost if the server is killed before the end."""
        self._begin_use()
        if code not in ("read_only", "log_busy"):
            raise TestServerError(f"{code!r} is no reason for saving nothing; give read_only or log_busy")
        self._running().refuse_to_save(code)

        def save() -> None:
            if self._process is not None:
                self._process.refuse_to_save("")

        return InjectedFault(f"read_only({code!r})", save)

    def refuse(self, code: str, who: Whose = None, *, retry: Length = 0, message: str = "") -> InjectedFault:
        """Each link that `who` (None: anybody) tries to open is answered by a goodbye with this code until the fault
        ends: `busy`, `bad_token`, `token_expired`, `going_away`, ... Links that are there stay. `retry`: after how long
        the client is told to come back."""
        self._begin_use()
        check_code(code, closes=True)
        concerns, _ = concerns_of(who)
        fault = LinkFault(REFUSE, concerns, code, message, milliseconds(retry, "retry"))
        return self._add(fault, f"refuse({code!r})")

    def fail(
        self, request: str, code: str | None, who: Whose = None, *, retry: Length = 0, message: str = ""
    ) -> InjectedFault:
        """Requests of this name (`set_status`, `attach`, ...: a client's method, or the message) are refused with the
        code until the fault ends, and nothing of them is done: `read_only`, `forbidden`, `memory_low`, ... With None
        nobody answers them, so that the client waits until its `request_timeout_s` is over."""
        self._begin_use()
        if code is not None:
            check_code(code, closes=False)
        concerns, _ = concerns_of(who)
        fault = RequestFault(request_kinds(request), concerns, code or "", message, milliseconds(retry, "retry"))
        return self._add(fault, f"fail({request!r}, {code!r})")

    def lose_disk(self) -> None:
        """What the server has on its disk is gone: its next start begins with nothing, and another history. A server
        that is running notices nothing, and saves what it has when it is stopped in order; so `kill` it."""
        self._begin_use()
        self._disk.lose()
        if self._process is not None:
            self._process.log.lose()

    # --- within -----------------------------------------------------------------------------------------------

    def _running(self) -> Process:
        if self._process is None:
            raise TestServerError("the server is not running; start it first: `server.start()`")
        return self._process

    def _add(self, fault: LinkFault | RequestFault, what: str) -> InjectedFault:
        faults = self._network.faults
        faults.add(fault)

        def end() -> None:
            faults.remove(fault)
            self._network.thaw()

        return InjectedFault(what, end)
