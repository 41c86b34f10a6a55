"""Nodes of several versions: what they know of each other, and what a node makes of what a later version says. It
refuses one request, or ends as a whole and says why.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from msgspec.inspect import LiteralType, StructType, multi_type_info

from presenced.cluster.levels import LEVEL, NotUnderstood
from presenced.cluster.log.entries import GoneData, NodeBatch, Parcel, ParcelContent
from presenced.cluster.log.foresight import foresee
from presenced.cluster.log.join_data import JoinData, join_data
from presenced.cluster.messages import HeldAgain, LinkFrame, LinkHello, NodeMessage, ToLink, decode_node_message
from presenced.core.dormants import Shelf, packed
from presenced.core.records import Fact, TextSet, UsersAsleep
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Attach, Done, Error, SetStatus, Taken
from tests.cluster.town import Town, TownNode, done

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


def joined(town: Town, name: str, monkeypatch: pytest.MonkeyPatch, **data: object) -> TownNode:
    """A node of another version has joined, which says this of itself."""
    with monkeypatch.context() as other:
        other.setattr("tests.cluster.town.join_data", lambda key: msgspec.structs.replace(join_data(key), **data))
        return town.add(name)


def append(node: TownNode, items: list[object]) -> None:
    """The node appends these items, whatever they are."""
    batches, number = node.node.batches, node.node.batches.closed + 1
    assert not batches.has_more
    done(node.backplane.append(number, node.node.position, node.node.tag, encode([number, 1, items, 0])))


A_FACT = TextSet("bob", "told", "", 0)
FACTS_OF_LATER = [A_FACT, [199, "bob"]]
ASLEEP = msgspec.structs.replace(A_FACT, user="")
ITEMS_OF_LATER: dict[str, list[object]] = {
    "an item": [199, "bob"],
    "a fact": [1, FACTS_OF_LATER],
    "a fact of one who moves": [3, "bob", 0, FACTS_OF_LATER],
    "a fact of one of whom all is told": [4, "bob", FACTS_OF_LATER],
    "a fact of one who sleeps": [4, "bob", packed(7, encode([ASLEEP, [199, ""]]))],
    "a fact that is offered": [8, "bob", 7, FACTS_OF_LATER],
    "a message": [5, 0, [199, 1]],
    "a word in a message": [5, 0, HeldAgain(1, 1, [], {7: "for a reason of its own"})],  # type: ignore[dict-item]
}
"""Numbers of nodes that stand in these as 0 are those of the reader."""


@pytest.mark.parametrize("item", ITEMS_OF_LATER.values(), ids=ITEMS_OF_LATER)
def test_what_a_later_version_says_ends_an_earlier_one_before_anything_of_it_is_applied(
    item: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = (town := Town("a")).nodes[0]
    b = joined(town, "b", monkeypatch, level=LEVEL + 1)
    b.dial("bob/laptop").say(SetStatus(1, text="before"))
    town.pause(a)
    b.node.batches.mark()
    town.settle()
    append(b, [[1, [A_FACT]], [a.node.me if field == 0 else field for field in item]])
    with pytest.raises(NotUnderstood):
        while a.read():
            pass
    assert a.shown("bob").text == "before"


def test_what_a_later_version_tells_a_node_that_joins_is_read_before_anything_of_it_is_applied() -> None:
    parcels = {
        7: encode(ParcelContent([("bob", msgspec.Raw(encode(FACTS_OF_LATER)))])),
        8: encode(ParcelContent([], [shelf_of("bob", packed(7, encode([ASLEEP, [199, ""]])))])),
    }
    for number in parcels:
        batch = NodeBatch(1, 1, [Parcel(5, number, 1)])
        with pytest.raises(NotUnderstood):
            foresee(batch, 5, parcels)
        # It is for another one.
        foresee(batch, 6, {})


def shelf_of(name: str, both: bytes) -> UsersAsleep:
    """A shelf on which one user sleeps."""
    return UsersAsleep("", 0, 1, 7, 0, 0, *Shelf.of([(name.encode(), both)]))


def test_what_a_later_version_says_to_others_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    a = (town := Town("a")).nodes[0]
    b = joined(town, "b", monkeypatch, level=LEVEL + 1)
    append(b, [[5, b.node.me + 1, [199, 1]]])
    while a.read():
        pass
    assert a.node.position == town.engine.kept.n


def test_who_says_it_is_of_no_later_version_is_read_as_it_comes() -> None:
    a, b = Town("a", "b").nodes
    append(b, [[199, "bob"]])
    with pytest.raises(NotUnderstood, match="Invalid value 199"):
        while a.read():
            pass


def test_nobody_says_what_is_above_the_least_level_of_those_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    a = (town := Town("a")).nodes[0]
    a.reader.own_figures.tell_by(lambda: (7, 40))
    old = joined(town, "old", monkeypatch, level=0, is_asked=False)
    c = joined(town, "c", monkeypatch, level=LEVEL + 1)
    town.advance(4_000)
    assert a.node.nodes.level == c.node.nodes.level == 0
    assert [
        (member.is_asked, member.gives_links, member.links) for member in c.node.nodes if member is not c.node.mine
    ] == [
        (True, True, -1),
        (False, True, -1),
    ]
    town.leave(old)
    town.advance(4_000)
    assert a.node.nodes.level == LEVEL
    assert [member.links for member in c.node.nodes if member.key == a.node.me] == [7]


def test_every_node_knows_of_every_one_what_it_says_of_itself() -> None:
    """Whoever joined first, and of itself as well."""
    for node in Town("a", "b", "c").nodes:
        told = [(member.level, member.is_asked, member.gives_links) for member in node.node.nodes]
        assert told == [(LEVEL, True, True)] * 3


# --- what is said at which level ------------------------------------------------------------------------------


def words(kind: Any) -> list[str]:
    """Whatever may stand in this and cannot be read by whoever does not know it: types by their numbers, and words."""
    found: list[str] = []
    if isinstance(kind, StructType):
        if kind.tag is not None:
            found.append(f"{kind.cls.__name__} {kind.tag}")
        parts: Any = [field.type for field in kind.fields]
    elif isinstance(kind, LiteralType):
        found += [f"{word} of {sorted(map(str, kind.values))}" for word in kind.values]
        parts = []
    else:
        parts = [getattr(kind, part, ()) for part in ("types", "item_types", "item_type", "key_type", "value_type")]
    for part in parts:
        for one in part if isinstance(part, tuple) else (part,):
            found += words(one)
    return found


DIGESTS = {1: "72d425439dfcc2bd"}
"""By level, of all that may be said."""


def test_the_level_is_raised_with_whatever_is_new_in_what_nodes_say() -> None:
    kinds = multi_type_info([NodeBatch, ParcelContent, JoinData, GoneData, NodeMessage, list[Fact]])
    said = sorted({word for kind in kinds for word in words(kind)})
    assert max(DIGESTS) == LEVEL
    digest = sha256("\n".join(said).encode()).hexdigest()[:16]
    assert digest == DIGESTS[LEVEL], "what is new has a level of its own (levels.LEVEL), with this digest"
