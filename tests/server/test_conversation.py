"""One link's talk without a socket: what it is told and when, on a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from presenced.limits import CLOSE_TIMEOUT_MS, FRAME_TIMEOUT_MS, FRAMES_PER_WAKE_MAX, HELLO_TIMEOUT_MS
from presenced.server.conversation import Conversation
from presenced.server.intake import BACKLOG, RATE, READ
from presenced.server.link import CLOSED, CLOSING, OPEN
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Bye, Get, Ping, SetStatus, Watch
from tests.support.conversing import FakeTransport, VirtualHost
from tests.support.lowering import lower_in_process
from tests.support.wire import DONE, GOODBYE, PONG, PRESENCE, RECORDS, WELCOME, hello


def ping(number: int) -> bytes:
    return frame(encode(Ping(number)))


def pongs(told: list[list[object]]) -> list[object]:
    return [got[1] for got in told if got[0] == PONG]


def last_code(link: FakeTransport) -> object:
    kind, code = link.told[-1][:2]
    assert kind == GOODBYE
    return code


# --- hello ------------------------------------------------------------------------------------------------------


def test_who_says_nothing_is_told_so_at_the_deadline_and_cut_off_two_seconds_later() -> None:
    host = VirtualHost()
    link = host.accept()
    host.advance(HELLO_TIMEOUT_MS - 1)
    assert link.told == [] and not link.is_closed
    host.advance(1)
    assert last_code(link) == "hello_timeout" and link.is_closed
    assert len(host.links) == host.links.ending == 1, "the peer may still read it"
    host.advance(CLOSE_TIMEOUT_MS - 1)
    assert not link.is_gone
    host.advance(1)
    assert link.is_gone and len(host.links) == host.links.ending == 0
    assert link.conversation.state == CLOSED


def test_a_hello_at_the_last_moment_is_in_time() -> None:
    host = VirtualHost()
    link = host.accept()
    host.advance(HELLO_TIMEOUT_MS - 1)
    link.say(hello("alice"))
    assert [got[0] for got in link.take()] == [WELCOME]
    host.advance(2)
    assert link.conversation.state == OPEN and link.told == []


def test_a_hello_byte_by_byte_is_a_hello() -> None:
    host = VirtualHost()
    link = host.accept()
    for byte in frame(encode(hello("alice"))):
        assert link.told == []
        link.put(bytes([byte]))
    assert [got[0] for got in link.take()] == [WELCOME]
    assert host.links.roles["user"] == 1


def test_half_a_hello_is_no_hello() -> None:
    host = VirtualHost()
    link = host.accept()
    link.put(frame(encode(hello("alice")))[:3])
    host.advance(HELLO_TIMEOUT_MS - 1)
    assert link.told == []
    host.advance(1)
    assert last_code(link) in ("hello_timeout", "frame_timeout") and link.is_closed


@pytest.mark.parametrize("how", ["abort", "end", "make_way"])
def test_what_is_given_up_before_the_connection_is_up_is_over_at_once(how: str) -> None:
    host = VirtualHost()
    conversation = Conversation(host.links, host.now_ms)
    host.links.add(host.now_ms, conversation)
    if how == "abort":
        conversation.abort()
    elif how == "end":
        conversation.end("going_away")
    else:
        conversation.make_way(host.now_ms)
    assert conversation.is_over and len(host.links) == host.links.ending == 0
    host.advance(HELLO_TIMEOUT_MS + CLOSE_TIMEOUT_MS)
    assert conversation.state == CLOSED


# --- frames -----------------------------------------------------------------------------------------------------


def test_a_frame_that_is_begun_and_not_finished_ends_the_link() -> None:
    host = VirtualHost()
    link = host.open("alice")
    link.put(ping(1) + ping(2)[:5])
    assert pongs(link.take()) == [1]
    host.advance(FRAME_TIMEOUT_MS - 1)
    assert link.told == []
    host.advance(1)
    assert last_code(link) == "frame_timeout" and link.is_closed


def test_bytes_that_trickle_in_give_a_frame_no_more_time() -> None:
    host = VirtualHost()
    link = host.open("alice")
    for byte in ping(1)[:5]:
        link.put(bytes([byte]))
        host.advance(FRAME_TIMEOUT_MS // 5)
    assert last_code(link) == "frame_timeout"


def test_a_frame_that_is_finished_in_time_gives_the_next_a_deadline_of_its_own() -> None:
    """Nothing but the ends of frames and the beginnings of others arrive: the buffer is never empty."""
    host = VirtualHost()
    link = host.open("alice")
    link.put(ping(1)[:5])
    for number in range(1, 5):
        host.advance(FRAME_TIMEOUT_MS - 1_000)
        link.put(ping(number)[5:] + ping(number + 1)[:5])
        assert pongs(link.take()) == [number]
    host.advance(FRAME_TIMEOUT_MS - 1)
    assert link.told == []
    # It is looked at once in that time, so it may have twice as much.
    host.advance(FRAME_TIMEOUT_MS)
    assert last_code(link) == "frame_timeout"


def test_frames_beyond_a_turns_share_wait_for_the_next_and_are_answered_in_order() -> None:
    host = VirtualHost()
    link = host.open("alice")
    count = 3 * FRAMES_PER_WAKE_MAX
    link.conversation.receive(host.begin(), b"".join(map(ping, range(1, count + 1))))
    assert link.conversation.intake.paused == BACKLOG and not link.is_reading
    for turns in range(1, 4):
        host.turn()
        assert pongs(link.told) == list(range(1, min(count, (turns + 1) * FRAMES_PER_WAKE_MAX) + 1))
    assert link.conversation.intake.paused == READ and link.is_reading


@pytest.mark.parametrize("leaves", [False, True])
def test_answers_that_were_put_off_and_are_too_much_for_one_turn_follow_in_the_next(
    monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    host = VirtualHost(change_spacing_ms=0)
    speaker, one, other = host.open("speaker"), host.open("one"), host.open("other")
    host.turn()
    lower_in_process(monkeypatch, REPLY_BYTES_PER_TURN=1_000)
    text = "x" * 400
    speaker.conversation.receive(host.begin(), frame(encode(SetStatus(1, text=text))))
    for link in (one, other):
        asked = b"".join(frame(encode(Get(number, ["speaker"]))) for number in range(1, 6))
        link.conversation.receive(host.begin(), asked + (frame(encode(Bye())) if leaves else b""))
    came = []
    while host.engine.obligations.asking or not came:
        before = host.engine.outboxes.reply_bytes
        host.turn()
        assert host.engine.outboxes.reply_bytes - before <= 1_000 + 2 * 500
        came.append(len(one.told) + len(other.told))
        assert (host._engine_ms == 0) == bool(host.engine.obligations.asking), "no turn follows"
    assert came[0] == 3 and len(came) == 4, "as many as fit, and one that goes beyond"
    for link in (one, other):
        answers = [got for got in link.told if got[0] == RECORDS]
        assert [got[1] for got in answers] == [1, 2, 3, 4, 5]
        assert all(got[4][0][2] == text for got in answers), "the change before them is in all of them"
        assert link.is_closed == leaves


# --- the rate ---------------------------------------------------------------------------------------------------


def test_a_link_over_its_rate_is_not_read_and_served_as_its_credit_comes_back() -> None:
    host = VirtualHost(rate=10)
    link = host.open("alice")
    count = 100
    link.put(b"".join(map(ping, range(1, count + 1))))
    host.advance(0)
    assert link.conversation.intake.paused == RATE and not link.is_reading
    at_first = len(pongs(link.told))
    assert at_first <= 41, "a burst is four seconds' worth, and the last frame may go below nothing"
    host.advance(2_000)
    assert 19 <= len(pongs(link.told)) - at_first <= 21
    host.advance(10_000)
    assert pongs(link.told) == list(range(1, count + 1))
    assert link.conversation.intake.paused == READ and link.is_reading


def test_a_link_over_its_rate_for_longer_than_its_lease_keeps_it() -> None:
    """Its next frame has arrived and lies there unread: it is not silent."""
    host = VirtualHost(rate=1, heartbeat_ms=1_000, grace_ms=0)
    link = host.open("alice")
    link.conversation.intake.account.credit = -4 * host.engine.policy.timeout_ms // 1_000
    link.put(ping(1))
    assert link.conversation.intake.paused == RATE
    host.advance(3 * host.engine.policy.timeout_ms)
    assert link.conversation.state == OPEN and link.told == []
    host.advance(2 * host.engine.policy.timeout_ms)
    assert pongs(link.told) == [1]


# --- the end ----------------------------------------------------------------------------------------------------


def test_what_was_asked_is_answered_before_the_goodbye_however_long_the_disk_takes() -> None:
    host = VirtualHost()
    link = host.open("alice")
    host.log.is_slow = True
    link.say(SetStatus(1, "dnd"))
    link.conversation.end("kicked")
    host.turn()
    link.put(ping(2))
    assert link.told == [] and not link.is_closed
    host.log.is_slow = False
    host.turn()
    assert [got[:2] for got in link.told] == [[DONE, 1], [GOODBYE, "kicked"]]
    assert link.is_closed and link.conversation.state == CLOSING


def test_a_disk_that_does_not_answer_keeps_no_link() -> None:
    host = VirtualHost()
    link = host.open("alice")
    host.log.is_slow = True
    link.say(SetStatus(1, "dnd"))
    link.conversation.end("kicked")
    host.advance(CLOSE_TIMEOUT_MS)
    assert [got[:2] for got in link.told] == [[GOODBYE, "kicked"]]
    host.advance(CLOSE_TIMEOUT_MS)
    assert link.is_gone and len(host.links) == 0


def test_after_bye_nothing_is_taken_and_what_was_asked_before_is_answered() -> None:
    host = VirtualHost()
    link = host.open("alice")
    host.log.is_slow = True
    link.say(SetStatus(1, "dnd"), Bye(), Ping(2))
    assert link.conversation.answers_on, "the peer may close its half now"
    host.log.is_slow = False
    host.turn()
    assert [got[:2] for got in link.told] == [[DONE, 1]]
    assert link.is_closed and not link.conversation.answers_on


def test_the_goodbye_of_one_who_does_not_read_stands_behind_the_replies() -> None:
    host = VirtualHost(change_spacing_ms=0)
    link, other = host.open("alice"), host.open("bob")
    link.say(Watch(1, ["bob"]))
    assert [got[0] for got in link.take()] == [RECORDS]
    link.stop_reading()
    other.say(SetStatus(1, "dnd"))
    link.say(Ping(1), Ping(2))
    other.say(SetStatus(2, "away"))
    link.conversation.end("kicked")
    link.read_on()
    assert [got[0] for got in link.told] == [PRESENCE, PONG, PONG, GOODBYE]
    assert link.is_closed


def test_a_link_that_is_not_read_is_read_again_once_it_is_told_goodbye() -> None:
    host = VirtualHost(rate=1)
    link = host.open("alice")
    link.put(b"".join(map(ping, range(1, 50))))
    host.turn()
    assert not link.is_reading
    link.conversation.end("kicked")
    assert link.is_reading and last_code(link) == "kicked"


def test_a_lost_connection_lets_go_of_everything() -> None:
    host = VirtualHost(rate=10, grace_ms=0)
    link = host.open("alice")
    conversation = link.conversation
    link.put(ping(1)[:5])
    link.lose()
    host.advance(FRAME_TIMEOUT_MS + HELLO_TIMEOUT_MS)
    assert len(host.links) == host.links.roles["user"] == 0
    assert conversation.state == CLOSED and conversation.session is None and conversation.transport is None
    assert host.links.accounts.by_user == {} and host.engine.leases.live == 0


# --- two kinds of transport ---------------------------------------------------------------------------------------


class OtherTransport(FakeTransport):
    """Writes to many in a way of its own."""

    sizes: list[int]

    @staticmethod
    def send_all(sinks: Collection[FakeTransport], data: bytes) -> None:
        assert all(type(sink) is OtherTransport for sink in sinks), "somebody else's links"
        for sink in sinks:
            sink.send(data)
        OtherTransport.sizes.append(len(sinks))


def test_a_broadcast_to_links_of_two_kinds_goes_out_through_each_in_one_call() -> None:
    OtherTransport.sizes = []
    host = VirtualHost(change_spacing_ms=0)
    kinds = [FakeTransport, OtherTransport, OtherTransport, FakeTransport, OtherTransport]
    links = [host.open(f"watcher{number}", kind=kind) for number, kind in enumerate(kinds)]
    alice = host.open("alice")
    for link in links:
        link.say(Watch(1, ["alice"]))
        link.take()
    alice.say(SetStatus(1, "dnd"))
    host.turn()
    for link in links:
        assert [(got[0], got[1][:2]) for got in link.take()] == [(PRESENCE, ["alice", "dnd"])]
    assert OtherTransport.sizes == [3]
