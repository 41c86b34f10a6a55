"""The admin socket: a Unix socket over which operators ask and command, one JSON object on a line each way.

The owner, group and mode of the socket's file alone decide who may connect, and anybody who can is an operator.
`control` carries out the requests. Nothing that comes in here can disturb the presence of users.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import logging
import os
import socket
import stat
import struct
import sys
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from presenced.ops.admin_messages import LINE_BYTES_MAX, VERBS, AdminAnswer, AdminRefusal, AnyRequest
from presenced.ops.control import Caller, Control, ControlError
from presenced.runtime_paths import admin_path
from presenced.server.listeners import CannotListen

log = logging.getLogger("presenced")

CONNECTIONS_MAX = 16
IDLE_S = 600.0
"""After this time a connection is closed if nothing is asked over it, or if its answers are not read."""

BACKLOG_CONNECTIONS = 128


class SocketPlace(NamedTuple):
    """Where the admin socket is, and who may use it."""

    path: str
    """`auto` = `runtime_paths.admin_path`."""
    mode: int = 0o660
    group: str = ""
    """Empty = the daemon's own."""


class CannotOpenAdmin(CannotListen):
    """The admin socket cannot be opened; the text is a whole sentence."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(OSError(number, sentence))


class AdminServer:
    """The open socket. `open`, then `close`."""

    def __init__(self, control: Control, path: str) -> None:
        self.path = path
        self._control = control
        self._decoder = msgspec.json.Decoder(AnyRequest)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._inode = 0
        """The inode of the socket's file; 0 = the file is not ours to remove."""

    @classmethod
    async def open(cls, control: Control, place: SocketPlace, sock: socket.socket | None = None) -> AdminServer:
        """Listen at `place`, or on the inherited `sock`, whose path and mode its maker has chosen.

        Raises `CannotOpenAdmin`: another daemon answers there (EADDRINUSE), or the file, its group or its mode
        cannot be set.
        """
        if sock is not None:
            self = cls(control, str(sock.getsockname()))
            sock.setblocking(False)
        else:
            path = place.path
            if path == "auto":
                path = admin_path(os.environ, os.getuid())
                make_directory(os.path.dirname(path))
            self = cls(control, path)
            sock = listening_socket(path, place.mode, group_id(place.group))
            self._inode = os.stat(path).st_ino
        try:
            self._listener = await asyncio.start_unix_server(
                self._connected,
                sock=sock,
                limit=LINE_BYTES_MAX,
                backlog=BACKLOG_CONNECTIONS,
                **leaving_the_file(),
            )
        except BaseException:
            sock.close()
            self._remove()
            raise
        return self

    async def close(self) -> None:
        """Close the socket and every connection, and remove the file if it is still ours. Idempotent."""
        if self._listener is not None:
            # First the file: once the socket is closed, a next daemon may take the path at any moment.
            self._remove()
            self._listener.close()
            self._listener = None
        connections = [task for task in self._connections if task is not asyncio.current_task()]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _remove(self) -> None:
        with suppress(OSError):
            if self._inode and os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    # --- connections ------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                message = f"{CONNECTIONS_MAX} connections are open already; close one"
                await self._write(writer, AdminRefusal("busy", message))
            else:
                await self._converse(reader, writer, caller_of(writer))
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # The caller left, slept too long, or the daemon stops.
            writer.transport.abort()
        except Exception:
            log.exception("an admin connection failed")
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Caller) -> None:
        while True:
            async with asyncio.timeout(IDLE_S):
                try:
                    line = await reader.readline()
                except ValueError:
                    # Where the next request begins is unknown.
                    message = f"a request is longer than {LINE_BYTES_MAX} bytes"
                    await self._write(writer, AdminRefusal("too_long", message))
                    return
            if not line:
                return
            answer = await self._answer(line, caller)
            async with asyncio.timeout(IDLE_S):
                await self._write(writer, answer)

    async def _answer(self, line: bytes, caller: Caller) -> AdminAnswer | AdminRefusal:
        try:
            request = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            sentence = f"this is no request ({error}); the known ones are {', '.join(VERBS)}"
            return AdminRefusal("bad_request", sentence)
        try:
            return AdminAnswer(await self._control.perform(request, caller))
        except ControlError as error:
            return AdminRefusal(error.code, error.message)
        except Exception as error:
            log.exception("admin: %s failed", type(request).__struct_config__.tag)
            return AdminRefusal("failed", f"the daemon failed: {type(error).__name__}: {error}")

    async def _write(self, writer: asyncio.StreamWriter, answer: AdminAnswer | AdminRefusal) -> None:
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()


