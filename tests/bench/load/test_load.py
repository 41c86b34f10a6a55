"""What the profiles measure with, by itself: the histogram, the open loop on a clock of the test's, the witness, and
the judges of flaps, restarts and mixed loads, each shown every fault that it is there to find."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from bench.errors import BenchError
from bench.load import agenda, openloop
from bench.load.agenda import Arrivals, Merged, Returns
from bench.load.contacts import random_graph
from bench.load.crowd_checks import CrowdChecks
from bench.load.framing import FIRST_ID
from bench.load.openloop import OpenLoop
from bench.load.people import HERE, Person
from bench.load.witness import Witness, number_of, status_of, text_of
from bench.profiles import flap, latency
from bench.profiles.latency import Answers
from bench.profiles.restart import Client, Clients
from bench.profiles.soak import slope
from bench.results.histogram import LONGEST_NS, Histogram
from bench.results.outcome import Checks, Latency
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Done, Error, Presence, Record

# --- the histogram -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest_ns", [200, 50_000, 10**10])
def test_percentiles_are_within_a_class_of_the_truth(longest_ns: int) -> None:
    draw = random.Random(longest_ns)
    values = [int(longest_ns ** draw.random()) for _ in range(5000)]
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    truth, told = Latency.of_ns(values), histogram.latency()
    assert (told.count, told.max_us) == (truth.count, truth.max_us)
    assert [percent for percent, _ in told.points] == [percent for percent, _ in truth.points]
    for (_, one), (_, other) in zip(told.points, truth.points, strict=True):
        assert one == pytest.approx(other, rel=1 / 128, abs=0.11)
    ordered = sorted(values)
    for percent in (0, 50, 99.9, 100):
        expected = ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
        assert histogram.percentile_ns(percent) == pytest.approx(expected, rel=1 / 128)
    if longest_ns <= 256:
        assert histogram.percentile_ns(50) == ordered[2500], "below 256 ns a class is one nanosecond"


def test_two_histograms_make_one_and_extremes_are_taken() -> None:
    one, other = Histogram(), Histogram()
    for value in (-5, 0, 1000):
        one.record(value)
    other.record(10 * LONGEST_NS)
    one.add(other)
    assert (one.count, one.max_ns) == (4, 10 * LONGEST_NS)
    assert one.percentile_ns(0) == 0
    assert one.percentile_ns(100) == 10 * LONGEST_NS
    assert Histogram().latency().count == Histogram().percentile_ns(99) == 0


# --- the open loop -----------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only when the poller or an action lets it."""

    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def poll(self, timeout_s: float, events_max: int) -> list[tuple[int, int]]:
        """As an epoll over nothing: the whole timeout passes, or ten microseconds."""
        self.ns += int(timeout_s * 1e9) or 10_000
        return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(openloop, "now_ns", made)
    monkeypatch.setattr(agenda, "now_ns", made)
    yield made


@pytest.mark.parametrize("spin", [True, False])
def test_what_a_stall_held_up_is_charged_from_its_planned_time(clock: Clock, spin: bool) -> None:
    done: list[tuple[int, int]] = []

    def act(due_ns: int) -> None:
        if len(done) == 2:
            clock.ns += 5_000_000
        done.append((due_ns, clock.ns))

    started_ns = clock.ns
    loop = OpenLoop(clock, lambda fd: None, spin=spin)  # type: ignore[arg-type]
    loop.run(Arrivals(1000, 0.010, act))
    assert [due_ns for due_ns, _ in done] == [started_ns + 1_000_000 * number for number in range(1, 11)]
    late = [at_ns - due_ns for due_ns, at_ns in done]
    assert max(late[:2]) <= 20_000 and late[2] >= 5_000_000
    assert late[3] == pytest.approx(4_000_000, abs=50_000), "the next was due a millisecond after the one that stalled"
    assert loop.lag.count == 10
    assert loop.lag.max_ns == pytest.approx(4_000_000, abs=50_000)
    assert 0.45 < loop.busy < 0.55


def test_a_generator_that_is_late_says_so(clock: Clock) -> None:
    loop = OpenLoop(clock, lambda fd: None, spin=True)  # type: ignore[arg-type]
    loop.run(Arrivals(100, 0.1, lambda due_ns: None))
    assert loop.notes() == []

    def slowly(due_ns: int) -> None:
        clock.ns += 20_000_000

    loop.run(Arrivals(100, 0.1, slowly))
    assert "the generator was the limit" in loop.notes()[0]
    shared = OpenLoop(clock, lambda fd: None, spin=False)  # type: ignore[arg-type]
    assert len(shared.notes()) == 1 and "share a core" in shared.notes()[0]


def test_arrivals_keep_their_rate_and_poisson_ones_are_uneven(clock: Clock) -> None:
    for seed in (None, 7):
        times: list[int] = []
        arrivals = Arrivals(100, 100, times.append, seed=seed)
        while arrivals.next_ns is not None:
            arrivals.act()
        gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
        assert len(times) == pytest.approx(10_000, rel=0.05)
        assert (max(gaps) > 30_000_000) == (seed is not None), "independent people leave gaps of many times the mean"


