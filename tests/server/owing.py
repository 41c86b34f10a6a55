"""Links that are owed much: they ask for long replies and read none."""

from __future__ import annotations

from presenced.wire.messages import Get, SetStatus
from tests.support.in_process import InProcess
from tests.support.wire import DONE, Wire, opened

MIB = 1 << 20


def with_texts(running: InProcess) -> tuple[Wire, list[str]]:
    """A service, and users with long texts: 143 KiB when asked for all of them."""
    service = opened(running.port, "backend", "", role="service")
    names = [f"u{at}" for at in range(256)]
    service.send(*(SetStatus(at + 1, text="x" * 512, user=name) for at, name in enumerate(names)))
    for _ in names:
        assert service.next()[0] == DONE
    return service, names


def owed(running: InProcess, name: str, replies: int, names: list[str]) -> Wire:
    """A link that has asked for so many long replies and reads none of them."""
    link = opened(running.port, name, receive_bytes=4096)
    link.send(*(Get(at + 1, names) for at in range(replies)))
    running.until(
        lambda server: any(
            one.session is not None and one.session.user_name == name and one.unread_bytes > 50_000
            for one in server.links
        )
    )
    return link
