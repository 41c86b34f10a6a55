"""Whom a message of a client is about: the answer for every type of message, in one shape.

The sender of a message may be somebody else than the person whom it concerns: a service sets the status of a user, and
a user asks for the records of others. Code that depends on whom a message concerns asks here, instead of knowing the
fields of each type:

* Costs and order, today (`core.requests`): the cost of a change depends on the channels of the user who changes, and an
  answer made from records waits for the end of the turn if the records of its subject change in this turn.
* Who may see whom: every answer tells something about the subject of its request, so that the subject is what an answer
  is filtered by for the viewer who asked. `everybody` and `channel` answer with those whom the viewer may see.

One table knows them as well, since each message of a link of a cluster is looked up there: `cluster.links.routing` says
where a message is handled, which depends on what it does besides. The users and refs that it names are those that are
named here.

A chat command is about the user who typed it. Its words may ask for more, such as who is online. Only `chat_commands`
understands them, so that the verb is what tells about whom the answer is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

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

Scope = Literal["nobody", "sender", "users", "held", "channel", "everybody"]


class Subject(NamedTuple):
    """Whom a message is about. The scope says which of the other fields counts."""

    scope: Scope
    users: Sequence[str] = ()
    """With `users`: their names, one or several, as the message has them: they are not checked."""
    refs: Sequence[int] = ()
    """With `held`: devices that the link holds, by its own numbers for them."""
    channel: str = ""
    """With `channel`: its name. The subject is its members."""

    def names(self, sender: str) -> Sequence[str]:
        """The users whom it names, on a link of the user `sender`: none for a channel, everybody, nobody or refs."""
        return (sender,) if self.scope == "sender" else self.users


NOBODY: Final = Subject("nobody")
SENDER: Final = Subject("sender")
EVERYBODY: Final = Subject("everybody")


def subject_of(message: ClientMessage) -> Subject:
    """Whom the message is about. O(1), for `Beats` O(devices)."""
    return _SUBJECTS[type(message)](message)


def _nobody(message: Ping) -> Subject:
    return NOBODY


def _sender(message: Hello | Heartbeat | Bye | Applied | Renew | CancelAwait | Acknowledge) -> Subject:
    # The token says who a hello's sender is, and a user that the hello names can be no other (section 1.3).
    return SENDER


def _everybody(message: Who | WatchAll | Follow | FindClaims | Compare | Check) -> Subject:
    return EVERYBODY


def _one_user(message: Any) -> Subject:
    """Of a type with the field `user`: the one named, or the sender if that is empty (section 12.2)."""
    return Subject("users", (message.user,)) if message.user else SENDER


def _users(message: Get | Watch | Unwatch | Route) -> Subject:
    return Subject("users", message.users)


def _channel(message: GetMembers | WatchChannel | UnwatchChannel) -> Subject:
    return Subject("channel", channel=message.channel)


def _detached(message: Detach) -> Subject:
    return Subject("users", (message.user,)) if message.user else Subject("held", refs=(message.ref,))


def _focused(message: Focus) -> Subject:
    return Subject("held", refs=(message.ref,)) if message.ref else SENDER


def _beating(message: Beats) -> Subject:
    return Subject("held", refs=message.beats[::2])


_SUBJECTS: dict[type, Callable[[Any], Subject]] = {
    Hello: _sender,
    Heartbeat: _sender,
    Bye: _sender,
    Ping: _nobody,
    SetStatus: _one_user,
    SetDevice: _one_user,
    Get: _users,
    Who: _everybody,
    Watch: _users,
    Unwatch: _users,
    Attach: _one_user,
    Detach: _detached,
    Beats: _beating,
    Forget: _one_user,
    GetDevices: _one_user,
    Touch: _one_user,
    AddClaim: _one_user,
    EndClaim: _one_user,
    GetClaims: _one_user,
    SetSchedule: _one_user,
    AddActivity: _one_user,
    GetActivity: _one_user,
    Join: _one_user,
    Leave: _one_user,
    GetMembers: _channel,
    WatchChannel: _channel,
    UnwatchChannel: _channel,
    Applied: _sender,
    Sync: _one_user,
    GetSync: _one_user,
    Follow: _everybody,
    Command: _one_user,
    WatchAll: _everybody,
    FindClaims: _everybody,
    Renew: _sender,
    Subscribe: _one_user,
    Approve: _one_user,
    Cancel: _one_user,
    Unsubscribe: _one_user,
    SetContact: _one_user,
    RemoveContact: _one_user,
    GetContacts: _one_user,
    SetContacts: _one_user,
    Block: _one_user,
    Unblock: _one_user,
    GetBlocked: _one_user,
    HideFrom: _one_user,
    ShowAgain: _one_user,
    ShowTo: _one_user,
    StopShowing: _one_user,
    SetAudience: _one_user,
    GetAudience: _one_user,
    Revoke: _one_user,
    Kick: _one_user,
    Erase: _one_user,
    # They are answered about whoever is watched, whether named or not.
    Compare: _everybody,
    Check: _everybody,
    Explain: _one_user,
    Await: _one_user,
    CancelAwait: _sender,
    Route: _users,
    GetHistory: _one_user,
    Focus: _focused,
    Acknowledge: _sender,
    GetFollowers: _one_user,
    ForgetFollower: _one_user,
}
"""In the order of the type numbers. Who joins or leaves a channel is the subject of that, and not the channel: a
membership belongs to a device (section 17)."""
