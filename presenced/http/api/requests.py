"""The table of requests: for each name in a path the message that it stands for, what its body says, and what answers.

It is made from the types of messages, so that a new one is there by itself, under its own name in small letters. What
is written down here is what differs: names of methods that say more, fields that stand for something else over HTTP,
replies that are not Done, and messages that make no sense without a link of one's own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, get_args

import msgspec
from msgspec import NODEFAULT, Meta

from presenced.http.api.object_forms import Fields, Form, Forms, has_values, to_message
from presenced.limits import DURATION_MS_MAX, HTTP_AWAIT_MS, HTTP_AWAIT_MS_MAX, HTTP_LEASE_MS
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, Message

NAMES: Final[Mapping[type[Message], str]] = {
    messages.Get: "get_status",
    messages.Forget: "forget_device",
    messages.AddActivity: "record_activity",
    messages.GetSync: "get_sync_status",
    messages.Await: "await_status",
}
"""Names by which programs know a message better (protocol.md, 10.3)."""

REPLIES: Final[Mapping[type[Message], type[Message]]] = {
    messages.Ping: messages.Pong,
    messages.Get: messages.Records,
    messages.Who: messages.WhoPage,
    messages.GetDevices: messages.DeviceList,
    messages.GetClaims: messages.ClaimList,
    messages.GetActivity: messages.ActivityList,
    messages.GetMembers: messages.MembersPage,
    messages.GetSync: messages.SyncState,
    messages.Command: messages.CommandReply,
    messages.FindClaims: messages.ClaimsPage,
    messages.GetContacts: messages.ContactList,
    messages.GetBlocked: messages.BlockList,
    messages.GetAudience: messages.AudienceInfo,
    messages.Explain: messages.Explanation,
    messages.Await: messages.Awaited,
    messages.Route: messages.Routes,
    messages.GetHistory: messages.HistoryPage,
    messages.GetFollowers: messages.FollowerList,
}
"""What answers a request, where that is not Done."""

WATCHING = "follow GET /v1/events, or open a link of your own: a WebSocket at /ws, or TCP"
OWN_LINK = "that is about a link of one's own, and a request over HTTP has none"
ELSEWHERE: Final[Mapping[type[Message], str]] = {
    messages.Hello: f"{OWN_LINK}; the token of each request says who asks",
    messages.Heartbeat: f"{OWN_LINK}; beat keeps a device that was attached",
    messages.Bye: f"{OWN_LINK}; detach lets a device go",
    messages.Watch: WATCHING,
    messages.Unwatch: WATCHING,
    messages.WatchChannel: f"{WATCHING}; get_members asks once",
    messages.UnwatchChannel: WATCHING,
    messages.WatchAll: WATCHING,
    messages.Compare: f"{OWN_LINK}; get_status asks once",
    messages.Check: OWN_LINK,
    messages.Follow: "GET /v1/events streams them",
    messages.Beats: "beat keeps one device that was attached",
    messages.Focus: "attach and beat say it, in the field focus",
    messages.Applied: f"{OWN_LINK}; nothing is to be acknowledged",
    messages.CancelAwait: "close the connection that await_status waits on",
    messages.Acknowledge: "acknowledge names the follower",
    messages.Renew: "send the new token with the next request",
}
"""Messages that are no request here, and what to do instead."""


Lease = Annotated[int, Meta(ge=1, le=DURATION_MS_MAX)]


class Beat(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Keep a device that was attached over HTTP for some time longer. It is `no_such_device` if the device is gone, or
    another client has it by now."""

    user: str
    device: str
    idle_ms: messages.IdleMs | None = None
    """How long ago the person's last input was; null = not told."""
    focus: str = ""
    """What is on the device's screen; empty = nothing that is told."""
    for_at_most_ms: Lease = HTTP_LEASE_MS
    """How long the device is live from now on, unless another attach or beat comes."""


