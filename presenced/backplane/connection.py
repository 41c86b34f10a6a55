"""A connection to an engine that is made when it is needed, and anew when it was lost; checked each time. Its errors
are those of `errors.py`, but for answers that only the caller can understand (`wire.EngineFault`)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from typing import Any, NoReturn

from presenced.backplane.access import EngineAccess, place_of
from presenced.backplane.errors import EngineFull, Refused, Unreachable
from presenced.backplane.inspection import EngineInfo, inspect, read_info
from presenced.backplane.library import COMMANDS
from presenced.backplane.wire import EngineCommand, EngineFault, Wire

CONNECT_S = 2.0
HANDSHAKE_S = 1.5
"""How long TLS may take of that."""

CALL_S = 2.0
"""How long an answer may take."""

MEMORY: EngineCommand = ("INFO", "memory")
"""What an engine is asked again, since anybody may change it while it is connected to."""

_PASSING = (
    "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "OOM", "UNBLOCKED", "TRYAGAIN",
    "ERR max number of clients",
)  # fmt: skip
"""Answers of an engine that is in trouble, and may be out of it soon."""

NO_RIGHT_WITHIN = "The user executing the script can't run this command"
"""What a function of ours is told, and tells, that may not use a command any more."""

_OF_ANOTHER_NAME = (62, 64)
_OF_ANOTHER_TIME = (9, 10)
"""What OpenSSL says of certificates: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH, and
X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

_PASSWORD = ("NOAUTH", "WRONGPASS", "ERR invalid password", "ERR AUTH", "ERR Client sent AUTH")


