"""The handlers that a server has, for tests that have no server: the tables are joined as in `server.server`."""

from __future__ import annotations

from presenced import chat_commands
from presenced.core import requests
from presenced.core.requests import Requests
from presenced.server import renewal
from presenced.server.identity import Identity, believe
from presenced.wire.messages import Hello, Role


class DevAuthority:
    """Believes every hello, and ignores tokens (`links.Authority` of a server in dev mode)."""

    def identify(self, hello: Hello) -> Identity:
        return believe(hello)

    def verify_token(self, token: str) -> Identity | None:
        return None

    def rate_for(self, role: Role) -> tuple[int, int]:
        return 0, 0

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        return 0


TABLES = (requests.HANDLERS, chat_commands.HANDLERS, renewal.handlers(DevAuthority()))
HANDLERS = {kind: handler for table in TABLES for kind, handler in table.items()}
REQUESTS = Requests(*TABLES)
