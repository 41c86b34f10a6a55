"""Tokens are in no line of the log and in no answer, whatever is done with them, at the finest level of the log."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path

import jwt
import pytest

from tests.support.daemon import Daemon
from tests.support.engines import free_port
from tests.support.raw_websocket import JSON, RawWebSocket, client_frame, handshake
from tests.support.until import PATIENCE_S

SECRET = "k" * 40
MARK = "canary"
"""In every token, also in those that are none."""


def token(user: str, **claims: object) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 600, "jti": MARK, **claims}, SECRET, algorithm="HS256")


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        found = b""
        try:
            while more := plain.recv(65536):
                found += more
        except ConnectionError:
            pass
        return found


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_token_reaches_the_log(tmp_path: Path, log_format: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    port = free_port()
    options = ("--secret-file", str(secret), "--http", f"127.0.0.1:{port}", "--log-level", "debug")
    daemon = Daemon(tmp_path / "log", *options, "--log-format", log_format, dev=False)
    good = token("anna", role="service")
    expired, forged = token("anna", exp=1), good[:-4] + MARK
    others = [expired, forged, MARK * 20, f"{MARK}\nINFO: all is well", f"{MARK}.{MARK}.{MARK}"]
    answers = []
    for one in [good, *others]:
        with RawWebSocket(port) as link:
            link.say(1, [1], one, "anna", "tab")
            if one == good:
                assert link.hear()[0] == 64
                link.say(35, 1, one)
                link.say(35, 2, MARK * 9)
                link.send(client_frame(1, json.dumps([1, [1], one, "anna"]).encode()))
                link.send(client_frame(3, one.encode()[:100]))
            answers += [frame.data for frame in link.drain()]
        # In a hello that is damaged, as a header, in the URL where it does not belong, and in the wrong place.
        with RawWebSocket(port) as link:
            link.send(client_frame(1, json.dumps([1, ["x"], one, "anna"]).encode()))
            answers += [frame.data for frame in link.drain()]
        line = one.partition("\n")[0]
        bearer = f"Authorization: Bearer {line}"
        for data in (
            f"POST /v1/who HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            f"POST /v1/{line} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nContent-Length: 1\r\n\r\n!",
            f"GET /v1/events?token={line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            f"POST /v1/who HTTP/1.1\r\nHost: localhost\r\n{bearer} {line}\r\nContent-Length: 0\r\n\r\n",
            f"GET /ws HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nContent-Length: x\r\n\r\n",
        ):
            answers.append(ask(port, data.encode()))
        answers.append(ask(port, handshake(JSON, bearer, f"Sec-WebSocket-Protocol: {line}", path=f"/ws?token={line}")))
    assert any(b" 200 " in answer for answer in answers) and any(b" 401 " in answer for answer in answers)
    daemon.stop()
    log = daemon.log()
    assert "anna" in log, "the log tells of them at all"
    parts = {part for one in [good, *others] for part in re.split(r"[.\n]", one) if len(part) > 20}
    for part in (*parts, MARK, SECRET):
        assert part not in log, [line for line in log.splitlines() if part in line][:3]
    told = b"".join(answers)
    for one in (good, expired, forged, SECRET):
        assert one.encode() not in told
