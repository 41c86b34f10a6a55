"""Reads and checks the server's certificate and key, and says in plain words what is wrong with them."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from presenced.config.certificate import FILE_BYTES_MAX, Certificate, parse_certificate
from presenced.config.files import UnusableFile, read_regular, why_unread
from presenced.config.settings import Settings, SettingsError


class Tls(NamedTuple):
    """The TLS context of a listener, and its certificate."""

    context: ssl.SSLContext
    certificate: Certificate | None
    """The certificate that clients are shown; None if only OpenSSL can read it."""


def load_tls(settings: Settings) -> Tls | None:
    """Read the certificate and the key of the listener; None = plain TCP. Raises `SettingsError` with all faults.

    The call never waits for the writer of a pipe, or for somebody to type a pass phrase.
    """
    if not settings.tls_cert:
        return None
    cert, key = f"listen.tls_cert {settings.tls_cert}", f"listen.tls_key {settings.tls_key}"
    contents, faults = [], []
    for name, path in ((cert, settings.tls_cert), (key, settings.tls_key)):
        try:
            contents.append(read_regular(path, FILE_BYTES_MAX))
        except (OSError, ValueError, UnusableFile) as error:
            faults.append(f"{name} {why_unread(error)}")
    if not faults:
        faults = _faults_of_pem(cert, key, *contents)
    if faults:
        raise SettingsError(*faults)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A handshake costs the server as much as a hundred deliveries: one for each connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A ticket is a sixteenth of a handshake, and spares whoever comes back with it a sixth of the next. OpenSSL would
    # give two.
    context.num_tickets = 1
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, _no_pass_phrase)
    except _PassPhraseWanted:
        raise SettingsError(_protected(key, settings.tls_key)) from None
    except (OSError, ValueError) as error:
        raise SettingsError(_why_unusable(cert, key, error)) from None
    return Tls(context, parse_certificate(settings.tls_cert, contents[0]))


class _PassPhraseWanted(Exception):
    """The key is protected by a pass phrase."""


def _no_pass_phrase() -> str:
    # Without this function OpenSSL would ask on the terminal, and the process would not react to signals meanwhile.
    raise _PassPhraseWanted


def _faults_of_pem(cert: str, key: str, cert_content: bytes, key_content: bytes) -> list[str]:
    faults = []
    if b"CERTIFICATE-----" not in cert_content:
        faults.append(f"{cert} holds no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----")
    if b"PRIVATE KEY-----" not in key_content:
        faults.append(f"{key} holds no private key in PEM form, which begins with -----BEGIN PRIVATE KEY-----")
    return faults


def _protected(key: str, path: str) -> str:
    return (
        f"{key} is protected by a pass phrase, and a daemon cannot ask for it; write the key without a pass phrase: "
        f"openssl pkey -in {path} -out NEW.key"
    )


_REASONS = {
    "KEY_VALUES_MISMATCH": "do not belong together: the key belongs to another certificate",
    "KEY_TYPE_MISMATCH": "do not belong together: the key and the certificate are of different types",
    "NO_CERTIFICATE_ASSIGNED": "do not belong together: the key and the certificate are of different types",
    "EE_KEY_TOO_SMALL": "are too weak: the key has too few bits; make a new one",
    "CA_KEY_TOO_SMALL": "are too weak: the key of the authority has too few bits; get another certificate",
    "CA_MD_TOO_WEAK": "are too weak: the certificate is signed with an outdated hash; get another one",
    "NO_START_LINE": "cannot be used: a part of them is cut off or is not in PEM form",
    "BAD_END_LINE": "cannot be used: a part of them is cut off",
    "BAD_BASE64_DECODE": "cannot be used: a part of them is damaged",
}


def _why_unusable(cert: str, key: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or ""
    words = _REASONS.get(reason)
    if words is None:
        told = f" (OpenSSL says: {reason.replace('_', ' ').lower()})" if reason else ""
        words = f"cannot be used: they are damaged, or not a certificate and its key{told}"
    return f"{cert} and {key} {words}"
