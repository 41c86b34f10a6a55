"""SIGHUP with another file: what can be exchanged while links are served is, all or nothing, and the rest is named."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from presenced.config import Configuration
from presenced.ops import reload as reload_module
from presenced.ops.reload import ReloadReport
from presenced.server.identity import mint
from presenced.server.server import Server
from presenced.wire.messages import Get, Ping, SetSchedule, SetStatus, Watch, Window
from tests.support.certificates import make_certificate
from tests.support.daemon import Daemon
from tests.support.until import until
from tests.support.wire import DONE, GOODBYE, PONG, PRESENCE, RECORDS, WELCOME, Bystander, Wire, hello, opened

HEAD = "[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:0'\n"


class Configured:
    """A daemon whose settings are all in a file."""

    def __init__(self, folder: Path, text: str = "") -> None:
        self.file = folder / "presenced.toml"
        self.write(text)
        self.daemon = Daemon(folder / "log", "--config", str(self.file), dev=False, listen=None)
        self.port = self.daemon.port
        self._reloads = 0

    def write(self, text: str) -> None:
        # By another file's name: an earlier reload may be reading this one.
        written = self.file.with_suffix(".new")
        written.write_text(text if "[auth]" in text else HEAD + text)
        written.replace(self.file)

    def reload(self, text: str | None = None) -> str:
        """SIGHUP, and what the log says of it once it is over."""
        if text is not None:
            self.write(text)
        began = len(self.daemon.log())
        self.daemon.signal(signal.SIGHUP)

        def over() -> bool:
            said = self.daemon.log()[began:]
            return "reload: done in" in said or "reload: nothing has changed" in said

        until(over, lambda: f"the reload does not end\n{self.daemon.log()}")
        return self.daemon.log()[began:]


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Configured]:
    configured = Configured(tmp_path)
    with configured.daemon:
        yield configured


def test_another_grace_is_for_links_lost_from_now_on(configured: Configured) -> None:
    port = configured.port
    watcher = opened(port, "watcher")
    watcher.send(Watch(1, ["alice", "bob"]))
    watcher.next()
    alice, bob = opened(port, "alice"), opened(port, "bob")
    for _ in range(2):
        assert watcher.until(PRESENCE)
    alice.close()
    said = configured.reload("[presence]\ngrace = '0s'\n")
    assert "presence.grace: 15s -> 0" in said
    bob.close()
    record = watcher.until(PRESENCE)[1]
    assert record[:2] == ["bob", "offline"], "and alice has the time that she was promised"
    watcher.send(Get(2, ["alice"]))
    assert watcher.until(RECORDS)[4][0][1] == "online"
    watcher.close()


def test_another_spacing_releases_what_waits(configured: Configured) -> None:
    configured.reload("[change]\nspacing = '1h'\nburst = 1\n")
    port = configured.port
    watcher, alice = opened(port, "watcher"), opened(port, "alice")
    watcher.send(Watch(1, ["alice"]))
    watcher.until(RECORDS)
    for number in range(1, 10):
        alice.send(SetStatus(number, text=f"text {number}"))
        assert alice.until(DONE)[1] == number
    assert watcher.until(PRESENCE)[1][2] == "text 1", "the burst"
    assert watcher.quiet()
    configured.reload("[change]\nspacing = '0s'\n")
    assert watcher.until(PRESENCE)[1][2] == "text 9", "the latest"
    alice.send(SetStatus(10, text="at once"))
    assert watcher.until(PRESENCE)[1][2] == "at once"
    for link in (watcher, alice):
        link.close()


def rush(link: Wire, number: int) -> float:
    """Seconds until the last of so many pings is answered."""
    began_s = time.monotonic()
    link.send(*[Ping(at) for at in range(1, number + 1)])
    while link.until(PONG)[1] != number:
        pass
    return time.monotonic() - began_s


def test_another_rate_is_for_links_old_and_new(configured: Configured) -> None:
    old = opened(configured.port, "old")
    configured.reload("[listen]\naddress = '127.0.0.1:0'\nrate = 10\n[auth]\ndev = true\n")
    # Bursts are four times the rate: 40 at once, and twenty more over two seconds.
    assert rush(old, 60) > 1.0, "its credit of before is cut down too"
    with opened(configured.port, "new") as new:
        assert rush(new, 60) > 1.0
    configured.reload("[listen]\naddress = '127.0.0.1:0'\nrate = 0\n[auth]\ndev = true\n")
    with opened(configured.port, "newer") as newer:
        assert rush(newer, 1_000) < 5
    assert rush(old, 1_000) < 5, "a hundred seconds under the old rate"
    old.close()


def test_another_number_of_links(configured: Configured) -> None:
    listen = "[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:0'\n"
    links = [opened(configured.port, f"user{number}") for number in range(3)]
    configured.reload(f"{listen}max_links = 2\n")
    with Wire(configured.port) as refused:
        refused.ended_with("busy")
    for number, link in enumerate(links, 1):
        link.send(Ping(number))
        assert link.until(PONG)[1] == number, "those who are there stay"
    configured.reload(f"{listen}max_links = 4\n")
    opened(configured.port, "fourth").close()
    for link in links:
        link.close()


def test_level_and_format_of_the_log(configured: Configured) -> None:
    configured.reload("[log]\nformat = 'json'\n")
    configured.reload("[log]\nformat = 'journal'\n")
    log = configured.daemon.log()
    assert '"message": "reload: log.format: auto -> json"' in log.replace('\\"', "")
    assert "<6>reload: log.format:" in log
    configured.write("[log]\nlevel = 'error'\n")
    before = len(configured.daemon.log())
    configured.daemon.signal(signal.SIGHUP)
    # Nothing is said of it any more; what comes next shows that it was taken.
    configured.write("[log]\nlevel = 'nonsense'\n")
    configured.daemon.signal(signal.SIGHUP)
    configured.daemon.until_log("reload: nothing has changed")
    assert "done in" not in configured.daemon.log()[before:]


def test_snapshots_as_the_new_settings_say(tmp_path: Path) -> None:
    data = tmp_path / "data"
    storage = f"[storage]\ndirectory = '{data}'\n"
    configured = Configured(tmp_path, storage)
    with configured.daemon, opened(configured.port, "alice") as alice:
        before = sorted(data.glob("snap-*.prs"))
        configured.reload(f"{storage}snapshot_every = '10ms'\n")

        def taken() -> bool:
            alice.send(SetStatus(1, text=f"{time.monotonic_ns()}"))
            alice.until(DONE)
            return sorted(data.glob("snap-*.prs")) != before

        until(taken, lambda: "no snapshot is taken")


def fingerprint(port: int) -> bytes:
    """The certificate that a new link is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Wire(port, tls=context) as link:
        shown = link.socket.getpeercert(binary_form=True)  # type: ignore[union-attr]
    assert shown
    return bytes(shown)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_certificate_is_exchanged_and_old_links_go_on(loop: str, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "used")
    other_cert, other_key = make_certificate(tmp_path, "other")
    text = (
        f"[runtime]\nloop = '{loop}'\n[auth]\ndev = true\n"
        f"[listen]\naddress = '127.0.0.1:0'\ntls_cert = '{cert}'\ntls_key = '{key}'\n"
    )
    configured = Configured(tmp_path, text)
    trust = ssl.create_default_context(cafile=str(cert))
    with configured.daemon:
        beside = Bystander(configured.port, tls=trust)
        first = fingerprint(configured.port)
        # Half an exchange: a key that does not fit.
        shutil.copy(other_key, key)
        said = configured.reload()
        assert "nothing has changed" in said and str(cert) in said
        assert fingerprint(configured.port) == first
        shutil.copy(other_cert, cert)
        said = configured.reload()
        assert (
            "listen.tls_cert: another certificate, for localhost, 127.0.0.1 until " in said
            and "(in less than a day)" in said
        )
        assert f"WARNING reload: the certificate {cert} expires in less than a day; renew it, then reload" in said
        second = fingerprint(configured.port)
        assert second != first
        said = configured.reload()
        assert "nothing new" in said and "another certificate" not in said
        assert second == ssl.PEM_cert_to_DER_cert(other_cert.read_text())
        beside.check()
        beside.close()


