"""A checksum is of what its link has been told by the moment at which it comes."""

from __future__ import annotations

import pytest

from presenced.core import outboxes, wide_fan_outs
from presenced.wire.messages import Check, SetStatus
from tests.coming_back.program import Book, ProgramLink
from tests.core.world import World
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink, policy

WATCHERS = 5


class Scene:
    """Sue, and a program that watches her among others who do."""

    def __init__(self, spacing_ms: int = 0) -> None:
        self.world = World(policy(("everyone",), change_spacing_ms=spacing_ms, change_burst=1))
        self.sue = ViewLink(self.world, Viewer("sue"), "desk")
        self.links = [ProgramLink(self.world, Viewer(f"w{at}"), "desk", Book()) for at in range(WATCHERS)]
        for link in self.links:
            link.watch_with(["sue", "nobody"], [0, 0])
        self.world.advance(1_000)

    def says(self, text: str) -> None:
        """She does, and no turn is run."""
        self.sue.say(SetStatus(self.sue.next_id(), None, text))


@pytest.mark.parametrize("watchers_max", [1_000, 2], ids=["", "wide"])
def test_it_holds_what_changes_after_the_question_in_its_turn(
    monkeypatch: pytest.MonkeyPatch, watchers_max: int
) -> None:
    """What is told to very many goes in front of the answers of the turn."""
    scene = Scene()
    monkeypatch.setattr(outboxes, "WATCHERS", watchers_max)
    monkeypatch.setattr(wide_fan_outs, "SLICE", 1)
    link = scene.links[0]
    link.say(Check(link.next_id()))
    scene.says("one")
    scene.world.turn()
    assert len(link.checked) == 1 and link.book.records["sue"].text == "one"


def test_what_is_spaced_is_told_before_it_and_not_held_back_for_others() -> None:
    scene = Scene(spacing_ms=200)
    asking, other = scene.links[:2]
    for text in ("one", "two", "three"):
        scene.says(text)
        scene.world.turn()
    assert asking.book.records["sue"].text == other.book.records["sue"].text == "one"
    checked = asking.check()
    assert checked.users == 2 and asking.book.records["sue"].text == "three"
    assert other.book.records["sue"].text == "one"
    scene.world.advance(1_000)
    assert other.book.records["sue"].text == "three"


def test_what_is_told_to_very_many_is_told_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    monkeypatch.setattr(outboxes, "WATCHERS", 2)
    monkeypatch.setattr(wide_fan_outs, "SLICE", 1)
    scene.says("one")
    scene.world.turn()
    last = scene.links[-1]
    assert last.book.records["sue"].text == ""
    last.check()
    assert last.book.records["sue"].text == "one"


@pytest.mark.parametrize("is_full", [False, True], ids=["", "full"])
def test_a_link_that_does_not_read_is_told_once_it_reads(is_full: bool) -> None:
    scene = Scene()
    link = scene.links[0]
    (link.fill if is_full else link.stall)()
    for text in ("one", "two", "three"):
        scene.says(text)
        link.say(Check(link.next_id()))
        scene.world.turn()
    assert not link.checked
    link.drain()
    assert len(link.checked) == 3 and link.book.records["sue"].text == "three"


def test_it_is_a_position() -> None:
    """Whatever comes later has that version or a higher one."""
    scene = Scene()
    link = scene.links[0]
    for number in range(20):
        checked = link.check()
        link.take_came()
        scene.says(f"{number}")
        scene.world.now_ms += number % 3
        scene.world.turn()
        assert [record.version >= checked.version for record in link.take_came()] == [True]


def test_it_counts_each_user_once_and_forgets_who_is_watched_no_longer() -> None:
    scene = Scene()
    link = scene.links[0]
    link.watch_with(["sue", "nobody"], [0, 0])
    assert link.check().users == 2
    link.unwatch("sue")
    del link.book.records["sue"]
    checked = link.check()
    assert (checked.users, checked.checksum) == (1, 0)
