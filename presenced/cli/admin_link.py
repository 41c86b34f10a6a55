"""The blocking client of the admin socket: it writes one line and reads one line. The mode of the socket's file decides
who may use it."""

from __future__ import annotations

import getpass
import grp
import os
import socket
import stat
import struct
from collections.abc import Callable
from itertools import count, takewhile
from types import TracebackType
from typing import Any

import msgspec

from presenced.errors import AuthError, ConnectionLost, PresenceError, ProtocolError, RequestError, RequestTimeout
from presenced.runtime_paths import SYSTEM_ADMIN_PATH, admin_path_for_commands, node_admin_path
from presenced.server.status import ServerStatus

READ_BYTES = 1 << 20
TEMPORARY_CODES = frozenset({"busy", "starting", "node_silent"})
ANOTHER_PATH = "--socket names another path"
IS_IT_RUNNING = f"is presenced running, with admin.socket set (--admin-socket auto)? {ANOTHER_PATH}"


def default_path() -> str:
    """The socket of the service on this machine, or else of the user's own daemon."""
    return admin_path_for_commands(os.environ, os.getuid())


class AdminLink:
    """A connection to the daemon at `path`. It is opened by the first `ask`, and again after it was lost."""

    def __init__(
        self, path: str, timeout_s: float, *, is_named: bool = True, absence: Callable[[], str] | None = None
    ) -> None:
        """`is_named`: the user named the path. A daemon at a default path has to be root's or the user's own. `absence`
        says what to do if no socket is there."""
        self.path = path
        self._absence = absence
        self._timeout_s = timeout_s
        self._is_named = is_named
        self._socket: socket.socket | None = None
        self._unread = b""

    def __enter__(self) -> AdminLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, verb: str, *, is_long: bool = False, **fields: Any) -> Any:
        """The daemon's answer, as JSON. If `is_long`, the wait for the answer has no time limit.

        Raises `PresenceError`: `ConnectionLost` (no daemon is there), `AuthError` (the file is for others),
        `RequestTimeout`, `RequestError` with the daemon's code (it refused), `ProtocolError` (the other end is no
        presenced).
        """
        try:
            connection = self._connected()
            connection.settimeout(None if is_long else self._timeout_s)
            connection.sendall(msgspec.json.encode({"do": verb, **fields}) + b"\n")
            line = self._line(connection)
        except TimeoutError:
            # The answer may still come, and must not be taken for the answer to the next question.
            self.close()
            raise RequestTimeout(f"the daemon at {self.path} does not answer (see --timeout)") from None
        except OSError as error:
            self.close()
            raise ConnectionLost("lost", f"the daemon at {self.path} is gone: {error.strerror or error}") from None
        except PresenceError:
            self.close()
            raise
        return self._result(line)

    def until_closed(self, timeout_s: float) -> bool:
        """Wait until the daemon closes the connection, because it has stopped; False after `timeout_s`."""
        if self._socket is None:
            return True
        self._socket.settimeout(timeout_s)
        try:
            while self._socket.recv(READ_BYTES):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._unread = b""

    def _connected(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout_s)
            try:
                connection.connect(self.path)
            except BaseException as error:
                connection.close()
                if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                    raise cannot_connect(self.path, error, self._absence) from None
                raise
            self._socket = connection
            if not self._is_named and os.path.dirname(self.path) != os.path.dirname(SYSTEM_ADMIN_PATH):
                refuse_foreign(self.path, peer_uid(connection))
        return self._socket

    def _line(self, connection: socket.socket) -> bytes:
        parts = [self._unread]
        while b"\n" not in parts[-1]:
            part = connection.recv(READ_BYTES)
            if not part:
                raise ConnectionLost("lost", f"the daemon at {self.path} closed the connection; it may be stopping")
            parts.append(part)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return line

    def _result(self, line: bytes) -> Any:
        try:
            answer = msgspec.json.decode(line)
            if answer["ok"]:
                return answer["result"]
            code, message = str(answer["code"]), str(answer["message"])
        except (msgspec.DecodeError, KeyError, TypeError):
            raise ProtocolError("bad_frame", f"the program that answers at {self.path} is not presenced") from None
        raise RequestError(code, message, temporary=code in TEMPORARY_CODES)


