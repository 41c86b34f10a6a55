"""What a service takes away from a user: tokens that were made, links that are open, and all that is known
(protocol.md, 13.39 to 13.41)."""

from __future__ import annotations

from presenced.client.act_group import ActGroup
from presenced.client.values import Moment, moment_ms
from presenced.wire import messages


class ModerationActs(ActGroup):
    """See the module's docstring. A user's client has none of these."""

    async def revoke(self, user: str, before: Moment = None) -> None:
        """Refuse the user's tokens that were made earlier than `before` (None = now), and end the links that have one.

        A token says in seconds when it was made, so `before` is cut to a whole second: those of the same second are
        taken. Clients that get a new token are back within the grace, and nobody sees anything; to have the user
        offline at once, `kick` as well. Later revocations add to earlier ones, and none is taken back. Raises
        `RequestError` (`bad_time` for more than a minute ahead).
        """
        before_ms = moment_ms(before, self._exchange.server_time_ms, "before")
        await self._exchange.do(lambda request_id: messages.Revoke(request_id, user, before_ms))

    async def kick(self, user: str) -> None:
        """End all links of the user. The user's devices are gone at once, those that services hold, too.

        A client whose token is good comes back by itself after some seconds; `revoke` first, and it needs another.
        """
        await self._exchange.do(lambda request_id: messages.Kick(request_id, user))

    async def erase(self, user: str) -> None:
        """Forget everything that the server knows of the user, but for the time before which tokens are refused, and
        what other users have said of the name. Links and devices end as by `kick`, and watchers are told of a user of
        whom nothing is known.

        Returns once that is saved. What was written on the disk before is gone some time later, a minute or two as a
        rule, and then an event of the kind `erased` is told. Copies of the data directory are not touched. A client
        whose token is good comes back and makes the user known again: `revoke` first.
        """
        await self._exchange.do(lambda request_id: messages.Erase(request_id, user))
