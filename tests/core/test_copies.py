"""Copies of users of another node: whoever watches, lists, counts or awaits them is told what they are at home."""

from __future__ import annotations

import pytest

from presenced.core.policy import Policy
from presenced.core.records import BlockSet, ShowingSet
from presenced.wire.messages import (
    Block,
    Erase,
    GetContacts,
    Join,
    Revoke,
    SetStatus,
    ShowTo,
    StopShowing,
    Subscribe,
    Unblock,
    Watch,
    WatchChannel,
)
from tests.core.copy_lives import (
    Lives,
    pairs_of,
)
from tests.core.mirror import Home
from tests.support.sleepy import portrait
from tests.support.tiers import samples


@pytest.mark.parametrize("seed", range(samples(24)))
def test_whoever_asks_elsewhere_is_told_what_is_told_at_home(seed: int) -> None:
    Lives(seed).run()


@pytest.mark.parametrize("seed", range(100, 100 + samples(10)))
def test_the_same_of_users_who_sleep_as_soon_as_they_can(seed: int) -> None:
    Lives(seed, is_sleepy=True).run()


@pytest.mark.parametrize("skew_ms", (-700, 700))
@pytest.mark.parametrize("seed", range(200, 200 + samples(4)))
def test_records_are_the_same_though_the_clocks_of_nodes_are_not(seed: int, skew_ms: int) -> None:
    Lives(seed, is_sleepy=True, skew_ms=skew_ms).run()


# --- what lives seldom come to ------------------------------------------------------------------------------------


def test_who_was_seen_in_a_channel_by_a_showing_alone_is_told_to_leave_it() -> None:
    home = Home(Policy(grounds=("contacts",), change_spacing_ms=0))
    alice, bob = pairs_of(home, "alice", "bob")
    bob.say(Join(0, "general"))
    bob.say(ShowTo(0, "alice"))
    alice.ask(WatchChannel(0, "general"))
    assert [record.user for record in alice.there.messages[-1].records] == ["bob"]  # type: ignore[union-attr]
    alice.agree()
    bob.here.bye()
    home.advance(130)
    assert [kind for _, kind, _ in alice.there.told.room_events] == ["leave"]
    alice.agree()


def test_a_list_comes_to_the_version_of_home_whatever_is_seen_of_it() -> None:
    home = Home(Policy())
    alice, bob = pairs_of(home, "alice", "bob")
    alice.say(Block(0, "bob"))
    bob.say(Subscribe(0, "alice", "hi"))
    home.advance(130)
    alice.say(Unblock(0, "bob"))
    for pair in (alice, bob):
        pair.ask(GetContacts(0))
        pair.agree()
    for name in ("alice", "bob"):
        here, there = home.user(name).contacts, home.away.user(name).contacts
        assert here is not None and there is not None and here.version == there.version > 0


def test_links_of_revoked_tokens_and_of_who_was_erased_end_on_all_nodes() -> None:
    home = Home(Policy())
    (app, alice, bob) = pairs_of(home, "app", "alice", "bob")
    app.say(Revoke(0, "alice"))
    assert alice.there.ended == "token_revoked" and bob.there.open
    assert home.away.engine.revocations.refuses("alice", 0)
    admin = home.open("admin", role="admin")
    admin.done(Erase(admin.next_id(), "bob"))
    assert bob.there.ended == "kicked"
    assert "bob" not in home.away.engine.users
    # The disk of each node holds traces of its own, and followers hear of it from the home.
    assert [one.is_told for one in home.away.engine.erasures.pending] == []
    assert home.away.engine.erasures.latest == 1


def test_applied_twice_is_once() -> None:
    home = Home(Policy(change_spacing_ms=0))
    app, alice = pairs_of(home, "app", "alice")
    app.ask(Watch(0, ["alice"]))
    alice.say(Join(0, "general"))
    alice.say(SetStatus(0, "dnd", "lunch", None, 60_000))
    facts = [fact for fact in home.log.facts if fact.user == "alice"]
    app.agree()
    before = portrait(home.away.user("alice"))
    home.copies.apply(facts[-2:], home.now_ms)
    home.away.turn()
    assert not app.there.messages and portrait(home.away.user("alice")) == before


def test_a_showing_is_told_in_channels_and_a_block_from_elsewhere_stands() -> None:
    home = Home(Policy(grounds=("contacts",), change_spacing_ms=0))
    alice, bob = pairs_of(home, "alice", "bob")
    bob.say(Join(0, "general"))
    alice.ask(WatchChannel(0, "general"))
    bob.say(ShowTo(0, "alice"))
    home.advance(130)
    bob.say(StopShowing(0, "alice"))
    home.advance(130)
    assert [kind for _, kind, _ in alice.there.told.room_events] == ["join", "leave"]
    alice.agree()
    # The node that decides pairs has told of a block before the user's home knew of it.
    showing = ShowingSet("bob", "laptop", "alice", True)
    home.copies.apply([BlockSet("bob", "alice", True), showing], home.now_ms)
    home.away.turn()
    privacy = home.away.user("bob").privacy
    assert privacy is not None and list(privacy.blocked) == ["alice"] and not privacy.shown_to
