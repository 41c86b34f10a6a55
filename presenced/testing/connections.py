"""How a test gets clients of its server, and how an application that connects by itself gets its address."""

from __future__ import annotations

from typing import Any, TypeVar

from presenced.address import format_url, make_url
from presenced.client.client import Client
from presenced.client.client_base import ConnectedClient
from presenced.client.client_factory import connect, connect_service
from presenced.client.connector import Connecting
from presenced.client.service import Service
from presenced.client.values import Idle
from presenced.server.clocks import Clocks
from presenced.server.identity import mint
from presenced.testing.failures import Failures
from presenced.testing.network import HOST
from presenced.testing.options import Length, milliseconds
from presenced.wire.messages import Role

C = TypeVar("C", bound=ConnectedClient)

SECRET = b"the-secret-of-a-server-under-test"
"""What signs tokens where the server wants any. It keeps nothing secret."""


class Connections(Failures):
    """See the module's docstring. The base of a test server, which says what there is."""

    _secret: bytes
    _clocks: Clocks
    _clients: list[ConnectedClient]

    # --- clients ----------------------------------------------------------------------------------------------

    def connect(
        self, user: str, device: str = "laptop", *, idle: Idle | None = 0, **options: Any
    ) -> Connecting[Client]:
        """Connect a device of a user, as `presenced.connect` does, which takes the same options: `anna = await
        server.connect("anna")`, or `async with server.connect("anna", "phone", kind="mobile") as anna:`.

        The person has just given input, and is idle from now on until `anna.active()`, so that they are away after
        `away_after`; `idle=None` is a program, which never is.
        """
        host, options = self._network_name(), self._with_token(user, "user", options)
        return self._joining(connect(host=host, user=user, device=device, idle=idle, **options))

    def connect_service(self, name: str = "backend", **options: Any) -> Connecting[Service]:
        """Connect a backend, as `presenced.connect_service` does, which takes the same options."""
        host, options = self._network_name(), self._with_token(name, "service", options)
        return self._joining(connect_service(host=host, user=name, **options))

    def _network_name(self) -> str:
        self._begin_use()
        return self._network.name

    def _with_token(self, user: str, role: Role, options: dict[str, Any]) -> dict[str, Any]:
        if self._secret and "token" not in options:
            return {**options, "token": lambda: self.token(user, role)}
        return options

    def _joining(self, connecting: Connecting[C]) -> Connecting[C]:
        def make() -> C:
            self._begin_use()
            client = connecting._make()
            self._clients.append(client)
            return client

        return Connecting(make)

    def token(
        self, user: str, role: Role = "user", *, expires_in: Length = "1d", presence: dict[str, object] | None = None
    ) -> str:
        """A token for `user` that a server with `tokens=True` believes, until `expires_in` is over by its clock;
        `presence` is what it says of rights. Raises `ValueError` for a claim that would be refused."""
        self._begin_use()
        ttl_s = milliseconds(expires_in, "expires_in") // 1000
        return mint(SECRET, user, role, self._clocks.wall_ms() // 1000, ttl_s, presence)

    # --- from outside -----------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """A port of the loopback on which the server listens from now on, for programs that connect by themselves."""
        self._begin_use()
        return self._network.listen()

    @property
    def url(self) -> str:
        """`presence://127.0.0.1:PORT`, where the server listens from now on, for an application that is given an
        address. A Python program on this loop that connects there is on the virtual clock, as with `connect`. Others
        live by their own; when time is moved, each of their links counts as heard."""
        return f"presence://{HOST}:{self.port}"

    @property
    def http_url(self) -> str:
        """`http://127.0.0.1:PORT`, where the server answers from now on: backends (`/v1/`), clients with WebSockets
        (`/ws`), and browsers that fetch theirs (`/client/presence.js`). Raises `TestServerError` while it does not run.
        Of the failures those of the server befall these links too, and `lose_link`."""
        self._begin_use()
        return f"http://{HOST}:{self._network.listen_for_http()}"

    def url_of(self, user: str, device: str = "") -> str:
        """The same for a user's device, or for a service (without a device)."""
        url = make_url(host=HOST, port=self.port, user=user, device=device)
        return format_url(url).partition("?")[0].removesuffix("/")
