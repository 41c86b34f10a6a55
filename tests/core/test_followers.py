"""Followers with a name: where each goes on, and how that is kept."""

from __future__ import annotations

from typing import NoReturn

import pytest

from presenced.core.parts import event_history, followers as module
from presenced.core.parts.event_streams import NarrowedStream
from presenced.core.policy import Policy
from presenced.core.records import FollowerForgotten, FollowerSet
from presenced.core.rights import rights_of
from presenced.limits import FOLLOWER_SAVE_MS
from presenced.wire.messages import (
    Acknowledge,
    Erase,
    Follow,
    FollowerInfo,
    FollowerList,
    Following,
    ForgetFollower,
    GetFollowers,
    SetStatus,
)
from tests.core.fake_link import FakeLink
from tests.core.world import WALL_MS, World


def follow(link: FakeLink, name: str = "index", epoch: int = 0, seq: int = 0) -> Following:
    return link.expect(Follow(link.next_id(), epoch, seq, name), Following)


def stage(policy: Policy | None = None) -> tuple[World, FakeLink, FakeLink]:
    """A world, a service that acts, and one that follows as `index`."""
    world = World(policy)
    app = world.open("app", role="service")
    link = world.open("reader", role="service")
    assert not follow(link).reset
    return world, app, link


def text(app: FakeLink, word: str) -> None:
    app.done(SetStatus(app.next_id(), text=word, user="alice"))


def acknowledge(link: FakeLink, seq: int) -> None:
    link.say(Acknowledge(seq))
    link.world.turn()


def back(world: World, seq: int, name: str = "index") -> list[str]:
    """What a new link under the name is told, which goes on behind `seq`."""
    link = world.open("reader", role="service")
    link.told.seq = seq
    following = follow(link, name)
    assert (following.seq, following.reset) == (seq, False)
    world.turn()
    told = [event.new for event in link.told.events]
    link.lose()
    return told


def listed(world: World, user: str = "reader") -> list[FollowerInfo]:
    link = world.open(user, role="service")
    told = link.expect(GetFollowers(link.next_id()), FollowerList)
    link.lose()
    return told.followers


def test_it_goes_on_behind_what_it_acknowledged() -> None:
    world, app, link = stage()
    for word in "abcd":
        text(app, word)
    acknowledge(link, 2)
    assert back(world, 2) == ["c", "d"]
    assert back(world, 2) == ["c", "d"], "nothing was acknowledged since"


def test_a_new_one_begins_now_and_each_name_is_for_itself() -> None:
    world, app, _ = stage()
    text(app, "a")
    assert back(world, 1, "mail") == []
    text(app, "b")
    assert back(world, 1, "mail") == ["b"] and back(world, 0) == ["a", "b"]
    other = world.open("other", role="service")
    assert follow(other).seq == 2, "names belong to the user of the link"


@pytest.mark.parametrize("seq", [0, 1, 99, 2**50])
def test_what_it_was_not_told_or_acknowledged_before_comes_to_nothing(seq: int) -> None:
    world, app, link = stage()
    for word in "ab":
        text(app, word)
    acknowledge(link, 1)
    acknowledge(link, seq)
    assert [info.seq for info in listed(world)] == [1]
    unnamed = world.open("reader", role="service")
    unnamed.say(Acknowledge(2))
    user = world.open("carol/laptop")
    user.say(Acknowledge(2))
    world.turn()
    assert [info.seq for info in listed(world)] == [1] and user.open


def test_a_cursor_that_is_given_counts_and_moves_no_position() -> None:
    world, app, link = stage()
    for word in "abc":
        text(app, word)
    acknowledge(link, 2)
    again = world.open("reader", role="service")
    again.told.seq = 1
    assert follow(again, epoch=world.engine.events.epoch, seq=1).seq == 1
    world.turn()
    assert [event.new for event in again.told.events] == ["b", "c"]
    assert [info.seq for info in listed(world)] == [2]


def test_another_link_under_the_name_takes_it() -> None:
    world, app, first = stage()
    second = world.open("reader", role="service")
    first.forget()
    follow(second)
    assert first.messages == [Following(0, 0, 0, False)] and first.open
    first.forget()
    text(app, "a")
    assert first.messages == [] and [event.new for event in second.told.events] == ["a"]
    first.say(Acknowledge(1))
    world.turn()
    assert [info.seq for info in listed(world)] == [0], "it does not follow any longer"
    # To follow again under the name it has is no change.
    follow(second)
    assert not [m for m in second.messages if isinstance(m, Following) and not m.epoch]