class Handled(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The follower of this name has handled the events up to this one, and goes on behind it when it comes back."""

    name: str
    """The name under which a GET /v1/events of this user follows now."""
    id: str
    """The `id` of the event in the stream."""


INSTEAD: Final[Mapping[type[Message], Fields]] = {
    messages.Attach: {"for_at_most_ms": (Lease, HTTP_LEASE_MS)},
    messages.Detach: {"user": (str, NODEFAULT), "device": (str, NODEFAULT)},
    messages.Await: {"for_at_most_ms": (Annotated[int, Meta(ge=1, le=HTTP_AWAIT_MS_MAX)], HTTP_AWAIT_MS)},
}
"""Fields that say something else over HTTP."""

NOTES: Final[Mapping[str, str]] = {
    "attach": "A device of a user is online from now on, for `for_at_most_ms`, and gone after that unless another "
    "attach or beat comes. With `as_was` what is known of a device that is live stays.",
    "detach": "A device that was attached over HTTP has left; with `lost` or `within_ms`, only its connection is lost.",
    "beat": inspect.cleandoc(Beat.__doc__ or ""),
    "acknowledge": inspect.cleandoc(Handled.__doc__ or ""),
    "await_status": "Answer once: as soon as the user shows one of these statuses, or when it has taken too long. The "
    "answer comes when it is so, and closing the connection ends it.",
}
"""What requests do, where the message says it of a link."""

HIDDEN: Final = frozenset({"id", "ref"})
"""Fields that are for links alone: how a reply is known, and a service's number for a device."""


class ApiRequest(NamedTuple):
    """One request."""

    name: str
    does: type
    """The message that it stands for, or what says what it does."""
    read: Callable[[bytes], Any]
    """Its body as a `form`. Raises what a decoder raises."""
    form: Form
    answer: Form
    tell: Callable[[Any], bytes]
    """A reply as the body of the answer."""
    has_ref: bool
    has_values: bool
    """Whether there are structs in its fields."""

    def message(self, said: Any, request_id: int, ref: int = 0) -> ClientMessage:
        """The message for what was read. O(bytes)."""
        values = msgspec.structs.astuple(said)
        if self.has_values:
            values = tuple(map(to_message, values))
        made: ClientMessage = self.does(request_id, ref, *values) if self.has_ref else self.does(request_id, *values)
        return made


def spelled(message: type) -> str:
    """The name of a message as programs write it: `SetStatus` is `set_status`. O(its length)."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", message.__name__).lower()


def _table(forms: Forms) -> dict[str, ApiRequest]:
    done = forms.reply(messages.Done)
    table = {
        "beat": _request("beat", Beat, Beat, done),
        "acknowledge": _request("acknowledge", Handled, Handled, forms.reply(messages.FollowerInfo)),
    }
    asked = [message for message in get_args(ClientMessage) if message not in ELSEWHERE]
    # The forms of requests come first: what they have in common with replies is one type then.
    made = [forms.request(message, without=HIDDEN, instead=INSTEAD.get(message, {})) for message in asked]
    for message, form in zip(asked, made, strict=True):
        name = NAMES.get(message) or spelled(message)
        table[name] = _request(name, message, form, forms.reply(REPLIES.get(message, messages.Done)))
    return table


def _request(name: str, does: type[msgspec.Struct], form: Form, answer: Form) -> ApiRequest:
    def tell(reply: Any) -> bytes:
        return encode(convert(reply, answer, from_attributes=True)) + b"\n"

    encode, convert = msgspec.json.encode, msgspec.convert
    return ApiRequest(
        name,
        does,
        msgspec.json.Decoder(form).decode,
        form,
        answer,
        tell,
        has_ref="ref" in does.__struct_fields__,
        has_values=any(has_values(kind) for kind in form.__annotations__.values()),
    )


_FORMS = Forms()

REQUESTS: Final[Mapping[str, ApiRequest]] = _table(_FORMS)
"""By the names in paths, in the order of the numbers of their messages."""

EVENT: Final = _FORMS.reply(messages.Event)
FOLLOWING: Final = _FORMS.reply(messages.Following)
"""What a stream of events tells, and where it stands."""

INSTEAD_OF: Final[Mapping[str, str]] = {spelled(message): way for message, way in ELSEWHERE.items()}
"""For the names of messages that are no request here: what to do instead."""
