"""What one node appends to the log at once: a batch of items, in order. Each is an array led by its type number; fields
are only added at the end, and with a new item, or a fact or a word that is new in one, `levels.LEVEL` is raised.

A batch says first which of its node's batches it is, and how far its node's version counter has come. Whoever reads it
applies the items in this order, so that a message is never seen before the facts that it tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, dataclass_transform

import msgspec

from presenced.cluster.levels import decoder_of
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
"""Facts about what one node told its own links. They are not appended."""

OF_FOLLOWERS: Final = frozenset({FollowerSet, FollowerForgotten})
"""How far followers with a name have come. Each is told by the node that the follower is on."""

OF_PAIRS: Final = frozenset(PAIRS)
"""Facts that one node decides for all users (`nodes.Nodes.registrar`)."""


@dataclass_transform(frozen_default=True)
class ItemBase(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An array led by its type number."""


class Decided(ItemBase, tag=1):
    """What the sender has decided: facts about users whose home it is, and about pairs if it is the registrar."""

    facts: msgspec.Raw


class New(ItemBase, tag=2):
    """The sender is the home of those of these users who have none."""

    names: list[str]


class Moved(ItemBase, tag=3):
    """The user's home is another node from here on."""

    user: str
    to: NodeKey
    facts: msgspec.Raw
    """All that is known of the user."""


class Whole(ItemBase, tag=4):
    """All that is known of a user whose home the sender is. It takes the place of what other nodes know."""

    user: str
    facts: msgspec.Raw
    """Pairs are in it if only the sender's disk knew the user. The registrar decides about those."""


class ToNode(ItemBase, tag=5):
    """A message for one node alone."""

    to: NodeKey
    content: msgspec.Raw


class Parcel(ItemBase, tag=6):
    """All that is known of some users of the sender, as of this position, for a node that has joined. It is stored
    beside the log under the number."""

    joiner: NodeKey
    number: int
    """0 = the sender has no more to send, and nothing is stored."""
    position: int
    """How far the sender has read. Users whom it had inherited by then are among those that it sends."""
    events: int = 0
    """The number of the newest event at that position."""
    events_epoch: int = 0
    lives: list[Life] = []
    """As in `Ready`."""
    origin: int = 0
    horizon: int = 0
    floor: int = 0
    """Of the sender's horizon (`core.horizon`): which node founded the cluster, how far the horizon has come, and up to
    which position the sender cannot tell another node what came late. 0 = not known."""
    founded_ms: int = 0
    """When that node founded the cluster."""


class Ready(ItemBase, tag=7):
    """The sender knows all users from here on: it serves, and may be an heir."""

    lives: list[Life] = []
    """Lives of the cluster's first node that kills have ended, and that changed the versions of its records."""


class Offer(ItemBase, tag=8):
    """What the sender knows of a user whose home is another node, which may know less: from its disk, or from entries
    that the log has lost."""

    user: str
    version: int
    """The version of the record, before a kill gave it another (`core.positions.uncarried`)."""
    facts: msgspec.Raw
    to: NodeKey = NOWHERE
    """The node that the sender takes for the home, since only some may have read that; 0 = all know the home."""
    position: int = 0
    tag: int = 0
    """How far the sender had read when it took that node for the home."""
    said_ms: int = 0
    """Wall time at which something was last said of the user (`core.newness`), or at which the user was erased; 0 = the
    node is of an earlier version."""


class Happened(ItemBase, tag=9):
    """An event. Its place in the log gives it its number."""

    event: EventAdded
    is_of_erased: bool


class EventsAnew(ItemBase, tag=10):
    """Events have this epoch from here on, and follow this number: events that the log has lost may have been told to
    followers."""

    epoch: int
    seq: int
    horizon: int = 0
    """How far the sender's horizon had come with what was lost."""


class Missing(ItemBase, tag=11):
    """This node is gone, unless it has come back to the log, which began anew."""

    key: NodeKey
    is_given_up: bool = False
    """It is gone even if it has come back, since nobody knows what it decided after it was declared gone."""


class Vacant(ItemBase, tag=12):
    """These users were erased: if the sender, which is of an earlier version, was their home, they have none now."""

    names: list[str]


class Unpaired(ItemBase, tag=13):
    """These users were erased at this version of their home's counter: what was decided about pairs of them before this
    position holds no longer. The home appends it behind the erasure. The registrar repeats it, behind all that it had
    decided before it read of the erasure."""

    names: list[str]
    version: int


class Figures(ItemBase, tag=14):
    """How the sender is, for the operators of all nodes."""

    links: int
    lag_ms: int
    choices: NodeChoices | None = None
    """Its settings, if they have changed since it joined; None = they are as it has told before."""


class Taken(ItemBase, tag=15):
    """The sender, which has joined, has taken in what another node has stored for it, up to this number."""

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
    """The sender's version counter: no record that it decides from here on has a version below this."""
    items: list[Item]
    floor: int = 0
    """No record that the sender will append in later batches has a version below this; 0 = not known."""


class ParcelContent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is stored under the number of a parcel."""

    users: list[tuple[str, msgspec.Raw]]
    """Each with all that is known of the user, pairs too (`all_of`)."""
    asleep: list[UsersAsleep] = []
    """More users, who sleep (`core.told_shelves`)."""


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
decode_gone: Callable[[bytes], GoneData] = decoder_of(GoneData)


def packed_facts(facts: Sequence[Fact]) -> msgspec.Raw:
    """The facts, encoded as an item holds them. O(facts)."""
    return msgspec.Raw(encode(facts))


def all_of(copies: Copies, name: str, now_ms: int) -> msgspec.Raw:
    """All that is known of a user, encoded. A user who sleeps sleeps on. O(what is known)."""
    return msgspec.Raw(encode(copies.facts_of(name, now_ms)))


def home_part_of(copies: Copies, name: str, now_ms: int) -> msgspec.Raw:
    """The same without pairs. O(what is known)."""
    return msgspec.Raw(encode(copies.home_facts_of(name, now_ms)))


def version_in(known: KnownFacts) -> int:
    """The version of the record in what `all_of` has; 0 = there was never a record. O(facts)."""
    if isinstance(known, bytes):
        return version_of(known)
    return next((fact.version for fact in known if isinstance(fact, RecordSet)), 0)


def users_in_pairs(facts: Sequence[Fact]) -> list[str]:
    """The users who are named by those of these facts that are about pairs, each once. O(facts)."""
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
    """Those facts of a turn that are appended for other nodes. O(facts)."""
    return [fact for fact in facts if type(fact) not in OF_ONE_NODE]
