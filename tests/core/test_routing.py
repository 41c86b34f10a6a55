"""Which devices to notify: the table of protocol.md row by row, and every combination against a slow, obvious twin."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import pytest

from presenced.core.model import ACTIVE, CONNECTED, GONE, GRACE, IDLE_AWAY, TOLD, UNTOLD, Claim, Device, Session, User
from presenced.core.parts.schedules import Opening
from presenced.core.policy import Policy
from presenced.core.routes import CARRIED_KINDS, route
from presenced.limits import AWAY_AFTER_MS
from presenced.server.zones import calendar
from presenced.wire.messages import (
    Record,
    Route,
    RouteInfo,
    RouteReason,
    Routes,
    SetDevice,
    SetSchedule,
    Urgency,
    Verdict,
    Window,
)
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World
from tests.docs.document import SECTIONS, tables

NOW_MS = 10_000_000
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)


def asked(link: FakeLink, user: str, urgency: Urgency = "normal", about: str = "") -> RouteInfo:
    (found,) = link.expect(Route(link.next_id(), [user], urgency, about), Routes).routes
    assert found.user == user
    return found


def told(found: RouteInfo) -> dict[str, tuple[Verdict, RouteReason]]:
    return {target.device: (target.verdict, target.reason) for target in found.devices}


# --- the table, row by row ---------------------------------------------------------------------------------------


class Stage:
    """A service that holds devices of bob's."""

    def __init__(self) -> None:
        self.world = World(calendar=calendar)
        self.app = self.world.open("app", role="service")

    def attach(self, device: str, idle_s: int | None = 0, **described: Any) -> None:
        ref = len(self.app.session.refs or ()) + 1
        self.app.attach(ref, f"bob/{device}", idle_ms=None if idle_s is None else idle_s * 1000, **described)

    def lose(self, device: str) -> None:
        user = self.world.engine.users["bob"]
        self.app.release(user.devices[device].ref, lost=True)

    def leave(self, device: str) -> None:
        user = self.world.engine.users["bob"]
        self.app.release(user.devices[device].ref)

    def route(self, urgency: Urgency = "normal", about: str = "") -> RouteInfo:
        return asked(self.app, "bob", urgency, about)

    def verdict(self, urgency: Urgency = "normal", about: str = "") -> tuple[Verdict, RouteReason]:
        found = self.route(urgency, about)
        return found.verdict, found.reason


HOUR_MS = 3_600_000


def quiet_hours(stage: Stage) -> None:
    """They hold for the next hour."""
    minute = stage.world.wall_ms // 60_000 % 1440
    windows = [Window(127, minute, (minute + 60) % 1440)]
    stage.app.done(SetSchedule(stage.app.next_id(), "UTC", windows, "dnd", "bob"))


