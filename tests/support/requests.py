"""The handlers that a server has, for tests that have no server: the tables are joined as in `server.server`."""

from __future__ import annotations

from presenced import chat_commands
from presenced.core import requests
from presenced.core.requests import Requests

HANDLERS = {**requests.HANDLERS, **chat_commands.HANDLERS}
REQUESTS = Requests(requests.HANDLERS, chat_commands.HANDLERS)
