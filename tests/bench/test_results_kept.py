"""What must not be lost on the way to a result: faults, what was found before something broke, and unfinished reads."""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import runner
from bench.__main__ import main
from bench.errors import BenchError
from bench.load.agenda import Arrivals, Returns
from bench.load.framing import Rests, decoded
from bench.load.openloop import OpenLoop
from bench.load.writers import Writers
from bench.machine.server import Server
from bench.peers.base import PeerLink
from bench.peers.redis_writers import RedisWriters
from bench.peers.storm import Storm
from bench.profiles import soak
from bench.profiles.durable import Excuse
from bench.registry import Profile
from bench.report import comparison, slo
from bench.results.files import json_text
from bench.results.outcome import OURS, Checks, Outcome, ServerOutcome, partial
from bench.results.units import is_condition
from presenced.wire.frames import frame
from tests.bench.made_up import core, fanout, idle, result

CPU = "server_cpu_us_per_delivery"


def test_a_profile_that_breaks_leaves_what_was_found_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(self: Profile, **settings: Any) -> Outcome:
        if self.name == "graph":
            raise ZeroDivisionError("no rounds")
        return fanout()

    monkeypatch.setattr(Profile, "run", run)
    file = tmp_path / "a.json"
    done = CliRunner().invoke(main, ["all", "--quick", "--json-file", str(file)])
    found = json.loads(file.read_text())
    assert done.exit_code == 1 and found["failed"] == {"graph": "ZeroDivisionError: no rounds"}
    assert len(found["outcomes"]) > 10
    assert "Traceback" in done.stderr and "graph: ZeroDivisionError: no rounds" in done.stderr


def test_bytes_that_are_no_message_end_one_profile() -> None:
    with pytest.raises(BenchError, match="no message"):
        decoded(b"\xc1\xc1")


def test_a_second_signal_does_not_throw_away_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signals = runner.Signals()
    monkeypatch.setattr(runner, "SIGNALS", signals)
    tell = runner._finish

    def finish(*arguments: Any, **named: Any) -> int:
        signal.raise_signal(signal.SIGINT)
        return tell(*arguments, **named)

    def load(self: Profile) -> Callable[[], Outcome]:
        def run() -> Outcome:
            outcome = fanout()
            with partial() as cut:
                signal.raise_signal(signal.SIGINT)
            outcome.interrupted = cut.happened
            return outcome

        return run

    monkeypatch.setattr(runner, "_finish", finish)
    monkeypatch.setattr(Profile, "load", load)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signals.install()
    try:
        done = CliRunner().invoke(main, ["fanout", "--json-file", str(tmp_path / "a.json")])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert done.exit_code == 130
    assert json.loads((tmp_path / "a.json").read_text())["outcomes"][0]["interrupted"]


