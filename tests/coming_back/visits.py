"""A town whose watchers come and go: each keeps what it has, and is told on coming back of what differs and no more.

The people of `tests.visibility.town` change who sees them, the server restarts and is killed, and what it had not saved
is undone. What each watcher is to know is asked on a second link of the same viewer, whose answers are held against the
rule in its own words.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, ClassVar, Final, NamedTuple

from presenced.limits import VERSION_GAP
from presenced.wire.messages import Bye, Check, ContactList, GetContacts, GetMembers, MembersPage, Record
from tests.coming_back.program import Book, ProgramLink
from tests.coming_back.words import checksum_of, differing, digest_of, left_over, page_news
from tests.visibility.rule import Facts, Viewer
from tests.visibility.stage import ViewLink
from tests.visibility.town import NAMES, PEOPLE, ROOMS, Town, is_same

VIEWERS: Final = (
    *(Viewer(name) for name in PEOPLE[:-1]),
    Viewer(PEOPLE[-1], see=("ann*",)),
    Viewer("backend", "service"),
    Viewer("narrow", "service", ("*@two", "ann@one")),
)
INSTANCE: Final = 77
LIMITS: Final = (100, 2)
"""Of the page of a channel that is asked for."""

QUIET_MS = 6_000
"""By then all that is spaced has been told."""


class Visitor:
    """One viewer: a link that asks and is always there, and a program that watches and comes and goes."""

    def __init__(self, town: VisitedTown, viewer: Viewer) -> None:
        self.town = town
        self.viewer = viewer
        self.is_user = viewer.role == "user"
        self.book = Book()
        self.link: ProgramLink | None = None
        self.asker: ViewLink
        self.watches: dict[str, None] = {}
        """By name."""
        self.before: dict[str, Record] = {}
        """What the book had when it was looked at last."""
        self.truth: dict[str, Record] = {}
        self.token = ""
        """Of the link that was there last."""
        self.good_until_ms = 0
        """How long the token takes back what that link had."""
        self.returns = self.resumed = self.differed = 0

    def begin(self) -> None:
        """A server has started: nothing of what was connected is, and the program may take its time to come back."""
        self.asker = ViewLink(self.town.world, self.viewer, *self._device("asker"), **self._said())
        self.link, self.good_until_ms = None, 0

    def links(self) -> list[ViewLink]:
        return [self.asker] if self.link is None else [self.asker, self.link]

    def watched(self) -> dict[str, None]:
        """Whom the program's link watches, by name or as contacts."""
        return self.watches | self.contacts()

    def contacts(self) -> dict[str, None]:
        """Whom it watches as contacts."""
        return {name: None for viewer, name in self.town.facts.sees if viewer == self.viewer.name and self.is_user}

    # --- what is held -----------------------------------------------------------------------------------------

    def hold(self, full: dict[str, Record], what: str) -> None:
        """After a turn: what is answered against the rule, and what the program has against what is answered."""
        where = f"{what}, {self.viewer.name}"
        self.truth = {record.user: record for record in self.asker.records(NAMES)}
        for name, record in self.truth.items():
            self.town.hold_rule(self.viewer, name, record, full[name], where)
        if self.link is not None:
            self.hold_told(self.link, where)
        self._do_something(where)
        self.before = dict(self.book.records)
        self.asker.forget()
        self.asker.said.clear()

    def hold_told(self, link: ProgramLink, where: str) -> None:
        """The program was told once of each user whom it sees otherwise than before, and of nobody else; but of a new
        contact who is not seen, it is told so."""
        before, watched = self.before, self.watched()
        told = [record for record in link.take_came() if record.version or digest_of(before.get(record.user))]
        expected = {name for name in NAMES if self._shown(name, watched) != digest_of(before.get(name))}
        assert sorted(record.user for record in told) == sorted(expected), f"{where}: {told}, and {expected} differ"
        self.hold_book(where)

    def hold_book(self, where: str) -> None:
        """The program has what it would be answered."""
        watched = self.watched()
        for name in NAMES:
            mine, shown = self.book.records.get(name), self._shown(name, watched)
            assert digest_of(mine) == shown, f"{where}: {mine} is known, and {self.truth[name]} answered"

    def _shown(self, name: str, watched: Collection[str]) -> int:
        """The digest of what the program is to have of a user."""
        return digest_of(self.truth[name]) if name in watched else 0

    def _check(self, where: str) -> None:
        assert self.link is not None
        checked, watched = self.link.check(), self.watched()
        assert checked.users == len(watched), f"{where}: {checked}, and {list(watched)} are watched"
        assert checked.checksum == checksum_of(self.truth[name] for name in watched), where

    # --- what it does -----------------------------------------------------------------------------------------

    def _do_something(self, where: str) -> None:
        dice = self.town.dice
        if self.link is None:
            if dice.random() < 0.4:
                self.come_back(where)
        elif (roll := dice.random()) < 0.15:
            self.leave()
        elif roll < 0.35:
            self._check(where)
        elif roll < 0.45:
            self._repair(where)
        elif roll < 0.55:
            self._look_at_room(where)

    def leave(self) -> None:
        """The link is lost, or says bye; or the server learns last that it is gone."""
        assert self.link is not None and self.link.welcome is not None
        link, self.link = self.link, None
        self.token = link.welcome.resume
        self.good_until_ms = self.town.world.now_ms + link.welcome.resume_ms
        roll = self.town.dice.randrange(3)
        if roll == 0:
            link.lose()
        elif roll == 1:
            link.say(Bye())
            self.good_until_ms = 0
            self.town.world.turn()
        elif not link.unread:
            link.fill()

    def come_back(self, where: str) -> None:
        """Say hello and name what the book has; be told of what differs, each user once."""
        dice, before = self.town.dice, dict(self.book.records)
        link = self.link = self._connect()
        is_resumed = self._is_resumed(link, where)
        if not self.watches and not is_resumed:
            self.watches = dict.fromkeys(dice.sample(NAMES, dice.randint(0 if self.is_user else 1, len(NAMES))))
        # Whom the lost link watched need not be named; what the program has of them must.
        told = [] if is_resumed and dice.random() < 0.8 else self._watch(link, where)
        if self.is_user or is_resumed:
            told += self._compare(link, dice.choice((1, 2, 256)), where)
        expected = {name for name in self._sought(before) if digest_of(self.truth[name]) != digest_of(before.get(name))}
        assert sorted(record.user for record in told) == sorted(expected), f"{where}: {told}, and {expected} differ"
        assert all(is_same(record, self.truth[record.user]) for record in told), f"{where}: {told}"
        self._hold_nothing_else(link.take_came(), told, where)
        self.returns += 1
        self.differed += len(expected)
        self._forget_who_is_no_contact(link)
        self.hold_book(where)

    def _hold_nothing_else(self, came: list[Record], told: list[Record], where: str) -> None:
        assert len(came) == len(told), f"{where}: something is told besides that"

    def _sought(self, before: dict[str, Record]) -> dict[str, None]:
        """Whom the answers are about: who is watched, and whom the program names besides."""
        return self.watched() | (dict.fromkeys(before) if self.is_user else {})

    def _connect(self) -> ProgramLink:
        said = self._said() | ({"contacts": True, "quiet": True} if self.is_user else {})
        said |= {"resume": self.token, "instance": INSTANCE}
        link = ProgramLink(self.town.world, self.viewer, *self._device("watcher"), book=self.book, **said)
        self.town.world.turn()
        return link

    def _is_resumed(self, link: ProgramLink, where: str) -> bool:
        """Whether the link has taken back what the lost one had; it has to, if that is not too long ago."""
        assert link.welcome is not None
        is_good = bool(self.token) and self.town.world.now_ms < self.good_until_ms
        assert link.welcome.resumed == is_good, f"{where}: {link.welcome}, {self.good_until_ms}"
        assert link.welcome.resume not in ("", self.token)
        self.resumed += is_good
        return is_good

    def _watch(self, link: ProgramLink, where: str) -> list[Record]:
        """Watch by name, in pieces."""
        dice = self.town.dice
        names, told = list(self.watches), list[Record]()
        dice.shuffle(names)
        while names:
            some, names = names[: (size := dice.randint(1, 3))], names[size:]
            have = self.book.have(some)
            answer = link.watch_with(some, have)
            expected = differing(some, have, self.truth)
            assert [record.user for record in answer] == [record.user for record in expected], f"{where}: {answer}"
            told += answer
        return told

    def _compare(self, link: ProgramLink, page: int, where: str) -> list[Record]:
        """Compare all that the book has, in pages."""
        names = [*self.watches, *(name for name in self.book.records if name not in self.watches)]
        named, told = list[str](), list[Record]()
        link.take_pushed()
        self.town.dice.shuffle(names)
        for start in range(0, max(1, len(names)), page):
            some = names[start : start + page]
            have, more = self.book.have(some), start + page < len(names)
            named += some
            answer = link.compare(some, have, more=more)
            expected = differing(some, have, self.truth)
            assert sorted(record.user for record in answer) == sorted(record.user for record in expected), (
                f"{where}: {answer}"
            )
            told += answer
        # Of contacts whom it has not named it is told by pushes, in front of the last answer.
        rest = left_over(named, self.contacts(), self.truth)
        pushed = self._of_comparison(link.take_pushed(), rest)
        assert sorted(record.user for record in pushed) == sorted(record.user for record in rest), (
            f"{where}: {pushed}, and {rest} are left"
        )
        told += pushed
        return told

    def _of_comparison(self, pushed: list[Record], rest: list[Record]) -> list[Record]:
        """Of what was pushed while it compared, what belongs to that; `rest` must."""
        return pushed

    def _forget_who_is_no_contact(self, link: ProgramLink) -> None:
        """Of users whom it does not watch any longer the program wants to know nothing."""
        if not self.is_user:
            return
        listed = link.expect(GetContacts(link.next_id()), ContactList)
        mine = {contact.contact for contact in listed.contacts if contact.subscription in ("to", "both")}
        for name in [name for name in self.book.records if name not in mine and name not in self.watches]:
            del self.book.records[name]

    def _repair(self, where: str) -> None:
        """The program has lost or garbled some of what it has: a comparison of all of it mends that."""
        assert self.link is not None
        dice, book = self.town.dice, self.book
        for name in dice.sample([*book.records], dice.randint(0, len(book.records))):
            self.link.versions.pop(name, None)
            if dice.random() < 0.5:
                del book.records[name]
            elif book.records[name].version:
                book.records[name] = Record(name, "xa", "garbled", "", 1, 1, "", 1)
        self._compare(self.link, dice.choice((1, 3, 256)), where)
        self.link.take_came()
        self.hold_book(where)

    def _look_at_room(self, where: str) -> None:
        """Watch a channel, now or again, with what the book has of it."""
        assert self.link is not None
        dice, book = self.town.dice, self.book
        room, limit = dice.choice(ROOMS), dice.choice(LIMITS)
        page = self.asker.expect(GetMembers(self.asker.next_id(), room, "", limit), MembersPage)
        users, have = book.have_of_room(room)
        told = self.link.watch_room(room, limit)
        expected = page_news(users, have, page.records)
        assert told.is_partial, where
        assert (told.total, told.counts, told.next) == (page.total, page.counts, page.next), where
        assert [record.user for record in told.records] == [record.user for record in expected.records], where
        assert told.left == expected.left, f"{where}: {told.left} have left, and not {expected.left}"
        known = book.rooms[room]
        assert [*known] == [record.user for record in page.records], f"{where}: {list(known)} are known in {room}"
        assert all(is_same(known[record.user], record) for record in page.records), f"{where}: {known}"

    def _device(self, name: str) -> tuple[str]:
        return (name if self.is_user else "",)

    def _said(self) -> dict[str, Any]:
        return {"priority": -1 if self.is_user else 0}


