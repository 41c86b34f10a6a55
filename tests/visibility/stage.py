"""A world full of subjects, each of which stands in another way to the viewers; and what the rule says of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from presenced.core.policy import Policy
from presenced.server import greeting
from presenced.server.identity import Identity
from presenced.wire.messages import (
    AddClaim,
    Approve,
    Attach,
    Block,
    ClientMessage,
    Detach,
    Get,
    Hello,
    HideFrom,
    Join,
    Presence,
    Record,
    Records,
    ServerMessage,
    SetAudience,
    SetStatus,
    ShowTo,
    StopShowing,
    Subscribe,
)
from tests.core.world import FakeLink, World
from tests.visibility.pairs import STRANGER, VERA, WALT, Pair, Shows, Subject, draw
from tests.visibility.rule import Facts, Viewer, seen_by

S = TypeVar("S", bound=ServerMessage)
ASKED_AT_ONCE = 256
SHARED, OTHER_ROOM = "shared", "other"


def policy(grounds: tuple[str, ...], *, reciprocal: bool = False, **changed: Any) -> Policy:
    """Nothing is spaced, so that everything is told in its own turn."""
    return Policy(**({"grounds": grounds, "reciprocal": reciprocal, "change_spacing_ms": 0} | changed))


class ViewLink(FakeLink):
    """A link that came in by a hello, as the server reads it, and that folds what it is told by the client's rule."""

    def __init__(self, world: World, viewer: Viewer, device: str = "", **said: Any) -> None:
        """`said`: what else its hello says."""
        super().__init__(world, viewer.name, viewer.role)
        self.viewer = viewer
        hello = Hello([1], "", viewer.name, device, role=viewer.role, **said)
        identity = Identity(viewer.name, viewer.role, 0, rights_of(viewer))
        self.session = greeting.open_session(world.engine, self, hello, identity, 0, world.now_ms)
        said = greeting.Greeting(hello, 1, identity)
        greeting.say_welcome(world.engine, self.session, said, world.now_ms, (0, 0))
        self.pushed: list[Record] = []
        """Since it was asked for last."""
        self.said: list[tuple[int, ClientMessage]] = []
        """Each with its moment."""

    def say(self, message: ClientMessage) -> None:
        self.said.append((self.world.now_ms, message))
        super().say(message)

    def _learn(self, message: ServerMessage) -> None:
        """A version of 0 is always taken, and otherwise a higher one than is known."""
        records = getattr(message, "records", None) or []
        if isinstance(message, Presence):
            records = [message.record]
            self.pushed.append(message.record)
        for record in records:
            known = self.view.get(record.user)
            if known is None or not record.version or record.version > known.version:
                self.view[record.user] = record

    def take_pushed(self) -> list[Record]:
        pushed, self.pushed = self.pushed, []
        return pushed

    def frame(self, message: ClientMessage) -> bytes:
        """The payload that answers this."""
        before = len(self.raw)
        self.say(message)
        self.world.turn()
        (payload,) = self.raw[before:]
        return payload

    def records(self, names: Iterable[str]) -> list[Record]:
        """What Get answers."""
        names = list(names)
        found: list[Record] = []
        for start in range(0, len(names), ASKED_AT_ONCE):
            asked = Get(self.next_id(), names[start : start + ASKED_AT_ONCE])
            found.extend(self.expect(asked, Records).records)
        return found


def rights_of(viewer: Viewer) -> Any:
    """What the server makes of the token's claim."""
    if viewer.see is None:
        return None
    from presenced.core.rights import rights_of

    bounds = ("see",) if viewer.role == "user" else ("see", "act")
    return rights_of({key: list(viewer.see) for key in bounds}, viewer.name, viewer.role)


def seems_online(world: World, name: str) -> bool:
    """Whether the user's whole record is not offline."""
    user = world.engine.users.get(name)
    return user is not None and user.record.status != "offline"


