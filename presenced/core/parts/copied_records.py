"""The records of users about whom another node decides, shown here as their home shows them (`copies`).

A record has the version that its home has given it, and times of that node's clock, so that all nodes show the same
record. The version counter of this node goes on above each version that it shows, and may get ahead of another node's.
A record may then arrive with a version below what the counter has reached; whoever relies on the order of versions is
told of that (`note_by`). If the version is not even above what links here were told of the user, as by another face, or
by a home that the log has taken back, the record is shown with a version that is. So versions rise on every link,
whatever the homes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from presenced.core.faces import is_same
from presenced.core.ledger import Ledger
from presenced.core.part import Part, Restoring, TakeUp
from presenced.core.publisher import Publisher
from presenced.core.records import RecordSet
from presenced.wire.messages import Record


class CopiedRecords(Part):
    """Takes up what other nodes say of the records of their users."""

    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self.raised = 0
        """Records that were told in a higher version than their home's, counted for the operator."""
        self._note: Callable[[str, int], object] | None = None

    def note_by(self, note: Callable[[str, int], object]) -> None:
        """Call this from now on with each user whose record has changed here, and its version."""
        self._note = note

    def note(self, name: str, version: int) -> None:
        """The record of the user has changed here, and has this version. O(1)."""
        if self._note is not None:
            self._note(name, version)

    def appliers(self) -> Mapping[type, TakeUp]:
        """Records."""
        return {RecordSet: self._apply}

    def _apply(self, source: Restoring, fact: RecordSet) -> None:
        user, now_ms, status, version = source.user(fact.user), source.now_ms, fact.status, fact.version
        old, shown, claim = user.record, user.shown or user, user.claim
        primary = user.devices.get(fact.device)
        # The same time and the same id as one object.
        since_ms = claim.since_ms if claim is not None and claim.since_ms == fact.since_ms else fact.since_ms
        device = primary.id if primary is not None else source.shared(fact.device)
        last_seen_ms = fact.last_seen_ms if status == "offline" else 0
        self._publisher.note(user, fact, since_ms, primary)
        new = Record(user.name, status, shown.text, shown.emoji, since_ms, last_seen_ms, device, version)
        if version <= old.version:
            if is_same(new, old):
                # It was applied before, or says only that the user was seen.
                return
            self.raised += 1
            version = old.version + 1
            new = replace(new, version=version)
        if version > self._ledger.version:
            self._ledger.raise_version(version, now_ms)
        if self._note is not None:
            self._note(user.name, version)
        self._publisher.show(user, new, now_ms)
