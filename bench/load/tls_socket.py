"""The clients' end of TLS, deciphered in the process of the load, whose CPU is nobody's figure."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from bench.errors import BenchError

VERSION: Final = "TLSv1.3"
CIPHER: Final = "TLS_AES_128_GCM_SHA256"
READ_BYTES: Final = 65_536
PATIENCE_S: Final = 20.0
CLOSED: Final = "the server closed a link in the middle of the run"


class TlsSocket:
    """A connection under TLS with the methods of a socket that the load uses. The handshake goes on by itself with what
    is received; what is sent before its end waits for it.

    `BenchError` where the server speaks another version or cipher than all are to speak.
    """

    __slots__ = ("_came", "_goes", "_greeted", "_greeting", "_is_up", "_object", "_socket", "_waiting")

    def __init__(self, made: socket.socket, client: ssl.SSLContext, greeting: bytes = b"") -> None:
        """With a `greeting` the server says something that ends in it before the handshake begins."""
        self._socket = made
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = client.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._greeting = greeting
        self._greeted = b""
        self._waiting = b""
        self._is_up = False
        if not greeting:
            self._shake_hands()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """Whether `recv` waits."""
        self._socket.setblocking(flag)

    def sendall(self, data: bytes) -> None:
        """All of it; waits where the kernel has no room, whether the socket blocks or not."""
        if not self._is_up:
            self._waiting += data
            return
        self._object.write(data)
        self._flush()

    def send(self, data: bytes) -> int:
        """The same."""
        self.sendall(data)
        return len(data)

    def recv(self, most: int = READ_BYTES) -> bytes:
        """What can be deciphered, waited for; b"" once the server has closed. `BlockingIOError` if there is nothing and
        the socket does not block."""
        while not (found := self._deciphered()):
            data = self._socket.recv(most)
            if not data:
                return b""
            self._take(data)
        return found

    def arrived(self) -> bytes:
        """What can be deciphered of what has come, which may be nothing; `BenchError` if the server closed."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise BenchError(CLOSED)
        self._take(data)
        return self._deciphered()

    def available(self) -> bytes:
        """Everything that has come, on a socket that does not block; `BenchError` if the server closed."""
        chunks: list[bytes] = []
        while True:
            try:
                data = self.recv()
            except BlockingIOError:
                return b"".join(chunks)
            if not data:
                raise BenchError(CLOSED)
            chunks.append(data)

    def close(self) -> None:
        """Say so, and close."""
        if self._is_up and self._socket.fileno() >= 0:
            try:
                self._object.unwrap()
            except OSError:
                pass  # the server has not answered yet, or never will
            try:
                self._socket.send(self._goes.read())
            except OSError:
                pass  # nobody is there to hear it
        self._socket.close()

    def _take(self, data: bytes) -> None:
        if self._greeting:
            self._greeted += data
            if not self._greeted.endswith(self._greeting):
                return
            self._greeting = data = b""
        self._came.write(data)
        if not self._is_up:
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        cipher = self._object.cipher()
        spoken = self._object.version(), cipher[0] if cipher else None
        if spoken != (VERSION, CIPHER):
            raise BenchError(f"it speaks {spoken[0]} with {spoken[1]}, and the others {VERSION} with {CIPHER}")
        self._is_up = True
        if self._waiting:
            self._object.write(self._waiting)
            self._waiting = b""
        self._flush()

    def _deciphered(self) -> bytes:
        chunks = []
        while self._came.pending and self._is_up:
            try:
                chunk = self._object.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _flush(self) -> None:
        data = self._goes.read()
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not select.select([], [self._socket], [], PATIENCE_S)[1]:
                    raise BenchError(f"the server has taken nothing for {PATIENCE_S:.0f} s") from None


AnySocket = socket.socket | TlsSocket
"""What a link has."""
