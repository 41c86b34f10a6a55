"""What the store's own check says of the simulated disk: before a start what the start will find, after it that all is
well. The check changes nothing."""

from __future__ import annotations

from presenced.storage.check import Examined, check
from presenced.storage.recovery import RecoveryFindings
from presenced.storage.survey import NotAStore
from tests.storage.simdisk import SimDisk


def examine(disk: SimDisk, *, is_store: bool) -> Examined | None:
    """The report of the check, which has to accept whatever a crash leaves. None = there is no store, which is right
    only where no server ever came up (`is_store`). O(bytes of the store)."""
    operations = disk.operations
    try:
        # Nothing else runs meanwhile, so that a pause changes nothing.
        seen = check(disk.root, lambda: None)
    except NotAStore:
        assert not is_store, "the check finds no store where there is one"
        return None
    assert disk.operations == operations, "the check changed the disk"
    assert seen.sound, f"the check calls the store {seen.verdict}"
    return seen


def compare(before: Examined | None, findings: RecoveryFindings, disk: SimDisk) -> None:
    """A server has started: hold what it found against the report from before it, and check the disk once more."""
    if before is not None:
        said, found = (before.next_seq, before.torn_bytes), (findings.next_seq, findings.torn_bytes)
        assert said == found, f"the check said {said} of the end of the log, and the start found {found}"
    after = examine(disk, is_store=True)
    assert after is not None
    problems = [one.problem for one in (*after.segments, *after.snapshots) if one.problem]
    assert not problems and not after.torn_bytes, f"after a start the check finds {problems or after.torn_at}"
