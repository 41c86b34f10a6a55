"""Whether a client is connected, why not, and the app's callbacks that are told of each change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from presenced.client.callbacks import Callbacks
from presenced.errors import ConnectionLost, PresenceError

State = Literal["connecting", "connected", "closed"]
StateCallback = Callable[[State, PresenceError | None], object]


class LinkState:
    """Written by `reconnect` alone; everybody else reads it."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.state: State = "connecting"
        self.reason: PresenceError | None = None
        """Why there is no link: the newest failure while `connecting`, the end while `closed`."""
        self._told: list[StateCallback] = []
        self._callbacks = callbacks

    def tell(self, callback: StateCallback) -> list[StateCallback]:
        """Call it after each change from now on, until it is removed from the list that this returns."""
        self._told.append(callback)
        return self._told

    def set(self, state: State, reason: PresenceError | None) -> None:
        """Callbacks run on a later turn of the loop, so that one may await any method of the client."""
        self.reason = reason
        if state == self.state:
            return
        self.state = state
        for callback in self._told:
            self._callbacks.soon("a state callback", callback, state, reason)

    def set_silently(self, state: State, reason: PresenceError) -> None:
        """The same without the callbacks, for a process in which they do not run."""
        self.state, self.reason = state, reason

    def refuse_closed(self) -> None:
        """Raises `PresenceError` once the state is `closed`."""
        if self.state == "closed":
            raise self.closed_error()

    def closed_error(self) -> PresenceError:
        """What a request raises once the state is `closed`."""
        return self.reason or ConnectionLost("closed", "this client is closed; connect again", temporary=False)
