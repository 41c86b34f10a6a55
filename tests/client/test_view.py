"""What a client that comes back asks, and what its app sees of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from presenced.wire.messages import Check, Compare, GetContacts, Watch
from tests.client.watched_world import PAGE, Hello, PlainServer, Viewer
from tests.support.tiers import samples

NAMES = [f"u{number}" for number in range(7)]


def viewer(*, contacts: bool = False) -> tuple[PlainServer, Viewer]:
    server = PlainServer()
    return server, Viewer(server, contacts=contacts)


def asked(of: Viewer) -> list[type]:
    """What leaves with the hello of the next attempt."""
    of.connect()
    return [type(message) for message in of.out]


def lose(server: PlainServer, of: Viewer, *, late: bool = False) -> None:
    """The link is lost. `late`: for longer than the server keeps what it watched."""
    server.cut(parks=not late)
    of.lose()
    if late:
        of.now_ms += 10_000


class TestWatchedByName:
    def test_only_what_differs_is_told(self) -> None:
        server, me = viewer()
        for name in NAMES:
            server.set(name, status="online")
        me.watch("some", NAMES)
        me.settle()
        me.assert_right()
        lose(server, me, late=True)
        server.set("u1", status="dnd")
        server.set("u5", status="away")
        server.set("u5", status="online")
        me.settle()
        assert server.link is not None and server.link.told == 1
        me.assert_right()
        assert me.steps == 1

    def test_the_whole_leaves_with_the_hello_and_is_not_repeated(self) -> None:
        server, me = viewer()
        me.watch("some", NAMES)
        me.settle()
        lose(server, me, late=True)
        assert asked(me) == [Hello, Watch, Watch, Watch]
        me.deliver()
        me.receive()
        assert len(me.out) == 3, "the welcome causes nothing more"

    def test_what_changes_between_hello_and_welcome_is_asked_behind_it(self) -> None:
        server, me = viewer()
        me.watch("some", NAMES[:3])
        me.settle()
        lose(server, me, late=True)
        me.connect()
        me.watch("more", NAMES[3:5])
        me.unwatch("some", NAMES[:1])
        me.settle()
        me.assert_right()

    def test_a_watch_that_is_long_waits_for_the_welcome(self) -> None:
        server, me = viewer()
        me.watch("some", [f"v{number}" for number in range(17 * PAGE)])
        me.settle()
        lose(server, me, late=True)
        assert asked(me) == [Hello]
        me.settle()
        me.assert_right()

    def test_an_attempt_that_fails_leaves_nothing_behind(self) -> None:
        server, me = viewer()
        me.watch("some", NAMES)
        me.settle()
        lose(server, me, late=True)
        for _ in range(3):
            me.connect()
            me.lose()
        assert len(me.session._pending) == 3, "those of the last attempt alone"
        me.settle()
        me.assert_right()

    def test_a_lost_history_is_no_step(self) -> None:
        server, me = viewer()
        for name in NAMES:
            server.set(name, status="online")
        me.watch("some", NAMES)
        me.settle()
        me.drain()
        me.lose()
        server.restart(new_epoch=True)
        me.settle()
        server.set("u1", status="dnd")
        me.settle()
        me.assert_right()
        assert me.steps == 1, "in the new epoch its own versions count"


class TestResumed:
    def test_where_nothing_has_changed_a_checksum_is_all(self) -> None:
        server, me = viewer(contacts=True)
        server.gain("u6")
        server.set("u6", status="online")
        me.watch("some", NAMES[:3])
        me.settle()
        lose(server, me)
        assert asked(me) == [Hello, Check]
        me.settle()
        assert server.link is not None and server.link.told == 0
        me.assert_right()
        assert me.contacts.is_listed and me.view.failed == 0

    def test_where_something_has_that_is_told(self) -> None:
        server, me = viewer(contacts=True)
        for name in NAMES:
            server.set(name, status="online")
            server.gain(name)
        me.watch("some", NAMES[:3])
        me.settle()
        lose(server, me)
        server.set("u1", status="dnd")
        server.set("u6")
        me.settle()
        assert server.link is not None and server.link.told == 2
        me.assert_right()

    def test_what_the_lost_link_had_not_answered_is_said_once_more(self) -> None:
        server, me = viewer()
        me.watch("some", NAMES)
        me.settle()
        me.unwatch("some", NAMES[:2])
        me.watch("more", ["new"])
        lose(server, me)
        me.unwatch("some", NAMES[2:3])
        me.settle()
        me.assert_right()

    def test_a_server_that_has_nothing_left_is_told_everything(self) -> None:
        server, me = viewer()
        server.set("u1", status="online")
        me.watch("some", NAMES)
        me.settle()
        me.drain()
        lose(server, me)
        server.parked.clear()
        server.set("u2", status="online")
        me.settle()
        me.assert_right()
        assert me.steps == 1


class TestContacts:
    def test_only_what_differs_is_told(self) -> None:
        server, me = viewer(contacts=True)
        for name in NAMES:
            server.gain(name)
            server.set(name, status="online")
        me.settle()
        lose(server, me, late=True)
        server.set("u1", status="dnd")
        assert asked(me) == [Hello, Compare, Compare, Compare]
        me.settle()
        assert server.link is not None and server.link.told == 1
        me.assert_right()

    def test_who_was_gained_and_lost_meanwhile(self) -> None:
        server, me = viewer(contacts=True)
        for name in NAMES[:4]:
            server.gain(name)
            server.set(name, status="online")
        me.settle()
        me.assert_right()
        lose(server, me, late=True)
        server.set("new", status="online")
        server.gain("new")
        server.lose("u1")
        server.set("u1", status="dnd")
        me.settle()
        me.assert_right()
        assert me.contacts.records.keys() == {"u0", "u2", "u3", "new"}

    @pytest.mark.parametrize("late", [False, True])
    def test_who_is_watched_by_name_is_gained_and_lost_as_a_contact_all_the_same(self, late: bool) -> None:
        server, me = viewer(contacts=True)
        for name in NAMES:
            server.set(name, status="online")
        server.gain("u0")
        server.gain("u1")
        me.watch("some", NAMES[:3])
        me.settle()
        lose(server, me, late=late)
        server.gain("u2")
        server.lose("u1")
        me.settle()
        me.assert_right()
        assert me.contacts.records.keys() == {"u0", "u2"}
        assert server.link is not None and server.link.told == late, "as a contact u2 is new to the link"

    def test_who_was_hidden_as_contacts_were_compared_is_one_all_the_same(self) -> None:
        server, me = viewer(contacts=True)
        server.gain("u0")
        me.settle()
        lose(server, me, late=True)
        server.gain("u1")
        me.settle()
        me.watch("some", ["u1"])
        me.settle()
        server.set("u1", status="online")
        me.settle()
        me.assert_right()
        assert me.contacts.records.keys() == {"u0", "u1"}

    @pytest.mark.parametrize("again", [False, True])
    def test_a_name_that_was_being_left_is_not_taken_for_a_contact_nor_a_contact_for_it(self, again: bool) -> None:
        server, me = viewer(contacts=True)
        server.set("u1", status="online")
        server.gain("u0")
        me.watch("some", ["u1", "u2"])
        me.settle()
        lose(server, me)
        me.settle()
        # The list is known by now, and of it only what changes is told.
        me.unwatch("some", ["u1"])
        lose(server, me)
        me.connect()
        if again:
            me.watch("some", ["u1"])
        else:
            server.gain("u1")
        me.deliver()
        server.set("u1", status="dnd")
        server.tell()
        me.settle()
        me.assert_right()
        assert ("u1" in me.contacts.records) is not again

    def test_nobody_is_listed_who_is_a_contact_still(self) -> None:
        server, me = viewer(contacts=True)
        server.gain("u1")
        server.set("u1", status="online")
        me.settle()
        for _ in range(3):
            lose(server, me, late=True)
            me.connect()
            sent = []
            while me.out or (server.link is not None and server.link.out):
                sent += list(me.out)
                me.deliver()
                me.receive()
            assert not any(isinstance(message, GetContacts) for message in sent)


class TestChecks:
    def test_a_view_that_is_right_is_left_alone(self) -> None:
        server, me = viewer(contacts=True)
        server.gain("u1")
        for name in NAMES:
            server.set(name, status="online")
        me.watch("some", NAMES)
        me.settle()
        me.view.check()
        me.settle()
        assert (me.view.checks, me.view.failed) == (1, 0)

    @pytest.mark.parametrize("contacts", [False, True])
    def test_a_record_that_was_lost_is_repaired(self, contacts: bool) -> None:
        server, me = viewer(contacts=contacts)
        server.gain("u1")
        for name in NAMES:
            server.set(name, status="online")
        me.watch("some", NAMES)
        me.settle()
        server.set("u1", status="dnd")
        server.set("u4", status="away")
        assert server.link is not None
        server.link.owed.clear()
        me.view.check()
        me.settle()
        assert (me.view.checks, me.view.failed) == (1, 1)
        me.assert_right()

    def test_a_watch_that_was_lost_is_repaired(self) -> None:
        server, me = viewer()
        for name in NAMES:
            server.set(name, status="online")
        me.watch("some", NAMES)
        me.settle()
        assert server.link is not None
        del server.link.named["u4"]
        me.view.check()
        me.settle()
        assert (me.view.checks, me.view.failed) == (1, 1)
        me.assert_right()


class TestEveryOrder:
    """Changes of users, of sight and of contacts, watches, losses of every kind, returns, checks; and messages that are
    delivered or wait, in random order. Whatever it was: when all is said, the app has what the server shows."""

    @pytest.mark.parametrize("seed", range(samples(500)))
    def test_the_view_is_right_and_no_check_fails(self, seed: int) -> None:
        random_ = random.Random(seed)
        server, me = viewer(contacts=random_.random() < 0.6)
        for _ in range(random_.randrange(4, 12)):
            for _ in range(random_.randrange(1, 25)):
                _step(random_, server, me)
            me.settle()
            me.assert_right()
            me.view.check()
            me.settle()
            me.assert_right()
            assert me.view.failed == 0


def _step(random_: random.Random, server: PlainServer, me: Viewer) -> None:
    users = random_.sample(NAMES, random_.randrange(1, 5))
    user, feed = users[0], random_.choice("ab")
    status: Any = random_.choice(["online", "away", "dnd", "offline"])
    steps = {
        "change": lambda: server.set(user, status=status, text=random_.choice(["", "x"])),
        "hide": lambda: server.set(user),
        "gain": lambda: server.gain(user),
        "lose contact": lambda: server.lose(user),
        "watch": lambda: me.watch(feed, users),
        "unwatch": lambda: me.unwatch(feed, users),
        "close": lambda: me.close(feed),
        "tell": server.tell,
        "deliver": me.deliver,
        "receive": me.receive,
        "drain": me.drain,
        "check": me.view.check,
        "lose": lambda: lose(server, me),
        "lose for long": lambda: lose(server, me, late=True),
        "restart": lambda: (me.lose(), server.restart(loses=users[:1], new_epoch=random_.random() < 0.3)),
        "connect": lambda: None if me.is_attempting or me.session.is_linked else me.connect(),
    }
    weights = [3, 1, 1, 1, 2, 2, 0.5, 3, 8, 8, 2, 1, 1, 0.5, 0.5, 3]
    random_.choices(list(steps.values()), weights)[0]()
