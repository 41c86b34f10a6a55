"""What a start gathers of users before it makes them: the same users come of it as if each fact had been applied."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from presenced.core import gathered_facts
from presenced.core.policy import Policy
from presenced.core.records import TextSet
from presenced.wire.messages import Erase
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.support.sleepy import portrait

NAMES = ["anna", "bob", "\u00e5sa"]
ACTS = ["come", "go", "lose", "text", "claim", "wait", "join", "erase", "restart", "kill", "snapshot"]
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(NAMES), st.integers(1, 99)), max_size=25)


class Life:
    """A world to which something happens, and which stops or is killed in between."""

    def __init__(self) -> None:
        self.world = World(Policy(sleep_after_ms=60_000, grace_ms=1_000))
        self.links: dict[str, FakeLink] = {}

    def act(self, what: str, name: str, number: int) -> None:
        address = f"{name}/{'desk' if number % 2 else 'phone'}"
        # Whoever was not heard of for too long has no link any more.
        self.links = {at: link for at, link in self.links.items() if link.open}
        link = self.links.get(address)
        if what == "come" and link is None:
            self.links[address] = self.world.open(address)
        elif what == "wait":
            self.world.advance(number * 1_000)
        elif what in ("restart", "kill"):
            self.links.clear()
            self.world = self.again(is_killed=what == "kill")
        elif what == "snapshot":
            self.world.log.facts[:] = self.world.snapshot()
        elif what == "erase":
            self.links = {at: other for at, other in self.links.items() if not at.startswith(name)}
            self.world.open("app", role="service").done(Erase(7, name))
        elif link is not None and what == "text":
            link.set_status(text=f"t{number}" if number % 3 else "")
        elif link is not None and what == "claim":
            link.set_status("dnd" if number % 4 < 2 else "auto")
        elif link is not None and what == "join":
            link.join(address, "room")
        elif link is not None and what in ("go", "lose"):
            del self.links[address]
            link.bye() if what == "go" else link.lose()

    def again(self, *, is_killed: bool = False) -> World:
        version = self.world.engine.ledger.version
        return self.world.restarted(down_ms=5, version_gap=is_killed << 32, version=version)


def portraits(world: World) -> dict[str, Any]:
    found = {name: world.engine.users.get(name) for name in NAMES}
    return {name: portrait(user) for name, user in found.items() if user is not None}


@pytest.mark.parametrize("most", [1, 2, 100])
@given(steps=STEPS)
def test_the_same_users_come_of_it_as_of_each_fact(most: int, steps: list[tuple[str, str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathered_facts, "GATHERED_MAX", most)
        life = Life()
        for what, name, number in steps:
            life.act(what, name, number)
        gathered = life.again()
        life.world.engine.policy.sleep_after_ms = 0
        assert portraits(gathered) == portraits(life.again())


def test_who_has_gone_by_the_end_of_the_log_sleeps_at_once() -> None:
    life = Life()
    for what, name in (("come", "anna"), ("text", "anna"), ("come", "bob"), ("go", "anna"), ("come", "\u00e5sa")):
        life.act(what, name, 1)
    life.act("claim", "\u00e5sa", 1)
    life.act("go", "\u00e5sa", 1)
    again = life.again()
    assert set(again.engine.users) == {"bob", "\u00e5sa"}, "who has a claim does not sleep"
    assert [name for name, _ in again.engine.users.dormants.items()] == ["anna"]
    assert again.record("anna").text == "t1"


def test_a_text_that_no_record_followed_is_not_lost() -> None:
    life = Life()
    for what in ("come", "text", "go"):
        life.act(what, "anna", 1)
    life.world.log.facts.append(TextSet("anna", "later", "", 0))
    assert life.again().record("anna").text == "later"
