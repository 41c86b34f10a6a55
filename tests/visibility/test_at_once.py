"""Who sees more of somebody, and less again, within one millisecond takes each record: the versions rise."""

from __future__ import annotations

from itertools import pairwise

import pytest

from presenced.wire.messages import SetAudience, SetStatus, Watch
from tests.core.world import World
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink, policy
from tests.visibility.town import is_same


@pytest.mark.parametrize("levels", [("nobody", "everyone"), ("everyone", "nobody")])
def test_versions_rise_when_sight_changes_within_a_millisecond(levels: tuple[str, str]) -> None:
    world = World(policy(("everyone",)))
    subject, watcher = ViewLink(world, Viewer("sue"), "desk"), ViewLink(world, Viewer("vera"), "desk")
    asker = ViewLink(world, Viewer("vera"), "tool", priority=-1)
    subject.done(SetStatus(subject.next_id(), None, "a text"))
    watcher.ask(Watch(watcher.next_id(), ["sue"]))
    for level in levels * 3:
        subject.done(SetAudience(subject.next_id(), level))  # type: ignore[arg-type]
        assert is_same(watcher.view["sue"], asker.records(["sue"])[0]), level
    assert all(one.version < other.version for one, other in pairwise(watcher.pushed))
