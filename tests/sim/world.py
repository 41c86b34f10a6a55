"""The world of one life: a machine (clocks, disk), the server on it, and clients elsewhere. All choices come from one
source of chance, so that a seed brings back everything, byte for byte.

Real are the conversation of a link and its TCP transport, the links, the turn, the core, the log on disk with its
committer and snapshots, and the restore. Simulated are sockets, the event loop, the committer's thread, the disk under
it, and both clocks. Whoever is to run next, loop, thread or network, is drawn by lot.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from presenced import limits
from presenced.config.settings import Durability
from presenced.core.model import CONNECTED, GONE, GRACE
from presenced.core.policy import Policy
from presenced.server import greeting
from presenced.server.conversation import Conversation
from presenced.server.fact_log import Ack
from presenced.server.transports import tcp
from presenced.server.transports.tcp import TcpTransport
from presenced.storage import committer, segment, snapshot, store
from presenced.storage.check import Examined
from presenced.storage.files import DiskFull
from presenced.wire.messages import Done, Error, Goodbye, MembersPage, Record, Records, ServerMessage, WhoPage
from tests.sim import edge_invariants, store_check
from tests.sim.clients import Client, Link
from tests.sim.daemon import Daemon
from tests.sim.loop import Time
from tests.sim.promises import Face, Faces, Register, Views, Write, face_of
from tests.sim.sockets import Connection, Sockets
from tests.storage.simdisk import RandomDecider, SimCrash, SimDisk

ROUNDS_MAX = 20_000
SEGMENT_BYTES = 16_384
TICK_MS = 64
"""How late the wheel may be."""

READ_MS = 30_000
"""By then the server has read what it was sent, whatever the pace of the link."""

RESTART_GRACE_MS = limits.RESTART_GRACE_MS
RESTART_SPREAD_MS = limits.RESTART_SPREAD_MS


@contextmanager
def small_units() -> Iterator[None]:
    """Let files, segments and buffers be so small that a short life goes through many of them. And collections are not
    for a process that begins a thousand servers."""
    with (
        patch.object(segment, "ALLOCATE_BYTES", 1_536),
        patch.object(committer, "GONE_LOOK_S", 30.0),
        patch.object(snapshot, "SYNC_BYTES", 2_048),
        patch.dict(store.open_store.__kwdefaults__, segment_bytes=SEGMENT_BYTES),
        patch.object(limits, "SEND_BUFFER_BYTES", 256),
        patch.object(limits, "OUTBOX_BYTES_MAX", 2_048),
        patch.object(gc, "freeze", lambda: None),
    ):
        yield


class Live:
    """A device that is live, as the world has seen it come and be lost."""

    __slots__ = ("earliest_ms", "latest_ms", "state")

    def __init__(self, state: int) -> None:
        self.state = state
        self.earliest_ms = self.latest_ms = 0
        """When its grace may end, if it is in it."""


class World:
    """A machine, at most one server on it, and clients."""

    def __init__(
        self, chance: random.Random, *, durability: str, policy: Policy, rate: int, examines_disk: bool
    ) -> None:
        """`examines_disk`: whether the store's own check looks at the disk before and after each start."""
        self.chance = chance
        self.time = Time()
        self.disk = SimDisk()
        self.durability = Durability.parse(durability)
        self.policy = policy
        self.rate = rate
        self.daemon: Daemon | None = None
        self.clients: list[Client] = []
        self.faces = Faces()
        self.views = Views()
        self.happened: Counter[str] = Counter()
        """What befell server and links, and changes of who sees whom."""
        self.registers: dict[tuple[str, str], Register] = {}
        self.step = 1
        """The number of the present step, for the registers."""
        self.trace: list[str] | None = None
        self.epoch = 0
        self.clean = False
        """The last stop was in order."""
        self._examines_disk = examines_disk
        self._examined: Examined | None = None
        """What the store's check said before the start under way."""
        self.is_kept = True
        """Whether the disk was left with everything that clients have answers from."""
        self.slack_ms = 0
        """For how long the process stood still in this life."""
        self.stood_from_ms: int | None = None
        """Since when no turn has ended, if it stood still meanwhile: what it heard of before counts from then."""
        self.jumps_ms = 0
        """By how much the wall clock was set, in small steps: the times of starts are kept by it."""
        self._conversations: list[Conversation] = []
        """All that there were, so that no two have the same address."""
        self._sockets = Sockets()
        self._fds = 100
        self._by_link: dict[int, Client] = {}
        self._writes: dict[tuple[int, int], list[tuple[Register, Write]]] = {}
        self._versions: dict[tuple[str, int], tuple[str, ...]] = {}
        """What each version of a user that anybody was told stands for."""
        self._newest = 0
        """The highest version that anybody was told, of a record or of an answer."""
        self._live: dict[tuple[str, str], Live] = {}
        self._asked_to_leave: dict[tuple[str, str], int] = {}
        self._asked_to_come: dict[tuple[str, str], int] = {}
        self._start_ms: list[int] = []
        """The starts that followed each other closely, those among them that came to nothing."""

    def say(self, text: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.time.now_ms - 5_000_017:>8} {text}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The world is this process's while it lasts. Its tokens are as many as there are links, and no chance."""
        drawn = itertools.count(1)
        with (
            patch.object(tcp, "os", self._sockets),
            patch.object(greeting, "draw_token", lambda: f"{next(drawn):022}"),
        ):
            yield

    # --- the server's life --------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start a server on the disk as it is; False if that fails, which it may only for the disk."""
        assert self.daemon is None
        if self._start_ms and self.time.now_ms - self._start_ms[-1] >= RESTART_GRACE_MS + RESTART_SPREAD_MS:
            self._start_ms.clear()
        self._start_ms.append(self.time.now_ms)
        chance = random.Random(self.chance.getrandbits(64))
        self._examined = store_check.examine(self.disk, is_store=bool(self.epoch)) if self._examines_disk else None
        try:
            daemon = Daemon(
                self.time,
                self.disk.root,
                self.durability,
                self.policy,
                chance,
                rate=self.rate,
                ended_turn=self._ended_turn,
                born=self._born,
            )
        except SimCrash:
            self.say("the machine stops during the start")
            self.clean = False
            self.disk = self._after_power_cut()
            return False
        except (DiskFull, OSError) as error:
            assert self.disk.space is not None or self.disk.faults or self.disk.sync_faults, (
                f"the start failed: {error}"
            )
            self.say(f"the start fails: {error}")
            self.clean = False
            self.disk = self.disk.killed()
            return False
        assert daemon is self.daemon
        return True

    def _born(self, daemon: Daemon) -> None:
        """A server has read its directory, and has told nobody anything."""
        engine = daemon.engine
        if self.epoch:
            assert engine.ledger.epoch == self.epoch, "the history was lost"
        self.epoch = engine.ledger.epoch
        assert engine.ledger.version >= self._newest, (
            f"versions go on from {engine.ledger.version}, and {self._newest} was told before"
        )
        face = engine.restored
        self.say(
            f"a server starts, {'after a stop in order' if daemon.findings.clean else 'not after a stop in order'}"
        )
        assert daemon.findings.clean or not self.clean, "the stop was in order, and the start does not see it"
        if self._examines_disk:
            store_check.compare(self._examined, daemon.findings, self.disk)
        self.faces.judge(face, is_kept=self.is_kept)
        self._judge_registers(face)
        self.clean, self.is_kept = False, True
        now_ms = self.time.now_ms
        grace_ms = max(self.policy.grace_ms, RESTART_GRACE_MS)
        live = {}
        for user in engine.users.values():
            for device in user.devices.values():
                if device.state != GONE:
                    entry = live[user.name, device.id] = Live(GRACE)
                    # The grace of one that has not been back since an earlier start counts from that. Who has been back
                    # may have been forgotten with the tail of the log.
                    entry.earliest_ms = self._start_ms[0] + grace_ms - self.jumps_ms
                    entry.latest_ms = now_ms + grace_ms + RESTART_SPREAD_MS
        self._live = live
        self.daemon = daemon

    @property
    def disk_is_bad(self) -> bool:
        """Whether the disk was told to fail, or to be full."""
        disk = self.disk
        return disk.space is not None or bool(disk.faults or disk.sync_faults)

    def crash(self, *, power_cut: bool) -> None:
        """The process is killed, or the machine stops."""
        self.say("the power is cut" if power_cut else "the process is killed")
        self.happened["crashes"] += 1
        self.disk = self._after_power_cut() if power_cut else self.disk.killed()
        self._end()

    def _after_power_cut(self) -> SimDisk:
        self.is_kept = self.is_kept and self.durability.policy == "always"
        return self.disk.cut(RandomDecider(self.chance.getrandbits(32)))

    def stop(self) -> None:
        """The server is stopped in order."""
        daemon = self.daemon
        assert daemon is not None
        self.say("the server is stopped in order")
        self.happened["restarts"] += 1
        daemon.begin_stop()
        self.settle(2_000)
        if self.daemon is not daemon:
            return
        try:
            daemon.finish_stop()
        except SimCrash:
            self.crash(power_cut=True)
            return
        self.clean = daemon.log.error is None
        self.disk = self.disk.killed()
        self._end()

    def _end(self) -> None:
        self.daemon = None
        for client in self.clients:
            if client.link is not None:
                client.link.connection.break_off(told=False)
                client.link = None
        for register in self.registers.values():
            register.give_up(self.step)
        self._writes.clear()
        self._by_link.clear()
        self._sockets.by_fd.clear()

    # --- who runs next ------------------------------------------------------------------------------------------

    def pump(self, rounds: int = ROUNDS_MAX) -> bool:
        """Run what can run now, in an order drawn by lot; gives whether nothing is left to do now."""
        chance = self.chance
        for _ in range(rounds):
            daemon = self.daemon
            if daemon is None:
                return True
            readable = [client for client in self.clients if client.link and client.link.connection.is_readable]
            choices: list[str] = []
            if daemon.loop.is_busy:
                choices.append("loop")
            if daemon.runner.is_ready:
                choices.append("thread")
            if readable:
                choices.append("network")
            if not choices:
                return True
            choice = choices[int(chance.random() * len(choices))] if len(choices) > 1 else choices[0]
            if choice == "loop":
                daemon.loop.run_pass()
            elif choice == "thread":
                daemon.runner.run_step()
            else:
                self._deliver(readable[int(chance.random() * len(readable))])
            if self.disk.crashed:
                self.crash(power_cut=True)
            elif daemon.is_broken:
                assert self.disk_is_bad, f"the log failed: {daemon.log.error}"
                self.crash(power_cut=False)
        if rounds == ROUNDS_MAX:
            raise AssertionError("there is no end of what is to be done now")
        return False

    def _deliver(self, client: Client) -> None:
        assert client.link is not None
        connection = client.link.connection
        client.link.delivered_ms = self.time.now_ms
        size = len(connection.in_flight)
        if size > 1 and self.chance.random() < 0.3:
            size = 1 + int(self.chance.random() * size)
        connection.deliver(size)

    def settle(self, ms: int) -> None:
        """Let this much time pass, and do all that comes up in it, each thing at its time."""
        end_ns = self.time.now_ns + ms * 1_000_000
        for _ in range(ROUNDS_MAX):
            self.pump()
            daemon = self.daemon
            due = [end_ns]
            if daemon is not None:
                due += [ns for ns in (daemon.loop.next_ns, daemon.runner.next_ns) if ns is not None]
            next_ns = max(self.time.now_ns, min(due))
            if next_ns >= end_ns:
                break
            self.time.now_ns = next_ns
        else:
            raise AssertionError("one thing after the other comes up")
        self.time.now_ns = end_ns
        self.pump()

    def _ended_turn(self, given: list[Ack] | None) -> None:
        daemon = self.daemon
        assert daemon is not None
        if given is not None:
            answers = []
            for session, request_id, _ in given:
                # Without a session it is about events, which are no answer.
                client = self._by_link.get(id(session.edge)) if session is not None else None
                if client is not None:
                    answers.append((client.number, request_id))
            self.faces.note(face_of(daemon.engine), answers)
        edge_invariants.check(daemon)
        self._watch_devices(daemon)
        self._watch_leases(daemon)
        self.stood_from_ms = None

    def _watch_devices(self, daemon: Daemon) -> None:
        """Hold how devices come and go against the clock: nobody goes before the grace is over, or long after."""
        now_ms, grace_ms = self.time.now_ms, self.policy.grace_ms
        seen: dict[tuple[str, str], None] = {}
        for user in daemon.engine.users.values():
            for device in user.devices.values():
                key = user.name, device.id
                known = self._live.get(key)
                if device.state == GONE:
                    if known is not None:
                        early_ms = known.earliest_ms - now_ms if known.state == GRACE else 1
                        assert early_ms <= 0 or self._is_recent(self._asked_to_leave, key), (
                            f"{key} is gone {early_ms} ms too early"
                        )
                        del self._live[key]
                    continue
                seen[key] = None
                if known is None:
                    known = self._live[key] = Live(CONNECTED)
                if device.state == GRACE and known.state == CONNECTED:
                    known.earliest_ms = grace_ms + (now_ms if self.stood_from_ms is None else self.stood_from_ms)
                    known.latest_ms = now_ms + grace_ms
                elif device.state == GRACE:
                    if self._is_recent(self._asked_to_come, key):
                        # It may have come and been lost again within one turn.
                        known.earliest_ms = min(known.earliest_ms, now_ms + grace_ms)
                        known.latest_ms = max(known.latest_ms, now_ms + grace_ms)
                    late_ms = now_ms - known.latest_ms - TICK_MS
                    is_late = late_ms > self.slack_ms and not daemon.is_stopping
                    assert not is_late, f"{key} is in grace {late_ms} ms after its end"
                known.state = device.state
        for key in [key for key, known in self._live.items() if key not in seen]:
            del self._live[key]
            assert self._is_recent(self._asked_to_leave, key), f"{key} is forgotten while it is live"

    def _watch_leases(self, daemon: Daemon) -> None:
        """Nobody is held for connected of whom nothing has come for longer than a lease."""
        if daemon.is_stopping:
            return
        overdue_ms = self.time.now_ms - self.policy.timeout_ms - TICK_MS - self.slack_ms - READ_MS
        for client in self.clients:
            link = client.link
            if link is not None and link.welcome is not None and link.delivered_ms < overdue_ms:
                assert link.goodbye or link.said_bye or link.connection.is_lost or not link.connection.client_reads, (
                    f"{client} is not cut off after {self.time.now_ms - link.delivered_ms} ms of silence"
                )

    def let_leave(self, user: str, device: str) -> None:
        """Somebody asks for the end of a device, as soon as that is read."""
        self._asked_to_leave[user, device] = self.time.now_ms

    def let_come(self, user: str, device: str) -> None:
        """Somebody asks for a device, and has it as soon as that is read."""
        self._asked_to_come[user, device] = self.time.now_ms

    def _is_recent(self, asked: dict[tuple[str, str], int], key: tuple[str, str]) -> bool:
        asked_ms = asked.get(key)
        return asked_ms is not None and self.time.now_ms - asked_ms <= READ_MS

    # --- clients ------------------------------------------------------------------------------------------------

    def add_client(self, user: str, device: str = "", *, sync: bool = False, listens: bool = False) -> Client:
        number, role = len(self.clients) + 1, "user" if device else "service"
        client = Client(number, user, device, role, self._told, self.views, sync=sync, listens=listens)  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def connect(self, client: Client) -> Link:
        """A connection for the client, which is up at once."""
        daemon = self.daemon
        assert daemon is not None

        def make(receive: Callable[[bytes], None]) -> Connection:
            self._fds += 1
            connection = Connection(daemon.loop, self._fds, is_tls=self.chance.random() < 0.25, receive=receive)
            self._sockets.by_fd[self._fds] = connection
            link = daemon.admit()
            self._by_link[id(link)] = client
            self._conversations.append(link)
            connection.protocol = TcpTransport(link)
            connection.protocol.connection_made(connection)  # type: ignore[arg-type]  # the part that is used
            return connection

        return client.connect(make)

    def set(self, client: Client, request_id: int, user: str, what: str, value: str | None, *, ends: bool) -> None:
        """The client asks for something that a register keeps."""
        register = self.registers.get((user, what))
        if register is None:
            register = self.registers[user, what] = Register()
        self._writes[client.number, request_id] = [(register, register.begin(value, self.step, ends=ends))]

    def erase(self, client: Client, request_id: int, user: str) -> None:
        """The client asks that everything of a user be forgotten."""
        registers = [register for (name, _), register in self.registers.items() if name == user]
        writes = [(register, register.begin("", self.step, ends=False)) for register in registers]
        self._writes[client.number, request_id] = writes

    def _told(self, client: Client, message: ServerMessage) -> None:
        if self.trace is not None:
            self.say(f"{client} <- {message}")
        if isinstance(message, Goodbye) and message.code == "lease_expired":
            assert client.link is not None
            silent_ms = self.time.now_ms - client.link.delivered_ms
            # What came last may have been the beginning of a frame, after a silence.
            is_whole = not client.link.connection.in_flight
            assert silent_ms >= self.policy.timeout_ms or not is_whole, f"{client} was cut off after {silent_ms} ms"
        request_id = getattr(message, "id", 0)
        if request_id:
            if not isinstance(message, Error):
                self.faces.answered(client.number, request_id)
            writes = self._writes.pop((client.number, request_id), ())
            if not (isinstance(message, Error) and message.code == "read_only"):
                # Refused for the disk it may have been applied all the same, and shows.
                for register, write in writes:
                    register.resolve(write, self.step, done=not isinstance(message, Error))
        record = getattr(message, "record", None)
        for one in (record,) if record is not None else getattr(message, "records", ()):
            # A record of less than all has the version of the moment at which it is told, whoever it is of.
            if not client.device:
                self._note_version(one)
        if isinstance(message, Done | Records | WhoPage | MembersPage):
            self._newest = max(self._newest, message.version)

    def _note_version(self, record: Record) -> None:
        version = record.version
        if not version:
            return
        content = record.status, record.text, record.emoji, record.device
        known = self._versions.setdefault((record.user, version), content)
        assert known == content, f"{record.user}'s version {version} stood for {known} and now for {content}"
        self._newest = max(self._newest, version)

    def _judge_registers(self, face: Face) -> None:
        for (user, what), register in self.registers.items():
            value = _value_of(face.get(user, ()), what)
            assert register.admits(value) or not self.is_kept, f"{user}'s {what} is {value!r}"
            register.settle(value)

    def check_registers(self) -> None:
        """What is kept of each user is what somebody said last."""
        assert self.daemon is not None
        face = face_of(self.daemon.engine)
        for (user, what), register in self.registers.items():
            value = _value_of(face.get(user, ()), what)
            assert register.admits(value), f"{user}'s {what} is {value!r}"


def _value_of(stance: tuple[object, ...], what: str) -> str:
    for part in stance:
        assert isinstance(part, tuple)
        if part[0] == "TextSet" and what == "text":
            return str(part[1])
        if len(part) == 4 and f"claim {part[0]}" == what:
            return str(part[2])
    return ""
