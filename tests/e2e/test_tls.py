"""`presences://`: the same protocol under TLS, and peers that speak no TLS or nothing at all."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from presenced.wire.messages import Bye, Get, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.wire import DONE, PRESENCE, RECORDS, Bystander, Wire, admitted, hello, opened


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture(params=["uvloop", "asyncio"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Daemon]:
    """Room for four links; a silent one is let go after a moment."""
    cert, key = map(str, certificate)
    options = ("--check", "--loop", request.param, "--max-links", "4", "--tls-cert", cert, "--tls-key", key)
    limits = {"TLS_HANDSHAKE_S": 0.4, "HELLO_TIMEOUT_MS": 800}
    with Daemon(tmp_path / "log", *options, limits=limits) as daemon:
        yield daemon


def test_the_protocol_under_tls(daemon: Daemon, trust: ssl.SSLContext) -> None:
    assert daemon.line.startswith("listening on presences://127.0.0.1:")
    with opened(daemon.port, "alice", tls=trust) as alice, opened(daemon.port, "bob", tls=trust) as bob:
        bob.send(Watch(1, ["alice"]))
        assert bob.next()[4][0][:2] == ["alice", "online"]
        alice.send(SetStatus(1, "dnd", text="t" * 512))
        assert alice.next()[:2] == [DONE, 1]
        kind, record = bob.next()
        assert (kind, record[1]) == (PRESENCE, "dnd")
        alice.send(Bye())
        assert alice.rest() == []
        assert bob.next()[1][1] == "offline"
        bob.send_bytes(b"\0\0\0\0")
        bob.ended_with("bad_frame")


def test_a_certificate_that_is_not_trusted_is_noticed(daemon: Daemon) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Wire(daemon.port, tls=ssl.create_default_context())


def test_plain_bytes_to_a_tls_port(daemon: Daemon, trust: ssl.SSLContext) -> None:
    beside = Bystander(daemon.port, tls=trust)
    with Wire(daemon.port) as plain:
        plain.send(hello("mallory"))
        while plain.socket.recv(4096):
            pass
    beside.check()
    beside.close()


def test_silent_clients_count_and_are_released(daemon: Daemon, trust: ssl.SSLContext) -> None:
    """Two that never begin the handshake take the last places; no third gets in until they are let go."""
    beside = Bystander(daemon.port, tls=trust)
    silent = [Wire(daemon.port) for _ in range(2)]
    with Wire(daemon.port, tls=trust) as refused:
        refused.ended_with("busy")
    beside.check()
    for link in silent:
        assert link.rest() == []
        link.close()
    link = admitted(daemon.port, "patient", tls=trust)
    link.close()
    beside.check()
    beside.close()


def test_a_link_that_finishes_the_handshake_and_says_nothing(daemon: Daemon, trust: ssl.SSLContext) -> None:
    with Wire(daemon.port, tls=trust) as link:
        link.ended_with("hello_timeout")


def test_a_watcher_that_stops_reading_under_tls(
    tmp_path: Path, certificate: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    """Its records are kept latest-wins as on plain TCP, in some tens of KiB, and it gets the last one."""
    cert, key = map(str, certificate)
    # Nobody heartbeats in here, so that no lease may end, however busy the machine is.
    options = ("--check", "--change-spacing", "0", "--rate", "0", "--heartbeat", "4m")
    with Daemon(tmp_path / "log", *options, "--tls-cert", cert, "--tls-key", key) as daemon:
        alice = opened(daemon.port, "alice", tls=trust)
        slow = [opened(daemon.port, f"slow-{number}", tls=trust, receive_bytes=4096) for number in range(20)]
        for link in slow:
            link.send(Watch(1, ["alice"]))
            assert link.until(RECORDS)
        alice.send(Get(1, ["alice"]))
        alice.next()
        before = daemon.rss_bytes()
        for number in range(1, 2_001):
            alice.send(SetStatus(number, text=f"{number:0>400}"))
            alice.next()
        # At 512 KiB a link, which is what the loops hold back by themselves, these take 15 MiB; now they take 5.
        assert daemon.rss_bytes() - before < 10 << 20
        for link in slow:
            versions = []
            while True:
                kind, record = link.next()
                assert kind == PRESENCE
                versions.append(record[7])
                if record[2] == f"{2000:0>400}":
                    break
            assert versions == sorted(set(versions))
            assert link.quiet()
            link.close()
        alice.close()
