"""Users who change without end: a burst at once, then one push each spacing, and the last one is the truth."""

from __future__ import annotations

from itertools import pairwise

import pytest

from presenced.core.policy import Policy
from tests.core.world import FakeLink, World

SPACING_MS = Policy().change_spacing_ms
BURST = Policy().change_burst


class Told:
    """A watcher's pushes of one user with the moment at which each came."""

    def __init__(self, world: World, watcher: FakeLink) -> None:
        self.world, self.watcher = world, watcher
        self.at_ms: list[int] = []

    def advance(self, ms: int) -> None:
        for _ in range(ms):
            self.world.advance(1)
            self.note()

    def note(self) -> None:
        self.at_ms += [self.world.now_ms] * (len(self.watcher.pushes) - len(self.at_ms))


def fight(policy: Policy) -> tuple[World, FakeLink, FakeLink, FakeLink, Told]:
    world = World(policy)
    phone, laptop = world.open("alice/phone"), world.open("alice/laptop")
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    return world, phone, laptop, watcher, Told(world, watcher)


def test_two_devices_with_different_statuses_are_one_steady_merge() -> None:
    world, phone, laptop, watcher, _ = fight(Policy(change_spacing_ms=0))
    phone.set_device("dnd")
    watcher.forget()
    # The laptop changes its mind twenty times a second; what it says never outranks the phone.
    for number in range(100):
        world.advance(50)
        laptop.set_device(("online", "away", "chat", "xa")[number % 4])  # type: ignore[arg-type]
        phone.set_device("dnd")
    assert watcher.pushes == []


def test_two_devices_that_repeat_themselves_twenty_times_a_second_never_flicker() -> None:
    world, phone, laptop, watcher, _ = fight(Policy(change_spacing_ms=0))
    for _ in range(50):
        world.advance(25)
        phone.set_device("away")
        world.advance(25)
        laptop.set_device("chat")
    assert watcher.statuses("alice") == ["chat"]


def test_a_fight_over_the_manual_status_is_a_burst_and_then_one_push_each_spacing_and_the_last_is_the_truth() -> None:
    world, phone, laptop, watcher, told = fight(Policy())
    for number in range(100):
        told.advance(50)
        device, status = ((phone, "dnd"), (laptop, "away"))[number % 2]
        device.set_status(status)  # type: ignore[arg-type]
        told.note()
    told.advance(1_000)
    # Twenty changes a second over five seconds, of which the spacing lets through about five a second.
    assert BURST + 15 <= len(watcher.pushes) <= BURST + 5 * 6
    # At any time: no more than a burst, and one more each spacing.
    for start, start_ms in enumerate(told.at_ms):
        for end in range(start + BURST, len(told.at_ms)):
            assert end - start <= BURST + (told.at_ms[end] - start_ms) // SPACING_MS
    spaced = told.at_ms[-10:]
    assert all(b - a >= SPACING_MS for a, b in pairwise(spaced))
    assert watcher.view["alice"] == world.record("alice")
    assert world.record("alice").status == "away"


def test_the_first_changes_are_pushed_at_once() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    for number in range(BURST):
        phone.set_status(text=str(number))
        assert watcher.view["alice"].text == str(number)
    phone.set_status(text="too many")
    assert watcher.view["alice"].text == str(BURST - 1)
    world.advance(SPACING_MS - 1)
    assert watcher.view["alice"].text == str(BURST - 1)
    world.advance(1)
    assert watcher.view["alice"].text == "too many"


def test_the_burst_is_earned_back_with_time() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    for number in range(BURST + 5):
        phone.set_status(text=str(number))
    world.advance(SPACING_MS * (BURST + 2))
    watcher.forget()
    for number in range(BURST):
        phone.set_status(text=f"again {number}")
    assert len(watcher.pushes) == BURST


def test_no_more_than_a_burst_is_ever_earned() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    phone.set_status(text="first")
    world.advance_beating(SPACING_MS * BURST * 20, *world.links, every_ms=20_000)
    watcher.forget()
    for number in range(BURST + 5):
        phone.set_status(text=str(number))
    assert len(watcher.pushes) == BURST


def test_after_a_change_that_waited_the_next_waits_a_whole_spacing() -> None:
    world, phone, _, watcher, told = fight(Policy())
    for number in range(BURST + 1):
        phone.set_status(text=str(number))
    told.advance(SPACING_MS)
    watcher.forget()
    told.at_ms.clear()
    told.advance(SPACING_MS - 20)
    phone.set_status(text="soon after")
    assert watcher.pushes == []
    told.advance(2 * SPACING_MS)
    assert [record.text for record in watcher.pushes] == ["soon after"]


def test_answers_are_never_spaced() -> None:
    _, phone, laptop, _, _ = fight(Policy())
    for number in range(BURST * 3):
        phone.set_status(text=str(number))
        assert laptop.get("alice").text == str(number)


def test_spacing_of_one_user_does_not_delay_another() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    watcher.watch("bob")
    for number in range(BURST * 2):
        phone.set_status(text=str(number))
    world.open("bob/phone")
    assert watcher.statuses("bob") == ["online"]


def test_zero_switches_spacing_off() -> None:
    _, phone, _, watcher, _ = fight(Policy(change_spacing_ms=0))
    for number in range(BURST * 5):
        phone.set_status(text=str(number))
    assert len(watcher.pushes) == BURST * 5


@pytest.mark.parametrize("how", ["watch", "get"])
def test_who_was_told_of_a_passing_text_by_a_reply_is_told_of_its_end_as_well(how: str) -> None:
    world, phone, laptop, watcher, _ = fight(Policy())
    for number in range(BURST):
        phone.set_status(text=("one", "two")[number % 2])
    phone.set_status(text="passing")
    if how == "watch":
        laptop.watch("alice")
    else:
        assert watcher.get("alice").text == "passing"
    phone.set_status(text="two")
    world.advance(SPACING_MS)
    for link in (laptop, watcher):
        if link.view:
            assert link.view["alice"].text == "two"
            assert link.view["alice"] == world.record("alice")


def test_a_stalled_watcher_gets_the_spaced_change_when_it_drains() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    watcher.stall()
    for number in range(BURST * 2):
        phone.set_status(text=str(number))
    world.advance(SPACING_MS)
    watcher.drain()
    assert watcher.view["alice"].text == str(BURST * 2 - 1)


def test_a_user_whose_only_watcher_left_while_a_push_waited_is_pushed_to_nobody() -> None:
    world, phone, _, watcher, _ = fight(Policy())
    for number in range(BURST + 1):
        phone.set_status(text=str(number))
    watcher.bye()
    world.advance(SPACING_MS)
    late = world.open("late", role="service")
    late.watch("alice")
    phone.set_status(text="now")
    world.advance(SPACING_MS)
    assert late.view["alice"].text == "now"
