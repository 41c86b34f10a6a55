"""What leaves when, on a clock that the test moves."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from presenced.webhooks.lanes import (
    DISTANCE_MAX,
    FAILURES_TO_CLOSE,
    HELD_MAX,
    TRIES_BEFORE_BARRIER,
    Cursor,
    Delivery,
    DeliveryBatch,
    Lanes,
    RetryRules,
)
from tests.support.tiers import samples

DAY_MS = 86_400_000
RULES = RetryRules(retry_ms=1_000, retry_max_ms=60_000, give_up_after_ms=DAY_MS, batch=1)


class Town:
    """Lanes, and events with the numbers 1, 2, and so on."""

    def __init__(self, rules: RetryRules = RULES, jitter: float = 0.5) -> None:
        self.jitter = jitter
        self.lanes = Lanes(rules, lambda: self.jitter)
        self.seq = 0

    def add(self, *users: str) -> None:
        for user in users:
            self.seq += 1
            self.lanes.add(Delivery(user, f"e{self.seq}", b"{}", self.seq), Cursor(1, self.seq))

    def take(self, now_ms: int) -> DeliveryBatch:
        batch = self.lanes.take(now_ms)
        assert batch is not None
        return batch


def ids(batch: DeliveryBatch | None) -> list[str]:
    return [delivery.id for delivery in batch.deliveries] if batch is not None else []


def test_the_next_event_of_a_user_waits_for_the_one_before() -> None:
    town = Town()
    town.add("a", "a", "b")
    first, second = town.take(0), town.take(0)
    assert (ids(first), ids(second), town.lanes.take(0)) == (["e1"], ["e3"], None)
    assert town.lanes.next_ms(0) is None
    town.lanes.accepted(first)
    assert ids(town.lanes.take(0)) == ["e2"]


def test_a_batch_holds_many_users_each_in_order_and_what_failed_once_is_sent_alone() -> None:
    town = Town(RULES._replace(batch=4))
    town.add("a", "a", "b", "c", "c", "c")
    batch = town.take(0)
    assert ids(batch) == ["e1", "e2", "e3", "e4"]
    town.lanes.failed(batch, 0, is_receivers=False)
    assert town.lanes.next_ms(0) == 500
    assert [ids(town.lanes.take(500)) for _ in range(3)] == [["e1"], ["e3"], ["e4"]]


def test_the_position_is_behind_the_lowest_event_that_is_not_accepted() -> None:
    town = Town()
    town.lanes.pass_over(Cursor(1, 0))
    town.add("a", "b", "c")
    a, b, c = (town.take(0) for _ in range(3))
    town.lanes.accepted(b)
    assert town.lanes.position == (1, 0)
    town.lanes.accepted(a)
    assert town.lanes.position == (1, 2)
    town.lanes.pass_over(Cursor(1, 9))
    assert town.lanes.position == (1, 2)
    town.lanes.accepted(c)
    assert town.lanes.position == (1, 9)


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999])
def test_pauses_double_up_to_a_bound_and_are_drawn_between_0_and_that(jitter: float) -> None:
    town = Town(jitter=jitter)
    town.add("a")
    now_ms, pauses = 0, []
    for _ in range(9):
        batch = town.take(now_ms)
        assert town.lanes.take(now_ms) is None
        town.lanes.failed(batch, now_ms, is_receivers=False)
        due_ms = town.lanes.next_ms(now_ms)
        assert due_ms is not None
        if due_ms > now_ms:
            assert town.lanes.take(due_ms - 1) is None
        pauses.append(due_ms - now_ms)
        now_ms = due_ms
    assert pauses == [int(jitter * min(60_000, 1_000 << times)) for times in range(9)]


def test_the_gate_closes_after_a_few_failures_and_lets_one_try_through_at_a_time() -> None:
    town = Town()
    town.add(*"abcdefgh")
    tries = [town.take(0) for _ in range(FAILURES_TO_CLOSE)]
    for batch in tries:
        town.lanes.failed(batch, 0, is_receivers=True)
    assert town.lanes.failing_ms == 0
    assert (town.lanes.take(499), town.lanes.next_ms(0)) == (None, 500)
    probe = town.take(500)
    assert (probe.is_probe, town.lanes.take(500), town.lanes.next_ms(500)) == (True, None, None)
    town.lanes.failed(probe, 500, is_receivers=True)
    assert town.lanes.next_ms(500) == 1_500
    town.lanes.accepted(town.take(1_500))
    assert town.lanes.failing_ms == -1
    # All are tried at once, also those that had begun to wait.
    assert len([batch for batch in iter(lambda: town.lanes.take(1_500), None) if batch]) == 7


def test_each_user_is_tried_in_turn_while_the_gate_is_closed() -> None:
    town = Town(jitter=0.999)
    town.add(*"abcdef")
    tries = [town.take(0) for _ in range(FAILURES_TO_CLOSE)]
    for batch in tries:
        town.lanes.failed(batch, 0, is_receivers=True)
    tried, now_ms = [], 0
    for _ in range(8):
        due_ms = town.lanes.next_ms(now_ms)
        assert due_ms is not None
        now_ms = due_ms
        batch = town.take(now_ms)
        tried.append(batch.deliveries[0].user)
        town.lanes.failed(batch, now_ms, is_receivers=True)
    assert set(tried) == set("abcdef")


def test_an_event_that_is_refused_by_itself_opens_the_gate() -> None:
    town = Town()
    town.add(*"abcde")
    for batch in [town.take(0) for _ in range(FAILURES_TO_CLOSE)]:
        town.lanes.failed(batch, 0, is_receivers=True)
    town.lanes.failed(town.take(500), 500, is_receivers=False)
    assert town.lanes.failing_ms == -1


def test_a_pause_that_the_receiver_asks_for_holds_for_everything() -> None:
    town = Town()
    town.add("a", "b", "c")
    refused, other = town.take(0), town.take(0)
    town.lanes.failed(refused, 0, is_receivers=True, pause_ms=30_000)
    assert (town.lanes.take(29_999), town.lanes.next_ms(0)) == (None, 30_000)
    # Something that was on the way when it was asked for.
    town.lanes.accepted(other)
    assert (town.lanes.take(29_999), town.lanes.next_ms(0)) == (None, 30_000)
    assert {ids(town.lanes.take(30_000))[0] for _ in range(2)} == {"e1", "e3"}


def test_an_event_is_given_up_after_its_time_and_the_next_one_leaves() -> None:
    town = Town(RULES._replace(give_up_after_ms=5_000))
    town.add("a", "a")
    now_ms, given_up = 100, []
    while not given_up:
        given_up = town.lanes.failed(town.take(now_ms), now_ms, is_receivers=False)
        now_ms = town.lanes.next_ms(now_ms) or 0
    assert [delivery.id for delivery in given_up] == ["e1"]
    assert given_up[0].first_ms == 100 and now_ms >= 5_100
    assert (town.lanes.dead, town.lanes.held, ids(town.lanes.take(now_ms))) == (1, 1, ["e2"])


def test_what_is_given_up_of_a_batch_is_each_users_first_event_alone() -> None:
    town = Town(RULES._replace(batch=10, give_up_after_ms=0))
    town.add("a", "a", "b")
    given_up = town.lanes.failed(town.take(0), 0, is_receivers=False)
    assert [delivery.id for delivery in given_up] == ["e1", "e3"]
    assert ids(town.lanes.take(0)) == ["e2"]


def test_an_event_that_is_too_far_behind_is_given_up_early() -> None:
    town = Town()
    town.add("stuck")
    stuck = town.take(0)
    for _ in range(DISTANCE_MAX - 1):
        town.add("fine")
        town.lanes.accepted(town.take(0))
    assert town.lanes.wants_more
    assert town.lanes.failed(stuck, 0, is_receivers=False) == []
    town.add("fine")
    town.lanes.accepted(town.take(0))
    assert not town.lanes.wants_more
    assert town.lanes.failed(town.take(1_000), 1_000, is_receivers=False) == stuck.deliveries
    assert (town.lanes.wants_more, town.lanes.position) == (True, (1, DISTANCE_MAX + 1))


def test_what_is_not_wanted_leaves_nothing_behind_however_long_the_receiver_is_down() -> None:
    """On a busy server of which the receiver wants little, 10,000 events that it does not want are a short while."""
    town = Town()
    town.add("rare")
    for _ in range(2 * DISTANCE_MAX):
        town.seq += 1
        town.lanes.pass_over(Cursor(1, town.seq))
    for _ in range(FAILURES_TO_CLOSE + 1):
        now_ms = town.lanes.next_ms(0)
        assert now_ms is not None
        assert town.lanes.failed(town.take(now_ms), now_ms, is_receivers=True) == []
    assert (town.lanes.wants_more, town.lanes.held, town.lanes.dead) == (True, 1, 0)


def test_no_more_is_wanted_than_is_held_at_most() -> None:
    town = Town()
    town.add(*(f"u{number}" for number in range(HELD_MAX - 1)))
    assert town.lanes.wants_more
    town.add("one")
    assert not town.lanes.wants_more
    town.lanes.accepted(town.take(0))
    assert town.lanes.wants_more


def test_nothing_is_wanted_behind_a_barrier_and_it_is_never_given_up() -> None:
    town = Town(RULES._replace(give_up_after_ms=0))
    town.lanes.add(Delivery("", "lost", b"{}", 1, is_barrier=True), Cursor(1, 1))
    assert not town.lanes.wants_more
    assert town.lanes.failed(town.take(0), 0, is_receivers=False) == []
    town.lanes.accepted(town.take(1_000))
    assert (town.lanes.wants_more, town.lanes.dead) == (True, 0)


def test_a_barrier_leaves_after_what_was_read_before_it() -> None:
    town = Town()
    town.add("a", "a", "b")
    town.lanes.add(Delivery("", "lost", b"{}", 9, is_barrier=True), Cursor(1, 9))
    first, other = town.take(0), town.take(0)
    town.lanes.accepted(first)
    second = town.take(0)
    assert (ids(second), town.lanes.take(0)) == (["e2"], None)
    town.lanes.accepted(second)
    assert town.lanes.take(0) is None
    town.lanes.accepted(other)
    barrier = town.take(0)
    assert (ids(barrier), town.lanes.take(0), town.lanes.position) == (["lost"], None, (1, 3))
    town.lanes.accepted(barrier)
    assert (town.lanes.position, town.lanes.wants_more) == ((1, 9), True)


@pytest.mark.parametrize(("is_receivers", "tries"), [(False, 1), (True, TRIES_BEFORE_BARRIER)])
def test_a_barrier_does_not_wait_for_an_event_that_is_refused_again_and_again(is_receivers: bool, tries: int) -> None:
    town = Town()
    town.add("a")
    town.lanes.add(Delivery("", "lost", b"{}", 9, is_barrier=True), Cursor(1, 9))
    now_ms = 0
    for number in range(1, tries + 1):
        assert ids(batch := town.take(now_ms)) == ["e1"]
        given_up = town.lanes.failed(batch, now_ms, is_receivers=is_receivers)
        assert bool(given_up) == (number == tries)
        now_ms = town.lanes.next_ms(now_ms) or 0
    assert ids(town.take(now_ms)) == ["lost"]


class Life:
    """A life of lanes in virtual time, with a receiver that is up and down and refuses some events for a while."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rules = RetryRules(1_000, 60_000, DAY_MS, self.draw.choice([1, 1, 3, 50]))
        self.lanes = Lanes(self.rules, self.draw.random)
        self.now_ms = 0
        self.seq = 0
        self.under_way: list[tuple[int, DeliveryBatch]] = []
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.expected: dict[str, list[int]] = defaultdict(list)
        self.tries_while_down = 0

    def happen(self) -> None:
        self.seq += 1
        user = f"u{self.draw.randrange(9)}"
        if self.draw.random() < 0.2:
            self.lanes.pass_over(Cursor(1, self.seq))
            return
        self.expected[user].append(self.seq)
        self.lanes.add(Delivery(user, str(self.seq), b"{}", 0), Cursor(1, self.seq))

    def run_until(self, end_ms: int, *, well: float) -> None:
        while True:
            times = [due_ms for due_ms, _ in self.under_way]
            if len(self.under_way) < 4 and (next_ms := self.lanes.next_ms(self.now_ms)) is not None:
                times.append(next_ms)
            if not times or min(times) > end_ms:
                self.now_ms = end_ms
                return
            self.now_ms = max(self.now_ms, min(times))
            self._settle(well)
            if len(self.under_way) < 4 and (batch := self.lanes.take(self.now_ms)) is not None:
                self.tries_while_down += well == 0
                self.under_way.append((self.now_ms + self.draw.randrange(1, 300), batch))
            self._check()

    def _settle(self, well: float) -> None:
        for entry in [entry for entry in self.under_way if entry[0] <= self.now_ms]:
            self.under_way.remove(entry)
            batch = entry[1]
            if self.draw.random() < well:
                for delivery in batch.deliveries:
                    self.accepted[delivery.user].append(int(delivery.id))
                self.lanes.accepted(batch)
            elif self.draw.random() < 0.1:
                self.lanes.returned(batch)
            else:
                is_receivers = self.draw.random() < 0.7 or well == 0
                assert self.lanes.failed(batch, self.now_ms, is_receivers=is_receivers) == []

    def _check(self) -> None:
        open_ones = [seq for user, seqs in self.expected.items() for seq in seqs if seq not in set(self.accepted[user])]
        assert self.lanes.held == len(open_ones)
        assert self.lanes.position.seq < min(open_ones, default=self.seq + 1)
        users = [user for _, batch in self.under_way for user in {one.user for one in batch.deliveries}]
        assert len(users) == len(set(users)), "two requests carry events of one user"


@pytest.mark.parametrize("seed", range(samples(40)))
def test_lives(seed: int) -> None:
    life = Life(seed)
    for _ in range(25):
        for _ in range(life.draw.randrange(8)):
            life.happen()
        life.run_until(life.now_ms + life.draw.randrange(2_000), well=life.draw.choice([0.0, 0.5, 1.0]))
    life.tries_while_down = 0
    life.run_until(life.now_ms + 3_600_000, well=0.0)
    # One every half a minute on average, and the few that the others leave at the beginning.
    assert not life.lanes.held or 60 < life.tries_while_down < 300
    life.run_until(life.now_ms + 600_000, well=1.0)
    assert (life.lanes.held, life.lanes.position) == (0, life.lanes.newest)
    assert {user: seqs for user, seqs in life.accepted.items() if seqs} == life.expected
