"""The webhooks of a server, from its start to its end. The package `webhooks` is loaded only if they are configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from presenced.config.settings import Settings
from presenced.ops.threads import in_thread
from presenced.server.identity import Identity
from presenced.server.local_link import LocalLink
from presenced.server.status import WebhookStatus
from presenced.wire.messages import PROTOCOL_VERSIONS, Goodbye, Hello, ServerMessage

if TYPE_CHECKING:
    from presenced.server.server import Server
    from presenced.webhooks.lanes import Cursor
    from presenced.webhooks.plan import Plan
    from presenced.webhooks.service import Webhooks, WebhookTest

USER = "presenced"
"""The user of the link that follows the events."""

AGENT = "presenced webhooks"


class WebhookHost:
    """Begins, changes and ends the webhooks as the settings say."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._plan: Plan | None = None
        self._webhooks: Webhooks | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self._is_ready = False

    @staticmethod
    def read(settings: Settings) -> Plan | None:
        """What the settings and their files ask for; None = no webhooks. For any thread. Raises `SettingsError`."""
        if not settings.webhooks_url:
            return None
        from presenced.webhooks.plan import read_plan

        return read_plan(settings)

    def open(self) -> None:
        """Read what the settings in force ask for. Raises as `read`."""
        self._plan = self.read(self._server.settings)

    def ready(self) -> None:
        """The server takes links: begin."""
        self._is_ready = True
        self.adopt(self._plan)

    def adopt(self, plan: Plan | None) -> None:
        """Go by this plan from now on."""
        self._plan = plan
        if not self._is_ready:
            return
        if plan is None:
            if (webhooks := self._webhooks) is not None:
                self._webhooks = None
                task = asyncio.get_running_loop().create_task(webhooks.close())
                self._ends.add(task)
                task.add_done_callback(self._ends.discard)
        elif self._webhooks is not None:
            self._webhooks.adopt(plan)
        else:
            self._webhooks = self._begin(plan)

    def _begin(self, plan: Plan) -> Webhooks:
        from presenced.webhooks.follower import FROM_NOW_ON, NAME
        from presenced.webhooks.lanes import Cursor
        from presenced.webhooks.service import Webhooks

        # A new follower would begin when its link does, some passes of the loop later: what comes before that would be
        # posted never.
        engine = self._server.engine
        engine.events.begin(self._server.links.host.begin())
        stream, is_known = engine.events.whole, engine.followers.get(USER, NAME) is not None
        webhooks = Webhooks(
            plan,
            self._open_link,
            clocks=self._server.clocks,
            in_thread=in_thread,
            count_behind=self._count_behind,
            first=FROM_NOW_ON if is_known else Cursor(stream.epoch, stream.seq),
        )
        webhooks.start()
        return webhooks

    def difference(self, plan: Plan | None) -> list[str]:
        """What another plan changes that the settings do not show, in words that name no secret."""
        before = self._plan
        if before is None or plan is None or before.secrets == plan.secrets:
            return []
        return [f"webhooks.secret_file: other secrets; {len(plan.secrets)} in force"]

    def stop(self) -> None:
        """The server stops: what is under way may still be answered."""
        self._is_ready = False
        if self._webhooks is not None:
            self._webhooks.stop()

    async def close(self) -> None:
        """End at once. Idempotent."""
        self._is_ready = False
        if self._webhooks is not None:
            await self._webhooks.close()
        await asyncio.gather(*self._ends)

    # --- for operators ----------------------------------------------------------------------------------------

    def status(self) -> WebhookStatus | None:
        """The delivery at this moment; None = no webhooks are configured."""
        return self._webhooks.status() if self._webhooks is not None else None

    async def test(self) -> WebhookTest | None:
        """Post a test event and say what came of it; None = no webhooks are configured."""
        return await self._webhooks.test() if self._webhooks is not None else None

    # --- the server -------------------------------------------------------------------------------------------

    def _open_link(self, receive: Callable[[ServerMessage], object], closed: Callable[[Goodbye], object]) -> LocalLink:
        hello = Hello(list(PROTOCOL_VERSIONS), "", USER, "", role="service", agent=AGENT)
        identity = Identity(USER, "service", 0)
        return LocalLink.open(self._server.admission, hello, identity, receive=receive, closed=closed, peer="webhooks")

    def _count_behind(self, cursor: Cursor) -> int:
        stream = self._server.engine.events.whole
        is_known = cursor.epoch == stream.epoch and stream.knows(cursor.seq)
        return stream.count_behind(cursor.seq) if is_known else -1
