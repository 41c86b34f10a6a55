"""Random lives in which every record is held against what was forecast before it."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from presenced.core.forecast import Next
from presenced.core.model import GONE, TOLD, Device, User
from presenced.core.policy import Policy
from presenced.core.projection import Readings
from presenced.server.zones import calendar
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Beats,
    Detach,
    EndClaim,
    Heartbeat,
    SetDevice,
    SetSchedule,
    SetStatus,
    Touch,
    Window,
)
from tests.core.world import FakeLink, World

S, MIN, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

POLICIES = (
    Policy(heartbeat_ms=10 * MIN, away_after_ms=30 * MIN, offline_after_ms=3 * HOUR),
    Policy(
        heartbeat_ms=7 * MIN + 13,
        grace_ms=0,
        away_after_ms=17 * MIN + 7,
        offline_after_ms=0,
        idle_by_kind={"phone": (0, 2 * HOUR), "desk": (HOUR, HOUR), "tv": (0, 0)},
    ),
    Policy(heartbeat_ms=20 * MIN, grace_ms=3 * HOUR, away_after_ms=40 * MIN, offline_after_ms=50 * MIN),
)
KINDS = ("", "", "phone", "desk", "tv")
STATUSES = ("chat", "online", "online", "away", "xa", "dnd")
MOMENTS = (
    ("Europe/Berlin", datetime(2024, 3, 30, 21, 30)),
    ("Europe/Berlin", datetime(2024, 10, 26, 22, 10)),
    ("America/New_York", datetime(2024, 11, 2, 23, 5)),
    ("Australia/Lord_Howe", datetime(2024, 4, 6, 13, 0)),
    ("UTC", datetime(2024, 6, 2, 7, 0)),
)
"""Time zones, and moments shortly before their clocks are changed."""


class Watched(World):
    """Holds every record, after every turn, against what was forecast before it."""

    expected: dict[str, Next | None]
    acting = True
    """Somebody does something in this turn: whatever was forecast is void."""
    turns = 0
    seen = 0
    """Changes that came as forecast."""

    def turn(self) -> None:
        before = self.__dict__.setdefault("expected", {})
        super().turn()
        if self.next_ms is not None and self.next_ms <= self.now_ms:
            # More is done at this very moment.
            return
        self.turns += 1
        # In between one in some is made again: it must be the same.
        again = self.acting or self.turns % 16 == 0
        after: dict[str, Next | None] = {}
        for user in self.engine.users.values():
            known = before.get(user.name)
            if again or (known is not None and self.now_ms >= known.at_ms):
                after[user.name] = self.forecast(user)
            else:
                after[user.name] = known
            if not self.acting:
                self.judge(user, known, after[user.name])
        self.expected = after
        self.last = {user.name: shown(user) for user in self.engine.users.values()}

    def forecast(self, user: User) -> Next | None:
        return self.engine.forecasts.of(user, self.now_ms, Readings()).next()

    def judge(self, user: User, before: Next | None, after: Next | None) -> None:
        is_other = shown(user) != self.last.get(user.name, shown(user))
        if before is None or self.now_ms < before.at_ms:
            assert not is_other, f"{user.name} shows {shown(user)} at {self.now_ms}, forecast was {before}"
            assert before is None or after == before, f"{before} became {after}"
            assert before is not None or after is None or after.at_ms > self.now_ms
        else:
            assert (self.now_ms, *before.seen) == (before.at_ms, *shown(user)), f"at {self.now_ms}, not {before}"
            self.seen += 1


def shown(user: User) -> tuple[str, str, str, str]:
    record = user.record
    return record.status, record.text, record.emoji, record.device


class Life:
    """Three users, whose devices are links of their own or held by a service, and much that ends by itself."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.zone, moment = random.choice(MOMENTS)
        wall_ms = int(moment.replace(tzinfo=UTC).timestamp() * 1000) + random.randrange(DAY)
        self.world = Watched(
            random.choice(POLICIES), calendar=calendar, now_ms=random.randrange(10**7, 10**8), wall_ms=wall_ms
        )
        self.world.checks = False
        self.links: list[FakeLink] = []
        self.done: list[str] = []
        self.services = 0

    # --- what happens -----------------------------------------------------------------------------------------

    def act(self) -> None:
        acts = (
            self.come, self.come, self.attach, self.attach, self.detach, self.leave, self.report, self.say, self.say,
            self.claim, self.claim, self.end_claim, self.schedule, self.describe, self.touch, self.set_clock,
            self.restart,
        )  # fmt: skip
        act = self.random.choice(acts)
        self.links = [link for link in self.links if link.open]
        self.done.append(f"{self.world.now_ms} {act.__name__}")
        self.world.acting = True
        act()
        self.world.turn()
        self.world.acting = False

    def name(self) -> str:
        return self.random.choice(("alice", "bob", "carol"))

    def lasting_ms(self) -> int:
        random = self.random
        return random.choice(
            (0, random.randrange(1, MIN), random.randrange(MIN, 5 * HOUR), random.randrange(1, 3 * DAY))
        )

    def token_ms(self) -> int:
        return self.world.now_ms + self.random.randrange(1, DAY) if self.random.random() < 0.3 else 0

    def come(self) -> None:
        random = self.random
        link = self.world.open(
            f"{self.name()}/{random.choice(('laptop', 'phone', 'tool'))}",
            kind=random.choice(KINDS),
            priority=random.choice((0, 0, 0, 5, -1)),
            status=random.choice(STATUSES),  # type: ignore[arg-type]
            idle_ms=random.choice((None, 0, random.randrange(4 * HOUR))),
            expires_ms=self.token_ms(),
        )
        self.links.append(link)

    def service(self) -> FakeLink:
        found = [link for link in self.links if link.session.role == "service"]
        if not found or self.random.random() < 0.1:
            self.services += 1
            address = self.random.choice(("app", "app/main", "alice/bot"))
            found = [self.world.open(address, role="service", expires_ms=self.token_ms(), instance=self.services)]
            self.links += found
        return self.random.choice(found)

    def attach(self) -> None:
        random, app = self.random, self.service()
        app.say(
            Attach(
                app.next_id(), random.randrange(1, 5), self.name(), random.choice(("web", "phone")),
                random.choice(KINDS), "", random.choice((0, 0, 1, -1)), random.choice(STATUSES),  # type: ignore[arg-type]
                random.choice((None, 0, random.randrange(4 * HOUR))),
                for_at_most_ms=random.choice((0, 0, self.lasting_ms())),
            )
        )  # fmt: skip

    def detach(self) -> None:
        app = self.service()
        for ref in list(app.session.refs or ())[:1]:
            within_ms = self.random.choice((None, None, 0, self.lasting_ms()))
            app.say(Detach(app.next_id(), ref, self.random.random() < 0.7, within_ms=within_ms))

    def leave(self) -> None:
        if self.links:
            link = self.random.choice(self.links)
            link.lose() if self.random.random() < 0.7 else link.bye()

    def report(self) -> None:
        idle_ms = self.random.choice((None, 0, self.random.randrange(2 * HOUR)))
        for link in self.links[:2]:
            link.beat(idle_ms)
            link.beats(*(part for ref in link.session.refs or () for part in (ref, -1 if idle_ms is None else idle_ms)))

    def say(self) -> None:
        random, app = self.random, self.service()
        status = random.choice((None, None, "auto", "offline", "offline", "dnd", "online", "away", "chat"))
        text = random.choice((None, "", "lunch", "holiday"))
        emoji = random.choice((None, None, "*"))
        app.say(SetStatus(app.next_id(), status, text, emoji, self.lasting_ms(), user=self.name()))  # type: ignore[arg-type]

    def claim(self) -> None:
        random, app, user = self.random, self.service(), self.name()
        source = random.choice(("call", "call", "manual", "calendar"))
        status = random.choice((*STATUSES, "offline")) if source == "manual" else random.choice(STATUSES)
        until_ms = self.world.wall_ms + self.lasting_ms() if random.random() < 0.5 else 0
        known = self.world.engine.users.get(user)
        live = [device.id for device in known.devices.values() if device.state != GONE] if known is not None else []
        device = random.choice(("", *live))
        for_ms = self.lasting_ms()
        app.say(
            AddClaim(app.next_id(), random.choice(("a", "b")), source, status, for_ms, until_ms, user, device)  # type: ignore[arg-type]
        )

    def end_claim(self) -> None:
        app = self.service()
        app.say(EndClaim(app.next_id(), self.random.choice(("a", "b", "manual")), self.name()))

    def schedule(self) -> None:
        random, app = self.random, self.service()
        windows = [
            Window(
                random.choice((127, 31, 64, random.randrange(1, 128))),
                random.choice((0, 120, 135, random.randrange(1440))),
                random.choice((0, 150, 165, random.randrange(1440))),
                random.choice((None, None, "xa", "away", "online")),  # type: ignore[arg-type]
            )
            for _ in range(random.choice((0, 1, 1, 2, 4)))
        ]
        app.say(SetSchedule(app.next_id(), self.zone, windows, random.choice(("dnd", "away")), self.name()))  # type: ignore[arg-type]

    def describe(self) -> None:
        own = [link for link in self.links if link.session.device is not None]
        if own:
            link = self.random.choice(own)
            status = self.random.choice((None, *STATUSES))
            link.say(SetDevice(link.next_id(), status, self.random.choice((None, 0, -1))))  # type: ignore[arg-type]

    def touch(self) -> None:
        app = self.service()
        app.say(Touch(app.next_id(), self.name()))

    def set_clock(self) -> None:
        if self.random.random() < 0.2:
            self.world.set_clock(self.world.wall_ms + self.random.randrange(-DAY, DAY))

    def restart(self) -> None:
        if self.random.random() < 0.2:
            before = self.world
            again = before.restarted(down_ms=self.random.randrange(HOUR), now_ms=self.random.randrange(10**7, 10**8))
            again.__class__ = Watched
            assert isinstance(again, Watched)
            again.seen, again.checks = before.seen, False
            self.world, self.links = again, []

    # --- what does not ----------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Nothing happens for a while: links beat as often as they must, and tell nothing new."""
        random = self.random
        waits = (
            random.randrange(1, 200),
            random.randrange(1, MIN),
            random.randrange(1, 8 * HOUR),
            random.randrange(9 * DAY),
        )
        end_ms = self.world.now_ms + random.choices(waits, (2, 3, 6, 1))[0]
        every_ms = self.world.engine.policy.heartbeat_ms
        while self.world.now_ms < end_ms:
            self.world.advance(min(end_ms - self.world.now_ms, every_ms))
            for link in self.links:
                if link.open:
                    self.beat(link)
            self.world.turn()

    def beat(self, link: FakeLink) -> None:
        now_ms = self.world.now_ms
        device = link.session.device
        idle_ms = now_ms - device.active_ms if device is not None and device.idle_known == TOLD else None
        link.say(Heartbeat(idle_ms))
        if link.session.refs:
            link.say(
                Beats([part for ref, held in link.session.refs.items() for part in (ref, known_idle(held, now_ms))])
            )

    def go_on(self, steps: int) -> int:
        for _ in range(steps):
            self.act()
            self.wait()
        return self.world.seen


def known_idle(device: Device, now_ms: int) -> int:
    return now_ms - device.active_ms if device.idle_known == TOLD else -1
