"""The grace of a device that has lost its link: by the kind of the device, and over restarts."""

from __future__ import annotations

import pytest

from presenced.core.policy import Policy
from presenced.limits import GRACE_MS, RESTART_GRACE_MS
from presenced.server.greeting import welcome
from presenced.wire.messages import Hello
from tests.core.world import TICK_MS, World

GRACES = {"phone": 120_000, "tv": 2_000, "button": 0}


def world_with_all_kinds(policy: Policy | None = None) -> World:
    """A world in which a device of each kind has just lost its link."""
    world = World(policy or Policy(grace_by_kind=GRACES))
    for kind in (*GRACES, "desktop"):
        world.open(f"{kind}/device", kind=kind).lose()
    return world


def offline_after(world: World, names: tuple[str, ...] = (*GRACES, "desktop")) -> dict[str, int]:
    """After how many milliseconds from now each of these users is offline, with the wheel's delay taken off."""
    begun_ms, found = world.now_ms, dict[str, int]()
    while len(found) < len(names):
        for name in names:
            if name not in found and world.record(name).status == "offline":
                found[name] = (world.now_ms - begun_ms) // 1_000 * 1_000
        world.advance(500)
        assert world.now_ms - begun_ms < 600_000
    return found


def test_a_device_without_a_link_counts_as_live_for_the_grace_of_its_kind() -> None:
    assert offline_after(world_with_all_kinds()) == {"phone": 120_000, "tv": 2_000, "button": 0, "desktop": GRACE_MS}


def test_a_device_of_a_service_has_the_grace_of_its_kind_whether_its_link_or_its_beats_are_lost() -> None:
    world = World(Policy(grace_by_kind=GRACES))
    app, other = (world.open("app", role="service", instance=number) for number in (1, 2))
    app.attach(1, "phone/one", kind="phone")
    app.attach(2, "tv/one", kind="tv")
    other.attach(1, "button/one", kind="phone")
    other.attach(1, "button/one", kind="button")
    app.release(1, lost=True)
    app.lose()
    world.advance(2_000 + TICK_MS)
    assert [world.record(name).status for name in ("phone", "tv", "button")] == ["online", "offline", "online"]
    world.advance(world.engine.policy.timeout_ms - 2_000)
    assert world.record("button").status == "offline", "its beats did not come, and it has no grace"
    world.advance(120_000 - world.engine.policy.timeout_ms)
    assert world.record("phone").status == "offline"


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_after_a_restart_a_longer_grace_of_a_kind_holds_and_a_shorter_one_does_not(from_snapshot: bool) -> None:
    world = World(Policy(grace_by_kind=GRACES))
    for kind in (*GRACES, "desktop"):
        world.open(f"{kind}/device", kind=kind)
    facts = world.snapshot() if from_snapshot else None
    after = world.restarted(1_000, facts=facts, grace_ms=RESTART_GRACE_MS)
    rest = dict.fromkeys(("tv", "button", "desktop"), RESTART_GRACE_MS)
    assert offline_after(after) == {"phone": 120_000, **rest}


def test_a_long_grace_counts_from_the_first_of_starts_that_follow_each_other_closely() -> None:
    world = World(Policy(grace_by_kind=GRACES))
    world.open("phone/device", kind="phone")
    world.open("desktop/device")
    first_ms = world.wall_ms + 1_000
    once = world.restarted(1_000, starts=(first_ms,), stopped_wall_ms=world.wall_ms)
    once.advance(20_000)
    twice = once.restarted(1_000, starts=(first_ms, once.wall_ms + 1_000), stopped_wall_ms=once.wall_ms)
    left_ms = offline_after(twice, ("phone", "desktop"))
    assert left_ms == {"phone": 120_000 - 21_000, "desktop": RESTART_GRACE_MS - 21_000}


def test_the_welcome_tells_the_grace_of_the_device_s_kind() -> None:
    world = World(Policy(grace_by_kind=GRACES))
    links = [world.open(f"{kind}/device", kind=kind) for kind in ("phone", "desktop")]
    links.append(world.open("app", role="service"))
    hellos = [
        Hello([1], "", link.session.user_name, link.session.device.id if link.session.device else "") for link in links
    ]
    told = [
        welcome(world.engine, link.session, hello, 1, world.now_ms, (0, 0)).grace_ms
        for link, hello in zip(links, hellos, strict=True)
    ]
    assert told == [120_000, GRACE_MS, GRACE_MS]


def test_another_grace_of_a_kind_holds_for_the_next_loss() -> None:
    world = World(Policy(grace_by_kind=GRACES))
    lost, phone = (world.open(f"{name}/device", kind="phone") for name in ("alice", "bob"))
    lost.lose()
    world.engine.set_policy(Policy(grace_by_kind={"phone": 5_000}), world.now_ms)
    phone.lose()
    assert offline_after(world, ("alice", "bob")) == {"alice": 120_000, "bob": 5_000}


def test_the_policy_knows_which_kinds_with_a_grace_of_their_own_have_come() -> None:
    world = World(Policy(grace_by_kind=GRACES))
    world.open("alice/laptop", kind="desktop")
    world.open("alice/telly", kind="tv")
    assert list(world.engine.policy.kinds_met) == ["tv"]


def test_while_patience_is_asked_for_no_grace_ends_and_behind_it_those_that_are_over_end() -> None:
    world = World()
    lost, back, later = (world.open(f"{name}/laptop") for name in ("lost", "back", "later"))
    lost.lose()
    back.lose()
    world.checks = False  # they look for the end of each grace
    world.engine.leases.be_patient(world.now_ms + 10 * GRACE_MS)
    world.advance_beating(2 * GRACE_MS, later)
    world.open("back/laptop")
    later.lose()
    assert [world.record(name).status for name in ("lost", "back", "later")] == ["online"] * 3
    world.engine.leases.be_patient(world.now_ms + 5_000)
    assert offline_after(world, ("lost", "later")) == {"lost": 5_000, "later": GRACE_MS}
    assert world.record("back").status == "online"


def test_patience_with_those_who_were_heard_before_is_none_with_others() -> None:
    world = World()
    before, since = (world.open(f"{name}/laptop") for name in ("before", "since"))
    before.lose()
    world.advance_beating(1_000, since)
    world.checks = False
    world.engine.leases.be_patient(world.now_ms + 3 * GRACE_MS, heard_before_ms=world.now_ms - 500)
    since.lose()
    assert offline_after(world, ("since", "before")) == {"since": GRACE_MS, "before": 3 * GRACE_MS}


def test_what_was_promised_ends_when_it_was_promised_whoever_is_patient() -> None:
    world = World()
    app = world.open("app", role="service", instance=1)
    app.attach(1, "job/one", for_at_most_ms=60_000)
    world.engine.leases.be_patient(world.now_ms + 600_000)
    world.advance_beating(60_000 + TICK_MS, app)
    assert world.record("job").status == "offline"
