"""presenced: a presence server and its client. A user's program starts at `presenced.connect(url)`, a backend at
`presenced.connect_service(url)`, a script without an event loop at `presenced.sync`.

The names load on first use, so that the daemon and `presencectl --help` do not pay for the client's imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from presenced import sync as sync
    from presenced.client import (
        ActivityInfo,
        Answer,
        Attachment,
        Change,
        ChannelWatch,
        ClaimInfo,
        Client,
        DeviceInfo,
        Event,
        Events,
        EveryoneWatch,
        MemberChange,
        MembersPage,
        OwnState,
        Record,
        Schedule,
        Service,
        SyncStatus,
        Taken,
        Watch,
        WhoPage,
        connect,
        connect_service,
    )
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
__all__ += ["Answer", "Attachment", "ChannelWatch", "Event", "Events", "EveryoneWatch", "MemberChange", "MembersPage"]
__all__ += ["Schedule", "Service", "SyncStatus", "Taken", "connect_service"]
__all__ += ["ActivityInfo", "ClaimInfo", "DeviceInfo", "OwnState"]
__all__ += ["AddressError", "AuthError", "ConnectionLost", "PresenceError", "ProtocolError"]
__all__ += ["RequestError", "RequestTimeout"]


def __getattr__(name: str) -> Any:
    if name == "sync":
        import presenced.sync as module

        return module
    if name not in __all__:
        raise AttributeError(f"module 'presenced' has no attribute {name!r}")
    from presenced import client, errors

    return getattr(client, name, None) or getattr(errors, name)