class LateVisitor(Visitor):
    """One who is told late: changes are spaced and told in slices, and the program stops reading. What it has is right
    when a checksum comes, whenever that is, and when all is quiet."""

    def hold_told(self, link: ProgramLink, where: str) -> None:
        """Whoever is told late has not to be told of each step."""

    def _hold_nothing_else(self, came: list[Record], told: list[Record], where: str) -> None:
        """What comes late may come just now."""

    def _of_comparison(self, pushed: list[Record], rest: list[Record]) -> list[Record]:
        # Somebody whose change came late may be told as well, of course as they are now.
        names = {record.user for record in rest}
        assert all(is_same(record, self.truth[record.user]) for record in pushed)
        return [record for record in pushed if record.user in names]

    def _do_something(self, where: str) -> None:
        dice, link = self.town.dice, self.link
        if link is None or link.reading and dice.random() < 0.5:
            super()._do_something(where)
        elif dice.random() < 0.3:
            (link.stall if link.reading else link.drain)()
        elif dice.random() < 0.3:
            link.say(Check(link.next_id()))

    def _check(self, where: str) -> None:
        """It must be answered at once, if the link reads, with all told before it that the server has."""
        assert self.link is not None
        super()._check(where)
        self.hold_book(where)

    def hold_quiet(self, where: str) -> None:
        """Whoever reads has been told everything by now."""
        if self.link is None:
            return
        self.link.drain()
        self.truth = {record.user: record for record in self.asker.records(NAMES)}
        self.hold_book(f"{where}, {self.viewer.name}")
        asked = [message for _, message in self.link.said if isinstance(message, Check)]
        assert len(self.link.checked) == len(asked), f"{where}: of {asked} are answered {self.link.checked}"


