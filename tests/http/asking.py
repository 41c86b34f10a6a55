"""A server in this process that is asked over HTTP, as a backend without a library asks."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from presenced.http.api.door import ApiDoor
from tests.support.in_process import InProcess
from tests.support.until import PATIENCE_S

APP = {"Presence-User": "app"}


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]
    said: Any


class Backend:
    """One connection that stays, and the headers that say who asks."""

    def __init__(self, port: int, headers: Mapping[str, str] = APP) -> None:
        self.port = port
        self.headers = dict(headers)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def ask(self, name: str, /, **fields: Any) -> Answered:
        """One request with these fields."""
        return self.send("POST", f"/v1/{name}", json.dumps(fields), **{"Content-Type": "application/json"})

    def done(self, name: str, /, **fields: Any) -> Any:
        """The same, and what it says; it must be done."""
        answered = self.ask(name, **fields)
        assert answered.status == 200, answered
        return answered.said

    def refused(self, name: str, /, **fields: Any) -> tuple[int, str]:
        """Status and code of what is refused."""
        answered = self.ask(name, **fields)
        return answered.status, answered.said.get("code", "")

    def send(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answered:
        self.connection.request(method, path, body, {**self.headers, **headers})
        response = self.connection.getresponse()
        data = response.read()
        is_json = response.getheader("Content-Type") == "application/json"
        return Answered(response.status, dict(response.getheaders()), json.loads(data) if is_json and data else data)

    def status_of(self, user: str) -> str:
        status: str = self.done("get_status", users=[user])["records"][0]["status"]
        return status

    def close(self) -> None:
        self.connection.close()


class StreamReader:
    """A stream of events, read as it comes."""

    def __init__(self, port: int, query: str = "", headers: Mapping[str, str] = APP) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.connection.request("GET", f"/v1/events{query}", headers=dict(headers))
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def next(self) -> dict[str, Any]:
        """The next event: its id, type and data. Comments are passed over."""
        found: dict[str, Any] = {}
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if not line and found:
                return found
            name, _, value = line.partition(": ")
            if line and not line.startswith(":"):
                assert name not in found, f"{name} comes twice in one event"
                found[name] = json.loads(value) if name == "data" else value

    def of(self, user: str, kind: str) -> dict[str, Any]:
        """The next event of this kind about the user; others are passed over."""
        while True:
            event = self.next()
            if event["data"].get("user") == user and event["data"].get("kind") == kind:
                return event

    def said(self) -> Any:
        """What an answer says that is no stream."""
        return json.loads(self.response.read())

    def close(self) -> None:
        # The response holds the socket as well.
        self.response.close()
        self.connection.close()

    def reset(self) -> None:
        """Go without a word, in the middle."""
        sock = self.connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.close()


class Asked(InProcess):
    """A server with an HTTP listener."""

    def __init__(self, loop: str = "uvloop", **settings: Any) -> None:
        super().__init__(loop, **({"http": "127.0.0.1:0"} | settings))

    @property
    def http_port(self) -> int:
        http = self.operations.http
        assert http is not None
        return http.port

    @property
    def door(self) -> ApiDoor:
        http = self.operations.http
        assert http is not None
        return next(door for door in http.doors if isinstance(door, ApiDoor))

    @contextmanager
    def backend(self, headers: Mapping[str, str] = APP) -> Iterator[Backend]:
        backend = Backend(self.http_port, headers)
        try:
            yield backend
        finally:
            backend.close()

    @contextmanager
    def stream(self, query: str = "", headers: Mapping[str, str] = APP) -> Iterator[StreamReader]:
        stream = StreamReader(self.http_port, query, headers)
        try:
            yield stream
        finally:
            stream.close()
