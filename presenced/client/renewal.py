"""Brings a new token before the old one ends, so that the link goes on (protocol.md, 13.38).

This takes a token that is a function, and a token whose end can be read. Whatever fails is tried again with a backoff
until the old token ends. Then the server ends the link, and `reconnect` comes back with another token.
"""

from __future__ import annotations

import asyncio
import logging
import random

from presenced.client.exchange import ClientExchange
from presenced.client.identity import ClientIdentity
from presenced.client.log_fields import about, fields
from presenced.client.protocol.backoff import Backoff
from presenced.client.protocol.token_end import end_ms, wait_ms
from presenced.errors import PresenceError
from presenced.wire.messages import Renew

_log = logging.getLogger("presenced.client.link")


class TokenRenewal:
    """One for each client. It waits with a timer of the loop, and has a task only while it asks."""

    def __init__(self, identity: ClientIdentity, exchange: ClientExchange, timeout_s: float) -> None:
        """`timeout_s` bounds each call of the app's function."""
        self._identity = identity
        self._exchange = exchange
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, token: str) -> None:
        """The link has this token from now on. The exchange has the link already."""
        if not callable(self._identity.token):
            return
        ends_ms = end_ms(token)
        if ends_ms is None:
            return
        left_ms = ends_ms - self._exchange.server_time_ms
        if left_ms > 0:
            delay_s = wait_ms(left_ms, random.random()) / 1000
            self._timer = self._loop.call_later(delay_s, self._begin_to_ask, token, ends_ms)

    def end(self) -> None:
        """The link is gone. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._timer = self._task = None

    def _begin_to_ask(self, token: str, ends_ms: int) -> None:
        self._timer = None
        # Not in a forked child, whose link belongs to its parent.
        if self._exchange.is_linked:
            self._task = asyncio.create_task(self._ask(token, ends_ms), name="presenced renewal of a token")

    async def _ask(self, old: str, ends_ms: int) -> None:
        try:
            token = await self._renewed(old, ends_ms)
        except Exception as error:
            # A token that is no string, or a bug of this package. Nobody awaits this task, so it is reported here.
            self._loop.call_exception_handler({"message": "the renewal of a token failed", "exception": error})
            return
        self._task = None
        if token is not None:
            extra = fields("token_renewed", **about(self._identity.url))
            _log.debug("%r: the token is renewed", self._identity, extra=extra)
            self.begin(token)

    async def _renewed(self, old: str, ends_ms: int) -> str | None:
        """Show the server another token until it takes one, and return that; None if none is taken before the end."""
        backoff, is_told = Backoff(random.random), False
        while True:
            retry_ms = 0
            try:
                token = await self._identity.current_token(self._timeout_s)
                # A function that keeps its token until shortly before the end is asked again by then.
                if token != old:
                    await self._show(token)
                    return token
            except PresenceError as error:
                if error.code == "unknown_type":
                    _log.debug("%r: the server is too old to renew tokens", self._identity)
                    return None
                level = logging.DEBUG if is_told else logging.WARNING
                sentence = "%r: the token is not renewed yet: %s (%s)"
                extra = fields("token_not_renewed", code=error.code, **about(self._identity.url))
                _log.log(level, sentence, self._identity, error, error.code, extra=extra)
                retry_ms, is_told = error.retry_ms, True
            delay_ms = backoff.delay_ms(retry_ms)
            if self._exchange.server_time_ms + delay_ms >= ends_ms:
                return None
            await asyncio.sleep(delay_ms / 1000)

    async def _show(self, token: str) -> None:
        await self._exchange.do(lambda request_id: Renew(request_id, token))
