"""When a certificate ends, and what `presenced config check` says of it."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from presenced.cli.daemon import main
from presenced.config.certificate import SOON_S, validity_warning
from tests.config.making import written

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


def certificate(folder: Path, begins: datetime.datetime, ends: datetime.datetime) -> tuple[str, str]:
    """One that an authority of no interest signed, as most are."""
    key, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "presence.example")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(pem))
    key_path.write_bytes(secret)
    return str(cert_path), str(key_path)


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (NOW - DAY, NOW + 90 * DAY, ""),
        (NOW - DAY, NOW + 14.5 * DAY, ""),
        (NOW - DAY, NOW + 13.5 * DAY, "ends within 14 days; renew it"),
        (NOW - DAY, NOW + 0.5 * DAY, "ends within 1 day; renew it"),
        (NOW - 9 * DAY, NOW - DAY, "has ended"),
        (NOW + DAY, NOW + 90 * DAY, "is not valid yet"),
    ],
    ids=["in order", "just long enough", "soon", "today", "over", "not begun"],
)
def test_the_end_of_a_certificate(
    tmp_path: Path, begins: datetime.datetime, ends: datetime.datetime, said: str
) -> None:
    cert, key = certificate(tmp_path, begins, ends)
    warning = validity_warning(cert, key)
    assert warning == "" if not said else warning.startswith(f"the certificate {cert} {said}")
    path = written(tmp_path / "f.toml", f"[auth]\ndev = true\n[listen]\ntls_cert = '{cert}'\ntls_key = '{key}'\n")
    result = CliRunner().invoke(main, ["config", "check", "--config", path])
    assert (result.exit_code, result.stderr) == (0, f"presenced: warning: {warning}\n" if said else "")


def test_two_weeks_to_the_second(tmp_path: Path) -> None:
    ends = (NOW + 90 * DAY).replace(microsecond=0)
    files = certificate(tmp_path, NOW - DAY, ends)
    assert validity_warning(*files, now_s=ends.timestamp() - SOON_S - 1) == ""
    assert "ends within 14 days" in validity_warning(*files, now_s=ends.timestamp() - SOON_S)


def test_files_that_cannot_be_used_are_a_fault_and_no_warning(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path, NOW - 9 * DAY, NOW - DAY)
    assert validity_warning(cert, cert) == validity_warning("/nonexistent", "/nonexistent") == ""