def test_a_renewed_certificate_that_has_ended_is_taken_and_warned_of(tmp_path: Path) -> None:
    """It may be the only one there is; that clients refuse it has to be said."""
    cert, key = make_certificate(tmp_path, "used", days=90)
    text = f"[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:0'\ntls_cert = '{cert}'\ntls_key = '{key}'\n"
    configured = Configured(tmp_path, text)
    with configured.daemon:
        assert f"TLS: the certificate {cert} is for localhost, 127.0.0.1 until " in configured.daemon.log()
        for path, old in zip((cert, key), make_certificate(tmp_path, "old", days=-1), strict=True):
            shutil.copy(old, path)
        said = configured.reload()
        assert "listen.tls_cert: another certificate, for localhost, 127.0.0.1 until " in said
        assert "(it has expired)" in said
        assert f"WARNING reload: the certificate {cert} has expired, and clients refuse it; renew it" in said


def test_the_secret_is_rotated_while_tokens_of_the_old_one_hold(tmp_path: Path) -> None:
    """A new line is added, tokens of both are accepted, and the old line goes when nobody has tokens of it."""
    old, new = b"the-old-secret-with-more-than-32-bytes", b"the-new-secret-with-more-than-32-bytes"
    secret = tmp_path / "secret"
    secret.write_bytes(old)
    secret.chmod(0o600)
    text = f"[auth]\nsecret_file = '{secret}'\n[listen]\naddress = '127.0.0.1:0'\n"
    configured = Configured(tmp_path, text)
    now_s = int(time.time())

    def answer(key: bytes) -> list[object]:
        with Wire(configured.port) as link:
            link.send(hello("alice", token=mint(key, "alice", "user", now_s, 600)))
            return link.next()

    with configured.daemon:
        there = Wire(configured.port)
        there.send(hello("bob", token=mint(old, "bob", "user", now_s, 600)))
        assert there.next()[0] == WELCOME
        assert answer(new)[:2] == [GOODBYE, "bad_token"]
        secret.write_bytes(new + b"\n" + old + b"\n")
        said = configured.reload()
        assert "auth.secret_file: 1 key added, another one signs; 2 keys in force" in said
        assert answer(new)[0] == answer(old)[0] == WELCOME
        secret.write_bytes(new)
        said = configured.reload()
        assert "auth.secret_file: 1 key removed; 1 key in force" in said
        assert answer(new)[0] == WELCOME
        assert answer(old)[:2] == [GOODBYE, "bad_token"]
        there.send(Ping(1))
        assert there.until(PONG)[1] == 1, "who was let in stays"
        for bad in (b"short", new + b"\nshort", new + b"\x00", b""):
            secret.write_bytes(bad)
            assert "nothing has changed" in configured.reload()
            assert answer(new)[0] == WELCOME
        there.close()
        assert not {new.decode(), old.decode()} & set(configured.daemon.log().split())


