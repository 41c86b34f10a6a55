"""One life: a world that is made from a seed, and some dozens of steps that are drawn from it as well.

A step is drawn with a chance of its own, which depends on the seed and the step's number alone. So a step that is left
out leaves the others as they were, and a failing life can be cut down to the steps that matter.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from presenced.core.faces import is_same
from presenced.core.policy import Policy
from presenced.wire.messages import Bye, Get, GetMembers, MembersPage, Record, Records, ServerMessage
from tests.coming_back.words import digest_of
from tests.sim.clients import HAD_BEFORE, Client
from tests.sim.requests import DEVICES, USERS, bad_frame_of, heartbeat_of, request_of
from tests.sim.world import World

WAYS = ("plain", "have", "have", "resume", "resume")
"""In which clients come back (`Client.come`)."""
STEPS_MIN, STEPS_MAX = 15, 35
BEAT_MS = 20_000
QUIET_MS = 6_500
"""By then all that is spaced has been told."""

EXAMINED_EVERY = 4
"""One life of so many has the store's check look at its disk; in all of them it would cost a sixth more time."""


class Failure(NamedTuple):
    """What went wrong in a life."""

    step: int
    error: BaseException


SLEEP_AFTER_MS = (0, 1, 5_000)


class Life:
    """Run it once."""

    def __init__(self, seed: int, *, skip: Container[int] = (), trace: list[str] | None = None) -> None:
        """`skip`: the steps that are left out. `trace` gets a line for whatever happens."""
        self.seed = seed
        chance = random.Random(seed)
        policy = Policy(
            grace_ms=chance.choice((15_000, 15_000, 2_000)),
            away_after_ms=chance.choice((60_000, 300_000)),
            offline_after_ms=chance.choice((0, 360_000)),
            change_spacing_ms=chance.choice((200, 200, 0)),
            change_burst=chance.choice((10, 2)),
            # Not by chance: the same lives as ever.
            sleep_after_ms=SLEEP_AFTER_MS[seed % len(SLEEP_AFTER_MS)],
        )
        durability = chance.choice(("always", "always", "always", "interval=500ms", "os"))
        self.world = world = World(
            chance,
            durability=durability,
            policy=policy,
            rate=chance.choice((0, 0, 0, 30)),
            examines_disk=seed % EXAMINED_EVERY == 0,
        )
        world.trace = trace
        self.steps = chance.randint(STEPS_MIN, STEPS_MAX)
        self._skip = skip
        self._disk_was_bad = False
        for user in USERS[: chance.randint(1, len(USERS))]:
            for device in DEVICES[: chance.randint(1, len(DEVICES))]:
                world.add_client(user, device, sync=chance.random() < 0.5, listens=chance.random() < 0.4)
        for _ in range(chance.randint(0, 2)):
            world.add_client("app")
        if chance.random() < 0.3:
            # A second program that takes the same device for its own.
            world.add_client(USERS[0], DEVICES[0])

    def run(self) -> Failure | None:
        """Live it to its end, or to what goes wrong in it."""
        world, step = self.world, 0
        try:
            with world.running():
                world.start()
                for step in range(1, self.steps + 1):
                    if step in self._skip:
                        continue
                    world.step = step
                    world.chance = random.Random(self.seed * 1_000_003 + step)
                    self._take_step()
                step += 1
                world.step = step
                world.chance = random.Random(-1 - self.seed)
                world.say("--- the last quiet moment")
                self._quiet()
        except Exception as error:
            return Failure(step, error)
        return None

    def counts(self) -> dict[str, int]:
        """What happened, and what came of it."""
        world, views = self.world, self.world.views
        return {
            **world.happened,
            "returns": sum(views.returns.values()),
            "taken back": views.resumed,
            "told": views.told,
            "known": views.kept,
            "checksums": views.checks,
        }

    def _take_step(self) -> None:
        world = self.world
        if world.daemon is None and world.chance.random() < 0.7:
            world.say(f"--- {world.step}: start")
            self._start()
            return
        [action] = world.chance.choices(_ACTIONS, _WEIGHTS)
        world.say(f"--- {world.step}: {action.__name__.strip('_').replace('_', ' ')}")
        action(self)
        if world.daemon is not None and world.chance.random() < 0.8:
            world.pump(1 + int(world.chance.random() * 30))

    # --- clients ------------------------------------------------------------------------------------------------

    def _client(self, *, is_open: bool) -> Client | None:
        found = [client for client in self.world.clients if (client.link is not None) == is_open]
        return self.world.chance.choice(found) if found and self.world.daemon is not None else None

    def _come(self) -> None:
        client = self._client(is_open=False)
        if client is not None:
            self._connect(client)

    def _connect(self, client: Client, ways: Sequence[str] = WAYS) -> None:
        world, chance = self.world, self.world.chance
        world.say(f"{client} connects")
        world.connect(client)
        world.let_come(client.user, client.device)
        said = client.come(
            chance.choice(ways),
            status=chance.choice(("online", "dnd", "away")),
            idle_ms=chance.choice((None, 0, 1_000)),
            kind=chance.choice(("", "desktop")),
            priority=chance.choice((0, 0, 0, 5)),
        )
        for user, device in client.to_come():
            world.let_come(user, device)
        client.say(*said)

    def _talk(self) -> None:
        client = self._client(is_open=True)
        if client is None:
            self._come()
            return
        assert client.link is not None
        if not client.link.is_open:
            self._see_end(client)
            return
        messages = request_of(self.world, client)
        if self.world.trace is not None:
            for message in messages:
                self.world.say(f"{client} -> {message}")
        client.say(*messages)

    def _see_end(self, client: Client) -> None:
        """The client looks at a link that may have ended."""
        link = client.link
        if link is not None and (link.goodbye or link.connection.is_broken or link.connection.server_ended):
            self.world.say(f"{client} sees the end of its link ({link.goodbye})")
            is_in_order = link.said_bye and not link.goodbye and not link.connection.client_ended
            if is_in_order and link.connection.server_ended and not link.may_end:
                # protocol.md 4.4: what was asked before the end is answered before it.
                assert not link.waiting or self._disk_was_bad, f"{client} has no answer to {link.waiting}"
            link.connection.end_sending()
            self._drop(client, told=True)

    def _drop(self, client: Client, *, told: bool) -> None:
        link = client.link
        assert link is not None
        link.connection.break_off(told=told)
        client.link = None
        self.world.happened["lost links"] += 1

    def _beat(self) -> None:
        for client in self.world.clients:
            if client.link is not None and client.link.is_open:
                client.say(heartbeat_of(self.world, client))

    def _send_nonsense(self) -> None:
        client = self._client(is_open=True)
        if client is not None and client.link is not None and client.link.is_open:
            data, goes_on = bad_frame_of(self.world.chance)
            self.world.say(f"{client} -> nonsense {data.hex()}")
            client.link.connection.send(data)
            client.link.may_end = not goes_on or client.link.may_end

    def _say_bye(self) -> None:
        client = self._client(is_open=True)
        if client is not None and client.link is not None and client.link.is_open:
            self.world.say(f"{client} -> bye")
            client.say(Bye())
            client.link.said_bye = True
            self.world.let_leave(client.user, client.device)
            if self.world.chance.random() < 0.3:
                client.link.connection.end_sending()

    def _lose(self) -> None:
        client = self._client(is_open=True)
        if client is not None:
            told = self.world.chance.random() < 0.7
            self.world.say(f"{client} is cut off, and the server {'hears' if told else 'does not hear'} of it")
            self._drop(client, told=told)

    def _stop_reading(self) -> None:
        client = self._client(is_open=True)
        if client is not None and client.link is not None:
            self.world.say(f"{client} stops reading")
            client.link.connection.stop_reading()

    def _read_on(self) -> None:
        for client in self.world.clients:
            if client.link is not None and not client.link.connection.client_reads:
                self.world.say(f"{client} reads on")
                client.link.connection.read_on()

    # --- time ---------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        self.world.settle(self.world.chance.choice((1, 50, 300, 2_000)))

    def _wait_long(self) -> None:
        """With heartbeats, as far as links are up."""
        for _ in range(self.world.chance.randint(1, 4)):
            self._beat()
            self.world.settle(BEAT_MS)

    def _wait_in_silence(self) -> None:
        """No client says anything: leases run out."""
        self.world.settle(self.world.chance.choice((16_000, 45_000, 80_000, 95_000)))

    def _stand_still(self) -> None:
        """The process gets no time for a while."""
        self._beat()
        world = self.world
        ms = world.chance.choice((900, 1_500, 5_000))
        world.slack_ms = max(world.slack_ms, ms + 10)
        if world.stood_from_ms is None:
            world.stood_from_ms = world.time.now_ms
        world.time.now_ns += ms * 1_000_000

    def _set_clock(self) -> None:
        jump_ms = self.world.chance.choice((-3_600_000, -700, 800, 3_600_000))
        self.world.say(f"the clock is set by {jump_ms} ms")
        self.world.time.wall_offset_ns += jump_ms * 1_000_000
        self.world.jumps_ms += abs(jump_ms) % 3_600_000

    # --- the server and its disk --------------------------------------------------------------------------------

    def _start(self) -> None:
        world = self.world
        if world.daemon is not None:
            return
        if world.chance.random() < 0.2:
            world.disk.crash_at = world.disk.operations + world.chance.randint(0, 40)
        if world.start():
            world.disk.crash_at = None
            for client in world.clients:
                if world.chance.random() < 0.7:
                    self._connect(client)

    def _kill(self) -> None:
        world = self.world
        if world.daemon is not None:
            world.pump(world.chance.randint(0, 12))
        if world.daemon is not None:
            world.crash(power_cut=world.chance.random() < 0.6)
        self._start()

    def _cut_power_soon(self) -> None:
        """At one of the next operations of the disk."""
        self.world.disk.crash_at = self.world.disk.operations + self.world.chance.randint(0, 12)

    def _stop(self) -> None:
        if self.world.daemon is not None:
            self.world.stop()
        self._start()

    def _take_snapshot(self) -> None:
        if self.world.daemon is not None:
            self.world.daemon.log.take_snapshot()

    def _fill_disk(self) -> None:
        self._disk_was_bad = True
        disk = self.world.disk
        disk.space = None if disk.space is not None else self.world.chance.choice((0, 300, 3_000))
        self.world.say("the disk has room" if disk.space is None else f"the disk has room for {disk.space} bytes")

    def _fail_disk(self) -> None:
        self._disk_was_bad = True
        disk, chance = self.world.disk, self.world.chance
        if chance.random() < 0.5:
            disk.sync_faults.add(disk.syncs + chance.randint(0, 3))
        else:
            disk.faults[disk.operations + chance.randint(0, 8)] = chance.choice((errno.EIO, errno.ENOSPC))

    # --- quiet --------------------------------------------------------------------------------------------------

    def _quiet(self) -> None:
        """All is well for a while: then everybody knows the truth, and everything was answered."""
        world = self.world
        # What has failed by now is noticed while the disk is known to be bad.
        world.pump()
        world.disk.space = world.disk.crash_at = None
        world.disk.faults.clear()
        world.disk.sync_faults.clear()
        if world.daemon is None and not world.start():
            raise AssertionError("there is no start on a disk that is well")
        for _ in range(3):
            self._read_on()
            for client in world.clients:
                self._see_end(client)
            self._beat()
            world.settle(QUIET_MS)
        self._come_back_in_the_quiet()
        for client in world.clients:
            if client.link is not None and client.link.is_open:
                self._must_know_the_truth(client)
        world.check_registers()

    def _come_back_in_the_quiet(self) -> None:
        """Some lose their links, and some of what they have, and come back: they are told of as many as differ."""
        world, chance = self.world, self.world.chance
        returns = []
        for client in world.clients:
            if client.link is None or not client.link.is_open or client.link.waiting or chance.random() < 0.5:
                continue
            client.forget_some(chance)
            self._drop(client, told=chance.random() < 0.5)
            self._connect(client, WAYS[1:])
            answers = Answers(client)
            if answers.names:
                client.say(Get(client.next_id(), answers.names))
                returns.append(answers)
        world.settle(QUIET_MS)
        for answers in returns:
            answers.judge()

    def _must_know_the_truth(self, client: Client) -> None:
        """What the client was told until now is what it is told if it asks."""
        link = client.link
        assert link is not None
        assert not link.waiting or link.may_end, f"{client} waits for answers to {list(link.waiting.values())}"
        link.told.agree()
        view = dict(link.view)
        names = [*link.watched, *link.pushed]
        rooms = {name: (room.total, dict(room.members or {}), room.members) for name, room in link.told.rooms.items()}
        answers: list[ServerMessage] = []
        link.listen = answers.append
        client.say(*([Get(client.next_id(), names)] if names else ()))
        client.say(*(GetMembers(client.next_id(), room, "", 256) for room in rooms))
        self.world.settle(1_000)
        link.listen = None
        for answer in answers:
            if isinstance(answer, Records):
                for record in answer.records:
                    known = view.get(record.user)
                    is_right = known is not None and _is_known(client, known, record)
                    assert is_right or (known is None and not record.version), f"{client}: {known}, not {record}"
            elif isinstance(answer, MembersPage):
                where = f"{client} in {answer.channel}"
                total, members, are_known = rooms[answer.channel]
                assert total == answer.total, f"{where} counts {total}, not {answer.total}"
                if are_known is not None:
                    there = {record.user: record for record in answer.records}
                    is_right = members.keys() == there.keys()
                    is_right = is_right and all(_is_known(client, members[name], there[name]) for name in there)
                    assert is_right, f"{where} knows {members}, not {there}"


