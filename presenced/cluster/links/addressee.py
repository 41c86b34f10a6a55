"""Which user a message of a link means, where only the link's own node can tell. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from presenced.address import check_name
from presenced.cluster.links.relay import Relay
from presenced.cluster.links.routing import Destination
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.errors import AddressError
from presenced.wire.messages import (
    ClientMessage,
    Command,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
)

OWN_IF_EMPTY: Final = frozenset({GetClaims, GetActivity, GetContacts, GetBlocked, GetAudience, Command})
"""Messages that are handled here and are about the link's own user if they name none."""


def is_meant(engine: Engine, session: Session, relay: Relay | None, way: Destination, message: ClientMessage) -> bool:
    """Whether the link may ask this about the user whom it names. If not, this node refuses it, as the user's home
    would: no other node is asked, and nobody is given a home for it. O(patterns)."""
    name = way.users[0]
    if name == session.user_name:
        # A service that has no device of its own has to name a user.
        return session.role == "user" or bool(getattr(message, "user", "")) or _has_device(session, relay)
    rights = session.rights
    if session.role == "user" or (rights is not None and rights.only_read and way.makes):
        return False
    if rights is not None and not rights.acts_for(name):
        return False
    return not way.makes or engine.users.knows(name) or _is_name(name)


def _has_device(session: Session, relay: Relay | None) -> bool:
    return session.device is not None or (relay is not None and relay.own_device is not None)


def _is_name(name: str) -> bool:
    try:
        check_name(name, "user")
    except AddressError:
        return False
    return True


def named(relay: Relay, message: ClientMessage) -> ClientMessage:
    """The message with the name of its user, if that is empty because the link has a device of its own: the node that
    handles it does not know of the device."""
    if getattr(message, "user", None) != "" or not _has_device(relay.session, relay):
        return message
    return msgspec.structs.replace(message, user=relay.session.user_name)
