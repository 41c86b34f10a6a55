"""A program that watches others and keeps what it has while it has no link, in the slow and obvious way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from presenced.wire.messages import (
    ChannelEvent,
    Check,
    Checked,
    Compare,
    ContactRecords,
    MembersPage,
    Presence,
    Record,
    Records,
    ServerMessage,
    Watch,
    WatchChannel,
    Welcome,
)
from tests.coming_back.words import checksum_of, digest_of
from tests.core.world import World
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink


@dataclass
class Book:
    """What a program has, over all its links."""

    records: dict[str, Record] = field(default_factory=dict)
    """By user."""
    rooms: dict[str, dict[str, Record]] = field(default_factory=dict)
    """The members of each channel that it watches."""

    def have(self, names: Iterable[str]) -> list[int]:
        """What it has of each of these users."""
        return [digest_of(self.records.get(name)) for name in names]

    def have_of_room(self, room: str) -> tuple[list[str], list[int]]:
        members = self.rooms.get(room, {})
        return list(members), [digest_of(record) for record in members.values()]


class ProgramLink(ViewLink):
    """One link of the program: it enters in its book what it is told, by the rules of section 6.4.

    Whatever comes is held against the rule that a view and its checksum agree at the moment at which Checked comes.
    """

    def __init__(self, world: World, viewer: Viewer, device: str, book: Book, **said: Any) -> None:
        self.book = book
        self.versions: dict[str, int] = {}
        """Of the records that came on this link. Those that the book has from before have none."""
        self.came: list[Record] = []
        """Every record of a user that came, in order."""
        self.checked: list[Checked] = []
        self.welcome: Welcome | None = None
        super().__init__(world, viewer, device, **said)

    # --- what it asks -----------------------------------------------------------------------------------------

    def watch_with(self, names: Sequence[str], have: Sequence[int]) -> list[Record]:
        """The records that differ from what it has."""
        return self.expect(Watch(self.next_id(), list(names), list(have)), Records).records

    def compare(
        self, names: Sequence[str], have: Sequence[int], *, more: bool = False, failed: bool = False
    ) -> list[Record]:
        asked = Compare(self.next_id(), list(names), list(have), more=more, failed=failed)
        return self.expect(asked, Records).records

    def compare_all(self, page: int = 256) -> list[Record]:
        """Compare all that the book has, in pages of so many names."""
        names = [name for name, record in self.book.records.items() if record.version]
        told: list[Record] = []
        for start in range(0, max(1, len(names)), page):
            some = names[start : start + page]
            told += self.compare(some, self.book.have(some), more=start + page < len(names))
        return told

    def watch_room(self, room: str, limit: int = 100) -> MembersPage:
        """The members of a channel that differ from what it has."""
        users, have = self.book.have_of_room(room)
        return self.expect(WatchChannel(self.next_id(), room, limit, users, have), MembersPage)

    def check(self) -> Checked:
        return self.expect(Check(self.next_id()), Checked)

    # --- what it is told --------------------------------------------------------------------------------------

    def take_came(self) -> list[Record]:
        came, self.came = self.came, []
        return came

    def _learn(self, message: ServerMessage) -> None:
        super()._learn(message)
        if isinstance(message, Welcome):
            self.welcome = message
        elif isinstance(message, Presence):
            self._enter(message.record, is_answer=False)
        elif isinstance(message, Records | ContactRecords):
            for record in message.records:
                self._enter(record, is_answer=True)
        elif isinstance(message, MembersPage):
            self._enter_page(message)
        elif isinstance(message, ChannelEvent):
            members = self.book.rooms.setdefault(message.channel, {})
            members.pop(message.record.user, None)
            if message.kind != "leave":
                members[message.record.user] = message.record
        elif isinstance(message, Checked):
            self._hold_checked(message)

    def _enter(self, record: Record, *, is_answer: bool) -> None:
        name, known = record.user, self.versions.get(record.user)
        self.came.append(record)
        # An answer is never older than what came before it on its link, and may be as new.
        if known is None or not record.version or record.version > known - is_answer:
            self.book.records[name] = record
            self.versions[name] = record.version

    def _enter_page(self, page: MembersPage) -> None:
        members = self.book.rooms.get(page.channel, {}) if page.is_partial else {}
        for name in page.left:
            members.pop(name, None)
        members |= {record.user: record for record in page.records}
        self.book.rooms[page.channel] = dict(sorted(members.items()))

    def _hold_checked(self, checked: Checked) -> None:
        sum_of_mine = checksum_of(self.book.records.values())
        assert checked.checksum == sum_of_mine, f"{self.viewer} has {self.book.records}, and is told of {checked}"
        self.checked.append(checked)
