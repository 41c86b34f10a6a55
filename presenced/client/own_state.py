"""The user's own state on one of the user's devices: kept, shown by the app's callbacks, then acknowledged."""

from __future__ import annotations

from collections.abc import Callable

from presenced.client.callbacks import Callbacks
from presenced.client.identity import ClientIdentity
from presenced.wire.messages import Applied, OwnState

OwnCallback = Callable[[OwnState], object]


class OwnView:
    """The latest own state. A state that comes while the callbacks still work on an earlier one replaces the state that
    waits."""

    def __init__(self, callbacks: Callbacks, send: Callable[[Applied], None], identity: ClientIdentity) -> None:
        self.latest: OwnState | None = None
        self.shown: list[OwnCallback] = []
        self._callbacks = callbacks
        self._send = send
        self._identity = identity
        self._waiting: OwnState | None = None
        self._is_working = False

    def put(self, state: OwnState) -> None:
        """A push arrived."""
        for info in state.devices:
            if info.device == self._identity.url.device:
                # It may have been renamed elsewhere, and the next hello must not take that back.
                self._identity.describe(name=info.name)
        self.latest = state
        if not self.shown and not self._is_working:
            self._send(Applied(state.version))
            return
        self._waiting = state
        if not self._is_working:
            self._is_working = True
            self._callbacks.keep(self._work())

    def add(self, callback: OwnCallback) -> None:
        """One more callback; it is called with the state that is there already, too."""
        self.shown.append(callback)
        if self.latest is not None:
            self._callbacks.soon("an own-state callback", callback, self.latest)

    async def _work(self) -> None:
        try:
            while (state := self._waiting) is not None:
                self._waiting = None
                done = [await self._callbacks.call("an own-state callback", show, state) for show in list(self.shown)]
                # A callback that failed shows something else, so the state is not acknowledged.
                if all(done):
                    self._send(Applied(state.version))
        finally:
            self._is_working = False
