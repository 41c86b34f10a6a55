"""A link whose client comes with a token of another node: its hello waits until that has answered, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from presenced.core.link_client import LinkClient
from presenced.core.model import Session
from presenced.limits import HELLO_TIMEOUT_MS
from presenced.server.link import CLOSED, OPEN, SEEKING
from presenced.wire.messages import Hello, Ping
from tests.support.conversing import FakeTransport, VirtualHost
from tests.support.wire import GOODBYE, PONG, WELCOME

RATE = 20
"""Units in a second."""


class OtherNodes:
    """Where every token that begins with `far` comes from."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.taken: list[int] = []
        self._then: list[Callable[[int], object]] = []

    def attaches_here(self, name: str) -> bool:
        return True

    def open(self, session: Session, hello: Hello, now_ms: int) -> None:
        raise AssertionError("all users are decided here")

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        return False

    def draw_token(self) -> str:
        return "near"

    def seek(self, token: str, client: LinkClient, device_id: str, now_ms: int, then: Callable[[int], object]) -> int:
        if not token.startswith("far"):
            return 0
        self.asked.append((token, client.user_name, device_id))
        self._then.append(then)
        return len(self._then)

    def take_found(self, number: int, now_ms: int) -> None:
        self.taken.append(number)

    def answer(self, host: VirtualHost) -> None:
        self._then[-1](host.now_ms)


def coming(rate: int = 0) -> tuple[VirtualHost, OtherNodes, FakeTransport]:
    """A link has said hello with a token of another node, and a ping behind it."""
    host, others = VirtualHost(rate=rate), OtherNodes()
    host.links.serve_elsewhere(host.links.requests, others)
    link = host.accept()
    link.say(Hello([1], "", "alice", "laptop", resume="far1"), Ping(7))
    return host, others, link


def kinds(link: FakeTransport) -> list[int]:
    return [got[0] for got in link.take()]


def test_the_hello_and_what_comes_behind_it_wait_for_the_answer_and_are_handled_in_order() -> None:
    host, others, link = coming()
    assert others.asked == [("far1", "alice", "laptop")] and link.conversation.state == SEEKING
    host.advance(1_000)
    assert link.told == [] and not link.is_reading and not link.conversation.links.shares.backlog
    others.answer(host)
    host.turn()
    assert link.conversation.state == OPEN and kinds(link) == [WELCOME, PONG]
    assert others.taken == [1] and link.is_reading
    link.say(Ping(8))
    assert kinds(link) == [PONG]


def test_a_token_of_this_node_or_none_waits_for_nobody() -> None:
    host, others, _ = coming()
    for resume in ("near", "", None):
        link = host.accept()
        link.say(Hello([1], "", f"bob{resume}", "laptop", resume=resume))
        assert kinds(link) == [WELCOME]
    assert len(others.asked) == 1


def test_the_time_for_a_hello_does_not_end_while_another_node_is_asked() -> None:
    host, others, link = coming()
    host.advance(HELLO_TIMEOUT_MS + 1)
    assert link.told == [] and not link.is_closed
    others.answer(host)
    host.turn()
    assert kinds(link) == [WELCOME, PONG]


def test_a_link_that_is_gone_by_then_is_not_greeted() -> None:
    host, others, link = coming()
    link.lose()
    others.answer(host)
    host.turn()
    assert link.conversation.state == CLOSED and link.told == [] and others.taken == []
    assert len(host.links) == 0 and not host.links.roles


def test_a_server_that_goes_away_says_so_meanwhile() -> None:
    host, others, link = coming()
    link.conversation.end("going_away")
    host.turn()
    assert kinds(link) == [GOODBYE]
    others.answer(host)
    host.turn()
    assert link.told == []


def test_the_hello_is_paid_for_once_and_who_has_no_credit_waits_for_that_first() -> None:
    host, others, link = coming(rate=RATE)
    account = link.conversation.intake.account
    before = account.credit
    others.answer(host)
    host.turn()
    assert kinds(link)[0] == WELCOME
    near = VirtualHost(rate=RATE)
    other = near.accept()
    other.say(Hello([1], "", "alice", "laptop", resume=""), Ping(7))
    assert account.credit == other.conversation.intake.account.credit < before
    account.credit = -RATE
    again = host.accept()
    again.say(Hello([1], "", "alice", "laptop", resume="far2"))
    assert len(others.asked) == 1, "no other node is troubled for it yet"
    host.advance(2_000)
    assert len(others.asked) == 2