class Stage:
    """The world, what was said in it, and a service that does everything for everybody."""

    def __init__(self, facts: Facts, seed: int, count: int, *, audiences: dict[str, Shows] | None = None) -> None:
        self.facts = facts
        self.world = World(policy(facts.grounds, reciprocal=facts.reciprocal))
        self.world.checks = False
        facts.seems_online = lambda name: seems_online(self.world, name)
        self.app = ViewLink(self.world, Viewer("app", "service"))
        dice = random.Random(seed)
        self.subjects = [draw(dice, number) for number in range(count)]
        self.refs: dict[str, int] = {}
        self.texts: dict[str, tuple[str, str]] = {}
        """Text and emoji as they were set last."""
        self.behind: dict[str, Record] = {}
        """Of those who appear offline: the record without that."""
        for viewer in (VERA, WALT):
            self.attach(viewer, "desk", "online")
            self.join(viewer, "desk", SHARED)
            if audiences and viewer in audiences:
                self.set_audience(viewer, audiences[viewer])
        self._come()
        self._relate()
        self._withdraw()
        self._appear_offline()
        self.names = [subject.name for subject in self.subjects] + [STRANGER, VERA, WALT]
        self.world.advance(1_000)

    # --- what a service does for a user -----------------------------------------------------------------------

    def act(self, user: str, message: type, contact: str, **fields: Any) -> None:
        made = message(self.app.next_id(), contact, user=user, **fields)
        self.app.say(made)
        self.facts.apply(user, made)

    def attach(self, user: str, device: str, status: str, idle_ms: int = 0) -> None:
        ref = self.refs[f"{user}/{device}"] = len(self.refs) + 1
        self.app.say(Attach(self.app.next_id(), ref, user, device, status=status, idle_ms=idle_ms))  # type: ignore[arg-type]

    def detach(self, user: str, device: str) -> None:
        self.app.say(Detach(self.app.next_id(), self.refs.pop(f"{user}/{device}")))
        self.facts.end_device(user, device)

    def join(self, user: str, device: str, channel: str) -> None:
        made = Join(self.app.next_id(), channel, user, device)
        self.app.say(made)
        self.facts.apply(user, made)

    def set_audience(self, user: str, shows: Shows) -> None:
        levels = (shows.text, shows.last_seen, shows.device, list(shows.always), list(shows.never))
        made = SetAudience(self.app.next_id(), *levels, user=user)
        self.app.say(made)
        self.facts.apply(user, made)

    def set_text(self, user: str, text: str, emoji: str) -> None:
        self.texts[user] = (text, emoji)
        self.app.say(SetStatus(self.app.next_id(), None, text, emoji, user=user))

    def over(self, wanted: Callable[[Subject], object], do: Callable[[Subject], object], later_ms: int = 1_000) -> None:
        """Do this to each subject that is wanted, in one turn, after this time."""
        self.world.advance(later_ms)
        for subject in self.subjects:
            if wanted(subject):
                do(subject)
        self.world.turn()

    # --- how it came about ------------------------------------------------------------------------------------

    def _come(self) -> None:
        """Who was ever seen comes, and says something; who shows themselves does that with another device."""
        self.over(lambda subject: subject.state != "never", self._come_with_text)
        self.over(self._has_shown, lambda subject: self.attach(subject.name, "tab", "away"))

    def _come_with_text(self, subject: Subject) -> None:
        self.attach(subject.name, "web", "online", idle_ms=60_000)
        number = int(subject.name[1:5])
        if number % 3:
            self.set_text(subject.name, f"text {number}", "*" if number % 2 else "")
        if subject.place in ("shared", "both"):
            self.join(subject.name, "web", SHARED)
        if subject.place in ("other", "both"):
            self.join(subject.name, "web", OTHER_ROOM)

    @staticmethod
    def _has_shown(subject: Subject) -> bool:
        return any(pair.directed != "none" for pair in subject.pairs.values())

    def _relate(self) -> None:
        """Directed presence first: a block ends it, and nobody can show themselves to whom they block."""
        for directed in (("shown", "gone"), ("stopped",)):
            self.over(lambda _: True, lambda subject, directed=directed: self._show(subject, directed))
        self.over(lambda _: True, self._relate_one)

    def _show(self, subject: Subject, directed: tuple[str, ...]) -> None:
        for viewer, pair in subject.pairs.items():
            if pair.directed in directed:
                # What is to go goes with the device, of which there is only one to go.
                device = "tab" if pair.directed == "shown" or not subject.has_tab else "web"
                self.act(subject.name, ShowTo, viewer, device=device)
                if pair.directed == "stopped" or pair.directed == "gone" and subject.has_tab:
                    self.act(subject.name, StopShowing, viewer, device=device)

    def _relate_one(self, subject: Subject) -> None:
        if subject.audience is not None:
            self.set_audience(subject.name, subject.audience)
        for viewer, pair in subject.pairs.items():
            self._relate_pair(subject.name, viewer, pair)

    def _relate_pair(self, subject: str, viewer: str, pair: Pair) -> None:
        if pair.relation in ("to", "both", "asked"):
            self.act(viewer, Subscribe, subject, note="it is me")
        if pair.relation in ("to", "both", "approves"):
            self.act(subject, Approve, viewer)
        if pair.relation in ("from", "both", "asks"):
            self.act(subject, Subscribe, viewer)
        if pair.relation in ("from", "both", "approved"):
            self.act(viewer, Approve, subject)
        if pair.hide == "subject":
            self.act(subject, HideFrom, viewer)
        if pair.hide == "viewer":
            self.act(viewer, HideFrom, subject)
        if pair.block in ("viewer", "both"):
            self.act(viewer, Block, subject)
        if pair.block in ("subject", "both"):
            self.act(subject, Block, viewer)

    def _withdraw(self) -> None:
        """Devices that were shown go, unless they are to be seen; and whoever is to be offline."""
        self.over(
            lambda subject: self._has_shown(subject) and not subject.has_tab,
            lambda subject: self.detach(subject.name, "tab"),
        )
        self.over(lambda subject: subject.state == "offline", lambda subject: self.detach(subject.name, "web"))

    def _appear_offline(self) -> None:
        before = {record.user: record for record in self.app.records(subject.name for subject in self.subjects)}
        self.over(lambda subject: subject.offline != "no", lambda subject: self._hide(subject, before[subject.name]))
        self.over(
            lambda subject: subject.offline == "new text", lambda subject: self.set_text(subject.name, "new", "+")
        )
        for name, record in self.behind.items():
            text, emoji = self.texts.get(name, ("", ""))
            self.behind[name] = Record(
                name, record.status, text, emoji, record.since_ms, 0, record.device, record.version
            )

    def _hide(self, subject: Subject, record: Record) -> None:
        self.behind[subject.name] = record
        self.app.say(SetStatus(self.app.next_id(), "offline", user=subject.name))

    def claim(self, subject: Subject, claim: str = "meeting") -> None:
        """The calendar says dnd; of those who appear offline that shows to nobody but whom they show themselves."""
        self.app.say(AddClaim(self.app.next_id(), claim, "calendar", "dnd", user=subject.name))
        if subject.name in self.behind:
            text, emoji = self.texts.get(subject.name, ("", ""))
            record = self.behind[subject.name]
            self.behind[subject.name] = Record(
                subject.name, "dnd", text, emoji, self.world.wall_ms, 0, record.device, record.version
            )

    # --- what the rule says -----------------------------------------------------------------------------------

    def expected(self, viewer: Viewer, full: dict[str, Record], room: str = "") -> dict[str, Record]:
        """The record of each subject that this viewer is to be given now. `full`: as of who sees all."""
        version = self.world.engine.ledger.version
        found = {}
        for name in self.names:
            record = full[name]
            behind = self.behind.get(name, record if record.status != "offline" else None)
            if name in self.behind and not self._is_live(name):
                behind = None
            found[name] = seen_by(self.facts.face(viewer, name, room), record, behind, version)
        return found

    def full(self) -> dict[str, Record]:
        """What a service is told that sees everybody, which older tests hold against the words of the protocol."""
        return {record.user: record for record in self.app.records(self.names)}

    def _is_live(self, name: str) -> bool:
        return f"{name}/web" in self.refs or f"{name}/tab" in self.refs