class EngineConnection:
    """One connection. Only one call at a time; one that is cancelled half way ends it."""

    def __init__(self, access: EngineAccess) -> None:
        self.info: EngineInfo | None = None
        """Of the engine, when it was last connected to; None = not yet."""
        self.place = str(access)
        """Where the engine is, or was last."""
        self._access = access
        self._wire: Wire | None = None

    async def call(self, *command: bytes | str | int, wait_s: float = CALL_S) -> Any:
        """Send a command, and return its answer. Raises `Unreachable` and `Refused`, and `EngineFault` for any other
        error that the engine answers with."""
        return (await self.calls([command], wait_s=wait_s))[0]

    async def calls(self, commands: Sequence[EngineCommand], *, wait_s: float = CALL_S) -> list[Any]:
        """The same for several commands, sent in one go. The first error among the answers is raised."""
        wire = self._wire
        if wire is None or not wire.is_open:
            wire = self._wire = await self._connected()
        try:
            answers = await wire.exchange(commands, wait_s)
        except OSError as error:
            raise Unreachable(f"the engine at {self.place} cannot be reached: {_why(error)}") from None
        for answer in answers:
            if isinstance(answer, EngineFault):
                self._judge(wire, str(answer))
        return answers

    def note_memory(self, answer: bytes) -> None:
        """The engine has answered `MEMORY`. Nothing is refused for it: the connection stays."""
        policy = read_info(answer).get("maxmemory_policy", "")
        if self.info is not None and policy:
            self.info = self.info._replace(eviction=policy)

    async def close(self) -> None:
        """End it; a later call makes it anew."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
            # The transport ends in the loop's next round.
            await asyncio.sleep(0)

    async def _connected(self) -> Wire:
        access = self._access
        host, port = await self._primary() if access.service else access.hosts[0] if access.hosts else ("", 0)
        self.place = f"unix://{access.path}" if access.path else place_of(host, port)
        wire = await self._dial(host, port, self.place)
        first: list[EngineCommand] = [_login(access)] if access.password else []
        if access.database:
            first.append(("SELECT", access.database))
        first.append(("INFO", "server", "replication", "memory", "persistence"))
        try:
            answers = await wire.exchange(first, CALL_S)
            for answer in answers:
                if isinstance(answer, EngineFault):
                    self._judge(wire, str(answer))
            self.info = inspect(read_info(answers[-1]), by_sentinel=bool(access.service))
        except OSError as error:
            why = f"{_why(error)}{self._hint(error)}"
            raise Unreachable(f"the engine at {self.place} cannot be reached: {why}") from None
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _dial(self, host: str, port: int, place: str) -> Wire:
        loop, tls = asyncio.get_running_loop(), self._access.tls
        try:
            async with asyncio.timeout(CONNECT_S):
                if self._access.path:
                    return (await loop.create_unix_connection(Wire, self._access.path))[1]
                handshake_s = HANDSHAKE_S if tls is not None else None
                return (await loop.create_connection(Wire, host, port, ssl=tls, ssl_handshake_timeout=handshake_s))[1]
        except ssl.SSLCertVerificationError as error:
            raise Refused("certificate", _why_distrusted(place, error)) from None
        except (ssl.SSLError, ConnectionAbortedError) as error:
            # A plain Redis takes the beginning of TLS for that of a long command, and waits for the rest.
            said = _why(error) if isinstance(error, ssl.SSLError) else "it does not speak TLS in time"
            sentence = f"{place} cannot be reached: {said}; if it speaks none, begin the URL with redis://"
            raise Unreachable(sentence) from None
        except OSError as error:
            raise Unreachable(f"{place} cannot be reached: {_why(error)}") from None

    def _hint(self, error: OSError) -> str:
        """What may be wrong where the engine ends a connection before it has said a word; "" = nothing is known."""
        if not isinstance(error, ConnectionError | ssl.SSLError) or self._access.path:
            return ""
        if self._access.tls is None:
            return "; if it speaks TLS, begin the URL with rediss://"
        return "; if it asks for a certificate, name one with tls_cert and tls_key"

    async def _primary(self) -> tuple[str, int]:
        """Where the primary is, by the first Sentinel that answers."""
        reason: Exception | None = None
        for host, port in self._access.hosts:
            try:
                return await self._asked(host, port)
            except (Refused, Unreachable) as error:
                # What an operator has to change is told before what passes.
                reason = error if not isinstance(reason, Refused) else reason
        assert reason is not None
        raise reason

    async def _asked(self, host: str, port: int) -> tuple[str, int]:
        place = f"the Sentinel at {place_of(host, port)}"
        wire = await self._dial(host, port, place)
        question: EngineCommand = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._access.service)
        try:
            [answer] = await wire.exchange([question], CALL_S)
            if isinstance(answer, EngineFault) and str(answer).startswith("NOAUTH") and self._access.password:
                # Sentinels have passwords of their own, and most have none.
                _, answer = await wire.exchange([_login(self._access), question], CALL_S)
        except OSError as error:
            raise Unreachable(f"{place} cannot be reached: {_why(error)}{self._hint(error)}") from None
        finally:
            wire.abort()
        if isinstance(answer, EngineFault):
            if str(answer).startswith("NOAUTH"):
                raise Refused("password", f"{place} asks for a password, and not for ours")
            raise Refused("no_service", f"{place} is none: {answer}")
        if answer is None:
            sentence = f"{place} knows no service {self._access.service!r}"
            raise Refused("no_service", f"{sentence}; write its name as the last part of the address")
        return answer[0].decode(), int(answer[1])

    def _judge(self, wire: Wire, answer: str) -> NoReturn:
        """Raise what an error means that the engine answered with."""
        place = f"the engine at {self.place}"
        if answer.startswith(_PASSING):
            # It may be another server's turn by now: look again.
            wire.abort()
            kind = EngineFull if answer.startswith("OOM") else Unreachable
            raise kind(f"{place} cannot be written to now: {answer}")
        if answer.startswith(_PASSWORD):
            wire.abort()
            if self._access.password:
                advice = "see password_file, and the user in the URL"
                raise Refused("password", f"{place} does not take this user and password; {advice}")
            advice = "name a file with it as password_file in the same section"
            raise Refused("password", f"{place} asks for a password; {advice}")
        if answer.startswith("NOPERM") or NO_RIGHT_WITHIN in answer:
            raise Refused("permission", f"the user at {place} lacks a right ({answer}); it needs: {COMMANDS}")
        if answer.startswith(("MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT")):
            raise Refused("sharded", f"{place} is part of a Redis Cluster; give one primary")
        if answer.endswith("FOREIGN") or "WRONGTYPE" in answer:
            sentence = f"keys at {place} have the names of ours and are not ours; they were left as they are"
            raise Refused("foreign_keys", f"{sentence}; give another prefix")
        if answer.startswith("ERR unknown command"):
            raise Refused("old_engine", f"{place} lacks a command: {answer}")
        if answer.startswith(("ERR DB index", "ERR invalid DB")):
            wire.abort()
            raise Refused("bad_address", f"{place} has no database {self._access.database}")
        raise EngineFault(answer)


def _login(access: EngineAccess) -> EngineCommand:
    return ("AUTH", access.user or "default", access.password)


def _why_distrusted(place: str, error: ssl.SSLCertVerificationError) -> str:
    """Why its certificate is not taken, and what to do about that."""
    said = error.verify_message or error.reason
    if error.verify_code in _OF_ANOTHER_NAME:
        sentence = f"the certificate of {place} is for another name: {said}"
        return f"{sentence}; write a name in the URL that it has, or give the engine a certificate for this one"
    sentence = f"the certificate of {place} is not trusted: {said}"
    if error.verify_code in _OF_ANOTHER_TIME:
        return f"{sentence}; renew it"
    return f"{sentence}; name the authority of it with tls_ca"


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLError):
        # Its number is one of OpenSSL's, and not of the system's.
        return (error.reason or str(error)).replace("_", " ").lower()
    # asyncio's own loop says in `strerror` which of its calls failed.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
