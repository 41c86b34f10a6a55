"""How readers of events keep their places: over links, side by side, slow, and after a server that lost its history."""

from __future__ import annotations

import pytest

from presenced.client.protocol.event_feed import LEAP, QUEUE_MAX, EventFeed, FollowedEvents, Position, parse_cursor
from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.errors import AddressError, ConnectionLost, PresenceError, RequestError
from presenced.wire.messages import Error, Event, Follow, Following


class Server:
    """Answers each follow from a ring of events, as the real one does: `asked` has what it was asked."""

    def __init__(self, epoch: int = 7, newest: int = 100, oldest: int = 1) -> None:
        self.epoch, self.newest, self.oldest = epoch, newest, oldest
        self.asked: list[tuple[int, int]] = []
        self.is_linked = True
        self.followed = FollowedEvents(self.send)
        self._waiting: list[tuple[Follow, OnReply]] = []

    def send(self, make: Make, on_reply: OnReply | None) -> None:
        request = make(len(self.asked) + 1)
        assert isinstance(request, Follow) and on_reply is not None
        if self.is_linked:
            self._waiting.append((request, on_reply))

    def answer(self) -> None:
        """Answer all that was asked and send the events that follow."""
        while self._waiting:
            request, on_reply = self._waiting.pop(0)
            self.asked.append((request.epoch, request.seq))
            is_known = request.epoch == self.epoch and self.oldest - 1 <= request.seq <= self.newest
            start = request.seq if is_known else self.newest
            on_reply(Following(request.id, self.epoch, start, not is_known and request.epoch != 0))
            for seq in range(start + 1, self.newest + 1):
                self.followed.event(event(seq))

    def happen(self, count: int = 1) -> None:
        for _ in range(count):
            self.newest += 1
            self.followed.event(event(self.newest))

    def reconnect(self) -> None:
        self._waiting = []
        for make, on_reply in self.followed.standing(0):
            self.send(make, on_reply)
        self.answer()


def event(seq: int) -> Event:
    return Event(seq, 1000 + seq, "status_change" if seq % 2 else "online", "alice", "a", str(seq), "")


def reader(position: Position | None = None, *kinds: str) -> EventFeed:
    return EventFeed(lambda: None, position, frozenset(kinds) if kinds else None)


def read(feed: EventFeed) -> list[str]:
    found = []
    while (taken := feed.take()) is not None:
        found.append(taken.cursor if taken.kind != "reset" else f"reset {taken.cursor}")
    return found


def test_from_now_on() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.happen(2)
    assert server.asked == [(0, 0)] and read(feed) == ["7-101", "7-102"]


def test_from_a_cursor_on() -> None:
    server, feed = Server(), reader(Position(7, 97))
    server.followed.attach(feed)
    server.answer()
    assert read(feed) == ["7-98", "7-99", "7-100"]


def test_over_links_each_once() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.happen()
    server.newest += 3
    server.reconnect()
    server.happen()
    assert read(feed) == ["7-101", "7-102", "7-103", "7-104", "7-105"]


def test_one_that_joins_from_further_back_disturbs_no_other() -> None:
    server, first, second = Server(), reader(), reader(Position(7, 98))
    server.followed.attach(first)
    server.answer()
    server.happen()
    server.followed.attach(second)
    server.answer()
    server.happen()
    assert read(first) == ["7-101", "7-102"]
    assert read(second) == ["7-99", "7-100", "7-101", "7-102"]


def test_a_second_one_from_now_on_asks_nothing() -> None:
    server, first, second = Server(), reader(), reader()
    server.followed.attach(first)
    server.answer()
    server.happen()
    server.followed.attach(second)
    server.happen()
    assert (read(second), server.asked) == (["7-102"], [(0, 0)])


def test_a_restarted_server_resets_all_and_goes_on() -> None:
    server, first, second = Server(), reader(), reader(Position(7, 99))
    server.followed.attach(first)
    server.followed.attach(second)
    server.answer()
    read(second)
    server.epoch, server.newest = 8, 3
    server.reconnect()
    server.happen()
    assert read(first) == ["reset 8-3", "8-4"] == read(second)


def test_a_gap_is_seen_and_asked_for() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.newest += 1
    server.happen(2)
    server.answer()
    assert read(feed) == ["7-101", "7-102", "7-103"] and server.asked == [(0, 0), (7, 100)]


def test_what_has_left_the_ring_resets_only_who_needs_it() -> None:
    server, good, bad = Server(oldest=50), reader(Position(7, 90)), reader(Position(7, 10))
    server.followed.attach(good)
    server.answer()
    read(good)
    server.newest += 2  # told to nobody yet
    server.followed.attach(bad)
    server.answer()
    server.happen()
    assert read(bad) == ["reset 7-102", "7-103"]
    assert read(good) == ["7-101", "7-102", "7-103"], "what the jump to the newest left out was asked for again"


def test_a_cursor_of_another_life_is_reset() -> None:
    server, feed = Server(), reader(Position(3, 10**6))
    server.followed.attach(feed)
    server.answer()
    assert read(feed) == ["reset 7-100"]


def test_a_link_that_read_too_slowly_is_told_so() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.newest = 200
    server.followed.fell_behind(Following(0, 7, 200, True))
    server.happen()
    assert read(feed) == ["reset 7-200", "7-201"]