class StepByStep:
    """A server that answers each of three words of a login, and who logs in to it."""

    name = "slow"
    tls = None
    STEPS = 3

    def __init__(self) -> None:
        self.most = self._running = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def open(self, user: str) -> PeerLink:
        return PeerLink(self.port, user)

    def stands(self) -> dict[Any, Any]:
        return {}

    def login(self, user: str, contacts: object, *, records: bool) -> Iterator[bytes]:
        self._running += 1
        self.most = max(self.most, self._running)
        for _ in range(self.STEPS):
            yield b"?"
        self._running -= 1

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector, ExitStack() as stack:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.05):
                    if key.fileobj is self._listener:
                        link = stack.enter_context(self._listener.accept()[0])
                        selector.register(link, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        if data := key.fileobj.recv(10):
                            key.fileobj.sendall(data)
                        else:
                            selector.unregister(key.fileobj)


def test_no_more_logins_are_in_flight_than_asked_for() -> None:
    server = StepByStep()
    storm = Storm(server, {}, records=False)  # type: ignore[arg-type]
    try:
        storm.log_in([f"user{number}" for number in range(20)], at_once=3)
        assert len(storm.links) == 20
    finally:
        storm.close()
        server.close()
    assert server.most == 3


def test_a_frame_in_two_reads_is_one() -> None:
    rests, data = Rests(), frame(b"abc") + frame(b"defg")
    assert rests.whole(5, data[:-2]) == frame(b"abc")
    assert rests.whole(6, b"") == b""
    assert rests.whole(5, data[-2:]) == frame(b"defg")


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("port 1234", flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("strict", [True, False])
def test_a_daemon_that_ends_with_an_error_makes_the_run_void(strict: bool) -> None:
    core = 0
    server = Server([sys.executable, "-c", STUBBORN.format(code=3)], core, r"port (\d+)", strict=strict)
    if strict:
        with pytest.raises(BenchError, match="ended with code 3"):
            server.stop()
    else:
        server.stop()
    assert server.stop() == "", "it is told once"
    with Server([sys.executable, "-c", STUBBORN.format(code=0)], core, r"port (\d+)", strict=strict):
        pass


def gate(tmp_path: Path, a: list[Outcome], b: list[Outcome]) -> tuple[int, str]:
    paths = []
    for name, outcomes in (("a", a), ("b", b)):
        (tmp_path / name).write_text(json_text(result(*outcomes)))
        paths.append(str(tmp_path / name))
    done = CliRunner().invoke(main, ["compare", *paths, "--gate"])
    return done.exit_code, done.stderr


def test_the_gate_stays_shut_for_what_cannot_be_judged(tmp_path: Path) -> None:
    assert gate(tmp_path, [fanout(), idle()], [fanout(), idle()]) == (0, "")
    faulty, cut, other, bare = fanout(), fanout(), fanout(), fanout()
    faulty.servers[OURS].checks = Checks(lost=1)
    cut.interrupted = True
    other.options["watchers"] = 10
    bare.servers[OURS].figures = {"something_else": [1.0, 1.0, 1.0]}
    for b, why in (
        ([faulty], "fanout in b failed"),
        ([cut], "fanout in b was interrupted"),
        ([other], "different work in the two files: watchers"),
        ([bare], "no figure of presenced in both"),
        ([core()], "fanout is missing in b"),
    ):
        code, told = gate(tmp_path, [fanout()], b)
        assert code == 1 and why in told, told


def test_figures_that_are_zero_are_compared_by_their_difference() -> None:
    a, b = fanout(), fanout()
    a.servers[OURS].figures["false_transitions"] = [0.0, 0.0, 0.0]
    b.servers[OURS].figures["false_transitions"] = [5.0, 5.0, 5.0]
    for one, other, verdict in ((a, b, comparison.WORSE), (b, a, comparison.BETTER), (a, a, comparison.NOISE)):
        found = comparison.compare(result(one), result(other))
        assert [each.verdict for each in found if each.figure == "false_transitions"] == [verdict]
        assert comparison.table(found).rows
        json.dumps(comparison.object_of(result(one), result(other)), allow_nan=False)


def test_a_condition_is_known_by_its_whole_name() -> None:
    assert is_condition("changes_per_s") and is_condition("merged")
    assert not is_condition("peak_changes_per_s")


@pytest.mark.parametrize(("per_s", "grown"), [(0.0, 0), (10_000.0, 0), (40_000.0, 1)])
def test_memory_that_grows_beyond_its_bound_fails_a_soak(per_s: float, grown: int) -> None:
    ours = ServerOutcome()
    times = [10.0 * number for number in range(1, 31)]
    ours.series = {soak.RSS: [(at, 5e7 + per_s * at) for at in times], soak.DESCRIPTORS: [(at, 9.0) for at in times]}
    outcome = Outcome("soak", "soak", "rss_growth_bytes_per_min", servers={OURS: ours})
    soak.judge(outcome, ours)
    assert ours.checks.grown == grown
    ours.series[soak.DESCRIPTORS] = [(at, at / 10) for at in times]
    soak.judge(outcome, ours)
    assert ours.checks.grown == 2 * grown + 1
    promise = slo.promise_of("rss_growth=1MiB")
    assert len(slo.broken([promise], [outcome])) == grown


def test_what_was_due_between_two_rounds_is_not_late() -> None:
    called: list[int] = []
    returns = Returns()
    returns.add(200, called.append)
    returns.add(100, called.append)
    returns.shift(1000)
    assert returns.next_ns == 1100
    returns.act()
    assert called == [1100] and returns.next_ns == 1200


class Silent:
    """A poller without events, and a clock that moves when it is asked for some."""

    now_ns = 0

    def poll(self, timeout_s: float, _most: int) -> list[tuple[int, int]]:
        self.now_ns += 100_000
        return []


def test_the_quiet_time_at_the_end_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Silent()
    for module in ("agenda", "openloop"):
        monkeypatch.setattr(f"bench.load.{module}.now_ns", lambda: silent.now_ns)
    loop = OpenLoop(silent, lambda fd: None, spin=True)  # type: ignore[arg-type]
    loop.run(Arrivals(1000, 0.2, lambda due_ns: None), quiet_s=0.2)
    assert silent.now_ns >= 400_000_000
    assert loop.span_ns == loop.taken_ns == 200_000_000 and loop.lag.count == 200
    loop.new_round()
    assert loop.lag.count == 0 and loop.taken_ns == 0


def test_a_failing_redis_is_missing_unless_it_was_asked_for() -> None:
    side = RedisWriters.__new__(RedisWriters)
    for named, expected in ((False, []), (True, [side])):
        outcome, sides = Outcome("durable", "durable", CPU), list[Writers]([side])
        try:
            with Excuse(outcome, sides, named=named)(side):
                raise BenchError("MISCONF")
        except BenchError:
            assert named
        assert sides == expected and ("redis" in outcome.missing) != named
