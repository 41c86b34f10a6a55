"""The listener's certificate and key: what is wrong with them is told in plain words, and nobody is waited for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from presenced.config import Settings, SettingsError
from presenced.server.tls import Tls, load_tls
from tests.support.certificates import make_certificate

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
OLD = serialization.PrivateFormat.TraditionalOpenSSL
PHRASE = serialization.BestAvailableEncryption(b"pass phrase")


def loaded(cert: Path, key: Path) -> Tls | None:
    return load_tls(Settings(dev=True, tls_cert=str(cert), tls_key=str(key)))


def refused(cert: Path, key: Path) -> str:
    with pytest.raises(SettingsError) as raised:
        loaded(cert, key)
    return str(raised.value)


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "used")
    found = loaded(cert, key)
    assert found is not None and found.certificate is not None
    assert found.certificate.names == ("localhost", "127.0.0.1")
    assert isinstance(found.context, ssl.SSLContext)


@pytest.mark.parametrize("form", [PKCS8, OLD])
def test_a_key_with_a_pass_phrase_is_refused_though_there_is_a_terminal(tmp_path: Path, form: object) -> None:
    """OpenSSL would ask on it, and hear no signal until somebody types."""
    cert, key = make_certificate(tmp_path, "used")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(private.private_bytes(PEM, form, PHRASE))  # type: ignore[arg-type]
    process, terminal = os.forkpty()
    if process == 0:
        try:
            said = refused(cert, key)
        except BaseException as error:
            said = repr(error)
        os.write(2, said.encode() + b"\n")
        os._exit(0)
    told = b""
    try:
        while b"\n" not in told:
            told += os.read(terminal, 65_536)
    finally:
        os.close(terminal)
        os.waitpid(process, 0)
    assert b"is protected by a pass phrase, and a daemon cannot ask for it; write the key without a pass phrase" in told


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def another_key(_: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, serialization.NoEncryption())


def key_of_another_kind(_: bytes) -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        ("key", another_key, "do not belong together: the key belongs to another certificate"),
        ("key", key_of_another_kind, "do not belong together: the key and the certificate are of different types"),
        ("key", lambda _: b"", "holds no private key in PEM form"),
        ("cert", lambda _: b"\x30\x82\x01\x00", "holds no certificate in PEM form"),
        ("cert", cut, "cannot be used: "),
        ("key", cut, "cannot be used: "),
        ("cert", lambda content: content.replace(b"M", b"!", 3), "cannot be used: "),
    ],
    ids=["another key", "of another kind", "empty", "DER", "cut certificate", "cut key", "damaged"],
)
def test_what_is_wrong_is_told_in_plain_words(
    tmp_path: Path, which: str, change: Callable[[bytes], bytes], words: str
) -> None:
    cert, key = make_certificate(tmp_path, "used")
    path = cert if which == "cert" else key
    path.write_bytes(change(path.read_bytes()))
    said = refused(cert, key)
    assert words in said
    assert str(path) in said
    assert "_ssl.c" not in said and "[SSL" not in said


def test_a_pipe_is_refused_and_both_faults_are_told(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "used")
    cert.unlink()
    os.mkfifo(cert)
    key.unlink()
    said = refused(cert, key)
    assert f"listen.tls_cert {cert} is a pipe and not a regular file" in said
    assert f"listen.tls_key {key} does not exist" in said