def test_a_link_that_follows_without_the_name_has_it_no_longer() -> None:
    world, app, link = stage()
    text(app, "a")
    link.expect(Follow(link.next_id()), Following)
    acknowledge(link, 1)
    assert [info.seq for info in listed(world)] == [0]


def test_a_position_is_saved_at_once_and_then_once_a_second() -> None:
    world, app, link = stage()
    begun = len(world.log.facts)
    for number in range(20):
        text(app, str(number))
        acknowledge(link, number + 1)
        world.advance(100)
    saved = [fact.seq for fact in world.log.facts[begun:] if isinstance(fact, FollowerSet)]
    assert saved[0] == 1 and len(saved) == 2_000 // FOLLOWER_SAVE_MS + 1
    link.lose()
    world.turn()
    saved = [fact.seq for fact in world.log.facts[begun:] if isinstance(fact, FollowerSet)]
    assert saved[-1] == 20, "what was not saved yet is saved with the end of the link"
    assert back(world.restarted(1_000), 20) == []


def test_it_is_kept_over_restarts_from_log_and_snapshot() -> None:
    world, app, link = stage()
    for word in "abc":
        text(app, word)
    acknowledge(link, 2)
    world.engine.stop()
    for facts in (None, world.snapshot()):
        after = world.restarted(1_000, facts=facts)
        assert back(after, 2) == ["c"]
        (info,) = listed(after)
        assert info == FollowerInfo("index", 77, 2, 1, WALL_MS)


def test_it_is_forgotten_by_its_name_and_with_its_user() -> None:
    world, app, link = stage()
    text(app, "a")
    assert [info.behind for info in listed(world)] == [1]
    link.done(ForgetFollower(link.next_id(), "index"))
    link.done(ForgetFollower(link.next_id(), "index"))
    assert listed(world) == [] == listed(world.restarted(1_000))
    text(app, "b")
    assert [event.new for event in link.told.events] == ["a", "b"], "it is told on"
    acknowledge(link, 2)
    follow(link, "mail")
    assert [info.name for info in listed(world)] == ["mail"]
    app.done(Erase(app.next_id(), "reader"))
    assert listed(world) == [] == listed(world.restarted(1_000))


def test_one_that_was_away_for_too_long_is_reset_until_it_acknowledges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 1)
    world, app, link = stage(Policy(events_keep=3))
    link.lose()
    for word in "abcdef":
        text(app, word)
    assert [(info.seq, info.behind) for info in listed(world)] == [(0, -1)]
    for _ in range(2):
        link = world.open("reader", role="service")
        answer = follow(link)
        assert (answer.reset, answer.seq) == (True, 6)
    text(app, "g")
    acknowledge(link, 7)
    assert back(world, 7) == []


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOWERS_PER_USER_MAX", 2)
    monkeypatch.setattr(module, "FOLLOWERS_MAX", 3)
    world, app, link = stage()
    follow(link, "mail")
    assert link.refused(Follow(link.next_id(), name="third")) == "follower_limit"
    assert world.engine.followers.by_session[link.session].name == "mail", "nothing has changed"
    follow(link, "index")
    follow(app, "own")
    assert app.refused(Follow(app.next_id(), name="fourth")) == "follower_limit"
    assert app.refused(Follow(app.next_id(), name="a b\n")) == "bad_name"


def test_a_new_name_needs_a_disk_and_one_that_is_known_does_not() -> None:
    world, _, link = stage()
    world.engine.set_read_only("read_only")
    assert link.refused(Follow(link.next_id(), name="mail")) == "read_only"
    world.engine.set_read_only("read_only")
    assert link.refused(ForgetFollower(link.next_id(), "index")) == "read_only"
    world.engine.set_read_only("read_only")
    follow(link)


def test_a_named_follower_of_some_users_keeps_their_numbers_over_restarts() -> None:
    world, app, _ = stage()
    narrow = world.open("narrow", role="service", rights={"see": ["bob"], "act": ["*"]})
    follow(narrow, "some")
    text(app, "a")
    app.done(SetStatus(app.next_id(), text="of bob", user="bob"))
    after = world.restarted(1_000)
    after.advance(1)
    again = after.open("narrow", role="service", rights={"see": ["bob"], "act": ["*"]})
    assert (follow(again, "some").seq, [(e.seq, e.new) for e in again.told.events]) == (0, [(1, "of bob")])
    acknowledge(again, 1)
    (info,) = again.expect(GetFollowers(again.next_id()), FollowerList).followers
    assert (info.seq, info.behind) == (1, 0)


