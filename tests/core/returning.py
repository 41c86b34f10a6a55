"""Clients that want to take back what they had: they say hello as the server reads it, and come back with the token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from presenced.core.rights import rights_of
from presenced.server.greeting import Greeting, open_session, say_welcome
from presenced.server.identity import Identity
from presenced.wire.messages import Hello, Role, Taken, Welcome
from tests.core.world import FakeLink, World


class Returner(FakeLink):
    """One link of a client that says `resume`."""

    def __init__(
        self,
        world: World,
        address: str,
        *,
        resume: str | None = "",
        role: Role = "user",
        instance: int = 1,
        rights: Mapping[str, object] | None = None,
        issued_ms: int = 0,
        expires_ms: int = 0,
        **said: Any,
    ) -> None:
        user, _, device = address.partition("/")
        super().__init__(world, user, role, instance)
        self.address = address
        self.client: dict[str, Any] = {"role": role, "instance": instance, "rights": rights, "issued_ms": issued_ms}
        hello = Hello([1], "", user, device, role=role, instance=instance, resume=resume, **said)
        identity = Identity(user, role, expires_ms, rights_of(rights, user, role) if rights is not None else None,
                            issued_ms)  # fmt: skip
        self.session = open_session(world.engine, self, hello, identity, expires_ms, world.now_ms)
        self.cost = say_welcome(world.engine, self.session, Greeting(hello, 1, identity), world.now_ms, (0, 0))

    @property
    def welcome(self) -> Welcome:
        """What its hello was answered with."""
        (welcome,) = (message for message in self.messages if isinstance(message, Welcome))
        return welcome

    @property
    def taken(self) -> list[tuple[int, str]]:
        """What it was told to hold no longer, in the order of refs."""
        return sorted((message.ref, message.why) for message in self.messages if isinstance(message, Taken))

    @property
    def refs(self) -> dict[int, str]:
        """The devices that it holds, by ref."""
        held = (self.session.refs or {}).items()
        return {ref: f"{device.user.name}/{device.id}" for ref, device in sorted(held)}

    @property
    def had(self) -> tuple[object, ...]:
        """All that it watches and holds, in no order."""
        session = self.session
        return (
            sorted(session.watching or ()),
            sorted(session.watched_contacts or ()) if session.watched_contacts is not None else None,
            sorted(session.channels or ()),
            self.world.engine.outboxes.is_told_all(session),
            self.world.engine.contacts.is_told(session),
            self.refs,
        )

    def come_back(self, *, turns: bool = True, token: str | None = None, **changed: Any) -> Returner:
        """Say hello on a new link as after a loss, with the token of this one. `turns`: until all of it is back."""
        said: dict[str, Any] = {**self.client, "as_was": True, "only_free": True, **changed}
        address = said.pop("address", self.address)
        link = Returner(self.world, address, resume=self.session_token if token is None else token, **said)
        link.watched, link.watches_all = dict(self.watched), self.watches_all
        link.told.rooms |= self.told.rooms
        if turns:
            settle(self.world)
        return link

    @property
    def session_token(self) -> str:
        return self.welcome.resume


def opened(world: World, address: str, **said: Any) -> Returner:
    """A client's first link."""
    link = Returner(world, address, **said)
    world.turn()
    return link


def settle(world: World) -> None:
    """Run turns until nothing more is to be done at this moment."""
    world.turn()
    while world.next_ms == 0 or (world.next_ms is not None and world.next_ms <= world.now_ms):
        world.turn()
