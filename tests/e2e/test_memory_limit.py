"""A daemon under a memory limit of the kernel, and load that would take many times as much: it is never killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.wire.messages import Get, Ping, SetStatus, Watch
from tests.e2e.control_groups import ControlGroup, control_group, may_make_one
from tests.support.daemon import Daemon
from tests.support.until import until
from tests.support.wire import DONE, PONG, Bystander, Wire, hello, opened

MIB = 1 << 20
LIMIT = 160 * MIB
"""Of this 112 MiB are the budget, and a daemon without links takes 45."""

HOSTILE = 300
ASKED = 16
PAGE = 256
CHECKS = 5


@pytest.fixture(scope="module")
def group() -> Iterator[ControlGroup]:
    why_not = may_make_one()
    if why_not:
        pytest.skip(why_not)
    with control_group(LIMIT) as group:
        yield group


def test_a_storm_under_a_limit_of_the_kernel(group: ControlGroup, tmp_path: Path) -> None:
    options = ("--rate", "0", "--change-spacing", "0", "--data-dir", str(tmp_path / "state"))
    with Daemon(tmp_path / "log", *options, patches=group.join, apart=True) as daemon:
        assert (group.path / "cgroup.procs").read_text().split() == [str(daemon.pid)]
        speaker = opened(daemon.port, "backend", "", role="service")
        names = [f"u{at}" for at in range(PAGE)]
        speaker.send(*(SetStatus(at + 1, text="x" * 512, user=name) for at, name in enumerate(names)))
        for _ in names:
            assert speaker.next()[0] == DONE
        bystander = Bystander(daemon.port)
        links = []
        for number in range(HOSTILE):
            # Who comes too late is refused, and may be so before it has said anything.
            link = Wire(daemon.port, receive_bytes=4096)
            links.append(link)
            with contextlib.suppress(OSError):
                link.send(hello(f"h{number}"), *(Get(at + 1, names) for at in range(ASKED)))
            with contextlib.suppress(OSError):
                link.send(Watch(ASKED + 1, [f"nobody-{number}-{at}" for at in range(PAGE)]))
        for number in range(CHECKS):
            bystander.check()
            speaker.send(Ping(1_000 + number))
            assert speaker.next()[:2] == [PONG, 1_000 + number]
        until(lambda: "memory: " in daemon.log(), daemon.log)
        assert "of 112 MiB" in daemon.log()
        for link in links:
            link.close()
        # Whether it was over the budget again when the last of them went, is a matter of moments.
        until(lambda: is_admitted(daemon.port), daemon.log)
        bystander.check()
        bystander.close()
        speaker.close()
        assert group.oom_kills == 0
        # Less than what is resident: libraries that others have loaded too are not charged to it.
        assert group.most_used_bytes > 80 * MIB, "it was no storm"


def is_admitted(port: int) -> bool:
    link = Wire(port)
    try:
        link.send(hello("newcomer"), Ping(1))
        return [frame[0] for frame in (link.next(), link.next())][-1] == PONG
    except (AssertionError, OSError):
        time.sleep(0.1)
        return False
    finally:
        link.close()