class Mark(NamedTuple):
    """How far the log was, and what held, at the beginning of a step."""

    facts: int
    rule: Facts
    links: tuple[tuple[str, str], ...]
    hiding: dict[str, None]


class VisitedTown(Town):
    """The people as in `Town`, and visitors. The server is killed as well, and what it did last is undone."""

    restarts: ClassVar[float] = 0.06
    kept_marks: ClassVar[int] = 4
    visitor: ClassVar[type[Visitor]] = Visitor

    def _open_lookers(self) -> None:
        self.world.checks = False
        self.app = ViewLink(self.world, Viewer("app", "service"))
        if not self.steps:
            self.marks: list[Mark] = []
            self.visitors = [self.visitor(self, viewer) for viewer in VIEWERS]
            self.lookers = [*self.visitors]
        for visitor in self.visitors:
            visitor.begin()

    def step(self) -> None:
        self.marks.append(
            Mark(len(self.world.log.facts), copy.deepcopy(self.facts), tuple(self.links), dict(self.hiding))
        )
        del self.marks[: -self.kept_marks]
        super().step()

    def _restart(self) -> str:
        if self.dice.random() < 0.4:
            return super()._restart()
        mark = self.dice.choice(self.marks)
        lost = self.world.log.facts[: mark.facts]
        self.world = self.world.restarted(1_000, facts=lost, now_ms=self.world.now_ms + 1_000, version_gap=VERSION_GAP)
        self.facts, self.hiding = mark.rule, mark.hiding
        self.links = {where: ViewLink(self.world, Viewer(where[0]), where[1]) for where in mark.links}
        self.marks.clear()
        self.world.turn()
        self._open_lookers()
        return "kill"


class LateTown(VisitedTown):
    """The same where everybody is told late. Now and then nothing happens for some seconds."""

    visitor = LateVisitor
    quiet_every: ClassVar[int] = 12

    def __init__(self, seed: int, grounds: tuple[str, ...]) -> None:
        super().__init__(seed, grounds, reciprocal=False, change_spacing_ms=200, change_burst=2)

    def step(self) -> None:
        super().step()
        if self.steps % self.quiet_every == 0:
            for visitor in self.visitors:
                if visitor.link is not None:
                    visitor.link.drain()
            self.world.advance(QUIET_MS)
            for visitor in self.visitors:
                assert isinstance(visitor, LateVisitor)
                visitor.hold_quiet(f"step {self.steps}")
