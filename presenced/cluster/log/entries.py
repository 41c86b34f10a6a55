"""What one node appends to the log at once: a batch of items, in order. Each is an array led by its type number; fields
are only added at the end, and with a new item, or a fact or a word that is new in one, `levels.LEVEL` is raised.

A batch says first which of its node's batches it is, and how far its node's version counter has come. Whoever reads it
applies the items in this order, so that a message is never seen before the facts that it tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, dataclass_transform

import msgspec

from presenced.cluster.levels import LEVEL, decoder_of
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.core.copies import Copies
from presenced.core.dormants import version_of
from presenced.core.event_facts import (
    EventAdded,
    EventsAt,
    EventsChunk,
    EventsErased,
    EventStreamEnded,
    EventStreamSet,
    FollowerForgotten,
    FollowerSet,
)
from presenced.core.pair_facts import PAIRS
from presenced.core.positions import Life
from presenced.core.records import (
    AudienceSet,
    BlockSet,
    ContactSet,
    ContactsSet,
    Fact,
    HidingSet,
    PositionsKnown,
    RecordSet,
    UsersAsleep,
    VersionsRaised,
)
from presenced.wire.codec import encode

BATCH_BYTES: Final = 65_536
"""A batch that has reached this size takes no further item. A single item may be larger."""

OF_ONE_NODE: Final = frozenset(
    {
        PositionsKnown,
        VersionsRaised,
        EventAdded,
        EventsAt,
        EventsChunk,
        EventsErased,
        EventStreamEnded,
        EventStreamSet,
    }
)
"""Facts about what one node told its own links. No other node is told of them."""

OF_FOLLOWERS: Final = frozenset({FollowerSet, FollowerForgotten})
"""How far followers with a name have come: said by whichever node such a one is on."""

OF_PAIRS: Final = frozenset(PAIRS)
"""Facts that one node decides for all users (`nodes.Nodes.registrar`)."""


@dataclass_transform(frozen_default=True)
class ItemBase(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An array led by its type number."""


class Decided(ItemBase, tag=1):
    """What its node has decided: facts about users whose home it is, and about pairs if it is the registrar."""

    facts: msgspec.Raw


class New(ItemBase, tag=2):
    """The node is the home of these users from here on, unless they have one."""

    names: list[str]


class Moved(ItemBase, tag=3):
    """The user's home is another node from here on."""

    user: str
    to: NodeKey
    facts: msgspec.Raw
    """All that is known of the user."""


class Whole(ItemBase, tag=4):
    """All that is known of a user whose home the node is: it takes the place of what others know."""

    user: str
    facts: msgspec.Raw
    """What it says of pairs, if the node's disk alone knew the user, is decided by who decides those."""


class ToNode(ItemBase, tag=5):
    """For one node alone."""

    to: NodeKey
    content: msgspec.Raw


class Parcel(ItemBase, tag=6):
    """At this position, what is stored beside the log under the number is all that is known of some users of this node.
    It is for one that has joined."""

    joiner: NodeKey
    number: int
    """0 = the node has no more to send, and nothing is stored."""
    position: int
    """How far the node has read: it has told whom it inherited by then."""
    events: int = 0
    """The number of the newest event at that position."""
    events_epoch: int = 0
    lives: list[Life] = []
    """As in `Ready`."""
    origin: int = 0
    horizon: int = 0
    floor: int = 0
    """Of the node's horizon (`core.horizon`): which node founded the cluster, how far it has come, and up to which
    position the node cannot tell another what was late. 0 = not known."""
    founded_ms: int = 0
    """When that node founded the cluster."""


class Ready(ItemBase, tag=7):
    """The node knows all users from here on: it serves, and may inherit."""

    lives: list[Life] = []
    """Of the first node of all, whose records have other versions since these lives were ended by kills."""


class Offer(ItemBase, tag=8):
    """What the node knows of a user whose home is another node, which may know less: from its disk, or from a
    node that is gone, and of which the log has lost what it said."""

    user: str
    version: int
    """Of the record, before a kill gave it another (`core.positions.uncarried`)."""
    facts: msgspec.Raw
    to: NodeKey = NOWHERE
    """The node that is taken for the home, since the one that is gone may have said so to some alone; 0 = all know."""
    position: int = 0
    tag: int = 0
    """How far the node had read when it took that one for the home."""
    said_ms: int = 0
    """Wall time at which something was last said of the user (`core.newness`), or at which the user was erased; 0 = the
    node is of an earlier version."""


class Happened(ItemBase, tag=9):
    """An event, which has its number by its place in the log."""

    event: EventAdded
    is_of_erased: bool


class EventsAnew(ItemBase, tag=10):
    """What the log has lost may have been told to followers: events have this epoch from here on, and follow this
    number."""

    epoch: int
    seq: int
    horizon: int = 0
    """How far the node's horizon had come by what was lost."""


class Missing(ItemBase, tag=11):
    """The log has begun anew, and this node has not come back: it is gone, unless it has."""

    key: NodeKey
    is_given_up: bool = False
    """It is gone whether it has come back or not: what it decided since the log said so is known to nobody."""


class Vacant(ItemBase, tag=12):
    """These users have no home from here on, if the node, which is of an earlier version, was it: they were erased."""

    names: list[str]


class Unpaired(ItemBase, tag=13):
    """These users were erased when the counter of their home stood at this version: what was decided about them and
    others before this position holds no longer. The home says it behind the erasure; the registrar says it again,
    behind all that it had decided before it read that."""

    names: list[str]
    version: int


