"""What was, and who follows what happens (protocol.md, sections 19.2 and 23.5)."""

from __future__ import annotations

from typing import NamedTuple

from presenced.address import check_name
from presenced.client.act_group import ActGroup
from presenced.client.protocol.event_feed import Event
from presenced.client.values import Moment, check_limit, moment_ms
from presenced.errors import AddressError
from presenced.limits import HISTORY_EVENTS_MAX
from presenced.wire import messages
from presenced.wire.messages import FollowerInfo

HISTORY_MAX = 100_000
"""Events that one call asks for at most, page by page."""


class UserHistory(NamedTuple):
    """What is known of a user in a span of time."""

    user: str
    begins_ms: int
    """Wall time from which on everything is known; 0 = nothing is."""
    before: Event | None
    """The last change of status before the span; None = none is known."""
    events: list[Event]
    """By time. They have no cursor."""
    is_whole: bool
    """False: there were more than was asked for."""


class EventActs(ActGroup):
    """See the module's docstring."""

    async def history(self, user: str, since: Moment = None, until: Moment = None, limit: int = 1_000) -> UserHistory:
        """The changes of a user's record in a span of time, each with its reason: when was who online?

        `since` and `until` are aware datetimes, or timedeltas for how long ago; None = from the first event that is
        kept, until now. Asks page by page, for at most `limit` events.
        """
        check_limit(limit, 1, HISTORY_MAX)
        since_ms = moment_ms(since, self._exchange.server_time_ms, "since")
        until_ms = moment_ms(until, self._exchange.server_time_ms, "until")
        if 0 < until_ms < since_ms:
            raise AddressError("since is later than until", "bad_request")
        found: list[messages.Event] = []
        at_ms, after = since_ms, 0
        first: messages.HistoryPage | None = None
        while True:
            most = min(HISTORY_EVENTS_MAX, limit - len(found))
            page = await self._page(user, at_ms, until_ms, after, most)
            first = first or page
            found += page.events
            after = page.next
            if not after or len(found) >= limit:
                break
            at_ms = page.events[-1].at_ms
        before = _value(first.before) if first.before is not None else None
        return UserHistory(first.user, first.begins_ms, before, [_value(event) for event in found], not after)

    async def _page(self, user: str, since_ms: int, until_ms: int, after: int, limit: int) -> messages.HistoryPage:
        return await self._exchange.request(
            lambda request_id: messages.GetHistory(request_id, user, since_ms, until_ms, after, limit),
            messages.HistoryPage,
        )

    async def followers(self) -> list[FollowerInfo]:
        """The named followers of this service's links: where each is, and how far behind."""
        reply = await self._exchange.request(messages.GetFollowers, messages.FollowerList)
        return reply.followers

    async def forget_follower(self, name: str) -> None:
        """Forget a named follower and its position; that there is none is no error."""
        check_name(name, "follower")
        await self._exchange.do(lambda request_id: messages.ForgetFollower(request_id, name))


def _value(event: messages.Event) -> Event:
    emoji = (event.old_emoji, event.new_emoji)
    return Event(event.kind, event.user, event.old, event.new, event.reason, event.at_ms, "", *emoji)
