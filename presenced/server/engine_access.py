"""What a node needs to reach the engine: the library, the password and the TLS context; and what is wrong with them.

The same for the engine of a store: `section` is that of the settings, `cluster` or `storage`.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Callable, Iterator

from presenced.backplane.access import EngineAccess
from presenced.backplane.opener import NO_LIBRARY
from presenced.config.certificate import FILE_BYTES_MAX
from presenced.config.engine_url import parse_engine
from presenced.config.files import UnusableFile, read_regular, why_unread
from presenced.config.settings import Settings, SettingsError

PASSWORD_FILE_BYTES_MAX = 65_536


def faults_of_access(settings: Settings, section: str = "cluster") -> list[str]:
    """A sentence for each thing that keeps this node from reaching the engine, without trying to. Reads the files."""
    faults = faults_of_library()
    for attempt in (read_password, engine_tls):
        faults += _tried(attempt, settings, section)
    return faults


def faults_of_library() -> list[str]:
    """A sentence if the library is not installed; else nothing."""
    return [] if importlib.util.find_spec("hiredis") else [NO_LIBRARY]


def access_to_engine(settings: Settings, section: str = "cluster") -> EngineAccess:
    """How the engine is reached and entered. Reads the files that are named. Raises `SettingsError`."""
    engine = parse_engine(getattr(settings, f"{section}_url"))
    return EngineAccess(
        engine.hosts,
        path=engine.path,
        service=engine.service,
        user=engine.user,
        password=read_password(settings, section),
        database=engine.database,
        tls=engine_tls(settings, section),
    )


def read_password(settings: Settings, section: str = "cluster") -> str:
    """The first line of `cluster.password_file`; empty = none is needed. Raises `SettingsError`."""
    name, path = f"{section}.password_file", getattr(settings, f"{section}_password_file")
    if not path:
        return ""
    try:
        text = read_regular(path, PASSWORD_FILE_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{name} {path} is not text in UTF-8") from None
    except (OSError, ValueError, UnusableFile) as error:
        raise SettingsError(f"{name} {path} {why_unread(error)}") from None
    password = text.partition("\n")[0].rstrip("\r")
    if not password:
        raise SettingsError(f"{name} {path} has no password in its first line; write it there")
    return password


def engine_tls(settings: Settings, section: str = "cluster") -> ssl.SSLContext | None:
    """What the connections to the engine are encrypted with; None = nothing. Raises `SettingsError`."""
    if not parse_engine(getattr(settings, f"{section}_url")).is_tls:
        return None
    ca, cert, key = (getattr(settings, f"{section}_tls_{name}") for name in ("ca", "cert", "key"))
    given = {f"{section}.tls_ca": ca, f"{section}.tls_cert": cert, f"{section}.tls_key": key}
    faults = [fault for name, path in given.items() if path for fault in _unread(name, path)]
    if faults:
        raise SettingsError(*faults)
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError):
        raise SettingsError(f"{section}.tls_ca {ca} has no certificates in PEM that can be used") from None
    if cert:
        try:
            # Without the function OpenSSL would ask on the terminal for the pass phrase of a protected key.
            context.load_cert_chain(cert, key, lambda: "")
        except (OSError, ValueError):
            sentence = (
                f"{section}.tls_cert {cert} and {section}.tls_key {key} are no certificate and its key in PEM, without "
                "a pass phrase"
            )
            raise SettingsError(sentence) from None
    return context


def _unread(name: str, path: str) -> Iterator[str]:
    try:
        read_regular(path, FILE_BYTES_MAX)
    except (OSError, ValueError, UnusableFile) as error:
        yield f"{name} {path} {why_unread(error)}"


def _tried(attempt: Callable[[Settings, str], object], settings: Settings, section: str) -> tuple[str, ...]:
    try:
        attempt(settings, section)
    except SettingsError as error:
        return error.faults
    return ()