class Figures(ItemBase, tag=14):
    """How the node is, for the operators of all."""

    links: int
    lag_ms: int
    choices: NodeChoices | None = None
    """Of its settings, if they are others by now than when it joined; None = they are as it has said before."""


class Taken(ItemBase, tag=15):
    """The node, which has joined, has taken what another has stored for it, up to this number: it may be sent more."""

    teacher: NodeKey
    number: int


Item = (
    Decided
    | New
    | Moved
    | Whole
    | ToNode
    | Parcel
    | Ready
    | Offer
    | Happened
    | EventsAnew
    | Missing
    | Vacant
    | Unpaired
    | Figures
    | Taken
)


class NodeBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a node appends at once."""

    number: int
    """Of the batches of this incarnation, from 1 on."""
    version: int
    """The node's version counter: no record that it decides from here on has a version below this."""
    items: list[Item]
    floor: int = 0
    """No record that it has decided has a version below this, but for those in this batch and before. 0 = not known."""


class ParcelContent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is stored under the number of a parcel."""

    users: list[tuple[str, msgspec.Raw]]
    """Each with all that is known of the user, pairs too (`all_of`)."""
    asleep: list[UsersAsleep] = []
    """More users, who sleep (`core.told_shelves`)."""


class JoinData(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a node says of itself in an entry `joined`."""

    key: NodeKey
    """Drawn at its start (`nodes.Member`)."""
    has_lived: bool = False
    """It comes from the log before, which is gone, and knows what the cluster had come to."""
    is_asked: bool = False
    """It knows what operators of other nodes ask (`messages.ListLinks` and what came with it): one of an earlier
    version would end by the question."""
    gives_links: bool = False
    """It gives others what lost links had, and takes that from them (`lost_links`)."""
    origin: int = 0
    founded_ms: int = 0
    """Of one that has lived: who founded the cluster as the node knows it, and when (`core.horizon`). 0 = not known."""
    age: int = 0
    """Of one that has lived: as in `nodes.Member`. 0 = not known."""
    level: int = 0
    """What it understands (`levels.LEVEL`). 0 = it is of a version from before there were levels, and the fields of
    this say what it does: from level 1 on each node is asked, and gives links."""
    choices: NodeChoices | None = None
    """Of its settings; None = it is of an earlier version."""


def join_data(key: NodeKey, choices: NodeChoices | None = None) -> JoinData:
    """What a node of this version says of itself when its life begins, for which this key was drawn."""
    return JoinData(key, is_asked=True, gives_links=True, level=LEVEL, choices=choices)


class GoneData(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an entry `gone` says."""

    fence: int
    last_ms: int
    """The last sign of life, on the clock of leases."""
    voluntary: bool


decode_batch: Callable[[bytes], NodeBatch] = decoder_of(NodeBatch)
"""A batch from its bytes. Raises what is said at `decoder_of` on anything else, as all of these do."""

decode_facts: Callable[[bytes | msgspec.Raw], list[Fact]] = decoder_of(list[Fact])
"""The facts of an item."""

KnownFacts = bytes | list[Fact]
"""All that is known of a user: facts, or what is kept of one who sleeps."""

decode_known: Callable[[bytes | msgspec.Raw], KnownFacts] = decoder_of(KnownFacts)
"""What `all_of` has encoded."""

decode_parcel: Callable[[bytes], ParcelContent] = decoder_of(ParcelContent)
decode_join: Callable[[bytes], JoinData] = decoder_of(JoinData)
decode_gone: Callable[[bytes], GoneData] = decoder_of(GoneData)


def packed_facts(facts: Sequence[Fact]) -> msgspec.Raw:
    """The facts, encoded as an item holds them. O(facts)."""
    return msgspec.Raw(encode(facts))


def all_of(copies: Copies, name: str, now_ms: int) -> msgspec.Raw:
    """All that is known of a user, encoded; who sleeps sleeps on. O(what is known)."""
    return msgspec.Raw(encode(copies.facts_of(name, now_ms)))


def home_part_of(copies: Copies, name: str, now_ms: int) -> msgspec.Raw:
    """The same without what is decided between users. O(what is known)."""
    return msgspec.Raw(encode(copies.home_facts_of(name, now_ms)))


def version_in(known: KnownFacts) -> int:
    """The version of the record in what `all_of` has; 0 = there was never a record. O(facts)."""
    if isinstance(known, bytes):
        return version_of(known)
    return next((fact.version for fact in known if isinstance(fact, RecordSet)), 0)


def users_in_pairs(facts: Sequence[Fact]) -> list[str]:
    """The users whom facts of pairs among these name, each once. O(facts)."""
    names: dict[str, None] = {}
    for fact in facts:
        if type(fact) not in OF_PAIRS:
            # Nearly all: a node asks of each fact.
            continue
        if isinstance(fact, ContactsSet):
            names |= dict.fromkeys((fact.user, *fact.contacts))
        elif isinstance(fact, ContactSet | BlockSet | HidingSet):
            names |= dict.fromkeys((fact.user, fact.contact))
        elif isinstance(fact, AudienceSet):
            names[fact.user] = None
    return list(names)


def for_others(facts: Sequence[Fact]) -> list[Fact]:
    """Those of a turn's facts that other nodes are told. O(facts)."""
    return [fact for fact in facts if type(fact) not in OF_ONE_NODE]
