"""Batches of nodes of a later version, which are read as a whole before anything of them is applied. Pure."""

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
    """Raise `NotUnderstood` if this node cannot read all that the batch says to it. What comes with a parcel is in
    `parcels`, as for `LogReader.take`. O(what it says)."""
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
    """What is kept of one who sleeps is read when somebody asks: nobody is left whom that would end."""
    if isinstance(known, bytes):
        try:
            Sleep.facts_in("", known)
        except msgspec.ValidationError as error:
            raise NotUnderstood(str(error)) from None