def test_agendas_are_merged_by_time_and_may_grow(clock: Clock) -> None:
    told: list[str] = []
    returns = Returns()

    def leave(due_ns: int) -> None:
        told.append("leave")
        returns.add(due_ns + 1_500_000, lambda back_ns: told.append("back"))

    merged = Merged(Arrivals(1000, 0.002, leave), returns)
    while merged.next_ns is not None:
        merged.act()
    assert told == ["leave", "leave", "back", "back"]
    assert Merged(Arrivals(0, 0, leave)).next_ns is None


# --- the witness -------------------------------------------------------------------------------------------------


def push(user: str, number: int, *, status: str = "", version: int = 1) -> bytes:
    record = Record(user, status or status_of(number), text_of(number), "", 1, 0, "d", version)  # type: ignore[arg-type]
    return frame(encode(Presence(record)))


def witness_of(changes: list[str]) -> Witness:
    """Links 1 and 2 watch bob and carol; the changes of these users were made at 0, 10, 20 and so on."""
    witness = Witness({1: ["bob", "carol"], 2: ["bob", "carol"]})
    for index, user in enumerate(changes):
        assert witness.change(user, index * 10)
        witness.keep(9, 0, frame(encode(Done(FIRST_ID + index + 1, 1))))
    return witness


def test_all_is_well_and_waits_count_from_the_planned_time() -> None:
    witness, waits = witness_of(["bob", "carol", "bob"]), Histogram()
    for fd in (1, 2):
        witness.keep(fd, 100, push("bob", 1) + push("carol", 2))
        # One frame in two pieces: it is there when its end is.
        data = push("bob", 3)
        witness.keep(fd, 150, data[:20])
        witness.keep(fd, 200, data[20:])
    assert witness.arrived == 4, "those in one piece"
    witness.settle(waits)
    assert witness.behind([1, 2]) == 0
    witness.close()
    assert (witness.checks.deliveries, witness.checks.faults, witness.merged) == (6, {}, 0)
    assert [waits.percentile_ns(percent) for percent in (0, 50, 100)] == [90, 100, 180]


def test_a_merged_change_has_waited_until_the_one_that_stands_for_it() -> None:
    witness, waits = witness_of(["bob", "bob", "bob"]), Histogram()
    for fd in (1, 2):
        witness.keep(fd, 100, push("bob", 3))
    witness.settle(waits)
    witness.close()
    assert (witness.checks.deliveries, witness.checks.faults, witness.merged) == (2, {}, 4)
    assert (waits.count, waits.max_ns, waits.percentile_ns(0)) == (6, 100, 80)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (push("bob", 1) + push("bob", 3) + push("bob", 3), "duplicated"),
        (push("bob", 3) + push("bob", 1), "misordered"),
        (push("bob", 1), "stale"),
        (b"", "lost"),
        (push("bob", 3) + push("dave", 1), "wrong"),
        (push("bob", 3) + push("bob", 2), "wrong"),
        (push("bob", 3) + push("bob", 4), "wrong"),
        (push("bob", 1, status="xa") + push("bob", 3), "wrong"),
    ],
)
def test_each_fault_is_found_once(data: bytes, fault: str) -> None:
    witness = witness_of(["bob", "carol", "bob"])
    witness.keep(1, 1, push("carol", 2) + data)
    witness.keep(2, 1, push("carol", 2) + push("bob", 3))
    witness.close()
    assert witness.checks.faults == {fault: 1}
    witness.close()
    assert witness.checks.faults == {fault: 1}, "what was counted is not counted again"


def test_one_who_does_not_read_is_not_looked_at_until_it_does() -> None:
    witness = witness_of(["bob"])
    witness.keep(1, 1, push("bob", 1))
    witness.close(but={2})
    assert witness.checks.faults == {} and witness.behind([2]) == 1
    witness.close()
    assert witness.checks.faults == {"lost": 1}


def test_a_change_without_an_answer_and_an_error_end_the_run() -> None:
    witness = Witness({})
    witness.change("bob", 0)
    with pytest.raises(BenchError, match="1 changes have had no answer"):
        witness.close()
    witness.keep(1, 0, frame(encode(Error(FIRST_ID + 1, "busy", "later"))))
    with pytest.raises(BenchError, match="later"):
        witness.settle()


def test_numbers_stand_in_texts() -> None:
    assert number_of(text_of(17)) == 17
    assert [number_of(text) for text in ("", "17", "in a call", text_of(1) + "x")] == [0, 0, 0, 0]


def test_an_answer_is_found_also_if_it_is_split() -> None:
    answers = Answers()
    answers.expect(1, 5)
    data = push("bob", 1) + frame(encode(Done(FIRST_ID + 5, 99)))
    assert not answers.has(1, data[:-5])
    assert answers.has(1, data[-5:])
    assert not answers.has(1, data), "it was for one request"
    answers.expect(1, 6)
    assert not answers.has(1, data)


