"""The certificate and the key that clients are shown: read, judged, and what is wrong with them in plain words."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from presenced.config.certificate import FILE_BYTES_MAX, Certificate, parse_certificate
from presenced.config.files import UnusableFile, read_regular, why_unread
from presenced.config.settings import Settings, SettingsError


class Tls(NamedTuple):
    """What a TLS listener speaks with."""

    context: ssl.SSLContext
    certificate: Certificate | None
    """The one that clients are shown; None if it cannot be read here, though OpenSSL can."""


def load_tls(settings: Settings) -> Tls | None:
    """Certificate and key of the listener, read now; None = plain TCP. Raises `SettingsError` with all faults.

    Waits for nobody: neither for the writer of a pipe nor for who types a pass phrase.
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
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, _no_pass_phrase)
    except _PassPhraseWanted:
        raise SettingsError(_protected(key, settings.tls_key)) from None
    except (OSError, ValueError) as error:
        raise SettingsError(_why_unusable(cert, key, error)) from None
    return Tls(context, parse_certificate(settings.tls_cert, contents[0]))


class _PassPhraseWanted(Exception):
    """The key is of no use without one."""


def _no_pass_phrase() -> str:
    # Without this OpenSSL itself would ask on the terminal, where no signal reaches the process any more.
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
        f"{key} is protected by a pass phrase, and nobody is there to type it; write the key without one: "
        f"openssl pkey -in {path} -out NEW.key"
    )


_REASONS = {
    "KEY_VALUES_MISMATCH": "do not belong together: the key is that of another certificate",
    "KEY_TYPE_MISMATCH": "do not belong together: the key is of another kind than the certificate's",
    "NO_CERTIFICATE_ASSIGNED": "do not belong together: the key is of another kind than the certificate's",
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
        told = reason.replace("_", " ").lower() or "nothing about the reason"
        words = f"cannot be used: they are damaged, or not a certificate and its key (OpenSSL says: {told})"
    return f"{cert} and {key} {words}"
