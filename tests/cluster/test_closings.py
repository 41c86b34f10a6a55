"""The question of an operator to the other nodes, and who has answered it."""

from __future__ import annotations

from presenced.cluster.closings import Asked, Closings
from presenced.cluster.messages import CloseLinks, LinksClosed, decode_node_message

WANTED = CloseLinks(0, "alice", "", "upgrade", 500, False)


class Peers:
    """Nodes 1 (this one), 2 and 3, and what was sent to them."""

    me = 1
    registrar = 1
    position = 0

    def __init__(self, *others: int) -> None:
        self.others = others
        self.sent: list[tuple[int, object]] = []

    def own(self, name: str) -> bool:
        return True

    def home_of(self, name: str) -> int:
        return 1

    def hand_over(self, name: str, to: int) -> bool:
        return False

    def send(self, to: int, message: bytes) -> None:
        self.sent.append((to, decode_node_message(message)))


def asking(*others: int) -> tuple[Closings, Peers, list[Asked]]:
    peers, over = Peers(*others), list[Asked]()
    return Closings(peers, peers), peers, over


def test_all_others_are_asked_and_each_answers_once() -> None:
    closings, peers, over = asking(2, 3)
    asked = closings.ask(WANTED, over.append)
    [(two, question), (three, same)] = peers.sent
    assert {two, three} == {2, 3} and question == same and isinstance(question, CloseLinks)
    assert (question.user, question.message, question.retry_ms) == ("alice", "upgrade", 500)
    closings.take(2, LinksClosed(question.number, 4, ["shop"]))
    closings.take(2, LinksClosed(question.number, 4, ["shop"]))
    assert not over and asked.waits_for == {3}
    closings.take(3, LinksClosed(question.number, 1, []))
    assert over == [asked] and (asked.links, asked.held_by) == (5, ["shop"])
    closings.take(3, LinksClosed(question.number, 1, []))
    assert asked.links == 5


def test_who_is_gone_answers_no_more() -> None:
    closings, _, over = asking(2, 3)
    asked = closings.ask(WANTED, over.append)
    closings.take(3, LinksClosed(1, 2, []))
    closings.node_gone(2)
    assert over == [asked] and asked.links == 2


def test_a_question_that_is_forgotten_is_over_for_nobody() -> None:
    closings, _, over = asking(2)
    first, second = closings.ask(WANTED, over.append), closings.ask(WANTED, over.append)
    closings.forget(first)
    closings.take(2, LinksClosed(1, 2, []))
    closings.take(2, LinksClosed(2, 3, []))
    assert over == [second] and second.links == 3


def test_an_only_node_asks_nobody() -> None:
    closings, peers, over = asking()
    assert not closings.ask(WANTED, over.append).waits_for
    assert not peers.sent and not over


def test_two_questions_have_lists_of_their_own() -> None:
    closings, _, over = asking(2)
    first, second = closings.ask(WANTED, over.append), closings.ask(WANTED, over.append)
    closings.take(2, LinksClosed(1, 0, ["shop"]))
    assert first.held_by == ["shop"] and second.held_by == []


def test_who_is_asked_closes_and_answers() -> None:
    closings, peers, _ = asking(2)
    closings.close_by(lambda sender, said: closings.answer(sender, said.number, 7, ["shop"]))
    closings.take(2, CloseLinks(5, "alice", "user", "", 0, False))
    assert peers.sent == [(2, LinksClosed(5, 7, ["shop"]))]
