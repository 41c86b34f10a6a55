"""Who a client is: its address, its token, and what its device says of itself in each hello."""

from __future__ import annotations

import asyncio
import inspect
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from presenced.address import Url
from presenced.errors import AuthError
from presenced.limits import TOKEN_BYTES_MAX
from presenced.wire import messages
from presenced.wire.messages import DeviceStatus, Hello, Role

AGENT = "presenced-python"

Token = str | Callable[[], str | Awaitable[str]]


@dataclass(slots=True, repr=False)
class ClientIdentity:
    """See the module's docstring. `status`, `priority`, `meta`, `focus` and the name in `url` may change while the
    client is open."""

    url: Url
    token: Token
    tls: ssl.SSLContext | None
    role: Role
    status: DeviceStatus
    priority: int
    wants_own: bool = False
    """Whether this device shows the user's own state."""
    wants_contacts: bool = False
    """Whether each link watches the user's contacts."""
    meta: str | None = None
    """What the application keeps with the device; None = what the server has."""
    focus: str = ""
    """What is on the device's screen."""
    instance: int = field(default_factory=lambda: random.getrandbits(53) or 1)
    """The number by which the server recognises this client on its next link."""

    def __repr__(self) -> str:
        """Who and where, as a log may show it: without the token."""
        url = self.url
        who = f"{url.user or '?'}/{url.device}" if url.device else url.user or "?"
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{who} at {host}:{url.port}"

    def describe(
        self,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
    ) -> None:
        """Change what the next hello says; None leaves a value as it is."""
        self.meta = self.meta if meta is None else meta
        self.status = self.status if status is None else status
        self.priority = self.priority if priority is None else priority
        self.url = self.url if name is None else self.url._replace(name=name)

    def show(self, focus: str) -> None:
        """This is on the device's screen from now on."""
        self.focus = focus

    def hello(self, token: str, idle_ms: int | None, *, again: bool, quiet: bool, resume: str | None) -> Hello:
        """The hello of one attempt. It carries the idle level as a heartbeat does: coming back is not activity. A
        client that comes back (`again`) leaves what others set as it is, and leaves the device to a client that took
        it (protocol.md 5.1). `quiet`: it asks itself for what it does not have of its contacts. `resume`: the token of
        the lost link, or nothing; None if it will not come back."""
        url = self.url
        return Hello(
            versions=list(messages.PROTOCOL_VERSIONS),
            token=token,
            user=url.user,
            device=url.device,
            kind=url.kind,
            name=url.name,
            priority=self.priority,
            status=self.status,
            idle_ms=idle_ms,
            role=self.role,
            agent=AGENT,
            sync=self.wants_own,
            as_was=again,
            only_free=again,
            instance=self.instance,
            contacts=self.wants_contacts,
            quiet=quiet,
            resume=resume,
            meta=self.meta,
            focus=self.focus,
        )

    async def current_token(self, timeout_s: float) -> str:
        """The token to show now. Raises `AuthError`: `token_failed` (temporary) if the app's function fails or takes
        longer than `timeout_s`, `bad_token` for a token that is too long."""
        token = self.token
        if callable(token):
            try:
                async with asyncio.timeout(timeout_s):
                    made = token()
                    token = await made if inspect.isawaitable(made) else made
            except Exception as error:
                # Perhaps the app's own token service is down: worth another attempt.
                raise AuthError("token_failed", f"the token function failed: {error!r}", temporary=True) from error
        if len(token.encode()) > TOKEN_BYTES_MAX:
            raise AuthError("bad_token", f"the token is longer than {TOKEN_BYTES_MAX} bytes")
        return token
