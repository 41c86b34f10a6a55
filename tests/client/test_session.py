"""What a client remembers over its links: requests, watched users, what to send again."""

from __future__ import annotations

import msgspec
import pytest

from presenced.client.protocol.changes import Change, Feed
from presenced.client.protocol.held_records import HeldRecords
from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.client.protocol.session import ClientSession
from presenced.client.protocol.watched_users import WatchedUsers, chunks
from presenced.errors import ConnectionLost, PresenceError, RequestError
from presenced.limits import REQUEST_ID_MAX
from presenced.wire.messages import (
    Done,
    Error,
    Get,
    Ping,
    Pong,
    Record,
    Records,
    SetDevice,
    SetStatus,
    Watch,
    Welcome,
)


class Memory(ClientSession[str]):
    """A session that watches users, as a client has it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = HeldRecords()
        self.users = WatchedUsers(self.held, lambda: self.users_per_request_max, lambda: self.is_resumed, _say_nothing)
        self.add(self.held)
        self.add(self.users)


def _say_nothing(make: Make, on_reply: OnReply | None) -> None:
    raise AssertionError("what a caller does not wait for is said")


def welcome(epoch: int = 1, users_per_request_max: int = 256) -> Welcome:
    return Welcome(
        1, "alice", "laptop", "user", 1000, 2500, 500, 9000, 0, 65536, users_per_request_max, 1000, 10**12, epoch
    )


def record(user: str, status: str = "online", version: int = 1, text: str = "") -> Record:
    return Record(user, status, text, "", 5, 0, "laptop", version)  # type: ignore[arg-type]


def feed_of(*_: str) -> Feed:
    return Feed(lambda: None)


def drain(feed: Feed) -> list[Change]:
    changes = []
    while (change := feed.take()) is not None:
        changes.append(change)
    return changes


def kinds(feed: Feed) -> list[tuple[str, str]]:
    return [(change.user, change.kind) for change in drain(feed)]


def linked(epoch: int = 1, users_per_request_max: int = 256) -> Memory:
    session = Memory()
    assert list(session.resume(welcome(epoch, users_per_request_max), 0)) == []
    return session


def watch(session: Memory, feed: Feed, *users: str) -> Watch:
    """Attach and ask as the client does."""
    session.users.attach(feed, users)
    make, answered = session.users.watching(session.users.unknown(users))
    request = session.open(make, "watcher", 0, answered)
    assert isinstance(request, Watch)
    return request


def answer(session: Memory, request: Watch, *records: Record, epoch: int = 1) -> None:
    session.settle(Records(request.id, epoch, 1, list(records)))


class TestRequests:
    def test_a_reply_finds_its_waiter_whatever_the_order(self) -> None:
        session = linked()
        first = session.open(lambda request_id: Get(request_id, ["bob"]), "a", 0)
        second = session.open(Ping, "b", 0)
        assert session.settle(Pong(second.id, 7)) == ["b"]
        assert session.settle(Records(first.id, 1, 1, [record("bob")])) == ["a"]

    def test_a_late_or_invented_reply_is_nobodys(self) -> None:
        session = linked()
        request = session.open(Ping, "a", 0)
        session.forget("a")
        assert session.settle(Pong(request.id, 7)) == []
        assert session.settle(Done(4711, 7)) == []

    def test_ids_wrap_around_and_skip_those_in_use(self) -> None:
        session = linked()
        assert session.open(Ping, "a", 0).id == 1
        session._last_id = REQUEST_ID_MAX - 1
        assert [session.open(Ping, waiter, 0).id for waiter in "bcd"] == [REQUEST_ID_MAX, 2, 3]

    def test_the_end_returns_all_who_wait_and_ends_the_feeds(self) -> None:
        session = linked()
        feed = feed_of()
        session.users.attach(feed, ["bob"])
        session.open(Ping, "a", 0)
        session.open(Ping, "b", 0)
        error = ConnectionLost("replaced", "another came")
        assert session.end(error) == ["a", "b"]
        assert (feed.is_over, feed.error) == (True, error)


class TestOffline:
    """Without a link only the last own state is kept."""

    def set_status(self, session: Memory, waiter: str, **fields: object) -> None:
        session.open(lambda request_id: SetStatus(request_id, **fields), waiter, 0)  # type: ignore[arg-type]

    def sent(self, session: Memory) -> list[object]:
        return [msgspec.structs.replace(message, id=1) for message in session.resume(welcome(), 0)]

    def test_a_newer_status_replaces_what_it_covers(self) -> None:
        session = Memory()
        for number in range(1000):
            self.set_status(session, f"w{number}", status=("away", "dnd")[number % 2])
        (message,) = session.resume(welcome(), 0)
        assert isinstance(message, SetStatus) and message.status == "dnd"
        assert session.settle(Done(message.id, 1)) == [f"w{number}" for number in range(1000)]

    def test_what_it_does_not_cover_stays_in_order(self) -> None:
        session = Memory()
        self.set_status(session, "a", status="dnd", text="busy")
        self.set_status(session, "b", text="lunch")
        self.set_status(session, "c", status="away")
        assert self.sent(session) == [
            SetStatus(1, "dnd", "busy"),
            SetStatus(1, None, "lunch"),
            SetStatus(1, "away"),
        ]

    def test_an_emoji_is_not_covered_by_a_later_text(self) -> None:
        session = Memory()
        self.set_status(session, "a", emoji="\U0001f334")
        self.set_status(session, "b", text="lunch")
        assert self.sent(session) == [SetStatus(1, None, None, "\U0001f334"), SetStatus(1, None, "lunch")]

    def test_all_fields_replace_everything(self) -> None:
        session = Memory()
        self.set_status(session, "a", status="dnd")
        self.set_status(session, "b", text="lunch")
        self.set_status(session, "c", status="auto", text="", emoji="")
        assert self.sent(session) == [SetStatus(1, "auto", "", "")]

    def test_the_device_keeps_its_last_state(self) -> None:
        session = Memory()
        session.open(lambda request_id: SetDevice(request_id, "away", 1), "a", 0)
        session.open(lambda request_id: SetDevice(request_id, "dnd", 2), "b", 0)
        assert self.sent(session) == [SetDevice(1, "dnd", 2)]

    def test_whoever_gave_up_is_not_remembered(self) -> None:
        session = Memory()
        for number in range(100):
            self.set_status(session, f"w{number}", status="dnd")
            session.forget(f"w{number}")
        assert list(session.resume(welcome(), 0)) == []
        assert not session._waiting and not session._pending

    def test_with_a_link_nothing_is_merged(self) -> None:
        session = linked()
        self.set_status(session, "a", status="dnd")
        self.set_status(session, "b", status="away")
        assert len(session._pending) == 2

    def test_an_expiry_does_not_grow_while_the_request_waits(self) -> None:
        session = Memory()
        session.open(lambda request_id: SetStatus(request_id, "dnd", for_ms=60_000), "a", 1000)
        (message,) = session.resume(welcome(), 21_000)
        assert isinstance(message, SetStatus) and message.for_ms == 40_000


class TestResume:
    def test_requests_in_flight_are_sent_again_in_order_with_their_ids(self) -> None:
        session = linked()
        first = session.open(lambda request_id: SetStatus(request_id, "dnd"), "a", 0)
        second = session.open(lambda request_id: Get(request_id, ["bob"]), "b", 0)
        session.suspend()
        assert list(session.resume(welcome(), 5)) == [first, second]

    def test_the_watch_goes_first_in_pieces_of_the_allowed_size(self) -> None:
        session = linked(users_per_request_max=2)
        feed = feed_of()
        answer(session, watch(session, feed, *"abcde"), *map(record, "abcde"))
        session.suspend()
        session.open(Ping, "p", 0)
        sent = list(session.resume(welcome(users_per_request_max=2), 0))
        assert [message.users for message in sent if isinstance(message, Watch)] == [["a", "b"], ["c", "d"], ["e"]]
        assert isinstance(sent[-1], Ping) and len(sent) == 4

    def test_the_sessions_own_requests_are_not_sent_twice(self) -> None:
        session = linked()
        feed = feed_of()
        answer(session, watch(session, feed, "bob"), record("bob"))
        session.open(Ping, None, 0)
        for _ in range(3):
            session.suspend()
            assert [type(message) for message in session.resume(welcome(), 0)] == [Watch]

    def test_only_real_differences_are_yielded(self) -> None:
        session = linked()
        feed = feed_of()
        answer(session, watch(session, feed, "a", "b", "c"), record("a"), record("b"), record("c", "offline"))
        drain(feed)
        session.suspend()
        (again,) = session.resume(welcome(), 0)
        assert isinstance(again, Watch)
        answer(session, again, record("a"), record("b", "dnd", 9), record("c", "offline"))
        assert kinds(feed) == [("b", "status")]

    def test_a_server_without_its_history_causes_no_second_snapshot(self) -> None:
        session = linked(epoch=1)
        feed = feed_of()
        answer(session, watch(session, feed, "a", "b"), record("a", version=500), record("b", version=501))
        drain(feed)
        session.suspend()
        (again,) = session.resume(welcome(epoch=2), 0)
        assert isinstance(again, Watch)
        answer(session, again, record("a", version=1), record("b", "offline", version=0), epoch=2)
        assert kinds(feed) == [("b", "offline")]
        session.held.tell(record("b", version=2))
        session.held.tell(record("b", "offline", version=1))
        assert kinds(feed) == [("b", "online")], "in the new epoch its own versions count"

    def test_a_watch_refused_on_return_ends_its_feeds_with_the_error(self) -> None:
        session = linked()
        bob, carol = feed_of(), feed_of()
        answer(session, watch(session, bob, "bob"), record("bob"))
        session.suspend()
        (again,) = session.resume(welcome(), 0)
        session.users.attach(carol, ["carol"])
        session.settle(Error(again.id, "watch_limit", "too many"))
        assert isinstance(bob.error, RequestError) and bob.error.code == "watch_limit"
        assert not carol.is_over


class TestWatching:
    def test_a_record_that_is_not_newer_is_ignored(self) -> None:
        session = linked()
        feed = feed_of()
        request = watch(session, feed, "bob")
        session.held.tell(record("bob", "dnd", 7))
        answer(session, request, record("bob", "online", 5))
        session.held.tell(record("bob", "away", 7))
        assert [(change.kind, change.new.status) for change in drain(feed)] == [("snapshot", "dnd")]

    def test_what_nobody_watches_is_ignored(self) -> None:
        session = linked()
        session.held.tell(record("bob"))
        assert not session.users._users

    def test_overlapping_watches_ask_once_and_unwatch_with_the_last(self) -> None:
        session = linked()
        first, second = feed_of(), feed_of()
        answer(session, watch(session, first, "a", "b"), record("a"), record("b"))
        session.users.attach(second, ["b", "c"])
        assert session.users.unknown(["b", "c"]) == ["c"]
        assert kinds(second) == [("b", "snapshot")], "what is held is yielded without asking"
        assert session.users.detach(first, ["a", "b", "stranger"]) == ["a"]
        session.held.tell(record("b", "away", 5))
        assert kinds(second) == [("b", "status")]
        assert sorted(session.users.release(second)) == ["b", "c"]
        assert session.users.release(second) == session.users.release(first) == []
        assert not session.users._users and not session.users._feeds

    def test_while_the_first_reply_is_out_a_second_watch_asks_as_well(self) -> None:
        """Else a refusal of the first would leave the second waiting for ever."""
        session = linked()
        watch(session, feed_of(), "bob")
        second = feed_of()
        session.users.attach(second, ["bob"])
        assert session.users.unknown(["bob"]) == ["bob"]

    def test_watching_again_starts_from_a_fresh_snapshot(self) -> None:
        session = linked()
        feed = feed_of()
        answer(session, watch(session, feed, "bob"), record("bob", version=3))
        drain(feed)
        assert session.users.detach(feed, ["bob"]) == ["bob"]
        make, answered = session.users.unwatching(["bob"])
        session.open(make, None, 0, answered)
        answer(session, watch(session, feed, "bob"), record("bob", version=3))
        assert kinds(feed) == [("bob", "snapshot")]


@pytest.mark.parametrize("error", [ConnectionLost("closed", "closed"), None])
def test_a_feed_keeps_its_first_end(error: PresenceError | None) -> None:
    feed = feed_of()
    feed.end(error)
    feed.end(RequestError("internal", "later"))
    assert feed.error is error


def test_chunks_cover_everything_once() -> None:
    names = [f"u{number}" for number in range(10)]
    assert [name for piece in chunks(names, 3) for name in piece] == names
    assert [len(piece) for piece in chunks(names, 3)] == [3, 3, 3, 1]
