"""The command from its options to its exit code, with profiles that measure nothing."""

from __future__ import annotations

import csv
import gc
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench import runner
from bench.__main__ import main
from bench.catalog import PROFILES
from bench.errors import BenchError
from bench.registry import Profile
from bench.report import progress
from bench.report.progress import Bar
from bench.results.outcome import OURS, Checks, Outcome, no_progress, partial
from tests.bench.made_up import fanout

RUNNER_GIVES = {"rounds", "cores", "peers", "place", "progress"}

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Every profile runs this."""

    def put(run: Run) -> None:
        monkeypatch.setattr(Profile, "load", lambda self: run)

    return put


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def given(outcome: Outcome) -> Run:
    def run(*, progress: Any) -> Outcome:
        progress("round", 1, 1)
        return outcome

    return run


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_takes_what_it_is_given(name: str) -> None:
    profile = PROFILES[name]
    taken = inspect.signature(profile.load()).parameters
    offered = {option.name for option in profile.options}
    offered |= {"rounds"} if profile.rounds else set()
    offered |= {"peers"} if profile.peers else set()
    offered |= {"place"} if profile.place else set()
    assert offered <= taken.keys(), "an option that does nothing"
    needed = {one.name for one in taken.values() if one.default is inspect.Parameter.empty}
    assert needed <= offered | {"cores", "progress"}, "an option that is missing"
    assert taken.keys() & RUNNER_GIVES <= offered | {"cores", "progress"}, "something common that is not offered"
    defaults = {one.name: one.default for one in taken.values() if one.default is not inspect.Parameter.empty}
    for option in profile.options:
        assert defaults.get(option.name, option.default) == option.default, f"two defaults of {option.name}"


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_help_and_quick_settings_within_bounds(name: str) -> None:
    profile = PROFILES[name]
    said = call(name, "--help")
    assert said.exit_code == 0
    assert all(f"--{option.name.replace('_', '-')}" in said.output for option in profile.options)
    for option in profile.options:
        quick = profile.settings(quick=True)[option.name]
        for value in quick if option.multiple else (quick,):
            option.kind.convert(value, None, None)


def test_everything_comes_out_at_once(tmp_path: Path, runs: Callable[[Run], None]) -> None:
    runs(given(fanout()))
    files = {name: str(tmp_path / name) for name in ("a.json", "a.csv", "a.html")}
    done = call(
        *("fanout", "--json", "--json-file", files["a.json"], "--csv", files["a.csv"], "--report", files["a.html"])
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(Path(files["a.json"]).read_text())
    assert json.loads(done.stdout)["machine"]["command_line"].startswith("python -m bench")
    assert {row["profile"] for row in csv.DictReader(Path(files["a.csv"]).read_text().splitlines())} == {"fanout"}
    assert "</html>" in Path(files["a.html"]).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_the_table_or_one_line_if_it_is_to_be_quiet(runs: Callable[[Run], None]) -> None:
    runs(given(fanout()))
    assert "Redis 7.0.15" in call("fanout").stdout
    said = call("fanout", "--quiet").stdout
    assert said.startswith("fanout: one change told to 1,000 watchers") and said.count("\n") == 1


def test_options_reach_the_profile(runs: Callable[[Run], None], tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def run(*, watchers: int, rounds: int, peers: Any, cores: Any, progress: Any) -> Outcome:
        seen.update(watchers=watchers, rounds=rounds, peers=peers)
        return fanout()

    runs(run)
    assert call("fanout", "--watchers", "7", "--rounds", "2").exit_code == 0
    assert seen == {"watchers": 7, "rounds": 2, "peers": None}
    call("fanout", "--peers", "none")
    assert seen["peers"] == ()
    call("fanout", "--peers", "redis,NATS, redis")
    assert seen["peers"] == ("redis", "nats")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fanout", "--peers", "oracle"),
        ("fanout", "--peers", ""),
        ("fanout", "--peers", "all,redis"),
        ("fanout", "--watchers", "0"),
        ("fanout", "--slo", "p99=quick"),
        ("fanout", "--json-file", "/not/there/x.json"),
        ("durable", "--peers", "prosody"),
        ("heartbeat", "--peers", "redis"),
        ("unheard-of",),
        ("report", "-o", "x.html"),
        ("compare", "one.json"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(runs: Callable[[Run], None], arguments: tuple[str, ...]) -> None:
    def run() -> Outcome:
        raise AssertionError("it ran")

    runs(run)
    assert call(*arguments).exit_code == 2


def test_a_fault_fails_the_run_and_is_told(runs: Callable[[Run], None]) -> None:
    outcome = fanout()
    outcome.servers[OURS].checks = Checks(deliveries=10, misordered=2)
    runs(given(outcome))
    done = call("fanout", "--json")
    assert done.exit_code == 1
    assert done.stderr == "bench: fanout: the run failed: presenced: 2 misordered; its figures mean nothing\n"
    assert json.loads(done.stdout)["outcomes"][0]["servers"]["presenced"]["checks"]["misordered"] == 2


def test_promises_decide_the_exit_code(runs: Callable[[Run], None]) -> None:
    runs(given(fanout()))
    assert call("fanout", "--slo", "p99=50ms", "--slo", "cpu=5us", "--slo", "ratio.redis=1.0").exit_code == 0
    done = call("fanout", "--slo", "p99=50ms", "--slo", "cpu=1us")
    assert done.exit_code == 1
    assert done.stderr == "bench: fanout breaks --slo cpu=1us: it is 3.48 us\n"


def test_no_result_is_told_in_its_words(runs: Callable[[Run], None]) -> None:
    def run() -> Outcome:
        raise BenchError("no redis-server to compare with; install one: apt-get install redis-server")

    runs(run)
    done = call("fanout", "--peers", "redis", "--slo", "p99=1ms")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "bench: fanout: no redis-server to compare with; install one: apt-get install redis-server\n"
    )


def test_a_profile_that_is_not_there_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bench.profiles.fanout", None)
    done = call("fanout")
    assert done.exit_code == 1 and "the profile fanout cannot be loaded" in done.stderr
    assert call("channel", "--members", "2000", "--changes-per-s", "100", "--seconds", "1").exit_code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_rounds_and_what_is_there_is_told(
    monkeypatch: pytest.MonkeyPatch, runs: Callable[[Run], None], number: signal.Signals, code: int, tmp_path: Path
) -> None:
    signals = runner.Signals()
    monkeypatch.setattr(runner, "SIGNALS", signals)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def run() -> Outcome:
        gc.disable()
        outcome = fanout(count=2)
        with partial() as cut:
            signal.raise_signal(number)
            outcome = fanout(count=5)
        outcome.interrupted = cut.happened
        return outcome

    runs(run)
    signals.install()
    try:
        done = call("fanout", "--slo", "cpu=1us", "--json-file", str(tmp_path / "a.json"))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert done.exit_code == code
    assert "interrupted: these are the rounds that were complete" in done.stdout
    [outcome] = json.loads((tmp_path / "a.json").read_text())["outcomes"]
    assert outcome["interrupted"] and len(outcome["servers"]["presenced"]["server_cpu_us_per_delivery"]["rounds"]) == 2
    assert done.stderr == "", "an unfinished run breaks no promise"
    assert gc.isenabled()


def test_a_signal_before_the_first_round_leaves_a_sentence(runs: Callable[[Run], None]) -> None:
    def run() -> Outcome:
        raise KeyboardInterrupt

    runs(run)
    done = call("all", "--quick")
    assert done.exit_code == 130
    assert done.stderr == "bench: fanout: interrupted before a round was complete\n"


def test_all_goes_on_after_a_profile_that_cannot_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: dict[str, dict[str, Any]] = {}

    def run(self: Profile, **settings: Any) -> Outcome:
        ran[self.name] = settings
        if self.name == "durable":
            raise BenchError("in memory, where a sync costs nothing")
        outcome = fanout()
        outcome.profile = self.name
        return outcome

    monkeypatch.setattr(Profile, "run", run)
    done = call("all", "--quick", "--rounds", "2", "--peers", "redis,nats", "--json-file", str(tmp_path / "all.json"))
    assert done.exit_code == 1
    assert done.stderr == "bench: durable: in memory, where a sync costs nothing\n"
    assert list(ran) == list(PROFILES)
    found = json.loads((tmp_path / "all.json").read_text())
    assert [each["profile"] for each in found["outcomes"]] == [name for name in PROFILES if name != "durable"]
    assert found["failed"] == {"durable": "in memory, where a sync costs nothing"}
    assert ran["fanout"]["watchers"] < 1000 and ran["fanout"]["rounds"] == 2
    assert ran["fanout"]["peers"] == ("redis", "nats") and ran["durable"]["peers"] == ("redis",)
    assert "peers" not in ran["heartbeat"]
    assert done.stdout.count("python -m bench") == 1, "the machine stands once, at the foot"


def test_the_bar_draws_only_for_somebody_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Stream:
        encoding = "utf-8"

        def __init__(self, terminal: bool) -> None:
            self.terminal = terminal

        def isatty(self) -> bool:
            return self.terminal

        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

        def flush(self) -> None:
            """Nothing is kept back."""

    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    for terminal, quiet in ((False, False), (True, True)):
        monkeypatch.setattr(sys, "stderr", Stream(terminal))
        with Bar("fanout", quiet=quiet) as bar:
            bar("round", 1, 2)
    assert written == []
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Stream(True))
    with Bar("fanout") as bar:
        bar("round", 1, 2)
    assert "round 1 of 2" in "".join(written)
    no_progress("round", 1, 2)
