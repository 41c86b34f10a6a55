"""How one act becomes a method of a user's client and of a service's.

An act takes the user first; its signature and docstring are those of `Service`. `by_service` makes it a method of
`Service`, and `by_user` a method of `Client`, which is the same without the user. So a new act is one method of a group
and one line in each of the two classes, and types and documentation of the two cannot drift apart:

    class PrivacyActs(ActGroup):                                      # in a file of its own
        async def block(self, user: str, contact: str) -> None: ...

    block = PrivacyActs.by_service(PrivacyActs.block)                 # in Service: p.block("alice", "bob")
    block = PrivacyActs.by_user(PrivacyActs.block)                    # in Client: me.block("bob")

In requests an empty user or device means the link's own (protocol.md, section 5).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

from presenced.address import check_name
from presenced.client.exchange import ClientExchange

P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G")

OWN = ""
"""The link's own user, or its own device."""


class HasExchange(Protocol):
    """A client whose methods are acts."""

    _exchange: ClientExchange


class ActGroup:
    """Acts about one subject, over one link. All raise `AddressError` before anything is sent, and `RequestError`,
    `RequestTimeout` or `ConnectionLost` afterwards."""

    def __init__(self, exchange: ClientExchange) -> None:
        self._exchange = exchange

    def beside(self, group: Callable[[ClientExchange], G]) -> G:
        """The acts of another group, over the same link."""
        return group(self._exchange)

    @classmethod
    def by_service(
        cls, act: Callable[Concatenate[Self, P], Coroutine[Any, Any, R]]
    ) -> Callable[Concatenate[HasExchange, P], Coroutine[Any, Any, R]]:
        """The act as a method of a service. The caller names the user, and an empty name is refused before anything is
        sent: on the wire it would mean the service itself."""
        names_a_user = "user" in inspect.signature(act).parameters

        async def method(self: HasExchange, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if names_a_user and (args or "user" in kwargs):
                check_name(cast(str, args[0] if args else kwargs["user"]), "user")
            return await act(cls(self._exchange), *args, **kwargs)

        functools.update_wrapper(method, act)
        return method

    @classmethod
    def by_user(
        cls, act: Callable[Concatenate[Self, str, P], Coroutine[Any, Any, R]]
    ) -> Callable[Concatenate[HasExchange, P], Coroutine[Any, Any, R]]:
        """The act as a method of a user's client: about the link's own user, whom no argument names."""

        signature = inspect.signature(act)
        parameters = [one for one in signature.parameters.values() if one.name != "user"]
        signature = signature.replace(parameters=parameters)

        async def method(self: HasExchange, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                acting = act(cls(self._exchange), OWN, *args, **kwargs)
            except TypeError:
                # Python would count the user, whom the caller has not given.
                try:
                    signature.bind(self, *args, **kwargs)
                except TypeError as wrong:
                    sentence = f"{act.__name__}(): {wrong}; it is about the client's own user, whom no argument names"
                    raise TypeError(sentence) from None
                raise
            return await acting

        functools.update_wrapper(method, act)
        method.__signature__ = signature  # type: ignore[attr-defined]
        method.__annotations__ = {name: kind for name, kind in act.__annotations__.items() if name != "user"}
        return method
