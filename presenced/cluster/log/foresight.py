"""Decodes the whole of a batch from a node of a later version, before anything of it is applied. Pure.

So a node that does not understand a part of it has applied nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from presenced.cluster.levels import NotUnderstood
from presenced.cluster.log.entries import (
    Decided,
    KnownFacts,
    Moved,
    NodeBatch,
    Offer,
    Parcel,
    ToNode,
    Whole,
    decode_facts,
    decode_known,
    decode_parcel,
)
from presenced.cluster.messages import decode_node_message
from presenced.core.dormants import Shelf
from presenced.core.parts.sleep import Sleep


def foresee(batch: NodeBatch, me: int, parcels: Mapping[int, bytes]) -> None:
    """Raise `NotUnderstood` if this node cannot read all of the batch that concerns it. `parcels` as in
    `LogReader.take`. O(size of the batch)."""
    for item in batch.items:
        match item:
            case Decided() | Moved():
                decode_facts(item.facts)
            case Whole() | Offer():
                _foresee_user(decode_known(item.facts))
            case ToNode() if item.to == me:
                decode_node_message(item.content)
            case Parcel() if item.number in parcels:
                content = decode_parcel(parcels[item.number])
                for shelf in content.asleep:
                    for _, both in Shelf(shelf.names, shelf.sizes, shelf.packed).users():
                        _foresee_user(both)
                for _, known in content.users:
                    _foresee_user(decode_known(known))


def _foresee_user(known: KnownFacts) -> None:
    """The state of a user who sleeps is otherwise decoded when somebody asks for the user, where an error could not be
    handled."""
    if isinstance(known, bytes):
        try:
            Sleep.facts_in("", known)
        except msgspec.ValidationError as error:
            raise NotUnderstood(str(error)) from None
