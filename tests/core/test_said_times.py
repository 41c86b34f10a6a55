"""What is said of users, told from what time alone makes of them."""

from __future__ import annotations

from presenced.core.model import User
from presenced.core.said_times import SaidTimes


def test_what_is_found_out_of_date_in_a_tick_stays_the_work_of_time_though_somebody_wakes_in_it() -> None:
    dirty: list[User] = []
    said = SaidTimes(lambda: dirty)
    said.tell()
    alice, bob = User("alice"), User("bob")

    def make_dirty(user: User) -> None:
        said.note_dirty(user, is_again=user in dirty)
        dirty.append(user)

    def tick(now_ms: int) -> None:
        said.let_pass(make_dirty, bob)
        said.note_dirty(alice, is_again=True)

    said.let_pass(make_dirty, alice)
    said.let_pass(tick, 0)
    said.begin_refresh()
    assert not said.note_said(alice, 1_000) and not said.note_said(bob, 1_000)


def test_what_is_said_of_somebody_whom_a_tick_found_out_of_date_is_said() -> None:
    dirty: list[User] = []
    said = SaidTimes(lambda: dirty)
    said.tell()
    alice = User("alice")
    said.let_pass(dirty.append, alice)
    said.note_dirty(alice, is_again=True)
    said.begin_refresh()
    assert said.note_said(alice, 1_000) and alice.said_ms == 1_000