def test_keys_of_issuers_are_exchanged(tmp_path: Path) -> None:
    """RFC 7517: a new key is added, tokens of both are taken, the old one goes; a set that cannot be read changes
    nothing."""
    keys = tmp_path / "jwks.json"
    old, new = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))

    def write(**named: ed25519.Ed25519PrivateKey) -> None:
        algorithm = jwt.get_algorithm_by_name("EdDSA")
        entries = [algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid} for kid, key in named.items()]
        keys.write_text(json.dumps({"keys": entries}))

    write(old=old)
    text = f"[auth]\nkeys = '{keys}'\naudience = 'presence'\n[listen]\naddress = '127.0.0.1:0'\n"
    configured = Configured(tmp_path, text)

    def answer(kid: str, key: ed25519.Ed25519PrivateKey, audience: str = "presence") -> list[object]:
        said = {"sub": "alice", "exp": int(time.time()) + 600, "aud": audience}
        with Wire(configured.port) as link:
            link.send(hello("alice", token=jwt.encode(said, key, "EdDSA", {"kid": kid})))
            return link.next()

    with configured.daemon:
        assert answer("old", old)[0] == WELCOME
        assert answer("new", new)[1:3] == ["bad_token", NEWEST]
        assert answer("old", new)[:2] == answer("old", old, "chat")[:2] == [GOODBYE, "bad_token"]
        write(old=old, new=new)
        assert "auth.keys: 1 key added; 2 keys in force" in configured.reload()
        assert answer("old", old)[0] == answer("new", new)[0] == WELCOME
        keys.write_text('{"keys": [')
        said = configured.reload()
        assert f"{keys} is neither PEM nor a JSON Web Key Set" in said and "nothing has changed" in said
        assert answer("old", old)[0] == answer("new", new)[0] == WELCOME
        write(new=new)
        assert "auth.keys: 1 key removed; 1 key in force" in configured.reload()
        assert answer("old", old)[1] == "bad_token" and answer("new", new)[0] == WELCOME
        assert "auth.audience: presence -> chat" in configured.reload(text.replace("presence'", "chat'"))
        assert answer("new", new, "chat")[0] == WELCOME