def test_its_stream_is_kept_however_long_it_is_away() -> None:
    world, app, _ = stage(Policy(events_keep_for_ms=640_000))
    narrow = world.open("narrow", role="service", rights={"see": ["bob"]})
    epoch = follow(narrow, "some").epoch
    narrow.lose()
    app.lose()
    world.advance(2_000_000)
    assert epoch in world.engine.events.streams.by_epoch
    app = world.open("app", role="service")
    app.done(ForgetFollower(app.next_id(), "some", "narrow"))
    world.advance(700_000)
    assert epoch not in world.engine.events.streams.by_epoch


def test_only_who_acts_for_the_user_lists_and_forgets() -> None:
    world, app, _ = stage()
    assert [info.name for info in app.expect(GetFollowers(app.next_id(), "reader"), FollowerList).followers] == [
        "index"
    ]
    bound = world.open("bound", role="service", rights={"act": ["bob"]})
    for request in (GetFollowers(bound.next_id(), "reader"), ForgetFollower(bound.next_id(), "index", "reader")):
        assert bound.refused(request) == "forbidden"
    user = world.open("reader/laptop")
    assert user.refused(GetFollowers(user.next_id())) == "forbidden"


NARROW = {"see": ["bob", "carol"], "act": ["*"]}


def test_a_token_that_shows_less_does_not_meddle_with_what_a_wider_one_follows() -> None:
    world, app, link = stage()
    text(app, "a")
    narrow = world.open("reader", role="service", rights=NARROW)
    assert narrow.expect(GetFollowers(narrow.next_id()), FollowerList).followers == []
    for request in (
        Follow(narrow.next_id(), name="index"),
        Follow(narrow.next_id(), world.engine.events.epoch, 1, "index"),
        ForgetFollower(narrow.next_id(), "index"),
    ):
        assert narrow.refused(request) == "forbidden"
    text(app, "b")
    assert [event.new for event in link.told.events] == ["a", "b"] and link.told.resets == 0
    assert [(info.name, info.seq) for info in listed(world)] == [("index", 0)]
    # Its own names are its own, for all who see as much.
    follow(narrow, "some")
    same = world.open("reader", role="service", rights={**NARROW, "see": ["carol", "bo*"]})
    for one in (narrow, same):
        (info,) = one.expect(GetFollowers(one.next_id()), FollowerList).followers
        assert info.name == "some"
    assert [info.name for info in listed(world)] == ["index", "some"]
    less = world.open("reader", role="service", rights={"see": ["bob"], "act": ["*"]})
    assert less.refused(Follow(less.next_id(), name="some")) == "forbidden"
    assert follow(same, "some").reset, "it sees others besides, of whom it was not told"
    link.done(ForgetFollower(link.next_id(), "some"))


def test_one_that_a_wider_link_follows_is_its_own_whatever_became_of_the_position() -> None:
    world, app, link = stage()
    after = world.restarted(1_000, epoch=world.engine.events.epoch + 1)
    narrow = after.open("reader", role="service", rights=NARROW)
    (info,) = narrow.expect(GetFollowers(narrow.next_id()), FollowerList).followers
    assert info.behind == -1, "the position is lost"
    link = after.open("reader", role="service")
    assert follow(link, "index").reset
    assert narrow.refused(Follow(narrow.next_id(), name="index")) == "forbidden"
    link.lose()
    assert follow(narrow, "index").reset


def test_a_link_whose_new_token_shows_less_has_its_name_no_longer() -> None:
    world, app, link = stage()
    app.done(SetStatus(app.next_id(), text="a", user="bob"))
    world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of(NARROW, "reader", "service"))
    app.done(SetStatus(app.next_id(), text="b", user="bob"))
    assert [event.new for event in link.told.events] == ["a", "b"]
    acknowledge(link, 1)
    assert [(info.epoch, info.seq) for info in listed(world)] == [(world.engine.events.epoch, 0)]
    wider = world.open("reader", role="service", rights=NARROW)
    follow(wider, "some")
    world.engine.sessions.renew(world.now_ms, wider.session, 0, None)
    app.done(SetStatus(app.next_id(), text="c", user="bob"))
    acknowledge(wider, wider.told.seq)
    assert listed(world)[1].epoch == world.engine.events.epoch, "one that shows more goes on under it"


def test_a_token_that_only_reads_follows_under_no_name() -> None:
    world, app, link = stage()
    reads = world.open("reader", role="service", rights={"only_read": True})
    assert reads.refused(Follow(reads.next_id(), name="index")) == "forbidden"
    assert reads.refused(ForgetFollower(reads.next_id(), "index")) == "forbidden"
    assert not reads.expect(Follow(reads.next_id()), Following).reset
    text(app, "a")
    world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of({"only_read": True}, "reader", "service"))
    acknowledge(link, 1)
    assert [info.seq for info in listed(world)] == [0]


