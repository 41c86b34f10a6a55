"""presenced: a presence server and its client.

A user's program connects one device, a backend speaks for many. Both are asynchronous; `presenced.sync` has the same
without `await`, for scripts:

    async with presenced.connect("presence://alice@127.0.0.1:5250/laptop") as me:       # a Client
        await me.set_status("dnd", text="in a meeting", until=1800)
        async for change in me.watch("bob", "carol"):                                   # a Watch yields a Change
            print(change.kind, change.user, change.new.status)

    async with presenced.connect_service("presence://backend@127.0.0.1:5250") as p:     # a Service
        await p.attach("u1", "web", kind="browser")
        p.on("offline", lambda event: print(event.user, event.reason))                  # an Event

    with presenced.sync.connect("presence://alice@127.0.0.1:5250/laptop") as me:
        print(me.get_status("bob"))                                                     # a Record

What goes wrong is a `PresenceError`, whose `code` is stable and which knows whether it is `temporary`. The rest is in
`help(presenced.connect)`, `help(presenced.Client)` and `help(presenced.Service)`. The logger is `presenced.client`.
"""

# The names load on first use, so that the daemon and `presencectl --help` do not pay for the client's imports.

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["connect", "connect_service", "Client", "Service", "Connecting"]
__all__ += ["Watch", "ChannelWatch", "EveryoneWatch", "Events", "Losses", "Change", "MemberChange", "Event"]
__all__ += ["ContactsWatch", "ContactChanges", "ContactChange"]
__all__ += ["Record", "OwnState", "DeviceInfo", "ClaimInfo", "ActivityInfo", "ContactInfo", "ContactEntry", "Welcome"]
__all__ += ["Explanation"]
__all__ += ["RouteInfo", "TargetInfo", "Urgency", "Verdict"]
__all__ += [
    "Answer",
    "Attachment",
    "Audience",
    "Blocked",
    "ContactsPage",
    "FollowerInfo",
    "UserHistory",
    "MembersPage",
    "Page",
    "Schedule",
    "SyncStatus",
    "Taken",
    "ValidStatus",
    "WhoPage",
    "Window",
]
__all__ += ["PresenceError", "AddressError", "AuthError", "ConnectionLost", "ProtocolError"]
__all__ += ["RequestError", "RequestTimeout"]
__all__ += ["Status", "StatusRequest", "DeviceStatus", "DeviceState", "Source", "Role", "State", "Token"]
__all__ += ["Kind", "MemberChangeKind", "EventName", "Until", "Idle", "Lasting", "Moment", "WindowLike"]
__all__ += ["Subscription", "AudienceLevel", "ContactKind", "ContactLike"]

if TYPE_CHECKING:
    from presenced import sync as sync
    from presenced.client import (
        ActivityInfo,
        Answer,
        Attachment,
        Audience,
        AudienceLevel,
        Blocked,
        Change,
        ChannelWatch,
        ClaimInfo,
        Client,
        Connecting,
        ContactChange,
        ContactChanges,
        ContactEntry,
        ContactInfo,
        ContactKind,
        ContactLike,
        ContactsPage,
        ContactsWatch,
        DeviceInfo,
        DeviceState,
        DeviceStatus,
        Event,
        EventName,
        Events,
        EveryoneWatch,
        Explanation,
        FollowerInfo,
        Idle,
        Kind,
        Lasting,
        Losses,
        MemberChange,
        MemberChangeKind,
        MembersPage,
        Moment,
        OwnState,
        Page,
        Record,
        Role,
        RouteInfo,
        Schedule,
        Service,
        Source,
        State,
        Status,
        StatusRequest,
        Subscription,
        SyncStatus,
        Taken,
        TargetInfo,
        Token,
        Until,
        Urgency,
        UserHistory,
        ValidStatus,
        Verdict,
        Watch,
        Welcome,
        WhoPage,
        Window,
        WindowLike,
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
else:
    # Hidden from type checkers: to them it would mean that every name is there.
    def __getattr__(name):
        if name == "sync":
            import presenced.sync as module

            return module
        if name not in __all__:
            raise AttributeError(f"module 'presenced' has no attribute {name!r}")
        from presenced import client, errors

        value = globals()[name] = getattr(client, name, None) or getattr(errors, name)
        return value


def __dir__() -> list[str]:
    """For Tab and `help`, which would see only what was used by then."""
    return sorted({*__all__, "sync", *(name for name in globals() if name.startswith("__"))})