NEWEST = "the token's kid names none of this server's keys; was the newest key installed?"


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody will ever write to it, and neither the reload nor the stop waits."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 40)
    secret.chmod(0o600)
    cert, key = make_certificate(tmp_path, "used")
    text = f"[auth]\nsecret_file = '{secret}'\n[listen]\naddress = '127.0.0.1:0'\n"
    configured = Configured(tmp_path, f"{text}tls_cert = '{cert}'\ntls_key = '{key}'\n")
    with configured.daemon:
        for path in (secret, cert, key):
            path.rename(f"{path}.kept")
            os.mkfifo(path)
            said = configured.reload()
            assert f"{path} is a pipe and not a regular file" in said and "nothing has changed" in said
            path.unlink()
            Path(f"{path}.kept").rename(path)
        assert "nothing new" in configured.reload()


def test_files_that_never_come_end_the_reload_and_no_stop_waits_for_them(tmp_path: Path) -> None:
    """As on a network's file system whose server is gone."""
    (tmp_path / "presenced.toml").write_text(HEAD)
    wait = (
        "import threading; from presenced.config import Configuration; from presenced.ops import reload; "
        "Configuration.load = lambda self: threading.Event().wait(); reload.READ_S = 0.2"
    )
    options = ("--config", str(tmp_path / "presenced.toml"))
    with Daemon(tmp_path / "log", *options, dev=False, listen=None, patches=wait) as daemon:
        for times in (1, 2):
            daemon.signal(signal.SIGHUP)
            daemon.until_log("reload: the files could not be read within 0.2 s", times)
            daemon.until_log("reload: nothing has changed", times)


def test_other_rules_of_a_time_zone_hold_after_a_reload_and_a_zone_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "presenced.toml").write_text(HEAD)
    zone = tmp_path / "zones" / "Town"
    zone.parent.mkdir()

    def rules(name: str) -> None:
        zone.write_bytes(files("tzdata.zoneinfo").joinpath(name).read_bytes())

    hour = time.gmtime().tm_hour
    elsewhere = f"Etc/GMT{'+' if hour > 6 else '-'}5"
    # In UTC it is within the window for an hour at least, and five hours off it is not.
    window = Window(127, (hour - 1) % 24 * 60, (hour + 2) % 24 * 60)
    rules("UTC")
    options = ("--config", str(tmp_path / "presenced.toml"))
    environ = {"PYTHONTZPATH": str(zone.parent)}
    with Daemon(tmp_path / "log", *options, dev=False, listen=None, environ=environ) as daemon:
        with opened(daemon.port, "alice") as alice, opened(daemon.port, "watcher") as watcher:
            watcher.send(Watch(1, ["alice"]))
            watcher.until(RECORDS)
            alice.send(SetSchedule(1, "Town", [window]))
            alice.until(DONE)
            assert watcher.until(PRESENCE)[1][1] == "dnd"
            rules(elsewhere)
            daemon.signal(signal.SIGHUP)
            assert watcher.until(PRESENCE)[1][1] == "online"
            daemon.until_log("reload: time zones with other rules: Town")
            zone.unlink()
            daemon.signal(signal.SIGHUP)
            daemon.until_log("WARNING reload: this machine no longer knows the time zone Town; schedules there are off")
            daemon.until_log("WARNING zone: this machine knows no time zone Town, so schedules there are off")
            rules("UTC")
            daemon.signal(signal.SIGHUP)
            assert watcher.until(PRESENCE)[1][1] == "dnd"
            daemon.until_log("zone: the time zone Town is known again")


