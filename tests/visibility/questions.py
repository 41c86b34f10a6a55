"""Each kind of question, asked by one viewer about everybody: the answer byte by byte, built from the rule by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

import msgpack

from presenced.limits import COMMAND_LISTED_MAX
from presenced.wire.codec import decode_server, encode
from presenced.wire.messages import (
    Await,
    Awaited,
    Command,
    CommandReply,
    Compare,
    ContactRecords,
    Get,
    GetMembers,
    MembersPage,
    Record,
    Records,
    ServerMessage,
    Status,
    Watch,
    WatchChannel,
    Who,
    WhoPage,
)
from tests.coming_back.words import differing, digest_of, page_news
from tests.visibility.rule import Viewer, listed
from tests.visibility.stage import ASKED_AT_ONCE, OTHER_ROOM, SHARED, Stage, ViewLink

STATUSES = ("chat", "online", "away", "xa", "dnd")
PAGE = 50


def same(payload: bytes, expected: ServerMessage, where: str) -> None:
    """Hold a frame against what it must be, byte by byte."""
    if payload == encode(expected):
        return
    told = decode_server(payload)
    assert type(told) is type(expected), f"{where}: {told} is told, and not {expected}"
    for name in sorted(expected.__struct_fields__):
        given, wanted = getattr(told, name), getattr(expected, name)
        if name == "records":
            missing = {record.user for record in wanted} - {record.user for record in given}
            more = {record.user for record in given} - {record.user for record in wanted}
            assert not missing and not more, f"{where}: {sorted(missing)} are missing, {sorted(more)} are too many"
            for one, other in zip(given, wanted, strict=False):
                assert one == other, f"{where}: {one} is told, and not {other}"
        assert given == wanted, f"{where}: {name} is {given}, and not {wanted}"
    raise AssertionError(f"{where}: the same is told in other bytes")


def chunks(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + ASKED_AT_ONCE] for start in range(0, len(names), ASKED_AT_ONCE))


class Asking:
    """One viewer, and what the rule says of everybody at this moment."""

    def __init__(self, stage: Stage, viewer: Viewer, full: dict[str, Record], *, device: str = "tool") -> None:
        """`device`: that of a user's link."""
        self.stage = stage
        self.viewer = viewer
        self.link = ViewLink(stage.world, viewer, device if viewer.role == "user" else "")
        stage.world.turn()
        self.full = full
        self.cells = 0

    def expected(self) -> dict[str, Record]:
        return self.stage.expected(self.viewer, self.full)

    @property
    def stamp(self) -> tuple[int, int]:
        ledger = self.stage.world.engine.ledger
        return ledger.epoch, ledger.version

    def get(self) -> None:
        """Get, which is also held against the packed bytes of a name never seen."""
        self._by_name(Get, "get")

    def watch(self) -> None:
        self._by_name(Watch, "watch")

    def _by_name(self, message: type[Get] | type[Watch], where: str) -> None:
        for names in chunks(self.stage.names):
            asked = message(self.link.next_id(), names)
            payload = self.link.frame(asked)
            expected = self.expected()
            same(payload, Records(asked.id, *self.stamp, [expected[name] for name in names]), f"{where} {self.viewer}")
            for name in names:
                if self.stage.facts.face(self.viewer, name).kind == "hidden":
                    assert msgpack.packb([name, "offline", "", "", 0, 0, "", 0]) in payload
            self.cells += len(names)

    def compare(self) -> None:
        """What differs from what is had, in the order of the names: whether hidden or never seen."""
        self._by_digest(lambda names, have: Compare(self.link.next_id(), names, have, more=True), "compare")

    def watch_again(self) -> None:
        self._by_digest(lambda names, have: Watch(self.link.next_id(), names, have), "watch again")

    def _by_digest(self, ask: Callable[[list[str], list[int]], Compare | Watch], where: str) -> None:
        for names in chunks(self.stage.names[::-1]):
            expected = self.expected()
            have = [_had(expected[name], number) for number, name in enumerate(names)]
            asked = ask(names, have)
            payload = self.link.frame(asked)
            told = differing(names, have, self.expected())
            same(payload, Records(asked.id, *self.stamp, told), f"{where} {self.viewer}")
            self.cells += len(names)

    def awaited(self) -> None:
        """Awaits that any status meets, and that are answered at once."""
        statuses = list(get_args(Status))
        asked = [Await(self.link.next_id(), name, 60_000, statuses) for name in self.stage.names]
        self.link.forget()
        for one in asked:
            self.link.say(one)
        self.stage.world.turn()
        told = zip(self.link.raw, self.link.messages, strict=True)
        answers = [payload for payload, message in told if isinstance(message, Awaited)]
        expected = self.expected()
        for one, payload in zip(asked, answers, strict=True):
            same(payload, Awaited(one.id, True, expected[one.user]), f"await {self.viewer}")
        self.cells += len(asked)

    def who(self) -> None:
        """Pages and total, of pages of two sizes."""
        online = listed(self.expected().values())
        for limit in (PAGE, ASKED_AT_ONCE, 0):
            after = ""
            for start in range(0, max(1, len(online)), limit or len(online) + 1):
                asked = Who(self.link.next_id(), after, limit)
                payload = self.link.frame(asked)
                records = listed(self.expected().values())[start : start + limit]
                after = records[-1].user if limit and start + limit < len(online) else ""
                same(payload, WhoPage(asked.id, *self.stamp, len(online), after, records), f"who {self.viewer}")
        self.cells += len(self.stage.names)

    def members(self) -> None:
        self._rooms(GetMembers, "members")

    def watch_rooms(self) -> None:
        self._rooms(WatchChannel, "watch of a channel")

    def watch_rooms_again(self) -> None:
        """With some of the members as what is had, and others."""
        for room in (SHARED, OTHER_ROOM):
            members = members_of(self.stage, room, self.viewer, self.full)
            had = [*members[::-2], *self.expected().values()][:ASKED_AT_ONCE]
            users = list(dict.fromkeys(record.user for record in had))
            have = [_had(record, number) for number, record in enumerate({one.user: one for one in had}.values())]
            asked = WatchChannel(self.link.next_id(), room, ASKED_AT_ONCE, users, have)
            payload = self.link.frame(asked)
            members = members_of(self.stage, room, self.viewer, self.full)
            counts = [sum(record.status == status for record in members) for status in STATUSES]
            told, left = page_news(users, have, members)
            page = MembersPage(asked.id, room, self.stamp[1], len(members), counts, "", told, left, is_partial=True)
            same(payload, page, f"watch of a channel again {self.viewer}")
            self.cells += len(users)

    def _rooms(self, message: type[GetMembers] | type[WatchChannel], where: str) -> None:
        for room in (SHARED, OTHER_ROOM):
            if message is GetMembers:
                asked: GetMembers | WatchChannel = GetMembers(self.link.next_id(), room, "", ASKED_AT_ONCE)
            else:
                asked = WatchChannel(self.link.next_id(), room, ASKED_AT_ONCE)
            payload = self.link.frame(asked)
            members = members_of(self.stage, room, self.viewer, self.full)
            assert len(members) <= ASKED_AT_ONCE
            counts = [sum(record.status == status for record in members) for status in STATUSES]
            page = MembersPage(asked.id, room, self.stamp[1], len(members), counts, "", members)
            same(payload, page, f"{where} {self.viewer}")
            self.cells += len({user for channel, user, _ in self.stage.facts.rooms if channel == room})

    def command(self) -> None:
        """`/presence who`, of the user or of a service for the user."""
        if self.viewer.role != "user":
            return
        for link, user in ((self.link, ""), (self.stage.app, self.viewer.name)):
            asked = Command(link.next_id(), "who", user)
            payload = link.frame(asked)
            online = listed(self.stage.expected(self._commanding(link), self.full).values())
            first = online[:COMMAND_LISTED_MAX]
            names = ", ".join(f"{record.user} ({record.status})" for record in first)
            text = f"{len(online)} online: {names}" + (", ..." if len(online) > len(first) else "")
            expected = CommandReply(asked.id, True, text, "who", first, [], [])
            same(payload, expected, f"/presence who {self.viewer}")
            self.cells += len(self.stage.names)

    def _commanding(self, link: ViewLink) -> Viewer:
        """The viewer is the user whom the command is for; a service brings no token of that user's."""
        return self.viewer if link is self.link else Viewer(self.viewer.name)

    def login(self) -> None:
        """A hello with contacts: the records of those whom the user is subscribed to and sees."""
        if self.viewer.role != "user":
            return
        link = ViewLink(self.stage.world, self.viewer, "tool", contacts=True)
        self.stage.world.turn()
        frames = [message for message in link.messages if isinstance(message, ContactRecords)]
        assert frames, "nothing is told of the contacts"
        assert [frame.more for frame in frames] == [True] * (len(frames) - 1) + [False]
        expected = self.expected()
        told = [record for frame in frames for record in frame.records]
        mine = {subject for viewer, subject in self.stage.facts.sees if viewer == self.viewer.name}
        assert {record.user for record in told} <= mine and len({record.user for record in told}) == len(told)
        unknown = [record for record in told if not record.version]
        assert not unknown or len(unknown) == sum(not expected[name].version for name in mine)
        for record in told:
            assert encode_record(record) == encode_record(expected[record.user]), f"login of {self.viewer}: {record}"
        assert {record.user for record in told if record.version} == {name for name in mine if expected[name].version}
        self.cells += len(mine)
        link.lose()


def _had(record: Record, number: int) -> int:
    """Nothing, all, or something else."""
    return (0, digest_of(record), 7)[number % 3]


def encode_record(record: Record) -> bytes:
    return encode(Records(0, 0, 0, [record]))


def members_of(stage: Stage, room: str, viewer: Viewer, full: dict[str, Record]) -> list[Record]:
    """Those in the room whom the viewer sees there. Who appears offline is in no list of a room (section 17)."""
    users = {user for channel, user, _ in stage.facts.rooms if channel == room}
    return listed(record for name, record in stage.expected(viewer, full, room).items() if name in users)


KINDS: tuple[Callable[[Asking], None], ...] = (
    Asking.get,
    Asking.compare,
    Asking.watch,
    Asking.watch_again,
    Asking.compare,
    Asking.awaited,
    Asking.who,
    Asking.members,
    Asking.watch_rooms,
    Asking.watch_rooms_again,
    Asking.command,
    Asking.login,
)
