"""Who may see whom: the rule of protocol.md, section 21.1, a second time, as plainly as its words.

`Facts` is what people have said of each other, as sets of pairs; `face` reads it from the first point to the last. No
cache, no masks of bits, no filing: this is what the clever structures are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from presenced.wire.messages import (
    Approve,
    Block,
    Cancel,
    ClientMessage,
    HideFrom,
    Join,
    Leave,
    Record,
    RemoveContact,
    Role,
    SetAudience,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Unblock,
    Unsubscribe,
)

Kind = Literal["full", "reduced", "shown", "hidden"]
GROUNDS: Final = ("everyone", "contacts", "channels", "domain")
FIELDS: Final = ("text", "last_seen", "device")


class Viewer(NamedTuple):
    """Who asks: a user, or a service, perhaps with a token that names whom it sees."""

    name: str
    role: Role = "user"
    see: tuple[str, ...] | None = None
    """The patterns of the token's claim presence.see; None = it has none."""

    def is_named(self, subject: str) -> bool:
        return self.see is not None and any(matches(pattern, subject) for pattern in self.see)


class Face(NamedTuple):
    kind: Kind
    without: tuple[str, ...] = ()
    """What a reduced record lacks, of `FIELDS`."""


FULL: Final = Face("full")
SHOWN: Final = Face("shown")
HIDDEN: Final = Face("hidden")


@dataclass
class Facts:
    """What has been said and done, and what the server's settings are."""

    grounds: tuple[str, ...]
    reciprocal: bool = False
    sees: set[tuple[str, str]] = field(default_factory=set)
    """Viewer and subject: the viewer is subscribed to the subject."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    approved: set[tuple[str, str]] = field(default_factory=set)
    """Subject and viewer: the viewer may see the subject as soon as they ask."""
    blocks: set[tuple[str, str]] = field(default_factory=set)
    """Who has blocked, and whom."""
    hides: set[tuple[str, str]] = field(default_factory=set)
    shows: set[tuple[str, str, str]] = field(default_factory=set)
    """Subject, device, viewer."""
    audiences: dict[str, SetAudience] = field(default_factory=dict)
    rooms: set[tuple[str, str, str]] = field(default_factory=set)
    """Channel, user, device."""

    seems_online: Callable[[str], bool] = lambda _: True
    """Whether the record of a user is not offline, as the driver knows."""

    # --- what is done -----------------------------------------------------------------------------------------

    def apply(self, user: str, message: ClientMessage, device: str = "") -> None:
        """`user` says this, or a service says it for them, of or on `device`."""
        if isinstance(message, SetAudience):
            self.audiences[user] = message
        elif isinstance(message, Join):
            self.rooms.add((message.channel, user, message.device or device))
        elif isinstance(message, Leave):
            self.rooms.discard((message.channel, user, message.device or device))
        elif isinstance(message, ShowTo):
            self.shows.add((user, message.device or device, message.contact))
        elif isinstance(message, StopShowing):
            self.shows.discard((user, message.device or device, message.contact))
        else:
            self._apply_to_pair(user, message)

    def _apply_to_pair(self, user: str, message: ClientMessage) -> None:
        contact: str = getattr(message, "contact", "")
        mine, theirs = (user, contact), (contact, user)
        if isinstance(message, Subscribe):
            if theirs in self.approved and mine not in self.sees and not self.is_blocked(*mine):
                self.approved.discard(theirs)
                self.sees.add(mine)
            elif mine not in self.sees:
                self.asked.add(mine)
        elif isinstance(message, Approve):
            if theirs in self.asked:
                self.asked.discard(theirs)
                self.sees.add(theirs)
            elif theirs not in self.sees:
                self.approved.add(mine)
        elif isinstance(message, Cancel):
            for pairs, pair in ((self.asked, theirs), (self.sees, theirs), (self.approved, mine)):
                pairs.discard(pair)
        elif isinstance(message, Unsubscribe):
            self.asked.discard(mine)
            self.sees.discard(mine)
        elif isinstance(message, RemoveContact):
            for pair in (mine, theirs):
                self.asked.discard(pair)
                self.sees.discard(pair)
            self.approved.discard(mine)
        elif isinstance(message, Block):
            self.blocks.add(mine)
            # What the blocked shows the blocker stays, and is not seen: by its limit, its end would tell of the block.
            self.shows = {show for show in self.shows if (show[0], show[2]) != mine}
        elif isinstance(message, Unblock):
            self.blocks.discard(mine)
        elif isinstance(message, HideFrom):
            self.hides.add(mine)
        elif isinstance(message, ShowAgain):
            self.hides.discard(mine)

    def end_device(self, user: str, device: str) -> None:
        """The device is gone, and what depended on its life."""
        self.shows = {show for show in self.shows if show[:2] != (user, device)}
        self.rooms = {room for room in self.rooms if room[1:] != (user, device)}

    # --- what follows -----------------------------------------------------------------------------------------

    def is_blocked(self, one: str, other: str) -> bool:
        return (one, other) in self.blocks or (other, one) in self.blocks

    def rooms_of(self, user: str) -> set[str]:
        return {channel for channel, member, _ in self.rooms if member == user}

    def has_ground(self, viewer: Viewer, subject: str, room: str = "") -> bool:
        if viewer.is_named(subject) or "everyone" in self.grounds:
            return True
        if "contacts" in self.grounds and (viewer.name, subject) in self.sees:
            return True
        if "channels" in self.grounds:
            shared = room in self.rooms_of(viewer.name) if room else self.rooms_of(viewer.name) & self.rooms_of(subject)
            # In the list of a channel nobody is offline but who has just left it.
            if shared and (room or self.seems_online(subject)):
                return True
        return "domain" in self.grounds and bool(part_of(subject)) and part_of(viewer.name) == part_of(subject)

    def withheld(self, subject: str, viewer: str) -> list[str]:
        """The fields that the subject's audience keeps from the viewer, reciprocity aside."""
        audience = self.audiences.get(subject)
        if audience is None:
            return []
        if viewer in audience.never:
            return list(FIELDS)
        if viewer in audience.always:
            return []
        is_approved = (viewer, subject) in self.sees
        levels = (audience.text, audience.last_seen, audience.device)
        return [
            name
            for name, level in zip(FIELDS, levels, strict=True)
            if level == "nobody" or level == "contacts" and not is_approved
        ]

    def face(self, viewer: Viewer, subject: str, room: str = "") -> Face:
        """The first point that applies. In what is told of a room, to whose members the subject belongs or has just
        belonged, that room is the only one which counts, and whoever is shown is shown as everybody sees them."""
        if viewer.role != "user":
            return FULL if viewer.name == subject or viewer.see is None or viewer.is_named(subject) else HIDDEN
        if viewer.name == subject:
            return FULL
        if self.is_blocked(viewer.name, subject):
            return HIDDEN
        if any(show[0] == subject and show[2] == viewer.name for show in self.shows):
            return FULL if room else SHOWN
        if (subject, viewer.name) in self.hides:
            return HIDDEN
        if not self.has_ground(viewer, subject, room):
            return HIDDEN
        without = self.withheld(subject, viewer.name)
        if self.reciprocal and "last_seen" in self.withheld(viewer.name, subject) and "last_seen" not in without:
            without.append("last_seen")
        return Face("reduced", tuple(name for name in FIELDS if name in without)) if without else FULL


