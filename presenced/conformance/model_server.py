"""A server that answers by protocol.md from a small world, without clocks, rights or merging: what the scripts of
dialogues do not answer by hand, it answers, so that a client is free in how it asks.

It is a second implementation on purpose, and shares nothing with the server of this package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from presenced.conformance.message_types import Elements, checksum, digest, name_of, type_of, unseen

NUMBERS: Final = {
    "welcome": 64,
    "error": 66,
    "done": 67,
    "pong": 68,
    "records": 69,
    "who_page": 70,
    "presence": 71,
    "members_page": 75,
    "following": 81,
    "contact_list": 85,
    "contact_records": 87,
    "checked": 90,
    "position": 96,
}

DEFAULTS: Final[dict[str, Any]] = {
    "heartbeat_ms": 30_000,
    "timeout_ms": 75_000,
    "grace_ms": 15_000,
    "away_after_ms": 300_000,
    "offline_after_ms": 3_600_000,
    "frame_bytes_max": 65_536,
    "users_per_request_max": 256,
    "watch_users_max": 1_000,
    "rate_units_per_s": 0,
    "rate_burst_units": 0,
}
"""What the welcome announces, unless a dialogue says otherwise."""


@dataclass
class ModelLink:
    """What one link has asked for."""

    watched: set[str] = field(default_factory=set)
    rooms: set[str] = field(default_factory=set)
    has_contacts: bool = False
    has_everybody: bool = False


class ModelServer:
    """See the module's docstring. A dialogue changes `records`, `members` and `contacts` as it goes."""

    def __init__(self, world: dict[str, Any]) -> None:
        self.records: dict[str, Elements] = {record[0]: record for record in world.get("records", [])}
        self.rooms: dict[str, list[str]] = dict(world.get("channels", {}))
        self.contacts: dict[str, Elements] = {contact[0]: contact for contact in world.get("contacts", [])}
        self.list_version = 1
        self.epoch = 1_767_200_000_000
        self.version = 1_000
        self.resumes = bool(world.get("resumes"))
        self.welcome = DEFAULTS | world.get("welcome", {})
        self.link = ModelLink()
        self._tokens = 0
        self._token = ""
        self._lost: ModelLink | None = None
        self._compared: set[str] = set()

    # --- links ------------------------------------------------------------------------------------------------

    def link_ended(self) -> None:
        """The link is lost; what it had is kept for its return."""
        self._lost, self.link = self.link, ModelLink()

    def welcomed(self, hello: Elements) -> list[Elements]:
        """The answer to a hello: the welcome, and the records of contacts behind it."""
        resume, is_back = hello[18], False
        if self.resumes and resume and resume == self._token and self._lost is not None:
            self.link, is_back = self._lost, True
        self._lost = None
        if resume is not None:
            self._tokens += 1
            self._token = f"resume-{self._tokens}"
        self.link.has_contacts = hello[16]
        user = hello[3] or "alice"
        announced = self.welcome
        told: Elements = [NUMBERS["welcome"], 1, user, hello[4], hello[10]]
        told += [announced[name] for name in list(DEFAULTS)[:8]]
        told += [int(time.time() * 1000), self.epoch, announced["rate_units_per_s"], announced["rate_burst_units"]]
        told += [self._token if resume is not None else "", 15_000 if resume is not None else 0, is_back]
        if not hello[16] or hello[17]:
            return [told]
        records = [self.records[one] for one in self._seen_contacts() if one in self.records]
        return [told, [NUMBERS["contact_records"], self.epoch, self._counter(), records, False]]

    # --- what changes -----------------------------------------------------------------------------------------

    def change(self, record: Elements) -> list[Elements]:
        """The record is another now; returns what the link is told."""
        self.records[record[0]] = record
        self.version = max(self.version, record[7])
        return [[NUMBERS["presence"], record]] if record[0] in self._view() or self.link.has_everybody else []

    def set_contact(self, contact: Elements, *, is_removed: bool) -> None:
        """A contact of the user is another now."""
        self.list_version += 1
        if is_removed:
            self.contacts.pop(contact[0], None)
        else:
            self.contacts[contact[0]] = contact

    def set_members(self, channel: str, members: list[str]) -> None:
        """The members of a channel are these now."""
        self.rooms[channel] = members

    def lose_history(self, records: list[Elements]) -> None:
        """The server has another epoch, and these records."""
        self.epoch += 1
        self.records.update((record[0], record) for record in records)

    def _counter(self) -> int:
        self.version += 1
        return self.version

    def _seen_contacts(self) -> list[str]:
        return [one for one, contact in self.contacts.items() if contact[1] in ("to", "both")]

    def _view(self) -> set[str]:
        contacts = self._seen_contacts() if self.link.has_contacts else []
        return self.link.watched | set(contacts)

    def _record(self, user: str) -> Elements:
        return self.records.get(user) or unseen(user)

    def _differing(self, users: list[str], have: list[int] | None) -> list[Elements]:
        records = [self._record(user) for user in users]
        if have is None:
            return records
        return [record for record, had in zip(records, have, strict=True) if digest(record) != had]

    # --- answers ----------------------------------------------------------------------------------------------

    def answer(self, message: Elements) -> list[Elements]:
        """What the server says to a message of a client, which is whole (`message_types.filled`)."""
        name = name_of(message)
        if name == "Hello":
            return self.welcomed(message)
        special = self._answers.get(name)
        if special is not None:
            return list(special(self, message))
        found = type_of(message)
        assert found is not None
        if found.answer == "Done":
            return [[NUMBERS["done"], message[1], self._counter()]]
        if found.answer is None:
            return []
        sentence = "this scripted server does not answer that"
        return [[NUMBERS["error"], message[1], "unknown_type", sentence]]

    def _ping(self, message: Elements) -> Iterator[Elements]:
        yield [NUMBERS["pong"], message[1], int(time.time() * 1000)]

    def _get(self, message: Elements) -> Iterator[Elements]:
        records = self._differing(message[2], None)
        yield [NUMBERS["records"], message[1], self.epoch, self._counter(), records, [0] * len(records) * message[3]]

    def _watch(self, message: Elements) -> Iterator[Elements]:
        self.link.watched |= set(message[2])
        records = self._differing(message[2], message[3])
        yield [NUMBERS["records"], message[1], self.epoch, self._counter(), records]

    def _unwatch(self, message: Elements) -> Iterator[Elements]:
        self.link.watched -= set(message[2])
        yield [NUMBERS["done"], message[1], self._counter()]

    def _compare(self, message: Elements) -> Iterator[Elements]:
        _, request_id, users, have, more, _ = message
        self._compared |= set(users)
        if not more:
            named, self._compared = self._compared, set()
            for contact in self._seen_contacts() if self.link.has_contacts else []:
                if contact not in named and contact in self.records:
                    yield [NUMBERS["presence"], self.records[contact]]
        yield [NUMBERS["records"], request_id, self.epoch, self._counter(), self._differing(users, have)]

    def _check(self, message: Elements) -> Iterator[Elements]:
        records = [self._record(user) for user in self._view()]
        yield [NUMBERS["checked"], message[1], self.epoch, self._counter(), len(records), checksum(records)]

    def _get_contacts(self, message: Elements) -> Iterator[Elements]:
        contacts = [self.contacts[name] for name in sorted(self.contacts)]
        yield [NUMBERS["contact_list"], message[1], message[4] or "alice", self.list_version, True, "", contacts, []]

    def _page(self, request_id: int, channel: str, after: str, limit: int) -> Elements:
        known = (self._record(user) for user in sorted(self.rooms.get(channel, [])))
        online = [record for record in known if record[1] != "offline"]
        counts = [sum(record[1] == status for record in online) for status in ("chat", "online", "away", "xa", "dnd")]
        behind = [record for record in online if record[0] > after]
        page, rest = behind[:limit], behind[limit:]
        following = page[-1][0] if page and rest else ""
        return [NUMBERS["members_page"], request_id, channel, self._counter(), len(online), counts, following, page]

    def _get_members(self, message: Elements) -> Iterator[Elements]:
        yield [*self._page(*message[1:5]), [], False]

    def _watch_channel(self, message: Elements) -> Iterator[Elements]:
        _, request_id, channel, limit, users, have = message
        self.link.rooms.add(channel)
        page = self._page(request_id, channel, "", limit)
        if have is None:
            yield [*page, [], False]
            return
        had = dict(zip(users, have, strict=True))
        listed = [record[0] for record in page[7]]
        page[7] = [record for record in page[7] if had.get(record[0]) != digest(record)]
        yield [*page, [user for user in users if user not in listed], True]

    def _unwatch_channel(self, message: Elements) -> Iterator[Elements]:
        self.link.rooms.discard(message[2])
        yield [NUMBERS["done"], message[1], self._counter()]

    def _follow(self, message: Elements) -> Iterator[Elements]:
        yield [NUMBERS["following"], message[1], message[2] or self.epoch, message[3] or 1, False]

    def _watch_all(self, message: Elements) -> Iterator[Elements]:
        self.link.has_everybody = message[2]
        if message[3]:
            yield [NUMBERS["position"], message[1], self.epoch, self._counter(), False]
        else:
            yield [NUMBERS["done"], message[1], self._counter()]

    def _who(self, message: Elements) -> Iterator[Elements]:
        online = [record for user, record in sorted(self.records.items()) if record[1] != "offline"]
        page = [record for record in online if record[0] > message[2]][: message[3]]
        yield [NUMBERS["who_page"], message[1], self.epoch, self._counter(), len(online), "", page]

    _answers: Final[dict[str, Callable[[ModelServer, Elements], Iterator[Elements]]]] = {
        "Ping": _ping,
        "Get": _get,
        "Who": _who,
        "Watch": _watch,
        "Unwatch": _unwatch,
        "Compare": _compare,
        "Check": _check,
        "GetContacts": _get_contacts,
        "GetMembers": _get_members,
        "WatchChannel": _watch_channel,
        "UnwatchChannel": _unwatch_channel,
        "Follow": _follow,
        "WatchAll": _watch_all,
    }
