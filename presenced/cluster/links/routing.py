"""Where each message of a link is handled: on the link's own node, or on the node that decides what it is about. Pure.

A question is answered from the copies that every node has, unless the answer shows what copies do not have: when a
person was last active, and which devices are in sync. A change goes to the node that decides it.

The users and refs that a destination names are those of `wire.subjects`. That table is not asked, so that most messages
cost no more than without a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from presenced.chat_commands.grammar import verb_and_rest
from presenced.wire.messages import (
    Acknowledge,
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    Await,
    Beats,
    Block,
    Bye,
    Cancel,
    CancelAwait,
    Check,
    ClientMessage,
    Command,
    Compare,
    Detach,
    EndClaim,
    Erase,
    Explain,
    FindClaims,
    Focus,
    Follow,
    Forget,
    ForgetFollower,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
    GetDevices,
    GetFollowers,
    GetHistory,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    HideFrom,
    Join,
    Kick,
    Leave,
    Ping,
    RemoveContact,
    Renew,
    Revoke,
    Route,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Sync,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)

Where = Literal["here", "at_once", "home", "homes", "registrar", "refs", "own", "bye"]
"""Who handles a message. `here`: the node of the link, once what the link asked before is answered, for the answer may
show it. `at_once`: the same without waiting, since the answer shows nothing of that. `home`: the home of the one user
whom it is about. `homes`: those of several, each for its own. `registrar`: who decides what is between two users.
`refs`: the home of each device that it names by a ref. `own`: the home of the link's own device. `bye`: all of them."""


class Destination(NamedTuple):
    """Where a message goes."""

    where: Where
    users: Sequence[str] = ()
    """With `home` and `homes`: whom it is about."""
    refs: Sequence[int] = ()
    """With `refs`: which of the link's refs."""
    makes: bool = False
    """It may make its user known: one who has no home is given one first."""
    repeats: bool = False
    """It may be handled twice without harm, if nobody knows whether it was handled."""


HERE: Final = Destination("here")
AT_ONCE: Final = Destination("at_once")
REGISTRAR: Final = Destination("registrar")
OWN: Final = Destination("own")
BYE: Final = Destination("bye")

PAIR_VERBS: Final = frozenset("add allow deny remove block unblock hide unhide".split())
"""Chat commands about the user and another: who decides those acts."""
STATUS_VERBS: Final = frozenset("chat online away xa dnd offline auto status clear".split())
"""Chat commands by which a user sets something."""
DEVICE_VERBS: Final = frozenset("devices sync".split())
"""Chat commands about the user's devices, of which the home alone knows all."""


def destination_of(message: ClientMessage, sender: str) -> Destination:
    """Where the message goes, on a link of the user `sender`. O(1), for `Beats` and `Route` O(what they name)."""
    return _WAYS[type(message)](message, sender)


def _here(message: Any, sender: str) -> Destination:
    return HERE


def _at_once(message: Any, sender: str) -> Destination:
    return AT_ONCE


def _registrar(message: Any, sender: str) -> Destination:
    return REGISTRAR


def _bye(message: Bye, sender: str) -> Destination:
    return BYE


def _own(message: Applied, sender: str) -> Destination:
    return OWN


def _asks(message: Any, sender: str) -> Destination:
    return Destination("home", (message.user or sender,), repeats=True)


def _changes(message: Any, sender: str) -> Destination:
    return Destination("home", (message.user or sender,))


def _makes(message: Any, sender: str) -> Destination:
    return Destination("home", (message.user or sender,), makes=True)


def _named(message: Any, sender: str) -> Destination:
    """Of those that mean nobody if they name nobody."""
    return Destination("home", (message.user,)) if message.user else HERE


def _made(message: Any, sender: str) -> Destination:
    return Destination("home", (message.user,), makes=True, repeats=type(message) is Attach) if message.user else HERE


def _detached(message: Detach, sender: str) -> Destination:
    if message.user and message.device:
        return Destination("home", (message.user,))
    # What names half of a device is refused wherever it comes.
    return HERE if message.user or message.device else Destination("refs", refs=(message.ref,))


def _beating(message: Beats, sender: str) -> Destination:
    return HERE if len(message.beats) % 2 else Destination("refs", refs=message.beats[::2])


def _focused(message: Focus, sender: str) -> Destination:
    return Destination("refs", refs=(message.ref,)) if message.ref else OWN


def _routed(message: Route, sender: str) -> Destination:
    return Destination("homes", message.users, repeats=True) if message.users else HERE


def _command(message: Command, sender: str) -> Destination:
    verb, _ = verb_and_rest(message.text)
    if verb in PAIR_VERBS:
        return REGISTRAR
    if verb in STATUS_VERBS:
        return Destination("home", (message.user or sender,), makes=True)
    return Destination("home", (message.user or sender,), repeats=True) if verb in DEVICE_VERBS else HERE


_WAYS: dict[type, Callable[[Any, str], Destination]] = {
    Hello: _at_once,
    Heartbeat: _at_once,
    Bye: _bye,
    Ping: _at_once,
    SetStatus: _makes,
    SetDevice: _changes,
    Get: _here,
    Who: _here,
    Watch: _here,
    Unwatch: _here,
    Attach: _made,
    Detach: _detached,
    Beats: _beating,
    Forget: _changes,
    GetDevices: _asks,
    Touch: _makes,
    AddClaim: _makes,
    EndClaim: _changes,
    GetClaims: _here,
    SetSchedule: _makes,
    AddActivity: _makes,
    GetActivity: _here,
    Join: _changes,
    Leave: _changes,
    GetMembers: _here,
    WatchChannel: _here,
    UnwatchChannel: _here,
    Applied: _own,
    Sync: _changes,
    GetSync: _asks,
    Follow: _here,
    Command: _command,
    WatchAll: _here,
    FindClaims: _here,
    # The token is verified where the link is, and the homes are told of it (`messages.LinkRenewed`).
    Renew: _here,
    Subscribe: _registrar,
    Approve: _registrar,
    Cancel: _registrar,
    Unsubscribe: _registrar,
    SetContact: _registrar,
    RemoveContact: _registrar,
    GetContacts: _here,
    SetContacts: _registrar,
    Block: _registrar,
    Unblock: _registrar,
    GetBlocked: _here,
    HideFrom: _registrar,
    ShowAgain: _registrar,
    ShowTo: _changes,
    StopShowing: _changes,
    SetAudience: _registrar,
    GetAudience: _here,
    Revoke: _made,
    # Of somebody of whom nothing is known there may be links all the same: of a service.
    Kick: _named,
    Erase: _made,
    Compare: _here,
    Check: _here,
    Explain: _asks,
    Await: _here,
    CancelAwait: _here,
    Route: _routed,
    GetHistory: _here,
    Focus: _focused,
    Acknowledge: _here,
    GetFollowers: _here,
    ForgetFollower: _here,
}
"""In the order of the type numbers."""

OF_LINK: Final = frozenset(kind for kind, way in _WAYS.items() if way in (_here, _at_once, _bye, _own))
"""Messages that the node of the link handles whatever they say, if the link acts nowhere else."""

OF_SENDER: Final = frozenset(kind for kind, way in _WAYS.items() if way in (_makes, _changes, _asks))
"""Messages that go to the home of the user whom they name, and of their sender if they name nobody."""
