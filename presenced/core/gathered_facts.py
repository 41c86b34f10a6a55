"""Facts that a start has read about users who may turn out to be asleep: the last fact of each kind, and no `User`.

Most facts in a log are replaced by later ones, and most users are gone at its end. A user of whom only devices, text
and record are known is gathered here. When all facts are read, or many are gathered, users who are gone are put to
sleep as they are, and of the others users are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from presenced.core.dormants import packed, unpacked
from presenced.core.nameless_facts import decode_facts, encode_nameless
from presenced.core.parts.users import Users
from presenced.core.records import DeviceSet, Fact, RecordSet, TextSet
from presenced.limits import DEVICES_PER_USER_MAX
from presenced.wire.codec import encode

GATHERED_MAX: Final = 20_000
"""Users of whom facts are gathered at a time: about 30 MiB."""


decode_lists: Callable[[bytes], list[list[Fact]]] = msgspec.msgpack.Decoder(list[list[Fact]]).decode


class _Gathered:
    """What has been read of one user."""

    __slots__ = ("devices", "newer_text", "record", "text")

    def __init__(self) -> None:
        self.devices: dict[str, DeviceSet] = {}
        """In the order in which they were first told of."""
        self.text: TextSet | None = None
        """That of the record."""
        self.record: RecordSet | None = None
        self.newer_text: TextSet | None = None
        """One that no record has followed yet."""

    def facts(self) -> list[Fact]:
        """All of it, in an order in which it may be applied."""
        rest = (self.text, self.record, self.newer_text)
        return [*self.devices.values(), *(fact for fact in rest if fact is not None)]

    def add_device(self, fact: DeviceSet) -> None:
        """This comes next."""
        self.devices[fact.device] = fact

    def add_text(self, fact: TextSet) -> None:
        """This comes next."""
        if self.record is None:
            self.text = fact
        else:
            self.newer_text = fact

    def add_record(self, fact: RecordSet) -> None:
        """This comes next."""
        self.record = fact
        if self.newer_text is not None:
            self.text, self.newer_text = self.newer_text, None

    def add(self, facts: list[Fact]) -> bool:
        """These come next; returns whether all of them could be added. O(facts)."""
        for fact in facts:
            if isinstance(fact, DeviceSet):
                self.add_device(fact)
            elif isinstance(fact, TextSet):
                self.add_text(fact)
            elif isinstance(fact, RecordSet):
                self.add_record(fact)
            else:
                return False
        return True

    def is_away(self, wall_ms: int) -> bool:
        """Whether the user is gone and at rest: all that there is to know is what stands here. O(devices)."""
        text, record = self.text, self.record
        if (
            record is None
            or record.status != "offline"
            or not record.version
            or record.since_ms > wall_ms
            or record.last_seen_ms > wall_ms
            or self.newer_text is not None
            or (text is not None and text.until_ms)
            or len(self.devices) > DEVICES_PER_USER_MAX
        ):
            return False
        for device in self.devices.values():
            if device.live or max(device.last_seen_ms, device.active_ms, device.gone_ms) > wall_ms:
                return False
        return True


class Gathering:
    """Gathers facts for a start. Those of users who are made already go to `apply` at once."""

    def __init__(self, users: Users, apply: Callable[[Fact], object], wall_ms: int, *, sleeps: bool) -> None:
        """`wall_ms`: the wall time of the start. `sleeps`: whether who is gone may be put to sleep."""
        self._users = users
        self._apply = apply
        self._wall_ms = wall_ms
        self._sleeps = sleeps
        self._by_name: dict[str, _Gathered] = {}
        users.make_by(self._make)

    def adders(self) -> Mapping[type, Callable[..., object]]:
        """What takes each kind that is gathered."""
        return (
            {DeviceSet: self._add_device, TextSet: self._add_text, RecordSet: self._add_record} if self._sleeps else {}
        )

    def _add_device(self, fact: DeviceSet) -> None:
        gathered = self._by_name.get(fact.user) or self._begin(fact)
        if gathered is not None:
            gathered.add_device(fact)

    def _add_text(self, fact: TextSet) -> None:
        gathered = self._by_name.get(fact.user) or self._begin(fact)
        if gathered is not None:
            gathered.add_text(fact)

    def _add_record(self, fact: RecordSet) -> None:
        gathered = self._by_name.get(fact.user) or self._begin(fact)
        if gathered is not None:
            gathered.add_record(fact)

    def _begin(self, fact: DeviceSet | TextSet | RecordSet) -> _Gathered | None:
        """The first fact of somebody, whose user is not made yet; None = they are, and it was applied."""
        if fact.user in self._users:
            self._apply(fact)
            return None
        if len(self._by_name) >= GATHERED_MAX:
            self.finish()
        gathered = self._by_name[fact.user] = _Gathered()
        return gathered

    def _make(self, name: str) -> bool:
        """Somebody asks for the user of this name: make them of what was gathered; returns whether there was any."""
        gathered = self._by_name.pop(name, None)
        if gathered is None:
            return False
        for fact in gathered.facts():
            self._apply(fact)
        return True

    def finish(self) -> None:
        """Put to sleep who is away, and make the others. O(facts gathered)."""
        dormants = self._users.dormants
        asleep: list[tuple[str, bytes]] = []
        others: list[bytes] = []
        is_first = not dormants
        by_name, self._by_name = self._by_name, {}
        while by_name:
            name, gathered = by_name.popitem()
            if is_first or not (before := dormants.take(name)):
                both = self._packed(name, gathered)
            elif not (both := self._packed_behind(name, gathered, before)):
                dormants.put(name, before)
            if both:
                asleep.append((name, both))
            else:
                others.append(encode(gathered.facts()))
        dormants.put_all(asleep)
        asleep.clear()
        # Decoded anew, when all else is gone: what stays would be scattered over the memory in which everything was
        # gathered, and that could not be given back.
        encoded, count = b"".join(reversed(others)), len(others)
        others.clear()
        for facts in decode_lists(b"\xdd" + count.to_bytes(4, "big") + encoded):
            for fact in facts:
                self._apply(fact)

    def _packed(self, name: str, gathered: _Gathered) -> bytes:
        """What is to be kept of a user who is away; empty = they are not."""
        record, text = gathered.record, gathered.text
        if record is None or not gathered.is_away(self._wall_ms):
            return b""
        facts: list[Fact] = [*gathered.devices.values()]
        if text is not None and (text.text or text.emoji):
            facts.append(text)
        facts.append(record)
        return packed(record.version, encode_nameless(name, facts))

    def _packed_behind(self, name: str, gathered: _Gathered, before: bytes) -> bytes:
        """What is to be kept of a user who slept before, and is away; empty = they are not."""
        version, facts = unpacked(before)
        both = _Gathered()
        is_told_anew = gathered.record is not None
        if not both.add(decode_facts(facts)) or not both.add(gathered.facts()):
            return b""
        kept = self._packed(name, both)
        return kept if is_told_anew or not kept else packed(version, unpacked(kept)[1])
