"""How `presenced serve` ends when it cannot go on: a sentence that says what to do, and the exit code. Pure."""

from __future__ import annotations

import errno

from presenced.config import Settings, SettingsError
from presenced.ops.admin import CannotOpenAdmin
from presenced.server.fact_log import LogFailed
from presenced.server.keys import SecretError
from presenced.server.listeners import CannotListen
from presenced.server.node_end import NodeEnded
from presenced.storage.files import DiskFull
from presenced.storage.manifest import ManifestError
from presenced.storage.port import PlaceAway, TakenOver
from presenced.storage.recovery import DamageError
from presenced.storage.store import DirectoryError, Locked

EXIT_DAMAGE = 65
EXIT_FAILED = 70
EXIT_DIRECTORY = 73
EXIT_IO = 74
EXIT_BUSY = 75
EXIT_PERMISSION = 77
EXIT_CONFIG = 78

_ADMIN_EXITS = {errno.EADDRINUSE: EXIT_BUSY, errno.EPERM: EXIT_PERMISSION, errno.EACCES: EXIT_PERMISSION}


def explain(error: Exception, settings: Settings) -> tuple[str, int]:
    """One sentence that says what to do, and the exit code."""
    match error:
        case SettingsError() | SecretError():
            return str(error), EXIT_CONFIG
        case CannotOpenAdmin():
            return str(error), _ADMIN_EXITS.get(error.reason.errno or 0, EXIT_CONFIG)
        case CannotListen():
            return _cannot_listen(error, settings)
        case NodeEnded():
            return str(error), EXIT_CONFIG if error.is_lasting else EXIT_BUSY
        case LogFailed() if isinstance(error.args[0], TakenOver):
            return f"{error.args[0]}; this daemon ends, and that one has what was saved here", EXIT_CONFIG
        case LogFailed() if settings.storage_url:
            return f"the store of storage.url failed: {error}; start again when it is well", EXIT_IO
        case PlaceAway():
            return f"{error}; start again when it is there", EXIT_BUSY
        case Locked():
            return str(error), EXIT_BUSY
        case DirectoryError():
            return str(error), EXIT_DIRECTORY
        case DamageError() | ManifestError():
            return f"refusing to start: {error}", EXIT_DAMAGE
        case LogFailed() if _lacks_descriptors(error.args[0]):
            sentence = f"no file descriptor was left for the log in {settings.data_dir}: {error}"
            return f"{sentence}; raise the limit (LimitNOFILE= in the unit, or ulimit -n), then start again", EXIT_IO
        case LogFailed() | DiskFull():
            return f"the disk under {settings.data_dir} failed: {error}; free or replace it, then start again", EXIT_IO
        case PermissionError():
            return f"no permission for {error.filename or settings.data_dir}: {error.strerror}", EXIT_PERMISSION
        case OSError() if error.errno is not None and settings.data_dir:
            code = EXIT_DIRECTORY if error.errno in (errno.ENOTDIR, errno.EROFS, errno.ENOENT) else EXIT_IO
            return f"the data directory {settings.data_dir} cannot be used: {error.strerror}", code
    return f"stopped by an internal failure: {type(error).__name__}: {error}", EXIT_FAILED


def _lacks_descriptors(reason: object) -> bool:
    return isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE)


def _cannot_listen(error: CannotListen, settings: Settings) -> tuple[str, int]:
    """As `explain`. A fault that another process or the network causes may be gone at the next start."""
    address, key = (error.address, "http.address") if error.address else (settings.listen, "listen.address")
    match error.reason.errno:
        case errno.EADDRINUSE:
            sentence = "is in use, perhaps by another presenced; stop that one, or choose another port with"
            return f"{address} {sentence} {key}{_for_newcomers(settings, key)}", EXIT_BUSY
        case errno.EADDRNOTAVAIL:
            sentence = "this machine does not have that address, or not yet; give it one, or choose another with"
            return f"cannot listen on {address}: {sentence} {key}", EXIT_BUSY
        case errno.EACCES | errno.EPERM:
            advice = f"choose a port from 1024 up with {key}, or let systemd open it (presenced.socket)"
            return f"no permission to listen on {address}: {advice}", EXIT_PERMISSION
    return f"cannot listen on {address}: {error}; see {key}", EXIT_CONFIG


def _for_newcomers(settings: Settings, key: str) -> str:
    """How to choose another address, for somebody who knows options and no settings yet. A second daemon by `make run`
    needs all of its places anew, and is told so at the first that is taken."""
    if not settings.dev:
        return ""
    option = {"listen.address": "--listen", "http.address": "--http"}[key]
    places = ["--listen 127.0.0.1:PORT"]
    if settings.http:
        places.append("--http 127.0.0.1:PORT")
    if settings.admin_socket:
        places.append("--admin-socket FILE")
    return f" ({option} 127.0.0.1:PORT); in a second checkout: make run OPTIONS='{' '.join(places)}'"
