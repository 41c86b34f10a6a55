"""Asking about strangers: free up to a budget, dearer beyond it, the same for the hidden and for those never seen."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from presenced import limits
from presenced.core.curiosity import Curiosity
from presenced.core.model import Session
from presenced.core.policy import Policy
from presenced.core.requests.costs import NAMES
from presenced.limits import STRANGER_REFILL_MS, STRANGER_UNITS, STRANGERS_MAX
from presenced.wire.messages import ClientMessage, Get, HideFrom, Ping, Role, Unwatch, Watch, Who
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.support.conversing import VirtualHost
from tests.support.requests import REQUESTS

PAGE = 250
STRANGERS = [f"stranger{number}" for number in range(PAGE)]
BY_CONTACTS = Policy(grounds=("contacts",))


def cost_of(link: FakeLink, message: ClientMessage) -> int:
    return REQUESTS.cost(link.world.engine, link.session, message)


def spend(link: FakeLink) -> None:
    """Ask about as many strangers as are free."""
    for _ in range(STRANGERS_MAX // PAGE):
        link.say(Get(link.next_id(), STRANGERS))
    link.world.turn()


@pytest.mark.parametrize("question", [Get, Watch])
def test_answers_about_strangers_cost_more_beyond_the_budget(question: type[Get] | type[Watch]) -> None:
    world = World(BY_CONTACTS)
    alice = world.open("alice/laptop")
    spend(alice)
    assert cost_of(alice, Get(1, ["bob"])) == 0, "as many as are free"
    alice.say(question(alice.next_id(), ["alice", *STRANGERS[:7]]))
    world.turn()
    assert [cost_of(alice, other) for other in (Ping(1), Who(1, limit=0), Unwatch(1, ["bob"]))] == [0, 0, 0]
    assert cost_of(alice, question(1, STRANGERS)) == PAGE // NAMES + 7 * STRANGER_UNITS, "with the next question"
    assert cost_of(alice, question(1, STRANGERS)) == PAGE // NAMES, "once"
    world.now_ms += 3 * STRANGER_REFILL_MS
    alice.say(question(alice.next_id(), STRANGERS[:5]))
    assert cost_of(alice, question(1, ["bob"])) == 2 * STRANGER_UNITS, "three are free by then"


def test_the_hidden_count_as_those_who_were_never_seen_and_who_is_seen_does_not() -> None:
    world = World(Policy(grounds=("channels",)))
    alice = world.open("alice/laptop")
    people = [world.open(f"{name}/phone") for name in ("bob", "carol", "dave")]
    app = world.open("app", role="service")
    for address in ("alice/laptop", "bob/phone", "carol/phone"):
        app.join(address, "room")
    people[1].done(HideFrom(9, "alice"))
    spend(alice)
    for name, units in (("bob", 0), ("carol", STRANGER_UNITS), ("dave", STRANGER_UNITS), ("x", STRANGER_UNITS)):
        alice.get(name)
        assert cost_of(alice, Get(1, ["alice"])) == units, name


@pytest.mark.parametrize(("grounds", "role"), [(("everyone", "contacts"), "user"), ((), "service"), ((), "admin")])
def test_it_is_free_where_there_is_nothing_to_be_found_out(grounds: tuple[str, ...], role: Role) -> None:
    world = World(Policy(grounds=grounds))
    link = world.open("alice/laptop", role=role)
    for _ in range(2):
        spend(link)
    assert cost_of(link, Get(1, ["bob"])) == 0
    of_the_name = world.open("alice/phone")
    of_the_name.get("bob")
    assert cost_of(of_the_name, Get(1, ["bob"])) == 0, "nor is it taken from the user of that name"


def test_all_links_of_a_user_have_one_budget_and_each_user_has_their_own() -> None:
    world = World(BY_CONTACTS)
    laptop, phone, bob = (world.open(address) for address in ("alice/laptop", "alice/phone", "bob/phone"))
    spend(laptop)
    phone.get("carol")
    bob.get("carol")
    assert cost_of(bob, Get(1, ["carol"])) == 0
    laptop.bye()
    assert cost_of(phone, Get(1, ["carol"])) == STRANGER_UNITS


def session_of(user: str) -> Session:
    return FakeLink(World(), user, "user", 0).session


@pytest.mark.parametrize("seed", range(4))
def test_it_is_a_bucket_that_drips(seed: int) -> None:
    """Beside an obvious one, which counts in fractions."""
    dice = random.Random(seed)
    curiosity, alice = Curiosity(BY_CONTACTS), session_of("alice")
    now_ms, left = 1_000_003, Fraction(STRANGERS_MAX)
    for _ in range(400):
        passed_ms = dice.choice((0, 7, 999, STRANGER_REFILL_MS, 60 * STRANGER_REFILL_MS))
        now_ms += passed_ms
        left = min(Fraction(STRANGERS_MAX), left + Fraction(passed_ms, STRANGER_REFILL_MS))
        strangers = dice.randrange(100)
        curiosity.note(alice, now_ms, strangers)
        left -= strangers
        beyond = max(Fraction(0), -left)
        left = max(Fraction(0), left)
        assert curiosity.take_owed(alice) == -(-beyond // 1) * STRANGER_UNITS


def test_full_budgets_are_forgotten_and_no_more_than_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.curiosity.CURIOUS_USERS_MAX", 5)
    curiosity = Curiosity(BY_CONTACTS)
    sessions = [session_of(f"user{number}") for number in range(8)]
    for session in sessions:
        curiosity.note(session, 0, STRANGERS_MAX + 1)
    assert list(curiosity._full_ms) == [f"user{number}" for number in range(3, 8)]
    assert curiosity.take_owed(sessions[0]) == 0 and curiosity.take_owed(sessions[7]) == STRANGER_UNITS
    curiosity.note(sessions[0], limits.STRANGERS_MAX * STRANGER_REFILL_MS, 1)
    assert list(curiosity._full_ms) == ["user0"], "the others are full again"


def test_who_goes_through_names_waits_and_is_answered() -> None:
    host = VirtualHost(rate=50, grounds=("contacts",))
    link = host.open("alice")

    def answers() -> int:
        return sum(message[0] == 69 for message in link.take())

    for _ in range(STRANGERS_MAX // PAGE + 1):
        link.say(Get(1, STRANGERS))
        assert answers() == 1
        host.advance(4_000)
    # The next one pays for the 250 that were too many.
    link.say(Get(2, STRANGERS))
    assert answers() == 1 and not link.is_reading, "served, and nothing more for a while"
    # At 50 units a second; some were earned meanwhile.
    host.advance(25_000)
    assert not link.is_reading
    host.advance(25_000)
    assert link.is_reading
    link.say(Get(3, ["bob"]))
    host.advance(PAGE * STRANGER_UNITS * 1000 // 50)
    assert answers() == 1
