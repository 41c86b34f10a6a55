"""Three services and two users' links over one device, without sockets and without a loop: the client's own state
(`ClientSession` with `Attachments`) on one side, the engine on the other, and a network that is cut where a test says.

`Oracle` is what a person at the tabs would say: the last one that opened it has it, only the one that has it can end
it, and whoever was told of the loss is out. It knows nothing of refs, numbers of clients and retries.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from presenced.client.protocol.attachments import AttachAttempt, Attachments
from presenced.client.protocol.session import ClientSession
from presenced.client.values import Attachment, Taken
from presenced.core.model import CONNECTED, GONE
from presenced.errors import PresenceError, RequestError
from presenced.limits import GRACE_MS
from presenced.wire import messages
from tests.client.fake_server import WELCOME
from tests.core.world import TICK_MS, FakeLink, World

USER, DEVICE = "alice", "tab"
SERVICES, USERS = 3, 2
PARTIES = SERVICES + USERS
TAB = Attachment(USER, DEVICE)


class Backend:
    """A service's client: what the app asks of it, and its link."""

    def __init__(self, stage: Stage, place: int) -> None:
        self.stage = stage
        self.instance = place + 1
        self.told: list[Taken] = []
        self.session: ClientSession[object] = ClientSession()
        self.attachments = Attachments(self._say, self.told.append, self.session.forget)
        self.session.add(self.attachments)
        self.link: FakeLink | None = None
        """Its end at the server."""
        self.is_up = False
        """As the client sees it."""
        self.connect()

    # --- the link ---------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """The old link, if the client still believed in it, is over; a new one is open."""
        self.cut(server_too=False)
        self.link = self.stage.world.open("chat", role="service", instance=self.instance)
        self.is_up = True
        self._transmit(*self.session.resume(WELCOME, self.stage.world.now_ms))
        self.stage.exchange()

    def cut(self, *, server_too: bool = True) -> None:
        if self.is_up:
            self.is_up = False
            self.session.suspend(self.stage.world.now_ms)
        if server_too:
            self.cut_at_server()

    def cut_at_server(self) -> None:
        if self.link is not None and self.link.open:
            self.link.lose()
        self.link = None

    def receive(self) -> bool:
        """Gives whether there was anything."""
        if self.link is None or not self.is_up:
            return False
        got, self.link.messages = self.link.messages, []
        for message in got:
            if isinstance(message, messages.Taken):
                self.attachments.taken(message, self.stage.world.now_ms)
            elif isinstance(message, messages.Done | messages.Error):
                self.session.settle(message)
        return bool(got)

    def beat(self) -> None:
        if self.is_up:
            beats = self.attachments.beats(self.stage.world.now_ms)
            self._transmit(*(beats or [messages.Heartbeat()]))

    # --- what the app asks ------------------------------------------------------------------------------------

    def attach(self) -> AttachAttempt:
        call, now_ms = self.attachments.attach(TAB, object(), self.stage.world.now_ms), self.stage.world.now_ms
        make = partial(call.device.attach_as, TAB, now_ms=now_ms)
        message = self.session.open(make, call.waiter, now_ms, call.answered)
        if self.is_up:
            self._transmit(message)
        return call

    def cancel(self, call: AttachAttempt) -> None:
        may_be_applied = self.session.may_have(call.waiter)
        self.session.forget(call.waiter)
        call.give_up(self.stage.world.now_ms, may_be_applied=may_be_applied)

    def detach(self, *, lost: bool) -> None:
        try:
            self.attachments.detach(USER, DEVICE, lost, None, _ignored, self.stage.world.now_ms)
        except RequestError as error:
            assert error.code == "no_such_device"

    @property
    def attached(self) -> bool:
        held = self.attachments.devices.get((USER, DEVICE))
        return held is not None and held.is_granted

    def key(self) -> Any:
        held = self.attachments.devices.get((USER, DEVICE))
        state = None
        if held is not None:
            counts = [min(2, count) for count in (held.wanted_by, len(held.waiters), held.unanswered)]
            state = (*counts, held.is_granted, held.is_live, held.loss)
        leaving = self.attachments.leaving.get((USER, DEVICE))
        pending = {(type(one.message).__name__, bool(one.waiters)): 0 for one in self.session._pending.values()}
        at_server = None if self.link is None else (self.link.open, bool(self.link.session.refs))
        left = None if leaving is None else leaving.lost
        return self.is_up, state, left, list(pending), at_server, len(self.attachments._taken)

    def _say(self, make: Any, on_reply: Any) -> None:
        if self.is_up:
            self._transmit(self.session.open(make, None, self.stage.world.now_ms, on_reply))

    def _transmit(self, *sent: Any) -> None:
        for message in sent:
            if hasattr(message, "id"):
                self.session.left(message.id, self.stage.world.now_ms)
            if self.link is not None and self.link.open and not self.stage.swallows:
                self.link.say(message)


def _ignored(error: PresenceError | None) -> None:
    pass


class Program:
    """A user's own program on the device."""

    def __init__(self, stage: Stage, place: int) -> None:
        self.stage = stage
        self.instance = SERVICES + place + 1
        self.link: FakeLink | None = None
        self.runs = False
        """It was started, and was not told that another has its device."""

    @property
    def is_up(self) -> bool:
        return self.link is not None and self.link.open

    def start(self, *, again: bool = False) -> None:
        try:
            self.link = self.stage.world.open(f"{USER}/{DEVICE}", instance=self.instance, again=again)
            self.runs = True
        except RequestError as error:
            # Where a hello is greeted this is the goodbye `replaced`.
            assert error.code == "device_held"
            self.stage.world.turn()
            self.runs = False
        self.stage.exchange()

    def receive(self) -> bool:
        if self.link is not None and self.link.ended == "replaced":
            self.link, self.runs = None, False
        return False

    def cut(self) -> None:
        if self.link is not None:
            self.link.lose()
            self.link = None

    def key(self) -> Any:
        return self.is_up, self.runs