def leaving_the_file() -> dict[str, Any]:
    """The option that keeps the loop from removing the socket's file at the end. From Python 3.13 on asyncio and uvloop
    remove it, and also the file of a socket unit, which needs it for the next start. We remove our own file, and
    earlier."""
    return {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


def caller_of(writer: asyncio.StreamWriter) -> Caller:
    """The process at the other end, as the kernel tells it (SO_PEERCRED)."""
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("iII", credentials)
    return Caller(uid, pid)


# --- the file -----------------------------------------------------------------------------------------------------


def listening_socket(path: str, mode: int, group: int | None) -> socket.socket:
    """A listening socket at `path`. From its first moment on only those whom `mode` and `group` name can reach it.

    Raises `CannotOpenAdmin`.
    """
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    is_bound = False
    try:
        # The file exists before its mode can be set; until then it is for us alone. Nobody can connect before
        # `listen`.
        old_mask = os.umask(0o177)
        try:
            listener.bind(path)
            is_bound = True
        finally:
            os.umask(old_mask)
        if group is not None:
            _give_to(path, group)
        os.chmod(path, mode)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        if is_bound:
            os.unlink(path)
        if isinstance(error, FileExistsError) or error.errno == errno.EADDRINUSE:
            raise _in_use(path) from None
        if not os.path.isdir(os.path.dirname(path) or "."):
            sentence = f"the directory of the admin socket {path} does not exist; make it, or set admin.socket"
            raise CannotOpenAdmin(errno.ENOENT, sentence) from None
        sentence = f"the admin socket {path} cannot be made: {error.strerror or error}"
        raise CannotOpenAdmin(error.errno or errno.ENAMETOOLONG, sentence) from None
    return listener


def _give_to(path: str, group: int) -> None:
    if os.stat(path).st_gid == group:
        # It is the daemon's own group, and a unit need not let the daemon change owners for that.
        return
    try:
        os.chown(path, -1, group)
    except OSError as error:
        # EINVAL: in a unit with PrivateUsers= the group has no number.
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise
        name = grp.getgrgid(group).gr_name
        raise OSError(
            errno.EPERM,
            f"only root and members of the group {name} may give it to that group; run the daemon with that group as "
            "its own (in a unit Group=, see the drop-in admin-group.conf), or leave admin.group out",
        ) from None


def remove_stale(path: str) -> None:
    """Remove a socket on which nobody answers. Raises `CannotOpenAdmin` if another process answers, or if the file is
    no socket."""
    try:
        status = os.lstat(path)
    except OSError:
        # The file does not exist or cannot be seen; `bind` will say which.
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise CannotOpenAdmin(
            errno.EEXIST, f"{path} is no socket, so it was left alone; remove it, or set admin.socket to another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            # EAGAIN: the backlog is full, so another process is there.
            if error.errno == errno.EAGAIN:
                raise _in_use(path) from None
            sentence = f"the admin socket {path} belongs to another user: {error.strerror}; set admin.socket"
            raise CannotOpenAdmin(error.errno or errno.EPERM, sentence) from None
        else:
            raise _in_use(path)


def _in_use(path: str) -> CannotOpenAdmin:
    # One person who starts two daemons, such as `make run` in two checkouts, meets this fault first.
    advice = "stop that one, or give this one a place of its own with admin.socket; in a second checkout: make run "
    advice += "OPTIONS='--listen 127.0.0.1:PORT --http 127.0.0.1:PORT --admin-socket FILE'"
    sentence = f"another presenced answers on the admin socket {path}; {advice}"
    return CannotOpenAdmin(errno.EADDRINUSE, sentence)


def make_directory(directory: str) -> None:
    """Make `directory` if it does not exist, and check that it is ours alone to write to. In `/tmp` another user may
    have made a directory of that name, and could replace our socket in it."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.lstat(directory)
    except OSError as error:
        sentence = f"the directory {directory} of the admin socket cannot be made: {error.strerror}; set admin.socket"
        raise CannotOpenAdmin(error.errno or errno.EPERM, sentence) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise CannotOpenAdmin(
            errno.EPERM,
            f"{directory} is not a directory that is ours alone to write to; remove it, or set admin.socket",
        )


def group_id(name: str) -> int | None:
    """The number of a group; None for no name. Raises `CannotOpenAdmin`."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        sentence = f"admin.group {name!r} does not exist on this machine; make it (groupadd), or leave admin.group out"
        raise CannotOpenAdmin(errno.EINVAL, sentence) from None
