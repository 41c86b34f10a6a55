"""presenced: a presence server and its client. A program starts at `presenced.connect(url)`.

The names load on first use, so that the daemon and `presencectl --help` do not pay for the client's imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from presenced.client import Change, Client, Record, Watch, WhoPage, connect
    from presenced.errors import (
        AddressError,
        AuthError,
        ConnectionLost,
        PresenceError,
        ProtocolError,
        RequestError,
        RequestTimeout,
    )

__version__ = "0.1.0"

__all__ = ["Change", "Client", "Record", "Watch", "WhoPage", "connect"]
__all__ += ["AddressError", "AuthError", "ConnectionLost", "PresenceError", "ProtocolError"]
__all__ += ["RequestError", "RequestTimeout"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'presenced' has no attribute {name!r}")
    from presenced import client, errors

    return getattr(client, name, None) or getattr(errors, name)
