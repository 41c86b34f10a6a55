"""Who loses or gains sight while the news is on its way: to a link that does not read, or to one of very many."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.core import outboxes, wide_fan_outs
from presenced.wire.messages import (
    Approve,
    Block,
    Cancel,
    GetMembers,
    HideFrom,
    MembersPage,
    Record,
    RemoveContact,
    SetAudience,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Unblock,
    Unsubscribe,
    Watch,
    WatchChannel,
)
from tests.core.world import World
from tests.visibility.rule import Viewer, never_seen
from tests.visibility.stage import ViewLink, policy
from tests.visibility.town import is_same

SUBJECT = "sue"


class Scene:
    """Sue, who is online in a room, and watchers of hers."""

    def __init__(self, count: int, grounds: tuple[str, ...] = ("contacts",)) -> None:
        self.world = World(policy(grounds))
        self.world.checks = False
        self.sue = ViewLink(self.world, Viewer(SUBJECT), "desk")
        self.names = [f"watcher{number}" for number in range(count)]
        for name in self.names:
            self.sue.say(Approve(self.sue.next_id(), name))
        self.links = [ViewLink(self.world, Viewer(name), "desk") for name in self.names]
        self.askers = [ViewLink(self.world, Viewer(name), "tool", priority=-1) for name in self.names]
        for link in self.links:
            link.say(Subscribe(link.next_id(), SUBJECT))
            link.say(Watch(link.next_id(), [SUBJECT]))
            link.say(WatchChannel(link.next_id(), "den"))
        self.world.turn()
        self.sue.join(f"{SUBJECT}/desk", "den")
        self.set_text("before")
        for link in self.links:
            link.take_pushed()

    def set_text(self, text: str) -> None:
        self.world.now_ms += 10
        self.sue.say(SetStatus(self.sue.next_id(), None, text))
        self.world.turn()

    def answer(self, number: int) -> Record:
        """What a fresh question is told now."""
        return self.askers[number].records([SUBJECT])[0]


def by_sue(*messages: type) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        for message in messages:
            scene.sue.say(message(scene.sue.next_id(), scene.names[0]))

    return act


def by_watcher(*messages: type) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        asker = scene.askers[0]
        for message in messages:
            asker.say(message(asker.next_id(), SUBJECT))

    return act


def keep(scene: Scene) -> None:
    scene.sue.say(SetAudience(scene.sue.next_id(), "nobody", "nobody", "nobody"))


def keep_from_one(scene: Scene) -> None:
    scene.sue.say(SetAudience(scene.sue.next_id(), never=[scene.names[0]]))


def appear_offline(scene: Scene) -> None:
    scene.sue.say(SetStatus(scene.sue.next_id(), "offline"))


def show_while_offline(scene: Scene) -> None:
    appear_offline(scene)
    scene.world.turn()
    by_sue(ShowTo)(scene)


ACTS: dict[str, Callable[[Scene], None]] = {
    "cancel": by_sue(Cancel),
    "remove": by_sue(RemoveContact),
    "block": by_sue(Block),
    "hide": by_sue(HideFrom),
    "unsubscribe": by_watcher(Unsubscribe),
    "be blocked": by_watcher(Block),
    "keep": keep,
    "keep from one": keep_from_one,
    "appear offline": appear_offline,
    "show": show_while_offline,
    "come and go": by_sue(HideFrom, ShowAgain),
    "block and unblock": by_sue(Block, Unblock),
    "show and stop": by_sue(ShowTo, StopShowing),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_link_that_does_not_read_is_told_at_last_what_it_may_know(act: str) -> None:
    scene = Scene(1)
    link = scene.links[0]
    link.fill()
    scene.set_text("while it did not read")
    ACTS[act](scene)
    scene.world.turn()
    scene.set_text("later")
    answer = scene.answer(0)
    link.drain()
    pushed = link.take_pushed()
    assert len(pushed) <= 1 and is_same(link.view[SUBJECT], answer)
    assert all(is_same(record, answer) for record in pushed)
    page = scene.askers[0].expect(GetMembers(1_000, "den"), MembersPage)
    # Who appears offline is in no list of a room, whoever else is shown a device.
    assert page.total == (answer.status != "offline" and act != "show")
    assert [record.user for record in page.records] == [SUBJECT] * page.total


@pytest.mark.parametrize("between", [keep, by_sue(HideFrom, ShowAgain), by_sue(Block, Unblock)])
def test_a_link_that_does_not_read_takes_what_it_sees_more(between: Callable[[Scene], None]) -> None:
    """What it was told of less than all has a higher version than the whole record."""
    scene = Scene(1)
    link = scene.links[0]
    keep(scene)
    scene.world.advance(10)
    link.fill()
    between(scene)
    scene.world.turn()
    scene.sue.say(SetAudience(scene.sue.next_id()))
    scene.world.turn()
    link.drain()
    assert scene.answer(0).text == "before" and is_same(link.view[SUBJECT], scene.answer(0))
    scene.set_text("in the same moment")
    assert is_same(link.view[SUBJECT], scene.answer(0))


@pytest.mark.parametrize("act", ACTS)
def test_what_is_owed_is_of_the_moment_at_which_it_is_told(act: str) -> None:
    """The link reads again in the turn in which sight is lost."""
    scene = Scene(1)
    link = scene.links[0]
    link.fill()
    scene.set_text("while it did not read")
    ACTS[act](scene)
    link.drain()
    scene.world.turn()
    answer = scene.answer(0)
    pushed = link.take_pushed()
    assert is_same(link.view[SUBJECT], answer)
    if answer == never_seen(SUBJECT):
        assert all(record == answer for record in pushed), f"{pushed} is told of one who may not be seen"


@pytest.mark.parametrize("act", ACTS)
def test_one_of_very_many_is_not_told_what_began_before(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "WATCHERS", 2)
    monkeypatch.setattr(wide_fan_outs, "SLICE", 1)
    for turns in range(5):
        scene = Scene(5)
        while scene.world.next_ms is not None and scene.world.next_ms <= scene.world.now_ms:
            scene.world.turn()
        scene.names.reverse()
        scene.links.reverse()
        scene.askers.reverse()
        for link in scene.links:
            link.take_pushed()
        scene.set_text("on its way")
        for _ in range(turns):
            scene.world.turn()
        scene.links[0].take_pushed()
        ACTS[act](scene)
        scene.world.turn()
        while scene.world.next_ms is not None and scene.world.next_ms <= scene.world.now_ms:
            scene.world.turn()
        for number, link in enumerate(scene.links):
            answer = scene.answer(number)
            assert is_same(link.view[SUBJECT], answer), f"after {turns} turns, {link.viewer}"
            if number == 0 and answer == never_seen(SUBJECT):
                assert all(record == answer for record in link.take_pushed()), f"after {turns} turns"
