"""What a user's client and a service's ask alike: how anybody is, who is online, who is in a channel.

One base for both, so that one question has one name. What is about a user they have each: a service's method takes
user and device first, and is a user's otherwise, which `tests/client/test_vocabulary.py` holds them to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from presenced.client import acts
from presenced.client.connection import Connection
from presenced.client.values import MembersPage, WhoPage
from presenced.wire.messages import Record


class Asking(Connection):
    """A connected client with the questions that anybody may ask."""

    async def get_status(self, user: str) -> Record:
        """The record of one user; one never seen is offline with `since_ms` 0."""
        return (await acts.get_statuses(self, [user]))[user]

    async def get_statuses(self, users: Iterable[str]) -> dict[str, Record]:
        """The records of any number of users, in the order asked; one request for each 256 or so."""
        return await acts.get_statuses(self, users)

    async def get_online_users(self, channel: str | None = None) -> list[Record]:
        """Everybody online, or online in a channel, in order of name. O(users online); see `online_users`."""
        return [record async for record in self.online_users(channel)]

    async def online_users(self, channel: str | None = None) -> AsyncIterator[Record]:
        """The same page by page, one request for each 256: users who come and go meanwhile may be missed."""
        after, limit = "", self._session.users_per_request_max
        while True:
            page: WhoPage | MembersPage
            if channel is None:
                page = await acts.who(self, after, limit)
            else:
                page = await acts.get_members(self, channel, after, limit)
            for record in page.records:
                yield record
            # A next page that does not go on would be asked for without end.
            if not page.next or page.next <= after:
                return
            after = page.next

    async def count_online(self, channel: str | None = None) -> int:
        """How many users are online, or online in a channel: exactly. O(1)"""
        if channel is None:
            return (await acts.who(self, "", 0)).total
        return (await acts.get_members(self, channel, "", 0)).total

    async def who(self, after: str = "", limit: int = 100) -> WhoPage:
        """Who is online: the count, and one page of at most `limit` (0 to 256) users after the name `after`."""
        return await acts.who(self, after, limit)

    async def get_members(self, channel: str, after: str = "", limit: int = 100) -> MembersPage:
        """Who is online in a channel: exact counts, and one page of at most `limit` (0 to 256) after the name
        `after`."""
        return await acts.get_members(self, channel, after, limit)