def status_of(answer: Any) -> ServerStatus:
    """The status as a `ServerStatus`; raises `ProtocolError` if the daemon's version has another form of it."""
    try:
        return msgspec.convert(answer, ServerStatus)
    except msgspec.ValidationError as error:
        raise ProtocolError("bad_version", f"the daemon is of another version than presencectl: {error}") from None


def cannot_connect(path: str, error: OSError, absence: Callable[[], str] | None = None) -> PresenceError:
    """Why a socket cannot be connected to, and what to do; `absence` as for `AdminLink`."""
    if isinstance(error, PermissionError):
        return AuthError("forbidden_socket", _who_may(path))
    if isinstance(error, FileNotFoundError):
        if absence is not None:
            advice = absence()
        elif os.path.exists(node_admin_path(path, 1)):
            advice = "the server there runs as several nodes, each with a socket of its own; --node 1 asks the first"
        else:
            advice = IS_IT_RUNNING
        return ConnectionLost("no_daemon", f"there is no admin socket at {path}: {advice}")
    if isinstance(error, ConnectionRefusedError) and not _is_socket(path):
        return ConnectionLost(
            "no_daemon", f"{path} is not a socket; see --socket, and admin.socket in the configuration"
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectionLost(
            "no_daemon", f"no daemon answers at {path}: the daemon that made the socket has stopped; start it again"
        )
    if isinstance(error, BlockingIOError):
        return RequestTimeout(f"the daemon at {path} is busy and accepts no connection; try again")
    return ConnectionLost("no_daemon", f"cannot connect to {path}: {error.strerror or error}; see --socket")


def absence_of_node(single_path: str) -> str:
    """What to do if a node of several that one command runs has no socket, where that of a single daemon is
    `single_path`."""
    if os.path.exists(single_path):
        return "the server there is a single daemon, without numbered nodes; leave --node out"
    if nodes := len(nodes_beside(single_path)):
        return f"the nodes that run there are 1 to {nodes}" if nodes > 1 else "node 1 is the only one there"
    return f"--node is for the nodes of `presenced serve --nodes N`, and none runs there; {IS_IT_RUNNING}"


def absence_of_instance(name: str) -> str:
    """What to do if the service presenced@NAME has no socket."""
    return f"`systemctl status presenced@{name}` says whether it runs; {ANOTHER_PATH}"


def nodes_beside(path: str) -> list[str]:
    """The admin sockets of the nodes that one command runs, where `path` would be that of a single daemon."""
    return list(takewhile(os.path.exists, (node_admin_path(path, number) for number in count(1))))


def peer_uid(connection: socket.socket) -> int:
    """The user who listens at the other end, as the kernel tells it (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    uid: int = struct.unpack("iII", credentials)[1]
    return uid


def refuse_foreign(path: str, uid: int) -> None:
    """Raise `AuthError` if what listens at a default path is another user's.

    In /tmp any user may make a directory that is named after another user, with a socket in it that answers as a daemon
    does. A command would then show that user's answers, and send that user its orders.
    """
    if uid not in (0, os.getuid()):
        raise AuthError(
            "foreign_socket",
            f"{path} is not yours: the user with the number {uid} made it; if you mean that daemon, name it with "
            "--socket",
        )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True  # It went away meanwhile.


def _who_may(path: str) -> str:
    """Who may use the socket, as far as can be seen, and how to become one of them."""
    try:
        status = os.stat(path)
    except OSError:
        return f"{_me()} may not enter {os.path.dirname(path)}; use sudo, or ask the person who runs the daemon"
    if not status.st_mode & stat.S_IWGRP:
        return f"only the owner of {path} may use it (mode {stat.S_IMODE(status.st_mode):o}); use sudo"
    if status.st_gid == 0:
        # Nobody should join the group root for this.
        return f"only root may use {path}; use sudo, or set admin.group in the configuration to a group of operators"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return (
        f"{path} is for the group {group}, and {_me()} is not in it: `sudo usermod -aG {group} {_me()}` and log in "
        "again, or use sudo"
    )


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