class Stage:
    """The server, the parties, and the steps that they take."""

    def __init__(self) -> None:
        self.world = World()
        self.swallows = False
        """What is sent now is lost with the link."""
        self.watcher = self._watch()
        self.backends: list[Backend] = []
        self.programs: list[Program] = []
        for place in range(SERVICES):
            self.backends.append(Backend(self, place))
        for place in range(USERS):
            self.programs.append(Program(self, place))

    def _watch(self) -> FakeLink:
        watcher = self.world.open("watcher", role="service")
        watcher.watch(USER)
        watcher.forget()
        return watcher

    def exchange(self) -> None:
        """Let everything be said and answered until nobody has anything to say."""
        said = True
        while said:
            self.world.turn()
            said = any([party.receive() for party in (*self.backends, *self.programs)])

    def restart(self) -> None:
        for party in (*self.backends, *self.programs):
            party.cut()
        now_ms = self.world.now_ms
        self.world = self.world.restarted(1_000, now_ms=now_ms + 1_000)
        self.world.log.facts = self.world.snapshot()
        self.watcher = self._watch()

    def pass_time(self) -> None:
        """As long as a lease and the grace after a restart last together, with the heartbeats of all who are linked."""
        for _ in range(7):
            self.world.advance(GRACE_MS + TICK_MS)
            for backend in self.backends:
                backend.beat()
            for program in self.programs:
                if program.link is not None and program.link.open:
                    program.link.beat()
            self.watcher.beat()
            self.exchange()

    @property
    def status(self) -> str:
        user = self.world.engine.users.get(USER)
        return user.record.status if user is not None else "offline"

    @property
    def holder(self) -> tuple[str, int | None]:
        """`on`, `grace` or `gone`, and the place of the party that the server says has or had it."""
        user = self.world.engine.users.get(USER)
        device = user.devices.get(DEVICE) if user is not None else None
        if device is None or device.state == GONE:
            return "gone", None
        return "on" if device.state == CONNECTED else "grace", device.holder - 1

    def key(self, place: int) -> str:
        """How one party stands."""
        parties = (*self.backends, *self.programs)
        return f"{parties[place].key()} {self.holder[1] == place}"


class Oracle:
    """See the module's text. A party is a place; `linked` says whether both sides have its link, `stale` whether only
    the server believes in one."""

    def __init__(self) -> None:
        self.holder: int | None = None
        self.state = "gone"
        self.linked = [True] * SERVICES + [False] * USERS
        self.stale = [False] * PARTIES
        self.open = [False] * PARTIES
        """Its tab is open, and it was not told that another has the device."""
        self.confirmed = [False] * PARTIES
        """The server has told it that it has the device."""
        self.asking = [False] * PARTIES
        """It has opened its tab, and the server has not answered that."""
        self.closing: dict[int, bool] = {}
        """A close that the server has not answered, and whether it was only the connection that was lost."""

    def key(self, place: int) -> str:
        """How one party stands."""
        lists = (self.linked, self.stale, self.open, self.confirmed, self.asking)
        return f"{[one[place] for one in lists]} {self.closing.get(place)} {self.holder == place}"

    def take(self, party: int) -> None:
        """It reaches the server with an open that nothing can refuse."""
        former = self.holder
        if former is not None and former != party and self.linked[former]:
            # Told at once.
            self.open[former] = self.confirmed[former] = False
            # A service's link goes on, a program's is closed.
            self.linked[former] = former < SERVICES
        self.holder, self.state = party, "on"

    def opens(self, party: int) -> None:
        self.open[party] = True
        if self.linked[party]:
            self.take(party)
            self.confirmed[party] = True
        else:
            self.asking[party] = True

    def closes(self, party: int, *, lost: bool) -> None:
        if not self.open[party]:
            return
        self.open[party] = self.confirmed[party] = self.asking[party] = False
        if self.linked[party]:
            self.end(party, lost=lost)
        else:
            self.closing[party] = lost

    def end(self, party: int, *, lost: bool) -> None:
        if self.holder != party:
            return
        if not lost:
            self.holder, self.state = None, "gone"
        elif self.state == "on":
            self.state = "grace"

    def cut(self, party: int, *, server_too: bool = True) -> None:
        self.stale[party] = (self.linked[party] or self.stale[party]) and not server_too
        self.linked[party] = False
        if server_too and self.holder == party and self.state == "on":
            self.state = "grace"

    def returns(self, party: int) -> None:
        self.linked[party], self.stale[party] = True, False
        lost = self.closing.pop(party, None)
        if lost is not None and not (lost and self.open[party]):
            self.end(party, lost=lost)
        if self.asking[party]:
            self.take(party)
            self.confirmed[party], self.asking[party] = True, False
        elif self.open[party]:
            if self.holder in (None, party):
                self.holder, self.state = party, "on"
            else:
                self.open[party] = self.confirmed[party] = False

    def passes(self) -> None:
        if self.state == "grace" or (self.holder is not None and self.stale[self.holder]):
            self.holder, self.state = None, "gone"
        self.stale = [False] * PARTIES
