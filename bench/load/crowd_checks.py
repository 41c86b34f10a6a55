"""What a crowd is told, held against what its people said: looked at as it arrives, as these loads are light."""

from __future__ import annotations

from collections.abc import Iterable

from bench.errors import BenchError
from bench.load.agenda import now_ns
from bench.load.framing import decoded, frames, whole_frames
from bench.load.people import LEAVING, Person
from bench.load.witness import number_of
from bench.results.histogram import Histogram
from bench.results.outcome import Checks
from presenced.wire.messages import Done, Goodbye, Presence, Record, Records, Welcome

WATCH_ID = 1
"""That of everybody's first request, which is answered with the contacts' records."""


class CrowdChecks:
    """Knows what was said and asked, and judges what comes of it. `checks` has what was found so far."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.checks = Checks()
        self.changes, self.logins, self.queries = Histogram(), Histogram(), Histogram()
        """Waits of watchers for a change, of people for their contacts after connecting, and for an answer."""
        self._by_user = {person.user: person for person in people}
        self._change_due: dict[int, tuple[str, int]] = {}
        self._queries_due: dict[int, int] = {}
        self._unanswered: dict[int, Person] = {}
        self._ids = WATCH_ID

    def expect_change(self, person: Person, due_ns: int) -> int:
        """The number of a new change of `person`, which was due then."""
        number = len(self._change_due) + 1
        self._change_due[number] = (person.user, due_ns)
        return number

    def request(self, person: Person) -> int:
        """The id of a new request of `person`, which is to be answered."""
        self._ids += 1
        self._unanswered[self._ids] = person
        person.outstanding += 1
        return self._ids

    def query(self, person: Person, due_ns: int) -> int:
        """The same for a query of the contacts' records, which was due then."""
        request_id = self.request(person)
        self._queries_due[request_id] = due_ns
        return request_id

    @property
    def unanswered(self) -> int:
        """How many requests have had no answer."""
        return len(self._unanswered)

    def take(self, person: Person, data: bytes) -> None:
        """Look at what `person` has read, after what was left unfinished before. O(notifications)."""
        time_ns, data = now_ns(), person.rest + data
        end = whole_frames(data)[1]
        person.rest = data[end:]
        for payload in frames(data[:end]):
            message = decoded(payload)
            if isinstance(message, Presence):
                self._told(person, message.record, time_ns)
            elif isinstance(message, Records):
                self._answered(person, message, time_ns)
            elif isinstance(message, Done):
                self._settled(message.id)
            elif not isinstance(message, Welcome) and not (isinstance(message, Goodbye) and person.state == LEAVING):
                raise BenchError(f"the server sent {message} to {person.user}")

    def _answered(self, person: Person, message: Records, time_ns: int) -> None:
        if message.id != WATCH_ID:
            self._settled(message.id)
            self.queries.record(time_ns - self._queries_due.pop(message.id))
            return
        if person.login_due_ns > 0:
            self.logins.record(time_ns - person.login_due_ns)
        person.login_due_ns = 0
        for record in message.records:
            before = person.known.get(record.user)
            self.checks.misordered += before is not None and record.version < before.version
            person.known[record.user] = record

    def _told(self, person: Person, record: Record, time_ns: int) -> None:
        checks, before = self.checks, person.known.get(record.user)
        if before is None:
            checks.wrong += 1
            return
        if record.version <= before.version:
            checks.duplicated += record.version == before.version
            checks.misordered += record.version < before.version
            return
        person.known[record.user] = record
        checks.deliveries += 1
        if record.text != before.text:
            user, due_ns = self._change_due.get(number_of(record.text), ("", 0))
            if user != record.user:
                checks.wrong += 1
            elif number_of(record.text) < number_of(before.text):
                checks.misordered += 1
            else:
                self.changes.record(time_ns - due_ns)
        if record.status == "offline" and before.status != "offline":
            seen = person.offline_seen[record.user] = person.offline_seen.get(record.user, 0) + 1
            # Only one who said bye is gone: a lost link is back before its grace is over.
            checks.ghost += seen > self._by_user[record.user].byes

    def _settled(self, request_id: int) -> None:
        person = self._unanswered.pop(request_id, None)
        if person is not None:
            person.outstanding -= 1