class TestRowsAboutTheUser:
    def test_unknown(self) -> None:
        stage = Stage()
        assert stage.route() == RouteInfo("bob", "none", "unknown", 0, 0, [])
        stage.app.watch("bob")
        assert stage.route() == RouteInfo("bob", "none", "unknown", 0, 0, []), "to be watched makes nobody known"

    def test_unreachable(self) -> None:
        stage = Stage()
        stage.attach("phone", kind="phone")
        stage.leave("phone")
        assert stage.route() == RouteInfo("bob", "none", "unreachable", 0, stage.world.wall_ms, [])

    def test_urgent(self) -> None:
        stage = Stage()
        stage.attach("laptop", focus="ops", status="dnd")
        stage.attach("phone", meta="token")
        stage.lose("phone")
        stage.app.claim("bob", "call", "call", "dnd")
        assert told(stage.route("urgent", "ops")) == {"laptop": ("now", "urgent"), "phone": ("now", "urgent")}

    def test_reading(self) -> None:
        stage = Stage()
        stage.attach("laptop", focus="ops")
        stage.attach("phone", meta="token", idle_s=600)
        stage.app.claim("bob", "focus", "manual", "dnd")
        for urgency in ("low", "normal", "high"):
            assert told(stage.route(urgency, "ops")) == {"laptop": ("none", "reading"), "phone": ("none", "reading")}  # type: ignore[arg-type]
        assert stage.verdict("normal", "other") == ("silent", "dnd")

    def test_reading_needs_a_person_at_the_device(self) -> None:
        stage = Stage()
        stage.attach("laptop", focus="ops", idle_s=301)
        assert stage.verdict("normal", "ops") == ("now", "idle")

    def test_dnd_until_its_end(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.app.claim("bob", "focus", "calendar", "dnd", for_ms=HOUR_MS)
        for urgency in ("low", "normal", "high"):
            found = stage.route(urgency)  # type: ignore[arg-type]
            assert (found.verdict, found.reason, found.at_ms) == ("at", "dnd", stage.world.wall_ms + HOUR_MS)
            assert told(found) == {"laptop": ("at", "dnd")}

    def test_dnd_without_an_end(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.app.claim("bob", "manual", "manual", "dnd")
        assert stage.route() == RouteInfo(
            "bob", "silent", "dnd", 0, stage.world.wall_ms, stage.route().devices
        ) and told(stage.route()) == {"laptop": ("silent", "dnd")}  # fmt: skip

    def test_quiet_hours_also_of_somebody_who_is_offline(self) -> None:
        stage = Stage()
        stage.attach("phone", meta="token", idle_s=60)
        stage.leave("phone")
        quiet_hours(stage)
        assert stage.world.record("bob").status == "offline"
        found = stage.route("high")
        end_ms = (stage.world.wall_ms // 60_000 + 60) * 60_000
        assert (found.verdict, found.reason, found.at_ms) == ("at", "quiet_hours", end_ms)
        assert found.last_input_ms == stage.world.wall_ms - 60_000
        assert stage.verdict("urgent") == ("now", "urgent")
        stage.world.advance(end_ms - stage.world.wall_ms + 2 * TICK_MS)
        assert asked(stage.world.open("app", role="service"), "bob").verdict == "now"

    def test_call(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.app.claim("bob", "call", "call", "dnd", for_ms=HOUR_MS)
        found = stage.route()
        assert (found.verdict, found.reason, found.at_ms) == ("at", "call", stage.world.wall_ms + HOUR_MS)
        assert stage.verdict("high") == ("now", "in_use")
        stage.app.claim("bob", "call", "call", "dnd")
        assert stage.verdict() == stage.verdict("low") == ("silent", "call")

    def test_low(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.attach("phone", kind="phone", idle_s=600)
        assert told(stage.route("low")) == {"laptop": ("silent", "low"), "phone": ("silent", "used_elsewhere")}


class TestRowsAboutADevice:
    def test_negative_priority(self) -> None:
        stage = Stage()
        stage.attach("tool", priority=-1, meta="token")
        assert stage.route() == RouteInfo("bob", "none", "unreachable", 0, 0, stage.route().devices)
        assert told(stage.route("urgent")) == {"tool": ("none", "looks_in")}

    def test_a_lost_link_without_meta(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.attach("phone", kind="phone", idle_s=600)
        stage.lose("laptop")
        assert told(stage.route()) == {"phone": ("now", "carried"), "laptop": ("none", "no_link")}

    def test_a_device_that_says_dnd(self) -> None:
        stage = Stage()
        stage.attach("laptop")
        stage.attach("phone", kind="phone", status="dnd", idle_s=600)
        assert told(stage.route()) == {"laptop": ("now", "in_use"), "phone": ("silent", "dnd")}

    def test_in_use_and_used_elsewhere(self) -> None:
        stage = Stage()
        stage.attach("phone", kind="phone", idle_s=301)
        stage.attach("gone", meta="token")
        stage.leave("gone")
        stage.attach("laptop", idle_s=299)
        assert told(stage.route()) == {
            "laptop": ("now", "in_use"), "gone": ("silent", "used_elsewhere"), "phone": ("silent", "used_elsewhere"),
        }  # fmt: skip

    def test_several_in_use(self) -> None:
        stage = Stage()
        stage.attach("laptop", idle_s=30)
        stage.attach("phone", kind="phone", idle_s=2)
        assert list(told(stage.route()).items()) == [("phone", ("now", "in_use")), ("laptop", ("now", "in_use"))]

    @pytest.mark.parametrize("said", ["away", "xa"])
    def test_who_says_away_on_a_device_is_not_at_it(self, said: Any) -> None:
        stage = Stage()
        stage.attach("laptop", status=said)
        stage.attach("phone", kind="phone", idle_s=600)
        assert told(stage.route()) == {"phone": ("now", "carried"), "laptop": ("silent", "idle")}

    def test_an_idle_desktop_does_not_swallow_a_push(self) -> None:
        stage = Stage()
        stage.attach("desktop", idle_s=301)
        stage.attach("phone", meta="token")
        stage.leave("phone")
        assert told(stage.route()) == {"phone": ("now", "carried"), "desktop": ("silent", "idle")}

    @pytest.mark.parametrize("kind", sorted(CARRIED_KINDS))
    def test_carried_by_its_kind(self, kind: str) -> None:
        stage = Stage()
        stage.attach("thing", kind=kind, idle_s=600)
        stage.attach("desktop", idle_s=600)
        assert told(stage.route()) == {"thing": ("now", "carried"), "desktop": ("silent", "idle")}

    def test_idle_and_there_is_nothing_better(self) -> None:
        stage = Stage()
        stage.attach("desktop", idle_s=3_700)
        assert stage.world.record("bob").status == "offline"
        assert told(stage.route()) == {"desktop": ("now", "idle")}

    def test_a_device_that_does_not_tell_how_idle_it_is(self) -> None:
        stage = Stage()
        stage.attach("page", idle_s=None)
        stage.attach("phone", kind="phone", idle_s=600)
        assert told(stage.route()) == {"page": ("now", "untold"), "phone": ("now", "carried")}
        stage.app.done(SetDevice(stage.app.next_id(), "online", user="bob", device="page"))
        assert told(stage.route()) == {"page": ("now", "in_use"), "phone": ("silent", "used_elsewhere")}
        for _ in range(AWAY_AFTER_MS // 60_000):
            stage.world.advance(60_000)
            stage.app.beats(1, -1, 2, -1)
        assert told(stage.route()) == {"page": ("now", "untold"), "phone": ("now", "carried")}


def test_the_rules_in_protocol_md_are_those_of_the_code() -> None:
    """Each verdict with its reason, in the order in which the code asks; every row has a reason and a test above."""
    users, devices = [rows for rows in tables(SECTIONS["23.4"].body) if "why" in rows[0]]
    said = [(row["verdict"], row["reason"]) for row in (*users, *devices)]
    assert said == [
        ("`none`", "`unknown`"),
        ("`none`", "`unreachable`"),
        ("`now`", "`urgent`"),
        ("`none`", "`reading`"),
        ("`at` or `silent`", "`dnd`, `quiet_hours`"),
        ("`at` or `silent`", "`call`"),
        ("the best of the devices'", "the first device's"),
        ("`none`", "`looks_in`"),
        ("`none`", "`no_link`"),
        ("`silent`", "`dnd`"),
        ("`now`", "`in_use`"),
        ("`silent`", "`used_elsewhere`"),
        ("`now`", "`carried`"),
        ("`now`", "`untold`"),
        ("`silent`", "`idle`"),
        ("`now`", "`idle`"),
        ("`silent`", "`low`"),
    ]
    reasons = {reason for _, row in said for reason in re.findall(r"`(\w+)`", row)}
    assert reasons == set(get_args(RouteReason))
    assert all(row["why"] for row in (*users[:-1], *devices))
    (kinds,) = re.findall(r"kinds that are carried: ([^.]*)\.", " ".join(SECTIONS["23.4"].body.split()))
    assert set(re.findall(r"`(\w+)`", kinds)) == CARRIED_KINDS


# --- every combination, against a twin ---------------------------------------------------------------------------


class Kind(NamedTuple):
    """One device, in what the rules ask of it."""

    state: str
    """linked, grace, gone."""
    idle: str
    """active, idle, untold, said (untold, and something was just said on it)."""
    status: str
    carried: str
    """no, kind, meta."""
    focus: str
    priority: int


def kinds() -> Iterator[Kind]:
    for state, idle, status, carried in itertools.product(
        ("linked", "grace", "gone"),
        ("active", "idle", "untold", "said"),
        ("online", "away", "dnd"),
        ("no", "kind", "meta"),
    ):
        yield Kind(state, idle, status, carried, "", 0)
    yield Kind("linked", "active", "online", "no", "room", 0)
    yield Kind("linked", "idle", "online", "no", "room", 0)
    yield Kind("linked", "active", "online", "meta", "", -1)
    yield Kind("grace", "active", "online", "meta", "", -1)


KINDS = list(kinds())
CLAIMS: dict[str, tuple[tuple[str, str, str, int], ...]] = {
    "nothing": (),
    "dnd with an end": (("manual", "manual", "dnd", 60_000),),
    "dnd for good": (("focus", "calendar", "dnd", 0),),
    "quiet hours": (("schedule", "schedule", "dnd", 90_000),),
    "call with an end": (("call", "call", "dnd", 60_000),),
    "call for good": (("call", "call", "away", 0),),
    "call and dnd": (("manual", "manual", "dnd", 90_000), ("call", "call", "away", 60_000)),
    "hidden": (("manual", "manual", "offline", 0),),
    "away": (("trip", "calendar", "away", 0),),
}
OFFSET_MS = WALL_MS - NOW_MS


def made(one: Kind, place: int, user: User) -> Device:
    device = user.devices[f"d{place}"] = Device(user, f"d{place}")
    device.kind = "phone" if one.carried == "kind" else "desktop"
    device.meta = "token" if one.carried == "meta" else ""
    device.priority, device.status, device.focus = one.priority, one.status, one.focus  # type: ignore[assignment]
    device.state = {"linked": CONNECTED, "grace": GRACE, "gone": GONE}[one.state]
    device.session = Session(FakeEdge(), "app", "service") if one.state == "linked" else None
    device.idle_known = TOLD if one.idle in ("active", "idle") else UNTOLD
    device.idle_level = IDLE_AWAY if one.idle == "idle" else ACTIVE
    device.input_ms = NOW_MS - 1_000 if one.idle == "said" else None
    device.active_ms = NOW_MS - 1_000 * (place + 1) - (400_000 if one.idle == "idle" else 0)
    return device


class FakeEdge:
    sink = None


def user_of(devices: tuple[Kind, ...], claims: tuple[tuple[str, str, str, int], ...]) -> User:
    user = User("bob")
    user.record = Record("bob", "online", "", "", 1, 0, "", 7)
    for place, one in enumerate(devices):
        made(one, place, user)
    user.claims = tuple(
        Claim(name, source, status, WALL_MS, WALL_MS + for_ms if for_ms else 0, 0)  # type: ignore[arg-type]
        for name, source, status, for_ms in claims
    )
    return user


def twin(user: User, urgency: str, about: str) -> RouteInfo:
    """The two tables of protocol.md, read aloud."""
    devices = list(user.devices.values())
    told: dict[str, tuple[str, str]] = {}
    for device in devices:
        is_live = device.state != GONE
        if device.priority < 0:
            if is_live:
                told[device.id] = "none", "looks_in"
        elif device.session is None and not device.meta and is_live:
            told[device.id] = "none", "no_link"
    reached = [device for device in devices if device.priority >= 0 and (device.session or device.meta)]

    def at_it(device: Device) -> bool:
        tells = device.idle_known == TOLD and device.idle_level == ACTIVE
        said = device.idle_known != TOLD and device.input_ms is not None
        return device.session is not None and device.status not in ("away", "xa") and (tells or said)

    names = {claim.source: claim for claim in user.claims}
    dnds = [claim for claim in user.claims if claim.status == "dnd" and claim.source != "call"]
    at_ms = 0
    if reached and urgency == "urgent":
        told |= {device.id: ("now", "urgent") for device in reached}
    elif about and any(at_it(device) and device.focus == about for device in reached):
        told |= {device.id: ("none", "reading") for device in reached}
    elif reached and (dnds or ("call" in names and urgency != "high")):
        ends = [
            claim.until_ms for claim in [*dnds, *([names["call"]] if "call" in names and urgency != "high" else [])]
        ]
        at_ms = max(ends) if all(ends) else 0
        reason = "call" if not dnds else "quiet_hours" if dnds[0].source == "schedule" else "dnd"
        told |= {device.id: ("at" if at_ms else "silent", reason) for device in reached}
    else:
        for device in reached:
            rings = [one for one in reached if one.state == GONE or one.status != "dnd"]
            carries = [one for one in rings if one.meta or one.kind == "phone"]
            if device.state != GONE and device.status == "dnd":
                verdict, reason = "silent", "dnd"
            elif at_it(device):
                verdict, reason = "now", "in_use"
            elif any(at_it(other) for other in reached):
                verdict, reason = "silent", "used_elsewhere"
            elif device.meta or device.kind == "phone":
                verdict, reason = "now", "carried"
            elif device.idle_level == ACTIVE and device.status != "away":
                verdict, reason = "now", "untold"
            elif carries:
                verdict, reason = "silent", "idle"
            else:
                verdict, reason = "now", "idle"
            told[device.id] = ("silent", "low") if (urgency, verdict) == ("low", "now") else (verdict, reason)
    ranks = {"now": 0, "at": 1, "silent": 2, "none": 3}
    order = sorted(reached, key=lambda device: (ranks[told[device.id][0]], -device.active_ms))
    order += [device for device in devices if device.id in told and device not in reached]
    inputs = [
        device.active_ms if device.idle_known == TOLD else device.input_ms
        for device in devices
        if device.priority >= 0 and (device.idle_known == TOLD or device.input_ms is not None)
    ]
    last_input_ms = max(inputs) + OFFSET_MS if inputs else 0  # type: ignore[type-var, operator]
    verdict, reason = told[order[0].id] if reached else ("none", "unreachable")
    targets = [(one.id, one.kind, *told[one.id], one.meta) for one in order]
    return RouteInfo("bob", verdict, reason, at_ms, last_input_ms, targets)  # type: ignore[arg-type]


def check(devices: tuple[Kind, ...], claims: str, urgency: Urgency, about: str) -> None:
    user = user_of(devices, CLAIMS[claims])
    found = route(user, urgency, about, NOW_MS, OFFSET_MS, Policy(), lambda schedule, wall_ms: Opening(False, 0))
    plain = RouteInfo(
        found.user, found.verdict, found.reason, found.at_ms, found.last_input_ms,
        [(one.device, one.kind, one.verdict, one.reason, one.meta) for one in found.devices],  # type: ignore[misc]
    )  # fmt: skip
    assert plain == twin(user, urgency, about), (devices, claims, urgency, about)


@pytest.mark.parametrize("claims", CLAIMS)
@pytest.mark.parametrize("urgency", URGENCIES)
def test_one_device_in_every_state(urgency: Urgency, claims: str) -> None:
    for one in KINDS:
        for about in ("", "room"):
            check((one,), claims, urgency, about)


@pytest.mark.parametrize("urgency", URGENCIES)
def test_two_devices_in_every_pair_of_states(urgency: Urgency) -> None:
    for one, other in itertools.product(KINDS, KINDS):
        check((one, other), "nothing", urgency, "room")


def test_three_devices_in_every_state_that_differs() -> None:
    few = [one for one in KINDS if one.status != "away" and one.carried != "kind" and one.state != "grace"]
    for devices in itertools.combinations_with_replacement(few, 3):
        check(devices, "nothing", "normal", "")
