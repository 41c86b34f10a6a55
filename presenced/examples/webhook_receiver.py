"""A receiver of webhooks, with nothing but Python: it checks each signature, and handles each event exactly once.

    python -m presenced.examples.webhook_receiver --secret-file /etc/presenced/webhook-secrets --database handled.db

An event comes at least once, and those of a user come in order. So one row for each user says how far its events are
handled. It is written in the transaction that does the work, here a line of a log: a crash takes back both or neither.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BODY_BYTES_MAX = 1 << 20
CLOCKS_DIFFER_S_MAX = 300
"""A delivery whose time is further away is refused: it may be an old one that somebody has recorded."""


def load_secrets(path: str) -> list[bytes]:
    """The secrets in the file of the daemon: one on each line, in base64."""
    lines = Path(path).read_text().split()
    return [base64.b64decode(line.removeprefix("whsec_")) for line in lines]


def is_genuine(secrets: list[bytes], headers: Any, body: bytes) -> bool:
    """Whether one of the secrets has signed this body, not long ago."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > CLOCKS_DIFFER_S_MAX:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = [part.removeprefix("v1,") for part in headers.get("webhook-signature", "").split(" ")]
    for secret in secrets:
        expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        if any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
            return True
    return False


def show(line: str) -> None:
    """Print the line. Once nobody reads it, as behind `| head`, the program ends as by Ctrl-C."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Python would fail with the line once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGINT)


class HandledEvents:
    """What was done, and of each user up to which event."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("create table if not exists handled (user text primary key, epoch int, seq int)")
        self._database.execute("create table if not exists log (line text)")

    def handle(self, event: dict[str, Any]) -> bool:
        """Do what the event asks for, unless that is done; returns whether it was new."""
        data = event["data"]
        with self._lock, self._database:
            before = self._database.execute("select epoch, seq from handled where user = ?", (data["user"],)).fetchone()
            if before is not None and before[0] == data["epoch"] and before[1] >= data["seq"]:
                return False
            row = (data["user"], data["epoch"], data["seq"])
            self._database.execute("insert or replace into handled values (?, ?, ?)", row)
            # The work: an application would send a mail here, or close a shift.
            line = f"{data['user']} {event['type']} {data['old']} -> {data['new']} {data['reason']}".rstrip()
            self._database.execute("insert into log values (?)", (line,))
        show(line)
        return True


class ReceivingHandler(BaseHTTPRequestHandler):
    """One connection of the daemon."""

    protocol_version = "HTTP/1.1"
    secrets: list[bytes]
    handled: HandledEvents

    def do_POST(self) -> None:
        """Answer 204 once the events are handled, and not before: then they do not come again."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self._answer(413)
            return
        body = self.rfile.read(int(length))
        if not is_genuine(self.secrets, self.headers, body):
            self._answer(401)
            return
        said = json.loads(body)
        for event in said if isinstance(said, list) else [said]:
            if event["type"] == "events_lost":
                # Ask for everybody's status now (`Service.get_online_users`), and go on from there.
                show("events were lost")
            elif event["type"] != "test":
                self.handled.handle(event)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status != 204:
            # The body may not have been read.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing for each request."""


def main() -> None:
    """Receive until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Receive webhooks of presenced, and print what happens.")
    parser.add_argument("--secret-file", required=True)
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--database", default="handled.db", metavar="FILE")
    chosen = parser.parse_args()
    host, _, port = chosen.listen.rpartition(":")
    try:
        ReceivingHandler.secrets = load_secrets(chosen.secret_file)
        ReceivingHandler.handled = HandledEvents(chosen.database)
        with ThreadingHTTPServer((host, int(port)), ReceivingHandler) as server:
            print(f"listening on http://{host}:{server.server_address[1]}/", file=sys.stderr, flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return
    except OSError as error:
        sys.exit(f"webhook_receiver: {error}")


if __name__ == "__main__":
    main()
