"""How clients reach a server under test: inside the process without a socket, and from outside over the loopback.

It is there for as long as the `TestServer` is, over all starts and stops of the server.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import cast

from presenced.address import DEFAULT_PORT
from presenced.server.acceptor import Acceptor
from presenced.server.conversation import Conversation
from presenced.server.listeners import listen
from presenced.server.transports.base import Transport
from presenced.server.transports.tls import TCP
from presenced.testing.clock import VirtualClock
from presenced.testing.errors import TestServerError
from presenced.testing.faults import Concerns, Faults
from presenced.testing.gated_transport import GatedTransport
from presenced.testing.http_address import HttpAddress
from presenced.testing.pipe import connect_pipes
from presenced.testing.process import Process
from presenced.wire.messages import Beats, Heartbeat, Hello

HOST = "127.0.0.1"

_names = itertools.count(1)


class Network:
    """The connections of one server; for a transport it is its `gated_transport.Hall`."""

    def __init__(self, clock: VirtualClock) -> None:
        self.faults = Faults()
        self.loop = asyncio.get_running_loop()
        self.name = f"presenced-{next(_names)}.test"
        """By which clients of this process find it."""
        self.port = 0
        """On the loopback; 0 = it does not listen there."""
        self._clock = clock
        self._process: Process | None = None
        self._acceptor: Acceptor | None = None
        self._transports: dict[GatedTransport, None] = {}
        self._http: HttpAddress | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._counted: tuple[int, ...] = ()
        """What had been said on all links when that was looked at last."""
        clock.answer_at(self.name, DEFAULT_PORT, self._connect)

    def __iter__(self) -> Iterator[GatedTransport]:
        return iter(list(self._transports))

    # --- the server behind it ---------------------------------------------------------------------------------

    def serve(self, process: Process) -> None:
        """From now on this process answers."""
        self._process = process
        if self.port:
            self._accept()
        if self._http is not None:
            self._open_http(self._http)

    def serve_nobody(self) -> None:
        """No process answers any longer: who connects is refused. Connections that are there stay. Idempotent."""
        self._process = None
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            self._clock.note_files(-1)
        if self._http is not None and self._http.is_open:
            self._http.close()
            self._clock.note_files(-1)

    def listen(self) -> int:
        """Listen on the loopback, too, from now on; returns the port."""
        if not self.port:
            (listener,) = listen(HOST, 0)
            self.port = int(listener.getsockname()[1])
            listener.close()
            self._clock.answer_at(HOST, self.port, self._connect)
            if self._process is not None:
                self._accept()
        return self.port

    def listen_for_http(self) -> int:
        """Answer HTTP on the loopback, too, from now on; returns the port. Raises `TestServerError` if no process
        runs."""
        if self._http is None:
            if self._process is None:
                raise TestServerError("the server is not running; start it first: `server.start()`")
            self._http = HttpAddress()
            self._clock.ask_outside(self._was_said)
            self._open_http(self._http)
        return self._http.port

    def _open_http(self, http: HttpAddress) -> None:
        assert self._process is not None
        http.open(self._process.server)
        self._clock.note_files(1)
        self._plan_beat()

    def _accept(self) -> None:
        assert self._process is not None
        server = self._process.server
        (listener,) = listen(HOST, self.port)
        kind = TCP._replace(open=lambda conversation: GatedTransport(conversation, self))
        self._acceptor = Acceptor(listener, kind, server.admission, server.links, server.active)
        self._clock.note_files(1)

    def close(self) -> None:
        """Nobody answers here any longer. Idempotent."""
        self.serve_nobody()
        if self._http is not None:
            self._clock.ask_no_longer(self._was_said)
        self._clock.answer_no_longer(self.name, DEFAULT_PORT)
        self._clock.answer_no_longer(HOST, self.port)
        if self._beat is not None:
            self._beat.cancel()

    def _connect(self, factory: object) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        if self._process is None:
            raise ConnectionRefusedError(111, "Connection refused")
        client = factory()  # type: ignore[operator]
        conversation = self._process.server.admission.admit()
        assert conversation is not None, "a server under test has room for everybody, and is not asked once it ends"
        near, _ = connect_pipes(self.loop, client, GatedTransport(conversation, self))
        return near, client

    # --- called by transports ---------------------------------------------------------------------------------

    def came(self, transport: GatedTransport) -> None:
        """See `Hall`."""
        self._transports[transport] = None
        if transport.is_outside:
            self._plan_beat()

    def went(self, transport: GatedTransport) -> None:
        """See `Hall`."""
        self._transports.pop(transport, None)

    def note_outside(self) -> None:
        """See `Hall`."""
        self._clock.note_outside()

    # --- programs outside -------------------------------------------------------------------------------------

    def _outside(self) -> list[Conversation]:
        """The links of programs outside."""
        if self._process is None:
            return []
        links = [cast(Conversation, link) for link in self._process.server.links]
        return [link for link in links if link.transport is not None and not _is_inside(link.transport)]

    def _was_said(self) -> bool:
        """Whether anything was said on any link since the last call, while WebSockets are among them."""
        if self._process is None or all(isinstance(link.transport, GatedTransport) for link in self._outside()):
            return False
        server, before = self._process.server, self._counted
        self._counted = (server.stats.frames_in, server.engine.outboxes.deliveries, server.stats.accepted)
        return self._counted != before

    def _plan_beat(self) -> None:
        if self._beat is None and self._process is not None:
            self._beat = self.loop.call_later(self._process.server.settings.heartbeat_ms / 2000, self._beat_for_all)

    def _beat_for_all(self) -> None:
        """Programs outside live by another clock: when six minutes pass here in a moment, their heartbeats cannot come
        in time. So each counts as heard, without a word about how idle anybody is."""
        self._beat = None
        outside = self._outside()
        if self._process is None or not (outside or self._http is not None):
            return
        links, engine = self._process.server.links, self._process.server.engine
        for link in outside:
            session = link.session
            if session is None:
                continue
            now_ms = links.host.begin()
            beats = [number for ref in session.refs or () for number in (ref, -1)]
            for message in (Heartbeat(), *((Beats(beats),) if beats else ())):
                links.requests.handle(engine, session, now_ms, message)
        self._plan_beat()

    # --- faults -----------------------------------------------------------------------------------------------

    def concerned(self, concerns: Concerns) -> list[Conversation]:
        """The links that are meant, of whatever kind."""
        return [link for link, hello in self._greeted() if concerns(hello)]

    def names(self) -> list[str]:
        """Who has a link: USER/DEVICE, or the name of a service."""
        return sorted(f"{hello.user}/{hello.device}" if hello.device else hello.user for _, hello in self._greeted())

    def _greeted(self) -> list[tuple[Conversation, Hello]]:
        found = [(one.conversation, one.hello) for one in self if one.hello is not None]
        for link in self._outside():
            session = link.session
            if session is not None and not isinstance(link.transport, GatedTransport):
                hello = Hello([1], "", session.user_name, link.device_id, role=session.role, instance=session.instance)
                found.append((link, hello))
        return found

    def break_off(self, link: Conversation) -> None:
        """The network breaks the connection, and both ends are told."""
        if isinstance(link.transport, GatedTransport):
            link.transport.break_off()
        else:
            link.abort()

    def break_all(self) -> None:
        """Break every connection without WebSockets."""
        for transport in self:
            transport.break_off()

    def thaw(self) -> None:
        """A fault has ended: what waits for nothing any longer goes on its way."""
        for transport in self:
            transport.thaw()


def _is_inside(transport: Transport) -> bool:
    return isinstance(transport, GatedTransport) and not transport.is_outside
