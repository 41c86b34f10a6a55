"""What a watcher is told, and the queue that keeps the latest only."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from presenced.client.protocol.changes import Change, Feed, kind_of
from presenced.wire.messages import Record


def record(
    user: str = "bob",
    status: str = "online",
    text: str = "",
    emoji: str = "",
    device: str = "laptop",
    version: int = 1,
    since_ms: int = 5,
) -> Record:
    return Record(user, status, text, emoji, since_ms, 0, device, version)  # type: ignore[arg-type]


def drain(feed: Feed) -> list[Change]:
    changes = []
    while (change := feed.take()) is not None:
        changes.append(change)
    return changes


class Wakes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


class TestKinds:
    @pytest.mark.parametrize(
        ("old", "new", "kind"),
        [
            (record(status="offline"), record(status="online"), "online"),
            (record(status="offline"), record(status="dnd", text="x"), "online"),
            (record(status="away", text="a"), record(status="offline", device=""), "offline"),
            (record(status="online"), record(status="away"), "status"),
            (record(status="online"), record(status="dnd", text="x", device="phone"), "status"),
            (record(text="a"), record(text="b"), "text"),
            (record(emoji="a"), record(emoji="b", device="phone"), "text"),
            (record(device="a"), record(device="b"), "device"),
            (record(), record(), None),
            (record(version=1, since_ms=5), record(version=9, since_ms=70), None),
        ],
    )
    def test_each_step_has_the_most_telling_kind(self, old: Record, new: Record, kind: str | None) -> None:
        assert kind_of(old, new) == kind


class TestFeed:
    def test_the_first_of_each_user_is_a_snapshot(self) -> None:
        feed = Feed(Wakes())
        feed.put(record("bob"))
        feed.put(record("carol", "offline"))
        assert [(change.kind, change.old, change.user) for change in drain(feed)] == [
            ("snapshot", None, "bob"),
            ("snapshot", None, "carol"),
        ]

    def test_a_consumer_that_is_behind_gets_the_latest_only(self) -> None:
        feed = Feed(Wakes())
        feed.put(record(status="online"))
        drain(feed)
        for version in range(2, 1000):
            feed.put(record(status=("away", "dnd")[version % 2], version=version))
        (change,) = drain(feed)
        assert change.kind == "status"
        assert change.old == record(status="online")
        assert change.new == record(status="dnd", version=999)

    def test_who_went_and_came_back_meanwhile_yields_nothing(self) -> None:
        feed = Feed(Wakes())
        feed.put(record())
        drain(feed)
        feed.put(record(status="offline", version=2))
        feed.put(record(version=3))
        assert drain(feed) == []
        assert feed.records["bob"].version == 3

    def test_a_snapshot_not_taken_yet_shows_the_latest(self) -> None:
        feed = Feed(Wakes())
        feed.put(record(status="online"))
        feed.put(record(status="dnd", version=2))
        assert drain(feed) == [Change("snapshot", None, record(status="dnd", version=2))]

    def test_it_never_holds_more_than_one_entry_for_each_user(self) -> None:
        feed = Feed(Wakes())
        for version in range(1, 2001):
            feed.put(record(f"u{version % 7}", ("online", "offline")[version // 7 % 2], version=version))
            assert len(feed._order) == len(feed._bases) <= 7

    def test_changing_without_a_difference_wakes_nobody(self) -> None:
        wakes = Wakes()
        feed = Feed(wakes)
        feed.put(record())
        drain(feed)
        feed.put(record(version=2, since_ms=99))
        assert (wakes.count, drain(feed)) == (1, [])
        assert feed.records["bob"].version == 2

    def test_dropped_users_are_not_yielded_and_may_come_back(self) -> None:
        feed = Feed(Wakes())
        feed.put(record("bob"))
        feed.put(record("carol"))
        feed.drop(["bob"])
        feed.put(record("bob", "away"))
        assert [(change.user, change.kind) for change in drain(feed)] == [("carol", "snapshot"), ("bob", "snapshot")]

    @given(
        st.lists(
            st.one_of(
                st.none(),
                st.tuples(
                    st.sampled_from(["a", "b"]),
                    st.sampled_from(["online", "away", "offline"]),
                    st.sampled_from(["", "x"]),
                    st.sampled_from(["", "p"]),
                ),
            ),
            max_size=30,
        )
    )
    def test_the_steps_join_up_and_end_at_the_truth(self, script: list[tuple[str, str, str, str] | None]) -> None:
        """Whenever the consumer takes, each user's steps form a chain from nothing to the newest record."""
        feed = Feed(Wakes())
        seen: dict[str, Record] = {}
        truth: dict[str, Record] = {}
        for version, step in enumerate([*script, None]):
            if step is not None:
                user, status, text, device = step
                truth[user] = record(user, status, text, "", device, version)
                feed.put(truth[user])
                continue
            for change in drain(feed):
                before = seen.get(change.user)
                assert (change.kind == "snapshot") == (before is None)
                assert change.old == before or (
                    before is not None and change.old is not None and kind_of(before, change.old) is None
                )
                assert change.old is None or kind_of(change.old, change.new) == change.kind
                seen[change.user] = change.new
        assert seen.keys() == truth.keys()
        assert all(kind_of(seen[user], truth[user]) is None for user in truth)
