"""Users of whom nobody knows anything yet: their homes, and what is said of them first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from presenced.cluster.log.home_bids import HomeBids
from presenced.wire.messages import Attach, Block, Done, SetContact, Subscribe, Unblock
from tests.cluster.town import Town

USERS = 300


def test_each_of_many_new_users_whose_requests_wait_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that starts anew attaches thousands: a node that looked through all that wait for each stood still."""
    names_bid = 0
    bid = HomeBids.bid

    def counted(self: HomeBids, names: Sequence[str], then: Callable[[int], object]) -> None:
        nonlocal names_bid
        names_bid += len(names)
        bid(self, names, then)

    monkeypatch.setattr(HomeBids, "bid", counted)
    town = Town("a", "b")
    _, node = town.nodes
    app = node.dial("app", role="service")
    town.pause()
    # It is decided elsewhere: what comes behind it waits.
    app.say(Subscribe(1, "bob", user="ann"))
    for number in range(2, USERS + 2):
        app.say(Attach(number, number, f"user{number}", "web"))
    assert not app.replies_to(2)
    names_bid = 0
    town.resume()
    answers = [app.replies_to(number) for number in range(1, USERS + 2)]
    assert all(len(answer) == 1 and isinstance(answer[0], Done) for answer in answers)
    assert {node.node.home_of(f"user{number}") for number in range(2, USERS + 2)} == {node.node.me}
    assert USERS <= names_bid <= 2 * USERS + 2, "once by the first that waits, and once by each itself"


@pytest.mark.parametrize("is_one_turn", [True, False])
def test_a_user_of_whom_nothing_was_known_for_a_moment_keeps_what_was_said_then(is_one_turn: bool) -> None:
    """The copy of before is dropped in the moment when nothing is known. What comes behind is not said of that one, and
    at the end of the turn nobody else is dropped in its place."""
    a, *others = (town := Town("a", "b", "c")).nodes
    app = a.open("app", role="service")
    for node in others:
        node.come(f"last-at-{node.name}/laptop")
    town.pause()
    app.say(Block(1, "carl", user="ann"))
    messages = (Unblock(2, "carl", user="ann"), SetContact(3, "bob", name="Bob", user="ann"))
    for message in messages:
        if is_one_turn:
            a.requests.handle(a.engine, app.session, a.now_ms, message)
        else:
            app.say(message)
    a.turn()
    town.resume()
    for node in town.nodes:
        users = node.engine.users
        ann = users.get("ann")
        assert ann is not None and ann.contacts is not None and list(ann.contacts.contacts) == ["bob"]
        assert [user.position for user in users.order] == list(range(len(users)))
        assert set(users.order) == set(users.values())
