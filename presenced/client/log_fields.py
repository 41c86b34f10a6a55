"""What a line in the log of a client carries besides its sentence, for programs that read the log.

Every field begins with `presence_`: an application whose own records carry `user` or `server` would otherwise see an
error in place of the line.
"""

from __future__ import annotations

from presenced.address import Url


def fields(event: str, **values: object) -> dict[str, object]:
    """The argument `extra` of a line: the event that it tells of, and what is known beside it."""
    return {"presence_event": event} | {f"presence_{name}": value for name, value in values.items()}


def about(url: Url) -> dict[str, object]:
    """The values that say whose client it is, and with which server."""
    return {"user": url.user, "device": url.device, "server": f"{url.host}:{url.port}"}
