"""Where a `presencectl` command connects to, and as which user and device."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from presenced.address import DEFAULT_PORT, Url, check_name, format_url, parse_url
from presenced.errors import AddressError, AuthError, ConnectionLost, PresenceError

if TYPE_CHECKING:
    import ssl

    from presenced.client import Client, Record
    from presenced.client.acts import UserActs
    from presenced.client.connector import Connecting
    from presenced.client.contact_acts import ContactActs
    from presenced.client.event_acts import EventActs
    from presenced.client.exchange import ClientExchange
    from presenced.client.privacy_acts import PrivacyActs
    from presenced.client.question_acts import QuestionActs
    from presenced.client.route_acts import RouteActs
    from presenced.client.service import Service

ONE_SHOT_PRIORITY = -1
"""As in XMPP, a device with a negative priority is connected but never makes its user available."""


@dataclass(frozen=True, slots=True)
class Acting:
    """A link, and the user that a command acts for over this link."""

    link: Client | Service
    acts: UserActs
    """The acts over the link, for a named user or for the link's own user."""
    user: str
    """The user as requests name it; empty = the link's own user."""
    name: str
    own_device: str
    """The command's own device, which is left out of what is shown; empty = the command has no device."""

    @property
    def contacts(self) -> ContactActs:
        """The acts about the user's contacts."""
        from presenced.client.contact_acts import ContactActs

        return self.acts.beside(ContactActs)

    @property
    def routing(self) -> RouteActs:
        """The questions where the user's notifications go."""
        from presenced.client.route_acts import RouteActs

        return self.acts.beside(RouteActs)

    @property
    def events(self) -> EventActs:
        """The acts about what happened to the user."""
        from presenced.client.event_acts import EventActs

        return self.acts.beside(EventActs)

    @property
    def privacy(self) -> PrivacyActs:
        """The acts about who may see the user."""
        from presenced.client.privacy_acts import PrivacyActs

        return self.acts.beside(PrivacyActs)

    @property
    def questions(self) -> QuestionActs:
        """Questions about the user that the server works out."""
        from presenced.client.question_acts import QuestionActs

        return self.acts.beside(QuestionActs)

    @property
    def is_service(self) -> bool:
        """Whether the command acts for another user, over a service's link that has no device."""
        return not self.own_device

    async def record(self) -> Record:
        """The user as watchers see them."""
        return await self.link.get_status(self.name)


