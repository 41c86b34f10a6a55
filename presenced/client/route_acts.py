"""The questions where a notification goes (protocol.md, section 23.4); see `act_group`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from presenced.address import check_focus, check_name
from presenced.client.act_group import ActGroup
from presenced.client.protocol.watched_users import chunks
from presenced.client.values import check_names
from presenced.errors import AddressError, ProtocolError
from presenced.wire import messages
from presenced.wire.messages import RouteInfo, Urgency


class RouteActs(ActGroup):
    """See the module's docstring."""

    async def route(self, user: str, *, urgency: Urgency = "normal", about: str = "") -> RouteInfo:
        """Which devices to notify now, in order: a verdict for the user and one for each device (`now`, `at`, `silent`,
        `none`), and the rule that decided.

        `urgency` is `low`, `normal`, `high` (also in a call) or `urgent` (always, everywhere). `about`: what the
        notification is about, as `set_focus` names it; who reads just that needs none. With the verdict `at` notify
        nobody before `at_ms`, and ask again then. Raises `RequestError` (`forbidden`).
        """
        if user:
            check_name(user, "user")
        else:
            welcome = self._exchange.session.welcome
            user = welcome.user if welcome is not None else ""
        (found,) = await self._ask([user], urgency, about)
        return found

    async def routes(
        self, users: Iterable[str], *, urgency: Urgency = "normal", about: str = ""
    ) -> dict[str, RouteInfo]:
        """The same of any number of users, in the order asked; one request for each 256 or so. Raises `RequestError`
        (`forbidden`) if the token leaves out one of them."""
        found: dict[str, RouteInfo] = {}
        for chunk in chunks(check_names(users), self._exchange.users_per_request_max):
            while chunk:
                routes = await self._ask(chunk, urgency, about)
                found.update((route.user, route) for route in routes)
                chunk = chunk[len(routes) :]
        return found

    async def _ask(self, users: list[str], urgency: Urgency, about: str) -> list[RouteInfo]:
        if urgency not in get_args(Urgency):
            sentence = f"{urgency!r} is not an urgency; use one of {', '.join(get_args(Urgency))}"
            raise AddressError(sentence, "bad_request")
        check_focus(about)
        reply = await self._exchange.request(
            lambda request_id: messages.Route(request_id, users, urgency, about), messages.Routes
        )
        # An answer may leave out the last users, and never all.
        if [route.user for route in reply.routes] != users[: max(1, len(reply.routes))]:
            raise ProtocolError("bad_reply", "the server answered with routes to others; is it of another version?")
        return reply.routes
