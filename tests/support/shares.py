"""How `make check` shares out the tests among processes: by files, the longest first.

What is begun last is short then, so that all of them are busy to the end.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONGEST = (
    "systemd",
    "cluster/test_failing_engines.py",
    "bench/peers",
    "durable/test_faults.py",
    "bench/profiles",
    "durable/test_restart.py",
    "sim/test_lives.py",
    "bench/test_bench.py",
    "docs/test_readme.py",
    "storage/test_crash.py",
    "storage/test_seeded_bugs.py",
    "storage/test_reader.py",
    "client/test_interleavings.py",
    "cluster/test_lives.py",
    "durable/test_returns.py",
    "durable/test_following.py",
    "packaging",
    "nodes/test_supervisor.py",
    "nodes/test_nodes_together.py",
    "storage/test_sealed.py",
    "sim/test_seeded_bugs.py",
    "core/test_machine.py",
    "backplane/test_engines.py",
    "backplane/test_interleavings.py",
    "coming_back/test_towns.py",
    "wire/test_codec.py",
    "durable",
    "visibility/test_matrix.py",
    "client/test_types.py",
    "e2e/test_service_bad_input.py",
    "e2e/test_slow_watchers.py",
    "storage/test_directories.py",
    "storage/test_tools.py",
    "web/test_pages.py",
    "web/test_demo.py",
    "web/test_package.py",
    "tidy/test_tidy.py",
    "cli/test_ctl.py",
    "core/test_schedule.py",
    "ops",
)
"""Files and directories below tests/ in which a file takes more than ten seconds, in the order in which they begin."""

DEALT_SINGLY = (
    "cluster/test_failing_engines.py",
    "sim/test_lives.py",
    "sim/test_seeded_bugs.py",
    "storage/test_seeded_bugs.py",
)
"""Long files below tests/ whose tests have no fixture in common: they need not run in one process."""

DEALT_TOGETHER = {f"systemd/test_{name}.py": "tests/systemd" for name in ("nodes", "restarts", "service", "uninstall")}
"""Files below tests/ with a fixture in common that is dear, and what they are as one: they run in the order of their
names."""


def share_of(node_id: str) -> str:
    """What goes to one process as a whole: a file, one test of a file that is dealt out singly, or several files."""
    path = node_id.partition("::")[0]
    below = path.removeprefix("tests/")
    return node_id if below in DEALT_SINGLY else DEALT_TOGETHER.get(below, path)


@cache
def place_of(share: str) -> int:
    """When it is begun: the lower, the earlier. O(places)."""
    path = PurePosixPath(share.partition("::")[0].removeprefix("tests/"))
    return next((at for at, place in enumerate(LONGEST) if path.is_relative_to(place)), len(LONGEST))


class LongestFirst(LoadFileScheduling):
    """`--dist loadfile` in that order; what has no place of its own comes by its number of tests."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # A process knows the next test before it begins one; more would only stay there while others have none.
        if node.shutting_down or not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        # A process that crashes gives back what it has done as well; who was given that would wait for ever.
        for share in [share for share, tests in self.workqueue.items() if all(tests.values())]:
            del self.workqueue[share]
        if not self.workqueue:
            node.shutdown()
            return
        self.workqueue.move_to_end(self._next_share(node), last=False)
        super()._assign_work_unit(node)

    def _next_share(self, node: WorkerController) -> str:
        begun = (share for share, tests in self.assigned_work[node].items() if not all(tests.values()))
        if any("::" in share for share in begun):
            # Its turn comes when the test before it has ended, which may be one of the longest.
            short = (share for share in reversed(self.workqueue) if place_of(share) == len(LONGEST))
            if (shortest := next(short, None)) is not None:
                return shortest
        return min(self.workqueue, key=place_of)
