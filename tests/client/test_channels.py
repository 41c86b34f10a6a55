"""What a watcher of a channel holds and is told, page by page and push by push."""

from __future__ import annotations

import pytest

from presenced.client.protocol import channels as module
from presenced.client.protocol.channels import COUNTED, ChannelFeed, WatchedChannels
from presenced.client.protocol.pending_requests import Make, OnReply, Request
from presenced.errors import ConnectionLost, RequestError
from presenced.wire.messages import (
    ChannelCounts,
    ChannelEvent,
    Error,
    GetMembers,
    MembersPage,
    Record,
    UnwatchChannel,
    WatchChannel,
)


def record(user: str, status: str = "online", text: str = "") -> Record:
    return Record(user, status, text, "", 5, 0, "phone", 1)  # type: ignore[arg-type]


class Server:
    """A channel of `members`, listed in pages of `size`."""

    def __init__(self, *members: str, size: int = 2) -> None:
        self.members = {name: record(name) for name in sorted(members)}
        self.size = size
        self.requests: list[Request] = []
        self._waiting: list[tuple[Request, OnReply | None]] = []
        self.channels = WatchedChannels(self.send, lambda: False)

    def send(self, make: Make, on_reply: OnReply | None) -> None:
        request = make(len(self.requests) + 1)
        self.requests.append(request)
        self._waiting.append((request, on_reply))

    def counts(self) -> list[int]:
        return [sum(member.status == status for member in self.members.values()) for status in COUNTED]

    def answer(self, times: int = 99) -> None:
        while self._waiting and times:
            times -= 1
            request, on_reply = self._waiting.pop(0)
            if on_reply is None or not isinstance(request, WatchChannel | GetMembers):
                continue
            after = request.after if isinstance(request, GetMembers) else ""
            names = sorted(name for name in self.members if name > after)
            page = names[: self.size]
            following = page[-1] if len(names) > self.size else ""
            records = [self.members[name] for name in page]
            on_reply(MembersPage(request.id, "general", 1, len(self.members), self.counts(), following, records))

    def tell(self, kind: str, member: Record) -> None:
        if kind == "leave":
            del self.members[member.user]
        else:
            self.members[member.user] = member
        self.channels.event(ChannelEvent("general", kind, len(self.members), member))  # type: ignore[arg-type]

    def reconnect(self) -> None:
        self._waiting = []
        for make, on_reply in self.channels.standing(0):
            self.send(make, on_reply)
        self.answer()


def watcher(server: Server, times: int = 99) -> ChannelFeed:
    feed = ChannelFeed(lambda: None)
    server.channels.attach(feed, "general")
    server.answer(times)
    return feed


def told(feed: ChannelFeed) -> list[tuple[str, str]]:
    found = []
    while (change := feed.take()) is not None:
        found.append((change.kind, change.user))
    return found


def test_all_pages_are_the_snapshot() -> None:
    server = Server("a", "b", "c", "d", "e")
    feed = watcher(server)
    assert told(feed) == [("snapshot", name) for name in "abcde"]
    assert (
        feed.channel is not None
        and feed.channel.is_complete
        and (feed.channel.total, feed.channel.counts["online"]) == (5, 5)
    )


def test_what_comes_between_the_pages_counts_in_its_order() -> None:
    server = Server("a", "b", "c", "d")
    feed = watcher(server, 1)
    assert feed.is_ready
    server.tell("leave", record("a"))
    server.tell("change", record("d", "dnd"))
    server.tell("join", record("aa"))
    server.answer()
    assert feed.channel is not None
    assert {name: member.status for name, member in feed.channel.members.items()} == {
        "aa": "online",
        "b": "online",
        "c": "online",
        "d": "dnd",
    }
    assert ("leave", "a") not in told(feed), "nobody had been told that it was there"
    assert feed.channel.counts == {"chat": 0, "online": 3, "away": 0, "xa": 0, "dnd": 1}


def test_joins_changes_and_leaves_with_exact_counts() -> None:
    server = Server("a")
    feed = watcher(server)
    told(feed)
    server.tell("join", record("b", "away"))
    server.tell("change", record("a", "dnd"))
    assert told(feed) == [("join", "b"), ("change", "a")]
    server.tell("leave", record("a", "offline"))
    assert told(feed) == [("leave", "a")]
    assert feed.channel is not None
    assert (feed.channel.total, feed.channel.counts) == (1, {"chat": 0, "online": 0, "away": 1, "xa": 0, "dnd": 0})


