"""Random lives of a home and of another node that has copies of its users, held against each other."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from presenced.core.faces import is_same
from presenced.core.model import Schedule
from presenced.core.parts.schedules import Opening
from presenced.core.policy import Policy
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Approve,
    Attach,
    Await,
    Block,
    Cancel,
    Check,
    ClientMessage,
    ContactEntry,
    Detach,
    EndClaim,
    Erase,
    Forget,
    Get,
    GetContacts,
    GetMembers,
    HideFrom,
    Join,
    Leave,
    RemoveContact,
    Revoke,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
    Window,
)
from tests.core.mirror import Home, Pair, open_pair, watch_contacts

USERS = ("alice", "bob", "carol")


DEVICES = ("laptop", "phone", "tool")


CHANNELS = ("general", "side")


STATUSES = ("dnd", "chat", "online", "away", "xa")


CLAIMED = ("dnd", "online", "away", "offline", "offline")


LEVELS = ("everyone", "contacts", "nobody")


ROUND_MS = 1_000


STEPS = 250


ID = 0


"""Of a request that is numbered when it is said."""


def lasting_ms(r: Random) -> int:
    return r.choice((0, r.randint(1, 6) * ROUND_MS))


def some_users(r: Random) -> list[str]:
    return r.sample((*USERS, "nobody"), r.randint(1, 4))


def few_users(r: Random) -> list[str]:
    return r.sample(USERS, r.randint(0, 1))


SAID_BY_USERS: tuple[Callable[[Random], ClientMessage], ...] = (
    lambda r: SetStatus(
        ID, r.choice((*CLAIMED, None, "auto")), r.choice((None, "", "lunch", "trip")), for_ms=lasting_ms(r)
    ),
    lambda r: SetStatus(ID, r.choice((*CLAIMED, None, "auto")), None, r.choice((None, "*")), lasting_ms(r)),
    lambda r: SetDevice(ID, r.choice((None, *STATUSES)), r.choice((None, 0, 5, -1))),
    lambda r: Join(ID, r.choice(CHANNELS)),
    lambda r: Join(ID, r.choice(CHANNELS)),
    lambda r: Leave(ID, r.choice(CHANNELS)),
    lambda r: ShowTo(ID, r.choice(USERS)),
    lambda r: ShowTo(ID, r.choice(USERS)),
    lambda r: StopShowing(ID, r.choice(USERS)),
    lambda r: Subscribe(ID, r.choice(USERS), r.choice(("", "hi"))),
    lambda r: Approve(ID, r.choice(USERS)),
    lambda r: Cancel(ID, r.choice(USERS)),
    lambda r: Unsubscribe(ID, r.choice(USERS)),
    lambda r: SetContact(ID, r.choice(USERS), r.choice((None, "Al")), r.choice((None, ["work"]))),
    lambda r: RemoveContact(ID, r.choice(USERS)),
    lambda r: Block(ID, r.choice(USERS)),
    lambda r: Unblock(ID, r.choice(USERS)),
    lambda r: Unblock(ID, r.choice(USERS)),
    lambda r: HideFrom(ID, r.choice(USERS)),
    lambda r: ShowAgain(ID, r.choice(USERS)),
    lambda r: SetAudience(ID, *(r.choice(LEVELS) for _ in range(3)), few_users(r), few_users(r)),
    lambda r: SetAudience(ID),
)


SAID_BY_SERVICES: tuple[Callable[[Random], ClientMessage], ...] = (
    lambda r: AddClaim(
        ID, r.choice(("manual", "trip")), "manual", r.choice(CLAIMED), lasting_ms(r), 0, r.choice(USERS)
    ),
    lambda r: AddClaim(ID, "talk", "call", r.choice(STATUSES), lasting_ms(r), 0, r.choice(USERS)),
    lambda r: EndClaim(ID, r.choice(("manual", "trip", "talk")), r.choice(USERS)),
    lambda r: Attach(
        ID,
        r.randint(1, 3),
        r.choice(USERS),
        r.choice(DEVICES),
        r.choice(("", "mobile")),
        priority=r.choice((0, 0, -1)),
        status=r.choice(STATUSES),
        for_at_most_ms=lasting_ms(r),
    ),
    lambda r: Detach(ID, r.randint(1, 3), r.choice((False, True))),
    lambda r: Join(ID, r.choice(CHANNELS), r.choice(USERS), r.choice(DEVICES)),
    lambda r: Leave(ID, r.choice(CHANNELS), r.choice(USERS), r.choice(DEVICES)),
    lambda r: Touch(ID, r.choice(USERS)),
    lambda r: Forget(ID, r.choice(DEVICES), r.choice(USERS)),
    lambda r: AddActivity(ID, "call", user=r.choice(USERS)),
    lambda r: SetSchedule(ID, "X", r.choice(([], [Window(127, 0, 60)])), user=r.choice(USERS)),
    lambda r: SetContacts(
        ID,
        r.choice(USERS),
        [ContactEntry(name, r.choice(("none", "to", "from", "both")), r.choice(("", "Bo"))) for name in few_users(r)],
    ),
)


ASKED: tuple[Callable[[Random], ClientMessage], ...] = (
    lambda r: Watch(ID, some_users(r)),
    lambda r: Watch(ID, some_users(r)),
    lambda r: Unwatch(ID, some_users(r)),
    lambda r: Get(ID, some_users(r)),
    lambda r: Who(ID),
    lambda r: GetContacts(ID, user=r.choice(USERS)),
    lambda r: WatchChannel(ID, r.choice(CHANNELS)),
    lambda r: UnwatchChannel(ID, r.choice(CHANNELS)),
    lambda r: GetMembers(ID, r.choice(CHANNELS)),
    lambda r: Check(ID),
    lambda r: Await(
        ID,
        r.choice(USERS),
        20 * ROUND_MS,
        r.sample(("online", "dnd", "offline"), r.randint(0, 1)),
        r.choice(([], ["mobile"])),
        r.choice((0, 3 * ROUND_MS)),
    ),
)


def each_other_round(schedule: Schedule, wall_ms: int) -> Opening:
    """Windows that open and close every eight rounds."""
    at = wall_ms // (8 * ROUND_MS)
    return Opening(at % 2 == 0, (at + 1) * 8 * ROUND_MS)


class Lives:
    """Everything that may happen to users at home, and pairs of clients that watch and ask at both nodes."""

    def __init__(self, seed: int, *, is_sleepy: bool = False, skew_ms: int = 0) -> None:
        self.r = r = Random(seed)
        self.skew_ms = skew_ms
        policy = Policy(
            heartbeat_ms=20 * ROUND_MS,
            grace_ms=2 * ROUND_MS,
            grace_by_kind={"mobile": 4 * ROUND_MS},
            away_after_ms=5 * ROUND_MS,
            offline_after_ms=12 * ROUND_MS,
            primary_hysteresis_ms=ROUND_MS,
            change_spacing_ms=r.choice((0, 300)),
            grounds=r.choice((("everyone",), ("contacts",), ("channels", "contacts"))),
            reciprocal=r.choice((False, True)),
        )
        self.home = Home(policy, calendar=each_other_round, skew_ms=skew_ms)
        self.home.is_sleepy = self.home.away.is_sleepy = is_sleepy
        self.pairs: list[Pair] = [open_pair(self.home, "app", role="service", instance=1)]
        self.numbers = 1
        self.admin = self.home.open("admin", role="admin")
        for user in USERS:
            self.come(user, "laptop")
        self.acts: list[Callable[[], object]] = [
            *[self.let_users_say] * 8,
            *[self.let_services_say] * 6,
            *[self.ask] * 8,
            *[self.beat] * 3,
            *[self.let_come] * 3,
            *[self.go] * 2,
            *[self.let_time_pass] * 2,
            self.stall,
            self.drain,
            self.drain,
            self.watch_all,
        ]

    def run(self, steps: int = STEPS) -> None:
        for _ in range(steps):
            # Apart, as a second change within a millisecond puts the counters of the two apart.
            self.pass_time(130)
            self.r.choice(self.acts)()
            if self.r.random() < 0.02:
                self.moderate()
            self.agree()
        for pair in self.pairs:
            if pair.open:
                pair.drain()
        self.pass_time(2 * ROUND_MS)

    def pass_time(self, ms: int) -> None:
        self.home.advance(ms)
        self.agree()

    def agree(self) -> None:
        for pair in self.pairs:
            if not pair.open:
                pair.lose()
            elif not self.skew_ms:
                # What time alone decides comes at other moments where another clock is asked.
                pair.agree()
        self.pairs = [pair for pair in self.pairs if pair.open]
        home, away = self.home.engine, self.home.away.engine
        for name in USERS:
            assert home.users.knows(name) == away.users.knows(name)
            here, there = home.users.awake(name), away.users.awake(name)
            if here is not None and there is not None and here.record != there.record:
                # Links elsewhere were told by another face in a version above it.
                assert there.record.version > here.record.version and is_same(here.record, there.record)
        assert list(home.publisher.online) == list(away.publisher.online)
        assert home.publisher.online.by_status == away.publisher.online.by_status

    def pick(self, *, service: bool | None = None) -> Pair:
        self.agree()
        kinds = [pair for pair in self.pairs if service is None or (pair.here.session.role == "service") == service]
        if not kinds:
            self.come(self.r.choice(USERS), self.r.choice(DEVICES))
            return self.pairs[-1]
        return self.r.choice(kinds)

    # --- what happens -----------------------------------------------------------------------------------------

    def come(self, user: str, device: str) -> None:
        self.pass_time(130)
        self.numbers += 1
        idle_ms = self.r.choice((None, self.r.randint(0, 12) * ROUND_MS))
        pair = open_pair(self.home, f"{user}/{device}", idle_ms=idle_ms, instance=self.numbers)
        self.pairs.append(pair)
        if self.r.random() < 0.7:
            watch_contacts(self.home, pair)
            pair.ask(GetContacts(ID))
        for channel in CHANNELS:
            if self.r.random() < 0.5:
                pair.ask(WatchChannel(ID, channel))

    def let_come(self) -> None:
        if len(self.pairs) < 8:
            self.come(self.r.choice(USERS), self.r.choice(DEVICES))

    def let_users_say(self) -> None:
        self.pick(service=False).say(self.r.choice(SAID_BY_USERS)(self.r))

    def let_services_say(self) -> None:
        self.pick(service=True).say(self.r.choice(SAID_BY_SERVICES)(self.r))

    def ask(self) -> None:
        self.pick().ask(self.r.choice(ASKED)(self.r))

    def watch_all(self) -> None:
        self.pick(service=True).ask(WatchAll(ID, self.r.choice((True, False))))

    def beat(self) -> None:
        pair = self.pick()
        pair.here.beat(self.r.choice((None, self.r.randint(0, 12) * ROUND_MS)))
        pair.there.beat()

    def go(self) -> None:
        pair = self.pick(service=False)
        pair.there.lose()
        if self.r.random() < 0.5:
            pair.here.bye()
        else:
            pair.here.lose()

    def stall(self) -> None:
        self.pick().stall()

    def drain(self) -> None:
        self.pick().drain()

    def moderate(self) -> None:
        if self.admin.open:
            self.admin.say(self.r.choice((Erase, Revoke))(self.admin.next_id(), self.r.choice(USERS)))
            self.home.turn()

    def let_time_pass(self) -> None:
        for _ in range(self.r.randint(1, 10)):
            self.pass_time(ROUND_MS)
            if self.admin.open:
                self.admin.beat()
            self.pairs[0].here.beat()
            self.pairs[0].there.beat()


def pairs_of(home: Home, *names: str) -> list[Pair]:
    made = []
    for number, name in enumerate(names, 1):
        home.advance(130)
        role = "service" if name == "app" else "user"
        made.append(open_pair(home, name if role == "service" else f"{name}/laptop", role=role, instance=number))
    return made
