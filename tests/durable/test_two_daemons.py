"""One directory, one daemon: the second says so and touches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.wire.messages import SetStatus
from tests.durable.node import Node
from tests.durable.swarm import DONE, TEXT, Swarm, ask, opened, operator
from tests.support.daemon import StartFailed

IN_USE = 75


@pytest.mark.parametrize("is_tidied", [False, True], ids=["as-it-is", "LOCK-deleted"])
def test_the_second_daemon_leaves_and_the_first_is_undisturbed(is_tidied: bool, tmp_path: Path) -> None:
    with Node(tmp_path / "first") as first, Node(tmp_path / "second") as second:
        second.data = first.data
        first.start()
        with Swarm(first.port) as swarm:
            alice = opened(swarm, "alice")
            assert alice.answer(SetStatus(1, text="before"))[0] == DONE
            if is_tidied:
                (first.data / "LOCK").unlink()
            files = {name: (first.data / name).stat().st_ino for name in first.files()}
            with pytest.raises(StartFailed) as failed:
                second.start()
            assert failed.value.status == IN_USE
            assert len(second.log().splitlines()) == 1 and "in use by another presenced" in second.log()
            assert {name: (first.data / name).stat().st_ino for name in first.files()} == files
            assert alice.answer(SetStatus(2, text="after"))[0] == DONE
            first.kill()
        second.start()
        with Swarm(second.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == "after"
        second.stop()