def test_a_slow_watcher_gets_only_where_things_stand() -> None:
    server = Server("a")
    feed = watcher(server)
    told(feed)
    server.tell("join", record("b"))
    server.tell("leave", record("b"))
    for status in ("dnd", "away", "xa"):
        server.tell("change", record("a", status))
    assert told(feed) == [("change", "a")]


def test_after_a_lost_link_only_what_differs() -> None:
    server = Server("a", "b", "c", "d", "e")
    feed = watcher(server)
    told(feed)
    del server.members["b"], server.members["e"]
    server.members |= {"c": record("c", "dnd"), "cc": record("cc")}
    server.reconnect()
    assert sorted(told(feed)) == [("change", "c"), ("join", "cc"), ("leave", "b"), ("leave", "e")]
    assert feed.channel is not None and sorted(feed.channel.members) == ["a", "c", "cc", "d"]


def test_batches_of_a_large_channel() -> None:
    server = Server("a", "b")
    feed = watcher(server)
    told(feed)
    server.channels.counted(
        ChannelCounts("general", 2, [0, 1, 0, 0, 1], [record("a", "dnd"), record("c")], ["b"], True)
    )
    assert sorted(told(feed)) == [("change", "a"), ("join", "c"), ("leave", "b")]
    assert feed.channel is not None and (feed.channel.total, feed.channel.counts["dnd"]) == (2, 1)
    assert len(server.requests) == 1, "a complete batch asks for nothing"


def test_after_missed_changes_a_small_channel_is_listed_anew() -> None:
    server = Server("a", "b", "c")
    feed = watcher(server)
    told(feed)
    server.members = {"b": record("b"), "d": record("d")}
    server.channels.counted(ChannelCounts("general", 2, [0, 2, 0, 0, 0], [], [], False))
    assert told(feed) == [("counts", "")]
    server.channels.counted(ChannelCounts("general", 2, [0, 2, 0, 0, 0], [], [], False))
    server.answer()
    assert sorted(told(feed)) == [("counts", ""), ("join", "d"), ("leave", "a"), ("leave", "c")]
    assert feed.channel is not None and feed.channel.is_complete
    assert sum(isinstance(request, GetMembers) for request in server.requests) == 3, "one listing at a time"


def test_a_very_large_channel_is_not_listed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_LISTED_MAX", 4)
    server = Server(*[f"u{number}" for number in range(9)])
    feed = watcher(server)
    assert feed.channel is not None
    assert (len(feed.channel.members), feed.channel.is_complete, feed.channel.total) == (4, False, 9)
    told(feed)
    asked = len(server.requests)
    server.channels.counted(ChannelCounts("general", 9, [0, 8, 0, 0, 1], [], [], False))
    assert (len(server.requests), told(feed), feed.channel.counts["dnd"]) == (asked, [("counts", "")], 1)
    for number in range(5):
        server.tell("leave", record(f"u{number}"))
    server.answer()
    assert feed.channel.is_complete and sorted(feed.channel.members) == ["u5", "u6", "u7", "u8"], "small enough again"


def test_two_watchers_ask_once_and_unwatch_with_the_last() -> None:
    server = Server("a")
    first = watcher(server)
    second = watcher(server)
    assert told(second) == [("snapshot", "a")] == told(first)
    server.channels.release(first)
    assert len(server.requests) == 1
    server.channels.release(second)
    server.channels.release(second)
    assert [type(request) for request in server.requests] == [WatchChannel, UnwatchChannel]
    assert list(server.channels.standing(0)) == []


def test_a_refused_channel_ends_its_watchers_and_can_be_tried_again() -> None:
    server = Server("a")
    refused = ChannelFeed(lambda: None)
    server.channels.attach(refused, "general")
    _, on_reply = server._waiting.pop()
    assert on_reply is not None
    on_reply(Error(1, "bad_channel", "no"))
    assert isinstance(refused.error, RequestError)
    again = watcher(server)
    server.channels.release(refused)
    assert told(again) == [("snapshot", "a")]


def test_the_end_reaches_all() -> None:
    server = Server("a")
    feed = watcher(server)
    server.channels.end(ConnectionLost("closed", "closed"))
    assert feed.is_over and feed.error is not None
