"""Which messages of the protocol are meant by the name of a client's method, or by their own (protocol.md, 10.3)."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import get_args

from presenced.testing.errors import TestServerError
from presenced.wire import messages
from presenced.wire.messages import ClientMessage

_METHODS: dict[str, tuple[type, ...]] = {
    "get_status": (messages.Get,),
    "get_statuses": (messages.Get,),
    "get_valid_statuses": (messages.Get,),
    "get_online_users": (messages.Who, messages.GetMembers),
    "online_users": (messages.Who, messages.GetMembers),
    "count_online": (messages.Who, messages.GetMembers),
    "set_text": (messages.SetStatus,),
    "clear_text": (messages.SetStatus,),
    "clear": (messages.SetStatus,),
    "set_device_status": (messages.SetDevice,),
    "rename_device": (messages.SetDevice,),
    "set_focus": (messages.Focus,),
    "routes": (messages.Route,),
    "record_activity": (messages.AddActivity,),
    "get_schedule": (messages.GetClaims,),
    "clear_schedule": (messages.SetSchedule,),
    "forget_device": (messages.Forget,),
    "get_sync_status": (messages.GetSync,),
    "attach_many": (messages.Attach,),
    "open_page": (messages.Attach,),
    "events": (messages.Follow,),
    "history": (messages.GetHistory,),
    "followers": (messages.GetFollowers,),
    "await_status": (messages.Await,),
}

_WITHOUT_ANSWER = (messages.Hello, messages.Heartbeat, messages.Beats, messages.Bye)
"""Messages that are no requests."""


def _named() -> dict[str, tuple[type, ...]]:
    kinds = [kind for kind in get_args(ClientMessage) if kind not in _WITHOUT_ANSWER]
    by_name: dict[str, tuple[type, ...]] = {
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): (kind,) for kind in kinds
    }
    return by_name | _METHODS


REQUESTS = _named()


def request_kinds(name: str) -> tuple[type, ...]:
    """The messages that a request of this name is. Raises `TestServerError`."""
    kinds = REQUESTS.get(name)
    if kinds is None:
        near = get_close_matches(name, REQUESTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(REQUESTS))}"
        raise TestServerError(f"no request is called {name!r}; {hint}")
    return kinds