@dataclass(frozen=True, slots=True)
class Target:
    """The options that say where to connect. Only the methods that connect open anything."""

    url: str
    token: str
    token_file: str
    ca_file: str
    is_insecure: bool
    timeout_s: float
    as_user: str = ""
    """The user that a service acts for; empty = the link is a user's own."""

    @asynccontextmanager
    async def one_shot(self, *, reconnect: bool = False, contacts: bool = False) -> AsyncIterator[Client]:
        """A link for one command; `contacts`: it watches the user's contacts. Its device is not shown to watchers and
        replaces no other device.

        The device id is random, because another program may use the URL's device, and because two containers may have
        the same host name and process id. The link says bye however the command ends: the server remembers devices
        whose link is lost, and nobody needs this one.
        """
        device = f"ctl-{host_name()}-{os.urandom(6).hex()}"
        url = self._parsed()._replace(device=device, priority=ONE_SHOT_PRIORITY)
        client = await self._connect(url, reconnect, contacts=contacts)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def service(self, *, reconnect: bool = False, patience_s: float = 0.0) -> AsyncIterator[Service]:
        """A link of the role service for one command, which waits `patience_s` for a reply if that is longer than
        --timeout. Raises `AuthError` (`forbidden`) if the token is a user's."""
        from presenced.client import connect_service

        url = self._parsed()._replace(device="")
        try:
            service = await connect_service(
                format_url(url),
                token=self._token(url),
                ssl_context=self._tls(url),
                timeout_s=self.timeout_s,
                request_timeout_s=max(self.timeout_s, patience_s),
                reconnect=reconnect,
            )
        except PresenceError as error:
            # The server's sentence for a user's token without a device does not help somebody at a shell.
            if error.code == "bad_hello":
                sentence = "this command needs a service's token, and the token is a user's"
                raise AuthError("forbidden", sentence) from None
            raise
        try:
            yield service
        finally:
            await service.close()

    @asynccontextmanager
    async def acting(self, user: str = "", *, reconnect: bool = False) -> AsyncIterator[Acting]:
        """A link for a command that acts for `user`, else for the user of --as, else for the URL's user. It is a
        service's with --as, and if somebody else is named and the URL is a service's, which has no device."""
        from presenced.client.acts import UserActs
        from presenced.client.client_base import connection_of

        named = user or self.as_user
        if named:
            check_name(named, "user")
        if self.as_user or (user and self._is_of_another(user)):
            async with self.service(reconnect=reconnect) as service:
                yield Acting(service, UserActs(connection_of(service).exchange), named, named, "")
        else:
            async with self.one_shot(reconnect=reconnect) as client:
                yield Acting(
                    client, UserActs(connection_of(client).exchange), named, named or client.user, client.device
                )

    def _is_of_another(self, user: str) -> bool:
        """Whether a URL was given, is a service's, and has another user."""
        url = self._parsed()
        return bool(self.url) and not url.device and url.user != user

    def device_id(self, given: str | None) -> str:
        """The device that a command is about: `given`, else the URL's. Empty if both are missing."""
        device = given or self._parsed().device
        if device:
            check_name(device, "device")
        return device

    def device(self, *, status: str, name: str | None, priority: int | None) -> Connecting[Client]:
        """Connect as the user's real device: the URL's, else one with this machine's name."""
        url = self._parsed()
        url = url._replace(
            device=url.device or host_name(),
            name=url.name if name is None else name,
            priority=url.priority if priority is None else priority,
        )
        return self._connect(url, True, status)

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[tuple[ClientExchange, int]]:
        """A short link of the user's real device, and the priority that the device should get.

        Nobody sees the device until a request sets that priority. At the end the link is dropped without a bye, so that
        the device stays for the server's grace. After an error the link says bye.
        """
        url = self._parsed()
        from presenced.client.client_base import connection_of

        hidden = url._replace(device=url.device or host_name(), priority=ONE_SHOT_PRIORITY)
        client = await self._connect(hidden, reconnect=False)
        bye = True
        try:
            yield connection_of(client).exchange, url.priority
            bye = False
        finally:
            await client.close(bye=bye)

    def place(self) -> str:
        """`host:port`, for messages."""
        url = self._parsed()
        return f"{url.host}:{url.port}"

    def user(self) -> str:
        return self._parsed().user

    def _parsed(self) -> Url:
        url = parse_url(self.url or f"presence://127.0.0.1:{DEFAULT_PORT}")
        return url if url.user else url._replace(user=_login_name())

    def _connect(
        self, url: Url, reconnect: bool, status: str = "online", *, contacts: bool = False
    ) -> Connecting[Client]:
        from presenced.client import connect

        return connect(
            format_url(url),
            token=self._token(url),
            ssl_context=self._tls(url),
            timeout_s=self.timeout_s,
            request_timeout_s=self.timeout_s,
            reconnect=reconnect,
            status=status,  # type: ignore[arg-type]
            contacts=contacts,
        )

    def _token(self, url: Url) -> str:
        if self.token:
            return self.token
        if not self.token_file:
            return url.token
        try:
            return Path(self.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise AuthError("bad_token_file", f"the token file {self.token_file} cannot be read: {reason}") from None

    def _tls(self, url: Url) -> ssl.SSLContext | None:
        """The TLS context; None for a link without TLS. A CA file is checked even then."""
        if not url.tls and not self.ca_file:
            return None
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            reason = error if isinstance(error, ssl.SSLError) else error.strerror
            sentence = f"the CA file {self.ca_file} cannot be used: {reason}"
            raise ConnectionLost("tls_failed", sentence, temporary=False) from None
        if self.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context if url.tls else None


def host_name() -> str:
    """This machine's short name, with only the characters that a device id may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().partition(".")[0])[:64] or "host"


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise AddressError("your login name is unknown; give --url presence://USER@HOST:PORT/DEVICE") from None