def test_what_needs_a_restart_is_named_and_not_applied(configured: Configured, tmp_path: Path) -> None:
    said = configured.reload(
        "[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:1'\n[heartbeat]\ninterval = '5s'\n"
        f"[storage]\ndirectory = '{tmp_path / 'data'}'\n[presence]\ngrace = '3s'\naway_after = '7m'\n"
        "[runtime]\nloop = 'asyncio'\n"
    )
    for key in ("listen.address", "heartbeat.interval", "storage.directory", "presence.away_after", "runtime.loop"):
        assert any(key in line and "needs a restart" in line for line in said.splitlines()), f"{key}\n{said}"
    assert "presence.grace: 15s -> 3s" in said
    assert not (tmp_path / "data").exists()
    with Wire(configured.port) as link:
        link.send(hello("alice"))
        assert 30_000 in link.next(), "the old interval is dictated"


def test_a_broken_file_changes_nothing_and_every_fault_is_told(configured: Configured) -> None:
    said = configured.reload(
        "[presence]\ngrace = 'red'\n[change]\nburst = -3\nspaceing = '1s'\n[log]\nlevel = 'error'\n"
    )
    for fault in ("presence.grace", "change.burst", "spaceing"):
        assert fault in said
    assert "nothing has changed" in said
    assert all(" ERROR " in line for line in said.splitlines()), said
    assert "nothing new" in configured.reload(""), "neither the sound key of that file"


def test_two_at_once_are_done_one_after_the_other(configured: Configured) -> None:
    configured.write("[presence]\ngrace = '3s'\n")
    began = len(configured.daemon.log())
    with opened(configured.port, "alice") as link:
        for number in range(1, 6):
            configured.daemon.signal(signal.SIGHUP)
            link.send(Ping(number))
            assert link.until(PONG)[1] == number
    configured.daemon.until_log("reload: done")
    configured.write("[presence]\ngrace = '4s'\n")
    configured.daemon.signal(signal.SIGHUP)
    configured.daemon.until_log("presence.grace: 3s -> 4s")
    took = [line for line in configured.daemon.log()[began:].splitlines() if "15s -> 3s" in line]
    assert len(took) == 1, "once, however often it was asked for"


def test_an_unchanged_file_is_said_to_be(configured: Configured) -> None:
    assert "nothing new" in configured.reload()


# --- what cannot be foreseen --------------------------------------------------------------------------------------


async def reloaded(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> tuple[ReloadReport, Server]:
    file = folder / "presenced.toml"
    file.write_text(HEAD)
    configuration = Configuration({}, {}, str(file))
    server = Server(configuration.load().settings, configuration=configuration)
    await server.start()

    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(reload_module, place, fail)
    file.write_text(f"{HEAD}rate = 77\n")
    report = await reload_module.reload(server)
    await server.stop()
    return report, server


@pytest.mark.parametrize("place", ["_prepare", "_apply"])
async def test_a_failure_of_ours_is_told_and_counted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, server = await reloaded(tmp_path, monkeypatch, place)
    assert not report.ok and "nobody foresaw this" in report.faults[0]
    assert server.stats.failed_reloads == 1 and server.stats.reloads == 0
    assert server.settings.rate is None


async def test_a_certificate_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found good is what is shown, though the file is another by then."""
    cert, key = make_certificate(tmp_path, "used")
    file = tmp_path / "presenced.toml"
    file.write_text(f"{HEAD}tls_cert = '{cert}'\ntls_key = '{key}'\n")
    configuration = Configuration({}, {}, str(file))
    server = Server(configuration.load().settings, configuration=configuration)
    await server.start()
    first = await asyncio.to_thread(fingerprint, server.port)
    other_cert, other_key = make_certificate(tmp_path, "other")
    shutil.copy(other_cert, cert)
    shutil.copy(other_key, key)
    prepare = reload_module._prepare

    def prepare_and_lose(*arguments: Any) -> Any:
        prepared = prepare(*arguments)
        key.unlink()
        return prepared

    monkeypatch.setattr(reload_module, "_prepare", prepare_and_lose)
    report = await reload_module.reload(server)
    assert report.ok, report.faults
    second = await asyncio.to_thread(fingerprint, server.port)
    assert second == ssl.PEM_cert_to_DER_cert(other_cert.read_text()) != first
    await server.stop()
