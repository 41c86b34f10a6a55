"""The receivers of webhooks as processes: each event is handled once, whatever comes twice and whoever posts it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.until import PATIENCE_S, eventually, until
from tests.webhooks.feed import Feed
from tests.webhooks.receiver import SECRET, SECRET_LINE
from tests.webhooks.signing import signature
from tests.webhooks.stand import plan, posting

LANGUAGES = ("python", "node")


def need(language: str) -> None:
    """Skip the test where the language is missing: CI installs both."""
    if language == "node" and shutil.which("node") is None:
        pytest.skip("Node is not installed; install it: apt-get install nodejs")


class ReceiverProcess:
    """One of the examples, which is killed and started again on the same port."""

    def __init__(self, language: str, folder: Path) -> None:
        need(language)
        self.language = language
        self._folder = folder
        self._secrets = folder / "secrets"
        self._secrets.write_text("A" * 44 + f"\n{SECRET_LINE}\n")
        self._output = folder / "output"
        self.port = 0
        self.start()

    def start(self) -> None:
        listen = f"127.0.0.1:{self.port}"
        if self.language == "python":
            command = [sys.executable, "-m", "presenced.examples.webhook_receiver", "--secret-file", str(self._secrets)]
            command += ["--listen", listen, "--database", str(self._folder / "handled.db")]
        else:
            command = ["node", "presenced/examples/webhook_receiver.mjs"]
        variables = {"SECRET_FILE": str(self._secrets), "LISTEN": listen, "HANDLED": str(self._folder / "handled.log")}
        errors = self._folder / "errors"
        with self._output.open("ab") as output, errors.open("wb") as said:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=output, stderr=said, env={**os.environ, **variables}
            )
        until(lambda: errors.read_text().startswith("listening on ") and "/\n" in errors.read_text(), "it listens")
        self.port = int(errors.read_text().splitlines()[0].rstrip("/").rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def printed(self) -> list[str]:
        return self._output.read_text().splitlines()

    def lines(self) -> list[str]:
        """What it has done."""
        if self.language == "node":
            return self.printed()
        with closing(sqlite3.connect(self._folder / "handled.db")) as database:
            return [line for (line,) in database.execute("select line from log order by rowid")]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(params=LANGUAGES)
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReceiverProcess]:
    made = ReceiverProcess(request.param, tmp_path)
    yield made
    made.kill()


async def test_each_event_is_handled_once_over_kills(process: ReceiverProcess) -> None:
    feed = Feed()
    expected: dict[str, list[str]] = {}

    def happen(times: int) -> None:
        for number in range(times):
            user = f"u{number % 3}"
            event = feed.add(user)
            expected.setdefault(user, []).append(f"{user} text_change old -> {event.new}")

    for _ in range(2):
        # Everything comes again to a process that has handled it, after a first life that is killed on the way.
        async with posting(feed, plan(process.url, batch=4)):
            happen(20)
            await eventually(process.lines)
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
            happen(20)
            await eventually(lambda: feed.position == feed.seq)
        feed.position = 0
    lines = process.lines()
    # The one in Node may do the work twice if it is killed between that and its note of it; the other one has a
    # transaction for both.
    assert len(lines) - len(set(lines)) <= (2 if process.language == "node" else 0)
    for user, told in expected.items():
        assert list(dict.fromkeys(line for line in lines if line.startswith(f"{user} "))) == told


async def test_what_is_told_besides_events(process: ReceiverProcess) -> None:
    feed = Feed()
    feed.add("a")
    feed.begins = 1
    async with posting(feed, plan(process.url)) as webhooks:
        assert (await webhooks.test()).ok
        await eventually(lambda: feed.position == 1)
    assert process.printed() == ["events were lost"]


BODY = b'{"type":"online","id":"evt_1_1","data":{"user":"eve","epoch":1,"seq":1,"old":"","new":"","reason":""}}'


def signed(secret: bytes = SECRET, late_s: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) - late_s)
    given = f"v1,short v1a,other {signature(secret, 'evt_1_1', timestamp, BODY)}"
    return {"webhook-id": "evt_1_1", "webhook-timestamp": timestamp, "webhook-signature": given}


def test_who_may_post(process: ReceiverProcess) -> None:
    said = {late_s: post(process.url, signed(late_s=late_s)) for late_s in (0, 290, 310, -310, 10_000_000)}
    assert said == {0: 204, 290: 204, 310: 401, -310: 401, 10_000_000: 401}
    assert post(process.url, signed(b"x" * 32)) == 401
    for missing in signed():
        assert post(process.url, {name: text for name, text in signed().items() if name != missing}) == 401
    assert process.lines() == ["eve online  ->"]


def post(url: str, headers: dict[str, str]) -> int:
    """The status of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, BODY, headers), timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_secret_file_that_is_missing_is_one_line(language: str, tmp_path: Path) -> None:
    need(language)
    python = [sys.executable, "-m", "presenced.examples.webhook_receiver", "--secret-file", "/no-such-file"]
    command = python if language == "python" else ["node", f"{REPOSITORY}/presenced/examples/webhook_receiver.mjs"]
    variables = {**os.environ, "SECRET_FILE": "/no-such-file", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=variables, timeout=PATIENCE_S)
    assert done.returncode == 1 and done.stderr.startswith("webhook_receiver: ") and done.stderr.count("\n") == 1


def test_a_reader_that_has_read_enough_ends_the_receiver(tmp_path: Path) -> None:
    """As with `| head`. What it could not print is handled all the same."""
    (tmp_path / "secrets").write_text(f"{SECRET_LINE}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "presenced.examples.webhook_receiver", "--secret-file", "secrets"]
        + ["--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None and process.stderr is not None
    with process:
        url = process.stderr.readline().split()[-1]
        process.stdout.close()
        assert post(url, signed()) == 204
        assert (process.wait(PATIENCE_S), process.stderr.read()) == (0, "")
