"""The channels that a user's own device is in, joined again on each new link."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from presenced.client.log_fields import fields
from presenced.client.protocol.pending_requests import Make, OnReply, Reply
from presenced.errors import PresenceError
from presenced.wire.messages import Error, Join

_log = logging.getLogger("presenced.client.devices")


class JoinedChannels:
    """See the module's docstring. A `Part`."""

    def __init__(self) -> None:
        self._channels: dict[str, None] = {}

    def joined(self, channel: str) -> OnReply:
        """What to do with the reply to a join, whether or not its caller still waits for it."""

        def answered(reply: Reply) -> None:
            if not isinstance(reply, Error):
                self._channels[channel] = None

        return answered

    def left(self, channel: str) -> OnReply:
        """The same for a leave."""

        def answered(reply: Reply) -> None:
            if not isinstance(reply, Error):
                self._channels.pop(channel, None)

        return answered

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        for channel in self._channels:
            yield joining("", "", channel)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        self._channels.clear()


def joining(user: str, device: str, channel: str) -> tuple[Make, OnReply]:
    """Join a channel again on a new link, unless somebody else has taken the device out of a channel since it came.
    Where the server still knows of the membership, that changes nothing."""

    def answered(reply: Reply) -> None:
        if isinstance(reply, Error):
            extra = fields("channel_refused", user=user, device=device, channel=channel, code=reply.code)
            _log.warning("%s/%s could not join %s again: %s", user, device, channel, reply.message, extra=extra)

    return lambda request_id: Join(request_id, channel, user, device, as_was=True), answered
