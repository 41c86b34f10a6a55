"""For whom a certificate is and until when, and what `presenced config check` says of it."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from presenced.cli.daemon import main
from presenced.config.certificate import SOON_S, parse_certificate, read_certificate
from tests.config.making import written

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
NAMES = [
    x509.DNSName("presence.example"),
    x509.DNSName("*.presence.example"),
    x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    x509.RFC822Name("operator@presence.example"),
]


def certificate(
    folder: Path,
    begins: datetime.datetime,
    ends: datetime.datetime,
    names: list[x509.GeneralName] | None = None,
    serial: int = 1,
) -> tuple[str, str]:
    """One that an authority of no interest signed, as most are."""
    key, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "presence.example")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.sign(authority, hashes.SHA256()).public_bytes(pem))
    key_path.write_bytes(secret)
    return str(cert_path), str(key_path)


def warning(path: str, now_s: float | None = None) -> str:
    found = read_certificate(path)
    assert found is not None
    return found.warning(now_s)


@pytest.mark.parametrize("names", [NAMES, NAMES[:1], None], ids=["many names", "one name", "a common name"])
@pytest.mark.parametrize(
    "ends", [NOW + 90 * DAY, datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC), NOW + 9999 * DAY]
)
@pytest.mark.parametrize("serial", [1, 2**150])
def test_what_is_read_is_what_a_library_reads(
    tmp_path: Path, names: list[x509.GeneralName] | None, ends: datetime.datetime, serial: int
) -> None:
    path, _ = certificate(tmp_path, NOW - 20_000 * DAY, ends, names, serial)
    known = x509.load_pem_x509_certificate(Path(path).read_bytes())
    found = read_certificate(path)
    assert found is not None
    assert found.digest == known.fingerprint(hashes.SHA256()).hex()
    assert found.begins_s == known.not_valid_before_utc.timestamp()
    assert found.ends_s == known.not_valid_after_utc.timestamp()
    shown = ["presence.example", "*.presence.example", "192.0.2.1", "2001:db8::1"]
    assert list(found.names) == shown[: min(4, len(names))] if names else ["presence.example"]


def test_the_first_of_a_chain_counts(tmp_path: Path) -> None:
    own, _ = certificate(tmp_path, NOW - DAY, NOW + 90 * DAY)
    text = Path(own).read_text()
    other, _ = certificate(tmp_path, NOW - DAY, NOW + DAY)
    chain = parse_certificate("x", f"Some words before.\n{text}{Path(other).read_text()}".encode())
    first = parse_certificate("x", text.encode())
    assert chain == first is not None


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_what_is_damaged_is_no_certificate_and_no_failure(tmp_path: Path, cut: int) -> None:
    path, _ = certificate(tmp_path, NOW - DAY, NOW + 90 * DAY)
    lines = Path(path).read_bytes()
    damaged = lines[: 40 + cut] + b"\n-----END CERTIFICATE-----\n"
    assert parse_certificate("x", damaged) is None
    flipped = bytearray(lines)
    flipped[60 + cut] ^= 1
    parse_certificate("x", bytes(flipped))


@pytest.mark.parametrize(
    ("days", "words"),
    [(90.5, "(in 90 days)"), (1.5, "(in 1 day)"), (0.5, "(in less than a day)"), (-3, "(it has expired)")],
)
def test_it_is_described_in_words(tmp_path: Path, days: float, words: str) -> None:
    found = read_certificate(certificate(tmp_path, NOW - 30 * DAY, NOW + days * DAY, NAMES[:2])[0])
    assert found is not None
    ends = (NOW + days * DAY).strftime("%Y-%m-%d %H:%M UTC")
    assert found.describe() == f"for presence.example, *.presence.example until {ends} {words}"
    assert found._replace(names=tuple("abcdefg")).describe().startswith("for a, b, c, d, e and 2 more until ")


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (NOW - DAY, NOW + 90 * DAY, ""),
        (NOW - DAY, NOW + 14.5 * DAY, ""),
        (NOW - DAY, NOW + 13.5 * DAY, "expires in 13 days; renew it"),
        (NOW - DAY, NOW + 0.5 * DAY, "expires in less than a day; renew it"),
        (NOW - 9 * DAY, NOW - DAY, "has expired"),
        (NOW + DAY, NOW + 90 * DAY, "is not valid yet"),
    ],
    ids=["in order", "just long enough", "soon", "today", "over", "not begun"],
)
def test_the_end_of_a_certificate(
    tmp_path: Path, begins: datetime.datetime, ends: datetime.datetime, said: str
) -> None:
    cert, key = certificate(tmp_path, begins, ends)
    sentence = warning(cert)
    assert sentence == "" if not said else sentence.startswith(f"the certificate {cert} {said}")
    path = written(tmp_path / "f.toml", f"[auth]\ndev = true\n[listen]\ntls_cert = '{cert}'\ntls_key = '{key}'\n")
    result = CliRunner().invoke(main, ["config", "check", "--config", path])
    assert (result.exit_code, result.stderr) == (0, f"presenced: warning: {sentence}\n" if said else "")


def test_two_weeks_to_the_second(tmp_path: Path) -> None:
    ends = (NOW + 90 * DAY).replace(microsecond=0)
    path, _ = certificate(tmp_path, NOW - DAY, ends)
    assert warning(path, ends.timestamp() - SOON_S - 1) == ""
    assert "expires in 14 days" in warning(path, ends.timestamp() - SOON_S)
    assert "expires in less than a day" in warning(path, ends.timestamp() - 1)
    assert "has expired" in warning(path, ends.timestamp())


@pytest.mark.parametrize(("left_s", "words"), [(4.5 * 86_400, "in 4 days"), (86_399, "in less than a day")])
def test_its_end_is_the_same_wherever_it_is_told(tmp_path: Path, left_s: float, words: str) -> None:
    ends = (NOW + 90 * DAY).replace(microsecond=0)
    path, _ = certificate(tmp_path, NOW - DAY, ends)
    found = read_certificate(path)
    assert found is not None
    now_s = ends.timestamp() - left_s
    assert f"expires {words};" in found.warning(now_s) and found.describe(now_s).endswith(f"({words})")


def test_files_that_cannot_be_read_have_no_certificate(tmp_path: Path) -> None:
    _, key = certificate(tmp_path, NOW - 9 * DAY, NOW - DAY)
    for path in (key, "/nonexistent", str(tmp_path), "/dev/zero"):
        assert read_certificate(path) is None
