"""The settings in force, with what was read from the files that they name: keys, certificate.

Everybody who goes by a setting that a reload changes asks here each time. Only `adopt` changes anything.
"""

from __future__ import annotations

from ssl import SSLContext

from presenced import limits
from presenced.config.certificate import Certificate
from presenced.config.rules import validate
from presenced.config.settings import Settings
from presenced.server.accounts import UNLIMITED
from presenced.server.clocks import Clocks
from presenced.server.identity import Identity, Verifier, believe
from presenced.server.key_ring import KeyRing, load_key_ring
from presenced.server.tls import Tls, load_tls
from presenced.wire.messages import Hello, Role


class ActiveSettings:
    """The settings of a running server. For links it is their `links.Authority`."""

    def __init__(self, settings: Settings, clocks: Clocks) -> None:
        """Check the settings and read the files. Raises `SettingsError`, `SecretError`."""
        validate(settings)
        self._clocks = clocks
        self.settings = settings
        self._tls = load_tls(settings)
        self._verifier = Verifier(load_key_ring(settings))

    @property
    def keys(self) -> KeyRing:
        """What tokens are verified with."""
        return self._verifier.ring

    @property
    def tls(self) -> SSLContext | None:
        """What new connections are opened with; None = plain TCP."""
        return self._tls.context if self._tls is not None else None

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that new links are shown; None if there is no TLS, or if only OpenSSL can read it."""
        return self._tls.certificate if self._tls is not None else None

    def adopt(self, settings: Settings, tls: Tls | None, keys: KeyRing) -> None:
        """Go by these from now on. Whether there is TLS at all stays as it was: only a restart changes it."""
        self.settings = settings
        # Another verifier, so that nothing is remembered that the former keys found genuine.
        self._verifier = Verifier(keys)
        if self._tls is not None and tls is not None:
            self._tls = tls

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for (protocol.md, 1.3); raises `AuthError`."""
        if self.settings.dev:
            return believe(hello)
        return self._verifier.verify(hello.token, self._clocks.wall_ms())

    def verify_token(self, token: str) -> Identity | None:
        """Who the token speaks for; None in dev mode, where tokens are ignored. Raises `AuthError`."""
        return None if self.settings.dev else self._verifier.verify(token, self._clocks.wall_ms())

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        """A wall time as a moment of the monotonic clock, at least 1 ms from `now_ms`; 0 stays 0."""
        return now_ms + max(1, wall_ms - self._clocks.wall_ms()) if wall_ms else 0

    def rate_for(self, role: Role) -> tuple[int, int]:
        """Units of work in a second, and in a burst, for all links of a user in this role (protocol.md, 4.5)."""
        rate = self.settings.rate
        if rate == 0:
            return 0, UNLIMITED
        if rate is not None:
            return rate, rate * 4
        if role == "user":
            return limits.RATE_UNITS_PER_S, limits.RATE_BURST_UNITS
        return limits.SERVICE_RATE_UNITS_PER_S, limits.SERVICE_RATE_BURST_UNITS
