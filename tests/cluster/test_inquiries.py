"""The question of an operator to other nodes, and who has answered it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from presenced.cluster.links.inquiries import Asked, Inquiries
from presenced.cluster.log.join_data import JoinData, decode_join
from presenced.cluster.log.nodes import Nodes
from presenced.cluster.messages import (
    CloseLinks,
    LinksClosed,
    LinksListed,
    ListLinks,
    NodeStops,
    OperatorQuestion,
    StopNode,
    decode_node_message,
)
from presenced.server.clustering.operators import Operators
from presenced.server.link_report import LinkFilter, LinkQuery
from presenced.server.node_faults import NodeFault
from presenced.wire.codec import encode

WANTED = CloseLinks(0, "alice", "", "upgrade", 500, False)
ROW = msgspec.Raw(b"\x01")


class Sent:
    """What was sent to other nodes."""

    def __init__(self) -> None:
        self.all: list[tuple[int, object]] = []

    def send(self, to: int, message: bytes) -> None:
        self.all.append((to, decode_node_message(message)))


def asking() -> tuple[Inquiries, Sent, list[Asked]]:
    sent, over = Sent(), list[Asked]()
    return Inquiries(sent), sent, over


def test_all_who_are_asked_answer_once() -> None:
    inquiries, sent, over = asking()
    asked = inquiries.ask(WANTED, [2, 3], over.append)
    [(two, question), (three, same)] = sent.all
    assert {two, three} == {2, 3} and question == same and isinstance(question, CloseLinks)
    assert (question.user, question.message, question.retry_ms) == ("alice", "upgrade", 500)
    first, last = LinksClosed(question.number, 4, ["shop"]), LinksClosed(question.number, 1, [])
    inquiries.take(2, first)
    inquiries.take(2, first)
    assert not over and asked.waits_for == {3}
    inquiries.take(3, last)
    assert over == [asked] and asked.told == [(2, first), (3, last)]
    inquiries.take(3, last)
    assert len(asked.told) == 2


def test_a_list_is_answered_with_its_last_part() -> None:
    inquiries, _, over = asking()
    asked = inquiries.ask(ListLinks(0, "", "", False, "since", 100), [2], over.append)
    parts = [LinksListed(1, 2, 2, [ROW], is_last) for is_last in (False, True)]
    inquiries.take(2, parts[0])
    assert not over and asked.waits_for == {2}
    inquiries.take(2, parts[1])
    assert over == [asked] and asked.told == [(2, part) for part in parts]


def test_who_is_not_asked_answers_nothing() -> None:
    inquiries, _, over = asking()
    asked = inquiries.ask(StopNode(0), [2], over.append)
    inquiries.take(3, NodeStops(1, 1, 1, 1))
    assert not over and not asked.told


def test_who_is_gone_answers_no_more() -> None:
    inquiries, _, over = asking()
    asked = inquiries.ask(WANTED, [2, 3], over.append)
    inquiries.take(3, LinksClosed(1, 2, []))
    inquiries.node_gone(2)
    assert over == [asked] and len(asked.told) == 1


def test_a_question_that_is_forgotten_is_over_for_nobody() -> None:
    inquiries, _, over = asking()
    first, second = inquiries.ask(WANTED, [2], over.append), inquiries.ask(WANTED, [2], over.append)
    inquiries.forget(first)
    inquiries.take(2, LinksClosed(1, 2, []))
    inquiries.take(2, LinksClosed(2, 3, []))
    assert over == [second] and not first.told and len(second.told) == 1


def test_nobody_is_asked() -> None:
    inquiries, sent, over = asking()
    assert not inquiries.ask(WANTED, [], over.append).waits_for
    assert not sent.all and not over


@pytest.mark.parametrize("question", [CloseLinks(5, "alice", "user", "", 0, False), StopNode(5)])
def test_who_is_asked_answers(question: OperatorQuestion) -> None:
    inquiries, sent, _ = asking()
    inquiries.answer_by(lambda sender, said: inquiries.answer(sender, LinksClosed(said.number, 7, ["shop"])))
    inquiries.take(2, question)
    assert sent.all == [(2, LinksClosed(5, 7, ["shop"]))]


def test_a_node_of_an_earlier_version_is_not_asked_what_would_end_it() -> None:
    assert not decode_join(encode([7, True])).is_asked, "as it says of itself"
    assert decode_join(encode(JoinData(7, is_asked=True))).is_asked
    inquiries, sent, _ = asking()
    nodes = Nodes()
    node: Any = SimpleNamespace(nodes=nodes, mine=nodes.join("one", 1, JoinData(1)), name="one")
    nodes.note_ready(nodes.join("old", 2, JoinData(2)))
    unused: Any = None
    operators = Operators(node, inquiries, unused, unused, unused)
    found = asyncio.run(operators.find_links(LinkQuery(LinkFilter(), "since", 5), "old"))
    assert (found.total, found.links, found.silent) == (0, [], ["old"])
    with pytest.raises(NodeFault, match="the node old is of an earlier version") as caught:
        asyncio.run(operators.drain("old"))
    assert caught.value.code == "node_silent" and not sent.all
