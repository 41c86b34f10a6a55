"""Awaits over TCP: what comes when, links that do not read, bad input, and how many there may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.limits import AWAIT_MS_MAX, AWAITS_PER_LINK_MAX
from presenced.wire.messages import Await, Block, CancelAwait, Get, SetStatus
from tests.support.daemon import Daemon
from tests.support.suites import daemon_of
from tests.support.wire import DONE, ERROR, PRESENCE, RECORDS, Wire, hello, opened

AWAITED = 92
HOUR = 3_600_000


@pytest.fixture
def daemon(tmp_path: Path, nodes: int) -> Daemon:  # type: ignore[misc]
    options = ("--change-spacing", "0", "--rate", "0", "--heartbeat", "4m")
    with daemon_of(nodes, tmp_path, *options) as started:
        yield started


def asked(request_id: int, *fields: object) -> list[object]:
    """An await as raw values."""
    return [59, request_id, *fields]


def test_who_comes_is_told_of_once_and_whose_time_is_over_is_told_so(daemon: Daemon) -> None:
    alice = opened(daemon.port, "alice")
    alice.send(Await(5, "bob", HOUR), Await(6, "carol", 200), Await(7, "bob", HOUR, ["offline"]))
    assert alice.next() == [AWAITED, 7, True, ["bob", "offline", "", "", 0, 0, "", 0]]
    assert alice.next() == [AWAITED, 6, False, ["carol", "offline", "", "", 0, 0, "", 0]]
    bob = opened(daemon.port, "bob")
    told = alice.next()
    assert told[:3] == [AWAITED, 5, True] and told[3][:2] == ["bob", "online"]
    bob.send(SetStatus(5, "dnd"))
    bob.until(DONE)
    assert alice.quiet()
    for link in (alice, bob):
        link.close()


def test_a_block_in_the_same_write_is_the_last_word(daemon: Daemon) -> None:
    alice, bob = opened(daemon.port, "alice"), opened(daemon.port, "bob")
    alice.send(Await(5, "bob", HOUR, ["dnd"]))
    assert alice.quiet()
    bob.send(Block(5, "alice"), SetStatus(6, "dnd"))
    bob.until(DONE)
    bob.until(DONE)
    assert alice.quiet()
    for link in (alice, bob):
        link.close()


def test_a_link_that_does_not_read_is_answered_by_what_is_so_then(daemon: Daemon) -> None:
    bob = opened(daemon.port, "bob")
    text = "x" * 512
    bob.send(SetStatus(5, "away", text))
    bob.until(DONE)
    slow = Wire(daemon.port, receive_bytes=4096)
    slow.send(hello("alice"), Await(7, "bob", HOUR, ["dnd", "chat"]), Await(8, "bob", HOUR, ["xa"]))
    slow.next()
    # Far more than the buffers of the connection hold.
    for number in range(400):
        slow.send(Get(100 + number, ["bob"] * 8))
    other = opened(daemon.port, "carol")
    for status in ("dnd", "xa", "chat"):
        bob.send(SetStatus(6, status))
        bob.until(DONE)
        other.send(Get(6, ["bob"]))
        assert other.until(RECORDS)[4][0][1] == status
    told = []
    while len(told) < 401:
        frame = slow.next()
        told.append(frame)
        assert frame[0] in (RECORDS, AWAITED)
    answers = [frame for frame in told if frame[0] == AWAITED]
    assert [(frame[1], frame[2], frame[3][1]) for frame in answers] == [(7, True, "chat")]
    slow.send(CancelAwait(9, 8))
    assert slow.next()[:3] == [AWAITED, 8, False] and slow.next()[:2] == [DONE, 9]
    for link in (slow, bob, other):
        link.close()


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        (asked(5), "bad_request", "missing"),
        (asked(5, "bob"), "bad_request", "missing"),
        (asked(5, "bob", 0), "bad_request", "for_at_most_ms"),
        (asked(5, "bob", AWAIT_MS_MAX + 1), "bad_request", "for_at_most_ms"),
        (asked(5, "bob", None), "bad_request", "for_at_most_ms"),
        (asked(5, "bob", HOUR, ["busy"]), "bad_request", "statuses"),
        (asked(5, "bob", HOUR, "dnd"), "bad_request", "statuses"),
        (asked(5, "bob", HOUR, [], [], -1), "bad_request", "for_at_least_ms"),
        (asked(5, "bob", HOUR, [], [7]), "bad_request", "kinds"),
        (asked(5, "bob", HOUR, [], ["phone"]), "forbidden", "leave kinds empty"),
        (asked(5, "alice", HOUR, [], ["x" * 65]), "bad_text", "kind"),
        (asked(5, "two words", HOUR), "bad_name", "user name"),
        (asked(5, "", HOUR), "bad_name", "user name"),
        ([60, 5, 0], "bad_request", "request"),
        ([60, 5], "bad_request", "missing"),
    ],
)
def test_what_is_wrong_is_refused_and_the_link_goes_on(
    daemon: Daemon, message: list[object], code: str, says: str
) -> None:
    alice = opened(daemon.port, "alice")
    alice.send(message)
    kind, number, given, sentence, _ = alice.next()
    assert (kind, number, given) == (ERROR, 5, code) and says in sentence
    alice.send(Await(5, "bob", 1))
    assert alice.next()[:3] == [AWAITED, 5, False]
    alice.close()


def test_an_id_of_none_and_one_in_use(daemon: Daemon) -> None:
    alice = opened(daemon.port, "alice")
    alice.send(asked(0, "bob", HOUR))
    assert alice.next()[:3] == [ERROR, 0, "bad_request"]
    alice.send(Await(5, "bob", HOUR), Await(5, "carol", HOUR))
    assert alice.next()[:3] == [ERROR, 5, "bad_request"]
    bob = opened(daemon.port, "bob")
    assert alice.next()[:3] == [AWAITED, 5, True]
    for link in (alice, bob):
        link.close()


def test_there_are_so_many_and_the_next_is_refused(daemon: Daemon) -> None:
    alice = opened(daemon.port, "alice")
    alice.send(*[Await(10 + number, f"user{number}", HOUR) for number in range(AWAITS_PER_LINK_MAX)])
    alice.send(Await(5_000, "bob", HOUR))
    kind, number, code, sentence, _ = alice.next()
    assert (kind, number, code) == (ERROR, 5_000, "await_limit") and "cancel one" in sentence
    alice.send(CancelAwait(5_001, 10))
    assert [alice.next()[0] for _ in range(2)] == [AWAITED, DONE]
    user = opened(daemon.port, "user7")
    assert alice.next()[:3] == [AWAITED, 17, True]
    for link in (alice, user):
        link.close()


def test_the_answer_comes_behind_the_presence_of_who_is_watched_as_well(daemon: Daemon) -> None:
    alice = opened(daemon.port, "alice")
    alice.send([9, 4, ["bob"]], Await(5, "bob", HOUR))
    alice.until(RECORDS)
    bob = opened(daemon.port, "bob")
    pushed, told = alice.next(), alice.next()
    assert pushed[0] == PRESENCE and told[0] == AWAITED and pushed[1] == told[3]
    for link in (alice, bob):
        link.close()
