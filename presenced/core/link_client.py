"""The marks by which the client of a lost link is known again. Data only."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from presenced.core.rights import Rights
from presenced.wire.messages import Role


class LinkClient(Protocol):
    """The client of a link, as far as it can be known again: a session, or what another node says of one."""

    @property
    def user_name(self) -> str:
        """As in `Session`."""

    @property
    def role(self) -> Role:
        """As in `Session`."""

    @property
    def instance(self) -> int:
        """As in `Session`."""

    @property
    def rights(self) -> Rights | None:
        """As in `Session`."""


class ArrivedClient(NamedTuple):
    """A client that has come with the token of a lost link, before it has a session."""

    user_name: str
    role: Role
    instance: int
    rights: Rights | None


def is_same_client(one: LinkClient, other: LinkClient) -> bool:
    """Whether both are of one client, with the same rights."""
    return (one.user_name, one.role, one.instance, one.rights) == (
        other.user_name,
        other.role,
        other.instance,
        other.rights,
    )