def matches(pattern: str, name: str) -> bool:
    """One pattern of a token's claim (section 1.4)."""
    if pattern.startswith("*@"):
        return name.endswith(pattern[1:])
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def part_of(name: str) -> str:
    """What makes a domain of names: the rest behind the last @; empty = there is none."""
    return name.rpartition("@")[2] if "@" in name else ""


def never_seen(name: str) -> Record:
    return Record(name, "offline", "", "", 0, 0, "", 0)


def seen_by(face: Face, full: Record, behind: Record | None, version: int) -> Record:
    """What this face makes of a record. `behind`: the same without claims of offline, while a device is live."""
    if face.kind == "full":
        return full
    if face.kind == "shown" and behind is not None:
        return Record(*_fields(behind)[:-1], version)
    if face.kind == "hidden" or not full.version:
        return never_seen(full.user)
    user, status, text, emoji, since_ms, last_seen_ms, device = _fields(full)[:-1]
    if "text" in face.without:
        text = emoji = ""
    if "last_seen" in face.without:
        since_ms = last_seen_ms = 0
    if "device" in face.without:
        device = ""
    return Record(user, status, text, emoji, since_ms, last_seen_ms, device, version)


def _fields(record: Record) -> list:  # type: ignore[type-arg]
    return [getattr(record, name) for name in record.__struct_fields__]


def listed(records: Iterable[Record]) -> list[Record]:
    """Those of these whom a list of who is online has, in its order."""
    return sorted((record for record in records if record.status != "offline"), key=lambda record: record.user)
