"""Mistakes that a server could have, each put into it on its own: the lives have to find every one of them.

`python -m tests.sim.seeded_bugs` says in how many lives.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, Parked, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Restoring, Start
from presenced.core.parts.channels import Channels
from presenced.core.parts.claims import Claims
from presenced.core.parts.leases import Leases
from presenced.core.publisher import Publisher
from presenced.core.records import ClaimSet, Fact, MembershipSet, RecordSet, TextSet
from presenced.core.restorer import Restorer
from presenced.core.sight import Sight
from presenced.server import data_directory
from presenced.server.conversation import Conversation
from presenced.server.durable_log import DurableLog
from presenced.server.fact_log import Ack
from presenced.server.farewell import Farewell
from presenced.server.intake import BACKLOG, Intake, Talk
from presenced.server.links import Links
from presenced.server.snapshots import Snapshotting
from presenced.storage import check, store
from presenced.storage.files import Directory
from presenced.storage.survey import StoreSurvey
from tests.sim.running import LIVES, FailedLife, run_lives

BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}

Bug = Callable[[], Iterator[None]]


def bug(function: Bug) -> Bug:
    """Enter it into the table."""
    BUGS[function.__name__] = contextmanager(function)
    return function


# --- what is promised of the disk -----------------------------------------------------------------------------------


@bug
def acknowledges_before_the_sync() -> Iterator[None]:
    whole = DurableLog.append

    def append(self: Any, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        whole(self, facts, ())
        self._immediate.extend(acks)

    with patch.object(DurableLog, "append", append):
        yield


@bug
def never_syncs_what_it_commits() -> Iterator[None]:
    whole = store.open_store

    def open_store(*arguments: Any, **named: Any) -> Any:
        return whole(*arguments, **{**named, "sync_each": False})

    with patch.object(data_directory, "open_store", open_store):
        yield


@bug
def a_text_is_not_logged_each_time() -> Iterator[None]:
    whole, count = Ledger.add, 0

    def add(self: Ledger, fact: Fact) -> None:
        nonlocal count
        count += isinstance(fact, TextSet)
        if not isinstance(fact, TextSet) or count % 4:
            whole(self, fact)

    with patch.object(Ledger, "add", add):
        yield


@bug
def a_snapshot_misses_who_came_while_it_was_opened() -> Iterator[None]:
    def begin(self: Any) -> None:
        self._next = len(self._engine.users.order) - 1
        self._run(self._open(), self._slice)

    with patch.object(Snapshotting, "begin", begin):
        yield


# --- what is read at a start ----------------------------------------------------------------------------------------


@bug
def loses_a_claim_at_the_restore() -> Iterator[None]:
    whole = Claims._restore

    def restore(self: Claims, source: Restoring, fact: ClaimSet) -> None:
        if fact.claim != "trip":
            whole(self, source, fact)

    with patch.object(Claims, "_restore", restore):
        yield


@bug
def forgets_memberships_at_the_restore() -> Iterator[None]:
    def restore(self: Channels, source: Restoring, fact: MembershipSet) -> None:
        return None

    with patch.object(Channels, "_restore", restore):
        yield


@bug
def gives_versions_out_again() -> Iterator[None]:
    whole = Restorer.finish

    def finish(self: Restorer, **named: Any) -> None:
        whole(self, **{**named, "version_gap": 0})

    with patch.object(Restorer, "finish", finish):
        yield


@bug
def gives_the_usual_grace_after_a_start() -> Iterator[None]:
    whole = Restorer.finish

    def finish(self: Restorer, **named: Any) -> None:
        whole(self, **{**named, "grace_ms": self.engine.policy.grace_ms, "spread_ms": 0})

    with patch.object(Restorer, "finish", finish):
        yield


@bug
def announces_at_a_start_who_was_in_grace() -> Iterator[None]:
    whole = Leases.hold

    def hold(self: Leases, device: Device, patience_ms: int, start: Start) -> None:
        was_lost = device.state == 1
        whole(self, device, patience_ms, start)
        if was_lost:
            self.end(device, start.now_ms, "lost")

    with patch.object(Leases, "hold", hold):
        yield


@bug
def begins_another_history_at_each_start() -> Iterator[None]:
    whole = Ledger.continue_from

    def continue_from(self: Ledger, epoch: int, version: int, now_ms: int) -> None:
        whole(self, self.epoch, version, now_ms)

    with patch.object(Ledger, "continue_from", continue_from):
        yield


@bug
def the_check_calls_a_torn_end_damage() -> Iterator[None]:
    whole = check._judge

    def judge(directory: Directory, found: StoreSurvey, report: check.Examined) -> None:
        whole(directory, found, report)
        report.sound = not report.torn_bytes

    with patch.object(check, "_judge", judge):
        yield


# --- what links are told --------------------------------------------------------------------------------------------


@bug
def loses_an_owed_record() -> Iterator[None]:
    whole = Outboxes.resume

    def resume(self: Outboxes, session: Session) -> None:
        if session.owed:
            session.owed.popitem()
        whole(self, session)

    with patch.object(Outboxes, "resume", resume):
        yield


@bug
def a_reply_overtakes_what_was_told_before() -> Iterator[None]:
    whole = Outboxes.reply

    def reply(self: Outboxes, session: Session, payload: bytes) -> None:
        whole(self, session, payload)
        if session.owed is None:
            session.pending.insert(0, session.pending.pop())

    with patch.object(Outboxes, "reply", reply):
        yield


@bug
def drops_what_was_kept_back_when_more_comes() -> Iterator[None]:
    def queue_broadcast(self: Any) -> None:
        self._broadcast = None

    with patch.object(Outboxes, "_queue_broadcast", queue_broadcast):
        yield


@bug
def tells_a_slow_watcher_nothing_of_its_channels() -> Iterator[None]:
    with patch.object(Channels, "resume_session", lambda self, session: None):
        yield


@bug
def says_goodbye_before_the_disk_has_answered() -> Iterator[None]:
    whole = Conversation._leave

    def leave(self: Conversation, goodbye: bytes) -> Farewell:
        farewell = whole(self, goodbye)
        if farewell.session is not None:
            farewell.session.unanswered = 0
        return farewell

    with patch.object(Conversation, "_leave", leave):
        yield


# --- coming back ----------------------------------------------------------------------------------------------------


@bug
def a_comparison_misses_somebody() -> Iterator[None]:
    whole = Sight.differing

    with patch.object(Sight, "differing", lambda self, session, users: whole(self, session, users)[1:]):
        yield


@bug
def tells_what_is_had_already() -> Iterator[None]:
    whole = Sight.differing

    def differing(self: Sight, session: Session, users: Iterable[tuple[str, User | None, int]]) -> list[Any]:
        return whole(self, session, [(name, user, had ^ 1) for name, user, had in users])

    with patch.object(Sight, "differing", differing):
        yield


@bug
def a_lost_link_takes_back_nobody_to_watch() -> Iterator[None]:
    whole = Parked.take_watch

    def take_watch(self: Parked, most: int) -> tuple[list[str], list[str]]:
        return [], whole(self, most)[1]

    with patch.object(Parked, "take_watch", take_watch):
        yield


# --- who is there ---------------------------------------------------------------------------------------------------


@bug
def forgets_a_dirty_user() -> Iterator[None]:
    whole, count = Publisher.mark_dirty, 0

    def mark_dirty(self: Publisher, user: User) -> None:
        nonlocal count
        count += 1
        if count % 10:
            whole(self, user)

    with patch.object(Publisher, "mark_dirty", mark_dirty):
        yield


@bug
def ends_a_grace_too_early() -> Iterator[None]:
    whole = Leases.lose

    def lose(self: Any, device: Device, now_ms: int) -> None:
        whole(self, device, now_ms - self._policy.grace_ms // 3)

    with patch.object(Leases, "lose", lose):
        yield


@bug
def cuts_off_who_sends_requests_and_no_heartbeats() -> Iterator[None]:
    with patch.object(Leases, "heard", lambda self, session, now_ms: None):
        yield


@bug
def members_stay_in_channels_when_they_are_gone() -> Iterator[None]:
    def end_device(self: Channels, device: Device, now_ms: int) -> None:
        assert device.state == GONE

    with patch.object(Channels, "end_device", end_device):
        yield


# --- links ----------------------------------------------------------------------------------------------------------


@bug
def forgets_a_link_with_frames_left_over() -> Iterator[None]:
    def wait_for_turn(self: Intake, links: Links, talk: Talk) -> None:
        self.pause(BACKLOG, talk.transport)

    with patch.object(Intake, "wait_for_turn", wait_for_turn):
        yield


@bug
def counts_links_that_have_ended() -> Iterator[None]:
    def take_session(self: Any) -> Session | None:
        session: Session | None = self.session
        self.session = None
        return session

    with patch.object(Conversation, "_take_session", take_session):
        yield


@bug
def a_record_keeps_its_version_when_it_changes() -> Iterator[None]:
    whole, count = Ledger.next_version, 0

    def next_version(self: Ledger, before: int) -> int:
        nonlocal count
        count += 1
        return whole(self, before) if count % 5 else before or whole(self, before)

    with patch.object(Ledger, "next_version", next_version):
        yield


@bug
def a_record_goes_back_at_the_restore() -> Iterator[None]:
    whole, count = Publisher._restore, 0

    def restore(self: Publisher, source: Restoring, fact: RecordSet) -> None:
        nonlocal count
        count += 1
        if count % 3 or not fact.version:
            whole(self, source, fact)

    with patch.object(Publisher, "_restore", restore):
        yield


SEEN_IN = {
    "the_check_calls_a_torn_end_damage": 144,
    "loses_an_owed_record": 1115,
    "drops_what_was_kept_back_when_more_comes": 925,
    "tells_a_slow_watcher_nothing_of_its_channels": 485,
    "a_lost_link_takes_back_nobody_to_watch": 183,
}
"""A life that finds a bug which none does for long. It is looked at first, and when a change of the simulator has made
another life of it, all are: that costs some twenty seconds, and the module prints which life to write down here."""


def found(name: str) -> FailedLife | None:
    """One of the lives that judge a change that finds this bug: that of `SEEN_IN`, or else the first.

    Raises what a life fails of other than by a check: the bug does not fit the code any longer.
    """
    seen = SEEN_IN.get(name)
    assert seen is None or seen < LIVES
    with BUGS[name]():
        failed = run_lives(seen, 1) if seen is not None else None
        failed = failed or run_lives(0, LIVES)
    if failed is not None and not isinstance(failed.error, AssertionError):
        raise failed.error
    return failed


def main() -> int:
    """Look for each in the same lives."""
    logging.disable(logging.CRITICAL)
    missed = 0
    for name in BUGS:
        began_s = time.process_time()
        failed = found(name)
        took_s = time.process_time() - began_s
        what = name.replace("_", " ")
        if failed is None:
            missed += 1
            print(f"MISSED  {took_s:6.1f} s  {what}", flush=True)
        else:
            print(f"life {failed.seed:>5}  {took_s:6.1f} s  {what}\n            {str(failed.error)[:130]}", flush=True)
    print(f"{len(BUGS) - missed} of {len(BUGS)} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