class Answers:
    """What a client is told that comes back, and what is true."""

    def __init__(self, client: Client) -> None:
        """The client has said what it has, and is about to ask for the truth of `names`."""
        assert client.link is not None
        self.client = client
        self.had = dict(client.link.had)
        self.names = list(dict.fromkeys(name for had in self.had.values() for name in had))
        self._told: dict[int, Records] = {}
        self._truth: dict[str, Record] = {}
        client.link.listen = self._learn

    def _learn(self, message: ServerMessage) -> None:
        if isinstance(message, Records) and message.id in self.had:
            self._told[message.id] = message
        elif isinstance(message, Records):
            self._truth = self._truth or {record.user: record for record in message.records}

    def judge(self) -> None:
        """Each answer has those whom the client saw otherwise, and nobody else."""
        for request_id, answer in self._told.items() if self._truth else ():
            had, told = self.had[request_id], {record.user for record in answer.records}
            for name, record in self._truth.items():
                # Whoever has changed since is another matter.
                if name in had and record.version <= answer.version:
                    differs = digest_of(had[name]) != digest_of(record)
                    assert differs == (name in told), f"{self.client} had {had[name]}: {answer}, and true is {record}"
        if self.client.link is not None:
            self.client.link.listen = None


def _is_known(client: Client, known: Record, record: Record) -> bool:
    """Whether what the client knows of a user is this. What users are told may have the version of the moment."""
    return is_same(known, record) if client.device or known.version == HAD_BEFORE else known == record


Action = Callable[[Life], None]

_WEIGHTED: tuple[tuple[float, Action], ...] = (
    (12, Life._come),
    (40, Life._talk),
    (5, Life._beat),
    (2, Life._send_nonsense),
    (2, Life._say_bye),
    (4, Life._lose),
    (4, Life._stop_reading),
    (4, Life._read_on),
    (8, Life._wait),
    (2, Life._wait_long),
    (1.5, Life._wait_in_silence),
    (1, Life._stand_still),
    (1, Life._set_clock),
    (5, Life._kill),
    (2, Life._cut_power_soon),
    (1.5, Life._stop),
    (2.5, Life._take_snapshot),
    (1, Life._fill_disk),
    (0.7, Life._fail_disk),
    (2, Life._quiet),
)
_ACTIONS = [action for _, action in _WEIGHTED]
_WEIGHTS = [weight for weight, _ in _WEIGHTED]
