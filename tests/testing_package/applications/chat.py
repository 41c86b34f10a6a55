"""A chat's backend: pages in browsers, "last seen", who is typing, and messages for those who are away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import presenced

TYPING_S = 6.0
"""After this time without another key nobody is typing any more."""


class Chat:
    """`await Chat.open(url)`, with the address of the presence server."""

    def __init__(self, presence: presenced.Service) -> None:
        self.presence = presence
        self.pages: dict[tuple[str, str], presenced.Page] = {}
        self.typing: dict[str, asyncio.TimerHandle] = {}
        self.waiting: dict[str, list[str]] = {}
        """Messages for people who are not there."""
        self.delivered: dict[str, list[str]] = {}
        self._task = asyncio.create_task(self._deliver_to_who_comes())

    @classmethod
    async def open(cls, url: str, **options: Any) -> Chat:
        return cls(await presenced.connect_service(url, **options))

    async def close(self) -> None:
        self._task.cancel()
        for handle in self.typing.values():
            handle.cancel()
        await self.presence.close()

    # --- pages ------------------------------------------------------------------------------------------------

    async def page_opened(self, user: str, tab: str) -> None:
        self.pages[user, tab] = await self.presence.open_page(user, tab, kind="browser", idle=0)

    async def page_closed(self, user: str, tab: str, *, lost: bool = False) -> None:
        await self.pages.pop((user, tab)).close(lost=lost)

    def key_pressed(self, user: str, tab: str) -> None:
        self.presence.active(user, self.pages[user, tab].device)
        if (handle := self.typing.pop(user, None)) is not None:
            handle.cancel()
        self.typing[user] = asyncio.get_running_loop().call_later(TYPING_S, self.typing.pop, user)

    # --- what people see --------------------------------------------------------------------------------------

    async def last_seen(self, user: str) -> str:
        """As it stands under a name."""
        record = await self.presence.get_status(user)
        if record.status != "offline":
            return {"away": "away", "dnd": "busy"}.get(record.status, "online")
        if not record.last_seen_ms:
            return "never seen"
        seconds = (self.presence.server_time_ms - record.last_seen_ms) // 1000
        for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if seconds >= length_s:
                count = seconds // length_s
                return f"last seen {count} {unit}{'s' if count > 1 else ''} ago"
        return "last seen just now"

    async def send(self, user: str, text: str) -> str:
        """Returns what the sender is shown: `delivered` or `waiting`."""
        if (await self.presence.get_status(user)).status in ("offline", "away"):
            self.waiting.setdefault(user, []).append(text)
            return "waiting"
        self.delivered.setdefault(user, []).append(text)
        return "delivered"

    async def _deliver_to_who_comes(self) -> None:
        async for event in self.presence.events():
            if event.kind == "status_change" and event.new not in ("offline", "away"):
                self.delivered.setdefault(event.user, []).extend(self.waiting.pop(event.user, []))

    def midnight(self) -> datetime:
        """For the line between two days."""
        now = datetime.fromtimestamp(self.presence.server_time_ms / 1000, UTC)
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
