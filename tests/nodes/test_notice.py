"""What a node tells its supervisor, read and heard."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, strategies as st

from presenced.nodes.notice import Notice, parse_notice
from presenced.nodes.notice_socket import NoticeSocket
from presenced.ops.notifier import Notifier
from tests.support.until import eventually


@given(st.binary(max_size=200))
def test_no_message_is_too_odd(data: bytes) -> None:
    assert parse_notice(data).status is None or parse_notice(data).status.isprintable()  # type: ignore[union-attr]


def test_fields() -> None:
    assert parse_notice(b"READY=1\nSTATUS=3 users\x07") == Notice(is_ready=True, status="3 users")
    assert parse_notice(b"READY=0\nX=1\nhello\nSTOPPING=1\nSTATUS=") == Notice(is_stopping=True, status="")
    assert parse_notice(b"WATCHDOG=1") == Notice(is_alive=True)


async def test_what_a_daemon_sends_is_heard(tmp_path: Path) -> None:
    heard: list[Notice] = []
    notices = NoticeSocket(str(tmp_path / "n"), heard.append)
    notifier = Notifier({"NOTIFY_SOCKET": notices.path, "WATCHDOG_USEC": "20000000"})
    assert notifier.watchdog_s == 10
    notifier.working("reading")
    notifier.ready("well")
    notifier.alive()
    notifier.stopping("bye")
    await eventually(lambda: len(heard) == 4)
    assert heard == [
        Notice(wants_time=True, status="reading"),
        Notice(is_ready=True, status="well"),
        Notice(is_alive=True),
        Notice(is_stopping=True, wants_time=True, status="bye"),
    ]
    notifier.alive()
    notices.read_rest()
    assert len(heard) == 5
    notifier.close()
    notices.close()
    notices.close()
    assert not os.path.exists(notices.path)
