"""A real daemon with little memory under load that wants more: it refuses and ends as the protocol says, those who need
nothing more are not disturbed, and it recovers when the load goes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.wire.messages import AddActivity, Attach, Bye, Get, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.until import until
from tests.support.wire import DONE, ERROR, GOODBYE, RECORDS, WELCOME, Bystander, Wire, hello, opened

MIB = 1 << 20
BUDGET = 64 * MIB
PAGE = 256
ROUNDS_MAX = 1_000
"""Requests of one page after which the budget must have been reached: ten times what it takes."""

ASKED = 16
HOSTILE = 160
"""Each of them wants more than a megabyte, and is owed a quarter of one at a time: together more than there is."""

TEXT = "x" * 512


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("PRESENCED_LIMITS__MEMORY", f"{BUDGET // MIB}MiB")
    with Daemon(tmp_path / "log", "--rate", "0", "--change-spacing", "0", apart=True) as daemon:
        yield daemon


def fill(daemon: Daemon) -> Wire:
    """A service that watches so many made-up names that the daemon takes no more; without it they are forgotten."""
    greedy = opened(daemon.port, "greedy", "", role="service")
    for number in range(1, ROUNDS_MAX):
        greedy.send(Watch(number, [f"nobody-{number}-{at}-{'y' * 80}" for at in range(PAGE)]))
        got = greedy.next()
        if got[0] != RECORDS:
            break
    assert got[:3] == [ERROR, number, "memory_low"] and got[4] > 0, got
    return greedy


def welcomed(daemon: Daemon, user: str) -> Wire:
    """A link, once the daemon takes some again."""
    taken: list[Wire] = []

    def is_taken() -> bool:
        link = Wire(daemon.port)
        # Refused before the hello was written, it raises.
        with contextlib.suppress(OSError):
            link.send(hello(user))
            if link.next()[0] == WELCOME:
                taken.append(link)
                return True
        link.close()
        return False

    until(is_taken, lambda: f"nobody was admitted again\n{daemon.log()}")
    return taken[0]


def test_new_links_and_new_state_are_refused_until_there_is_room(daemon: Daemon) -> None:
    bystander = Bystander(daemon.port)
    service = opened(daemon.port, "backend", "", role="service")
    service.send(Attach(1, 1, "known", "web"))
    assert service.next()[0] == DONE
    greedy = fill(daemon)
    assert daemon.rss_bytes() > 0.95 * BUDGET
    refused = Wire(daemon.port)
    goodbye = refused.ended_with("busy")
    assert goodbye[3] > 0 and "memory" in goodbye[2]

    # What needs no more memory goes on.
    bystander.check()
    service.send(Attach(2, 2, "unknown", "web"), AddActivity(3, "message", "known"))
    for number in (2, 3):
        service.refused_with("memory_low", number)
    service.send(Attach(4, 1, "known", "web"), SetStatus(5, "dnd", user="known"), Get(6, ["known"]))
    assert sorted(service.next()[0] for _ in range(3)) == [DONE, DONE, RECORDS]

    greedy.close()
    daemon.until_log("nothing is refused")
    welcomed(daemon, "newcomer").close()
    bystander.check()
    bystander.close()
    service.close()
    assert daemon.log().count("memory: ") <= 6, daemon.log()


def test_a_larger_budget_by_a_reload(tmp_path: Path) -> None:
    config = tmp_path / "presenced.toml"
    config.write_text("[auth]\ndev = true\n[limits]\nmemory = '64MiB'\n")
    with Daemon(tmp_path / "log", "--config", str(config), "--rate", "0", dev=False, apart=True) as daemon:
        greedy = fill(daemon)
        config.write_text("[auth]\ndev = true\n[limits]\nmemory = '1GiB'\n")
        daemon.signal(signal.SIGHUP)
        daemon.until_log("limits.memory: 64MiB -> 1GiB")
        daemon.until_log("nothing is refused")
        greedy.send(Watch(ROUNDS_MAX, ["one-more"]))
        assert greedy.next()[0] == RECORDS
        welcomed(daemon, "newcomer").close()
        greedy.close()


@pytest.mark.slow
def test_links_that_ask_and_do_not_read_are_ended_and_others_are_not(daemon: Daemon) -> None:
    speaker = opened(daemon.port, "backend", "", role="service")
    for at in range(PAGE):
        speaker.send(SetStatus(at + 1, text=TEXT, user=f"u{at}"))
    for _ in range(PAGE):
        assert speaker.next()[0] == DONE
    bystander = Bystander(daemon.port)
    names = [f"u{at}" for at in range(PAGE)]
    hostile = [opened(daemon.port, f"h{number}", receive_bytes=4096) for number in range(HOSTILE)]
    for link in hostile:
        link.send(*(Get(at + 1, names) for at in range(ASKED)))
    bystander.check()
    daemon.until_log("ending the links")
    daemon.until_log("nothing is refused")
    bystander.check()
    assert "busy: closing 'h" in daemon.log(), "who is ended is told of like others that are turned away"
    # Those that were left are told all that they asked for when they read it, or that it was refused.
    ended = 0
    for link in hostile:
        with contextlib.suppress(OSError):
            link.send(Bye())
        said = link.rest()
        answers = [frame for frame in said if frame[0] == RECORDS or frame[::2][:2] == [ERROR, "memory_low"]]
        if len(answers) != ASKED:
            ended += 1
            assert [frame[1] for frame in said if frame[0] == GOODBYE] in ([], ["busy"])
        link.close()
    assert 0 < ended < HOSTILE, ended
    welcomed(daemon, "newcomer").close()
    bystander.check()
    bystander.close()
    speaker.close()
