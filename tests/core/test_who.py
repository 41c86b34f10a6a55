"""Who is online: pages in order of name, exact counts, and nobody in them who is not available."""

from __future__ import annotations

import random

import pytest

from presenced.core.records import ClaimSet, DeviceSet, Fact
from presenced.wire.messages import Get, SetStatus
from tests.core.world import WALL_MS, FakeLink, World


def test_who_pages_in_order_of_name_with_the_exact_count() -> None:
    world = World()
    for number in range(25):
        world.open(f"user{number:02}/d")
    world.open("ghost/d", priority=-1)
    app = world.open("app", role="service")
    names: list[str] = []
    after, pages = "", 0
    while pages == 0 or after:
        page = app.who(after, 10)
        assert page.total == 25
        names += [record.user for record in page.records]
        after, pages = page.next, pages + 1
    assert names == [f"user{number:02}" for number in range(25)] and pages == 3
    assert app.who(limit=0).total == 25 and app.who(limit=0).records == []
    assert app.who(limit=25).next == ""
    assert app.who("user24").records == []


def test_paging_under_changes_shows_everyone_who_stays_exactly_once() -> None:
    dice = random.Random(4)
    world = World()
    stays = {f"stay{number:02}": world.open(f"stay{number:02}/d") for number in range(30)}
    comes: dict[str, FakeLink] = {}
    app = world.open("app", role="service")
    seen: list[str] = []
    after = ""
    while True:
        page = app.who(after, 4)
        assert page.total == len(stays) + len(comes)
        assert all(record.status != "offline" for record in page.records)
        seen += [record.user for record in page.records]
        after = page.next
        if not after:
            break
        for _ in range(5):
            name = f"stay{dice.randrange(30):02}-{dice.randrange(3)}"
            if name in comes:
                comes.pop(name).bye()
            else:
                comes[name] = world.open(f"{name}/d")
    assert seen == sorted(seen) and len(set(seen)) == len(seen)
    assert set(stays) <= set(seen)


@pytest.mark.parametrize("hide", ["bye", "offline", "priority"])
def test_who_leaves_out_whoever_is_not_available(hide: str) -> None:
    world = World()
    alice = world.open("alice/d")
    bob = world.open("bob/d")
    if hide == "bye":
        alice.bye()
    elif hide == "offline":
        alice.set_status("offline")
    else:
        alice.set_device("online", -5)
    assert (bob.who().total, [record.user for record in bob.who().records]) == (1, ["bob"])


def test_names_from_before_a_rule_are_loaded_listed_and_asked_for() -> None:
    old = ("alice\ufe0f", "\u3164")
    facts: list[Fact] = []
    for name in old:
        facts += [DeviceSet(name, "web", "", "", 0, "online", True, WALL_MS), ClaimSet(name, "dnd", WALL_MS, 0)]
    world = World().restarted(facts=facts)
    app = world.open("app", role="service")
    app.watch(*old)
    page = app.who(limit=1)
    assert [record.user for record in page.records] == ["alice\ufe0f"] and page.next == "alice\ufe0f"
    assert [record.user for record in app.who(page.next, limit=1).records] == ["\u3164"]
    assert app.get("\u3164").status == "dnd"
    app.done(SetStatus(app.next_id(), "away", user="\u3164"))
    app.end_claim("\u3164", "manual")
    assert app.get("\u3164").status == "online"
    for name in ("bob\ufe0f", "\uffa0"):
        assert app.refused(Get(app.next_id(), [name])) == "bad_name"
        assert app.refused(SetStatus(app.next_id(), "away", user=name)) == "bad_name"
