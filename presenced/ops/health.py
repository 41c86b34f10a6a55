"""Whether clients should be sent to this server now, in words: for /readyz and `presenced_ready`."""

from __future__ import annotations

from presenced.server.status import ServerStatus


def not_ready(status: ServerStatus) -> str:
    """Why clients should not be sent to this server; "" if they may be."""
    if status.state != "serving":
        return f"the server is {status.state}"
    if status.log is not None and status.log.state == "failed":
        return "the log failed: nothing can be saved; look at the disk and the daemon's own log"
    if status.log is not None and status.log.state == "gone":
        return f"the data directory {status.log.directory} is gone: nothing can be saved; see `presencectl doctor`"
    return status.cluster.not_ready if status.cluster is not None else ""