def test_a_change_counts_from_when_it_was_due_and_not_from_when_it_was_sent() -> None:
    one, other = socket.socketpair()
    with one, other:
        link, waits = SimpleNamespace(user="bob", fd=one.fileno()), Histogram()
        everybody = latency.WitnessedGraph.__new__(latency.WitnessedGraph)
        everybody.witness = Witness({1: ["bob"]})
        everybody.change(link, 123)  # type: ignore[arg-type]
        everybody.witness.keep(1, 200, push("bob", 1))
        everybody.witness.settle(waits)
        assert (waits.count, waits.max_ns) == (1, 77)
        assert text_of(1).encode() in other.recv(1000)


def test_nobody_watches_oneself_and_too_few_are_refused() -> None:
    watches = random_graph(30, 29, seed=1)
    assert all(len(set(contacts) - {user}) == 29 for user, contacts in watches.items())
    assert random_graph(30, 5, seed=2) == random_graph(30, 5, seed=2) != random_graph(30, 5, seed=3)
    with pytest.raises(BenchError, match="ask for fewer contacts"):
        random_graph(30, 30, seed=1)


# --- the judges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "faults"),
    [
        (["offline", "online"], {}),
        (["offline"], {"lost": 1, "stale": 1}),
        (["online", "offline"], {"stale": 1, "misordered": 1}),
        (["offline", "online", "online"], {"duplicated": 1}),
        (None, {"lost": 2}),
    ],
)
def test_one_who_was_away_too_long_is_told_twice(told: list[str] | None, faults: dict[str, int]) -> None:
    flappers = flap.Flappers.__new__(flap.Flappers)
    flappers.told = {(1, "bob"): ["offline", "online"]}
    if told is not None:
        flappers.told[2, "bob"] = told
    checks = Checks()
    flap.judge(flappers, ["bob"], 2, checks)
    assert checks.faults == faults
    flappers.told = {(1, "carol"): ["offline", "online"]}
    flap.judge(flappers, [], 2, checks)
    assert checks.ghost == 2, "carol was not away"


def test_after_a_restart_all_must_be_as_before() -> None:
    checks = Checks()
    clients = Clients({"bob": ["carol"], "carol": ["bob"]}, checks)
    bob = clients.all[0]

    def tell(number: int, *, user: str = "carol", status: str = "", version: int = 5) -> dict[str, int]:
        for name in vars(checks):
            setattr(checks, name, 0)
        text = text_of(number) if number else ""
        record = Record(user, status or status_of(number), text, "", 1, 0, "d", version)  # type: ignore[arg-type]
        clients._judge(bob, record, pushed=True)
        return checks.faults

    assert tell(2) == {}
    assert tell(2, status="offline") == {"ghost": 1}
    assert tell(0) == {"lost": 1}
    assert tell(1) == {"wrong": 1}
    assert tell(2, user="dave") == {"wrong": 1}
    assert tell(2, version=4) == {"misordered": 1}
    assert isinstance(bob, Client)


def test_a_crowd_sees_each_fault() -> None:
    bob, ann = Person("bob", ["ann"], HERE), Person("ann", [], HERE)
    hearing = CrowdChecks([bob, ann])
    checks = hearing.checks
    assert [hearing.expect_change(*said) for said in ((bob, 0), (ann, 40), (ann, 50))] == [1, 2, 3]

    def tell(status: str, number: int, version: int, user: str = "ann") -> dict[str, int]:
        for name in vars(checks):
            setattr(checks, name, 0)
        text = text_of(number) if number else ""
        hearing._told(bob, Record(user, status, text, "", 1, 0, "d", version), 100)  # type: ignore[arg-type]
        return checks.faults

    bob.known["ann"] = Record("ann", "online", "", "", 1, 0, "d", 1)
    assert tell("dnd", 3, 5) == {}
    assert (hearing.changes.count, hearing.changes.max_ns) == (1, 50)
    assert tell("dnd", 3, 5) == {"duplicated": 1}
    assert tell("dnd", 3, 4) == {"misordered": 1}
    assert tell("dnd", 2, 6) == {"misordered": 1}
    assert tell("dnd", 1, 7) == {"wrong": 1}
    assert tell("dnd", 1, 7, "carol") == {"wrong": 1}
    assert tell("offline", 1, 8) == {"ghost": 1}, "she has not said bye"
    ann.byes = 2
    assert tell("online", 1, 9) == {}
    assert tell("offline", 1, 10) == {}


def test_growth_is_the_slope() -> None:
    assert slope([(0, 10), (1, 12), (2, 14)]) == pytest.approx(2)
    assert slope([(0, 1), (1, 3), (2, 1)]) == pytest.approx(0)
    assert slope([(5, 1)]) == 0
