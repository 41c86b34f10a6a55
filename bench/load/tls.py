"""TLS as all servers of a run speak it: one certificate, one version, one cipher.

The cipher is set for the servers that use OpenSSL by a file of settings (`OPENSSL_CONF`), and is what Go chooses by
itself. That each server keeps to it is checked on every connection (`tls_socket`).
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.load.tls_socket import CIPHER, VERSION

SETTINGS = f"""\
openssl_conf = all
[all]
ssl_conf = uses
[uses]
system_default = every
[every]
MinProtocol = {VERSION}
Ciphersuites = {CIPHER}
"""


class Tls(NamedTuple):
    """What the servers of a run are given, and with what their clients connect."""

    certificate: Path
    key: Path
    settings: Path
    """OpenSSL's."""
    client: ssl.SSLContext
    """Trusts the certificate and nothing else."""

    @property
    def environment(self) -> dict[str, str]:
        """What a server that uses OpenSSL needs in its environment."""
        return {"OPENSSL_CONF": str(self.settings)}


def make_tls(folder: Path) -> Tls:
    """A certificate for this machine, signed by its own key on P-256, and OpenSSL's settings, in `folder`, which
    is made."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    contents = {
        "bench.crt": certificate.public_bytes(pem),
        "bench.key": key.private_bytes(pem, pkcs8, serialization.NoEncryption()),
        "openssl.cnf": SETTINGS.encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    client = ssl.create_default_context(cafile=str(folder / "bench.crt"))
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    return Tls(folder / "bench.crt", folder / "bench.key", folder / "openssl.cnf", client)
