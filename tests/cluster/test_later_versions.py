"""Nodes of several versions: what they know of each other, and what a node makes of what a later version says. It
refuses one request, or ends as a whole and says why.
"""

from __future__ import annotations

import msgspec
import pytest

from presenced.cluster.messages import LinkFrame, LinkHello, NodeMessage, ToLink, decode_node_message
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Attach, Done, Error, SetStatus, Taken
from tests.cluster.town import Town, TownNode

SET_STATUS = SetStatus.__struct_config__.tag
TAKEN = Taken.__struct_config__.tag


def say_otherwise(monkeypatch: pytest.MonkeyPatch, node: TownNode, kind: type[NodeMessage], **fields: object) -> None:
    """From here on what the node says to others of this kind has these fields."""
    send = node.node.send

    def changed(to: int, message: bytes) -> None:
        said = decode_node_message(message)
        send(to, encode(msgspec.structs.replace(said, **fields)) if isinstance(said, kind) else message)

    monkeypatch.setattr(node.node, "send", changed)


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        ([199, 5, "x"], "unknown_type", "there is no message type 199 in this direction"),
        ([SET_STATUS, 5, 7], "bad_request", "SetStatus: status: Expected"),
    ],
    ids=["an unknown type", "a field that is another"],
)
def test_a_request_that_its_home_does_not_understand_is_refused_and_nothing_else(
    payload: list[object], code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = Town("a", "b").nodes
    a.dial("alice/laptop")
    phone = b.dial("alice/phone")
    with monkeypatch.context() as later:
        say_otherwise(later, b, LinkFrame, payload=encode(payload))
        phone.say(SetStatus(7, "dnd"))
    [error] = phone.replies_to(7)
    assert isinstance(error, Error) and error.code == code and words in error.message
    phone.say(SetStatus(8, "away"))
    assert [type(reply) for reply in phone.replies_to(8)] == [Done] and a.shown("alice").status == "away"


def test_a_hello_that_the_home_does_not_understand_ends_the_link_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = Town("a", "b").nodes
    a.dial("alice/laptop")
    with monkeypatch.context() as later:
        say_otherwise(later, b, LinkHello, hello=encode([1, 7]))
        phone = b.dial("alice/phone")
    assert phone.ended == "bad_hello"
    assert b.dial("alice/phone").is_open


def test_what_a_home_says_and_the_link_s_node_does_not_understand_ends_the_link_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = Town("a", "b").nodes
    a.dial("alice/laptop")
    app = b.dial("app", role="service")
    app.say(Attach(1, 7, "alice", "tablet"))
    monkeypatch.setattr(app, "fail", lambda now_ms: app.end("link_failed"))
    with monkeypatch.context() as later:
        say_otherwise(later, a, ToLink, frames=frame(encode([TAKEN, 7, "for a reason of its own"])))
        a.dial("alice/tablet")
    assert app.ended == "link_failed"
    assert b.dial("app", role="service").is_open


def test_every_node_knows_of_every_one_what_it_says_of_itself() -> None:
    """Whoever joined first, and of itself as well."""
    for node in Town("a", "b", "c").nodes:
        assert [(member.is_asked, member.gives_links) for member in node.node.nodes] == [(True, True)] * 3