class Unlisted(dict[str, object]):
    """Followers that nobody may go through."""

    def values(self) -> NoReturn:
        raise AssertionError("each turn goes through all followers")


def test_a_turn_does_not_go_through_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world, app, _ = stage()
    streams = []
    for user in ("bob", "carol"):
        narrow = world.open(f"of-{user}", role="service", rights={"see": [user]})
        streams.append(follow(narrow, "some").epoch)
        follow(narrow, "other")
        narrow.lose()
    followers, events = world.engine.followers, world.engine.events
    monkeypatch.setattr(followers, "_by_user", Unlisted(followers._by_user))
    assert events.next_ms is None and events.streams.unfollowed(followers.is_in) == []
    monkeypatch.undo()
    # One that goes on in another stream is counted there.
    narrow = world.open("of-bob", role="service", rights={"see": ["bob", "dave"]})
    for name in ("some", "other"):
        assert follow(narrow, name).reset
        acknowledge(narrow, 0)
    narrow.lose()
    assert [stream.epoch for stream in events.streams.unfollowed(followers.is_in)] == streams[:1]
    for user in ("of-bob", "of-carol"):
        app.done(Erase(app.next_id(), user))
    assert len(events.streams.unfollowed(followers.is_in)) == len(events.streams.by_epoch)


def test_who_has_missed_events_is_listed_with_one_look_at_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 1)
    world, app, link = stage(Policy(events_keep=3))
    narrow = world.open("narrow", role="service", rights={"see": ["alice"], "act": ["*"]})
    text(app, "a")
    for name in ("late", "later", "latest"):
        follow(narrow, name)
        text(app, name)
    for word in "bcd":
        app.done(SetStatus(app.next_id(), text=word, user="bob"))
    text(app, "b")
    acknowledge(narrow, 4)
    looks = []
    parts = NarrowedStream._parts

    def counted(stream: NarrowedStream) -> list[tuple[int, int]]:
        looks.append(stream)
        return parts(stream)

    monkeypatch.setattr(NarrowedStream, "_parts", counted)
    assert world.engine.events.list_lost() == ["reader/index", "narrow/late", "narrow/later"]
    assert len(looks) == 1
    # A cursor at each number by itself, as `follow` sees it.
    stream = narrow.session and world.engine.events.followers[narrow.session]
    assert stream and [seq for seq in range(7) if stream.knows(seq)] == sorted(stream.known_of(set(range(7))))


def test_what_another_server_says_of_a_link_that_lost_the_name_changes_nothing() -> None:
    world, app, link = stage()
    for word in "abc":
        text(app, word)
    acknowledge(link, 3)
    link.lose()
    world.turn()
    [kept] = world.engine.followers.all()
    earlier = kept.taken_ms - 1
    for fact in (
        FollowerSet(kept.user, kept.name, kept.epoch, 1, kept.at_ms, earlier),
        FollowerForgotten(kept.user, kept.name, earlier),
    ):
        world.engine.events.take_told(fact, world.now_ms)
        assert [info.seq for info in listed(world)] == [3]
        world.engine.ledger.add(fact)
        world.turn()
    world = world.restarted(1_000)
    assert [info.seq for info in listed(world)] == [3], "nor does it after a restart"
    # Servers of before do not say when the name was taken.
    world.engine.events.take_told(FollowerForgotten(kept.user, kept.name), world.now_ms)
    assert listed(world) == []


def test_of_two_servers_that_gave_the_name_in_one_moment_the_larger_counts_whoever_says_so_first() -> None:
    world, app, link = stage()
    for word in "abc":
        text(app, word)
    link.lose()
    world.turn()
    [kept] = world.engine.followers.all()
    for seq, server in ((2, 7), (1, 5), (3, 9), (2, 7)):
        fact = FollowerSet(kept.user, kept.name, kept.epoch, seq, kept.at_ms, kept.taken_ms, server)
        world.engine.events.take_told(fact, world.now_ms)
    world.engine.events.take_told(FollowerForgotten(kept.user, kept.name, kept.taken_ms, 8), world.now_ms)
    assert [info.seq for info in listed(world)] == [3]


def test_a_server_of_before_takes_the_name_from_nobody() -> None:
    world, app, link = stage()
    text(app, "a")
    acknowledge(link, 1)
    [kept] = world.engine.followers.all()
    for fact in (FollowerSet(kept.user, kept.name, kept.epoch, 0, 0), FollowerForgotten(kept.user, kept.name)):
        world.engine.events.take_told(fact, world.now_ms)
        world.turn()
        assert [info.seq for info in listed(world)] == [1]
    text(app, "b")
    assert link.told.events[-1].new == "b"