def test_a_slow_reader_is_bounded_and_caught_up() -> None:
    server, slow, quick = Server(), reader(), reader()
    server.followed.attach(slow)
    server.followed.attach(quick)
    server.answer()
    total = QUEUE_MAX + 500
    seen = []
    for _ in range(total):
        server.happen()
        seen += read(quick)
    assert len(slow._queue) == QUEUE_MAX and slow.is_full
    got = []
    while (taken := slow.take()) is not None:
        got.append(taken.cursor)
        server.answer()
    got += read(slow)
    assert got == seen == [f"7-{number}" for number in range(101, 101 + total)]
    assert len(server.asked) == 2


def test_a_reader_of_some_kinds_keeps_its_place_all_the_same() -> None:
    server, feed = Server(), reader(None, "online")
    server.followed.attach(feed)
    server.answer()
    server.happen(4)
    assert read(feed) == ["7-102", "7-104"]
    server.newest += 1
    server.reconnect()
    assert server.asked[-1] == (7, 104)
    server.epoch = 9
    server.reconnect()
    assert read(feed) == [], "resets are for those who ask for them"


def test_a_refusal_and_the_end_reach_all() -> None:
    server, feed, other = Server(), reader(), reader()
    server.followed.attach(feed)
    _, on_reply = server._waiting[0]
    on_reply(Error(1, "forbidden", "no"))
    assert isinstance(feed.error, RequestError)
    server.followed.attach(other)
    server.followed.end(ConnectionLost("closed", "closed"))
    assert other.is_over and other.error is not None


def test_a_closed_reader_is_told_nothing() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.followed.release(feed)
    server.happen()
    assert feed.is_over and feed.error is None and read(feed) == []
    assert list(server.followed.standing(0)) == []


@pytest.mark.parametrize("text", ["1-2", "0-0", "1795298742338-65536"])
def test_a_cursor_is_read_back(text: str) -> None:
    assert str(parse_cursor(text)) == text


@pytest.mark.parametrize("text", ["1", "1-", "-1", "a-b", "1-2-3", " 1-2", "9999999999999999-1", "\u0661-\u0662"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not a cursor"):
        parse_cursor(text)


def test_what_stands_for_an_event_of_somebody_erased_is_passed_over_and_counted() -> None:
    server = Server()
    feed, of_erasures = reader(Position(7, 90)), reader(Position(7, 90), "erased")
    for one in (feed, of_erasures):
        server.followed.attach(one)
    server.answer()
    read(feed)
    server.followed.event(Event(101, 0, "erased", "", "", "", ""))
    assert feed.position == Position(7, 101) and read(feed) == []
    server.followed.event(Event(102, 5, "erased", "alice", "", "", ""))
    for one in (feed, of_erasures):
        told = one.take()
        assert told is not None and (told.kind, told.user, told.cursor) == ("erased", "alice", "7-102")
        assert one.take() is None
    assert len(server.asked) <= 2, "no gap was seen"


# --- numbers that leap, and names -----------------------------------------------------------------------------


def test_numbers_that_leap_are_no_gap() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed)
    server.answer()
    server.happen()
    server.newest += LEAP
    server.happen()
    assert read(feed) == ["7-101", f"7-{LEAP + 102}"] and server.asked == [(0, 0)]


def test_a_cursor_behind_a_leap_takes_the_place_of_the_one_before_it() -> None:
    server, feed, full = Server(), reader(), reader(Position(7, 90))
    server.followed.attach(feed)
    server.answer()
    server.followed.attach(full)
    server.answer()
    server.happen()
    server.followed.fell_behind(Following(0, 7, 101 + LEAP, False))
    assert feed.position == full.position == Position(7, 101 + LEAP)
    server.newest += LEAP
    server.happen()
    assert read(feed)[-1] == f"7-{LEAP + 102}" and "reset" not in " ".join(read(full))
    # The same in the answer to a cursor that is asked for.
    server.oldest = server.newest = 2 * LEAP
    start = feed.position
    ((make, on_reply),) = server.followed.standing(0)
    request = make(9)
    assert isinstance(request, Follow) and request.seq == start.seq and on_reply is not None
    on_reply(Following(9, 7, server.newest, False))
    server.happen()
    assert read(feed) == [f"7-{2 * LEAP + 1}"]


def test_a_named_reader_is_alone_and_goes_on_from_where_the_server_has_it() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed, "index")
    (waiting, on_reply), server._waiting = server._waiting[0], []
    assert (waiting.epoch, waiting.seq, waiting.name) == (0, 0, "index")
    on_reply(Following(1, 7, 40, False))
    server.followed.event(event(41))
    assert read(feed) == ["7-41"]
    for name in ("", "index", "other"):
        with pytest.raises(AddressError):
            server.followed.attach(reader(), name)
    assert server.followed.acknowledge(feed, "7-41") == 41
    assert server.followed.acknowledge(feed, "7-41") == 0, "once is enough"
    assert server.followed.acknowledge(feed, "6-90") == 0, "of another epoch"
    ((make, _),) = server.followed.standing(0)
    again = make(2)
    assert isinstance(again, Follow) and (again.epoch, again.seq, again.name) == (7, 41, "index")
    server.followed.release(feed)
    server.followed.attach(reader())


def test_a_named_reader_whose_position_is_too_old_is_told_so() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed, "index")
    _, on_reply = server._waiting[0]
    on_reply(Following(1, 7, 100, True))
    assert read(feed) == ["reset 7-100"]


def test_a_reader_whose_name_another_client_has_taken_ends() -> None:
    server, feed = Server(), reader()
    server.followed.attach(feed, "index")
    server.answer()
    server.followed.fell_behind(Following(0, 0, 0, False))
    assert feed.is_over and isinstance(feed.error, PresenceError) and feed.error.code == "follower_replaced"
