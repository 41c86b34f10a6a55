"""The keys of those who issue tokens: files in PEM (RFC 7468) or as a JSON Web Key Set (RFC 7517).

A key has exactly one algorithm, which its type decides and never the token: so a public key is no shared secret of
HMAC, and a token cannot choose how it is verified (RFC 8725, 3.1). A path may be a directory: a new key is a new file
in it, an old one serves until its file is removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from presenced.config.files import UnusableFile, read_regular, why_unread
from presenced.server.keys import KEY_BYTES_MIN, SecretError

FILE_BYTES_MAX = 262_144
FILES_MAX = 64

KEYS_MAX = 64
"""Of all files together. A token that names no key is tried with each of its algorithm."""

RSA_BITS_MIN = 2048
"""RFC 7518, 3.3."""

ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}
"""What a key of each type verifies (RFC 7518, 6.1; RFC 8037)."""

CURVES = {"EC": "P-256", "OKP": "Ed25519"}
"""The one curve of each type that its algorithm is defined for, or that is in use."""


class VerificationKey(NamedTuple):
    """A key that verifies tokens of one algorithm: a public one, or of a key set also a shared one (`oct`)."""

    kid: str
    """The name that a token's header picks it by (RFC 7515, 4.1.4); empty = it has none and fits any name."""
    algorithm: str
    key: Any
    """As the library takes it."""
    mark: bytes
    """What it is told apart from others by."""


def load_key_files(path: str) -> tuple[VerificationKey, ...]:
    """The keys in the file, or in the files ending in .pem, .crt, .json or .jwks of the directory, at least one.

    Raises `SecretError`.
    """
    keys: dict[tuple[str, str, bytes], VerificationKey] = {}
    for name in _files(path):
        try:
            content = read_regular(name, FILE_BYTES_MAX)
        except FileNotFoundError:
            raise SecretError(f"the key file {name} does not exist; give a PEM or JWKS file") from None
        except (OSError, ValueError, UnusableFile) as error:
            raise SecretError(f"the key file {name} {why_unread(error)}") from None
        for key in parse_key_file(content, name):
            keys[key.kid, key.algorithm, key.mark] = key
    if len(keys) > KEYS_MAX:
        raise SecretError(f"{path} holds {len(keys)} keys, and at most {KEYS_MAX} are taken; remove those not in use")
    _refuse_twins(list(keys.values()), path)
    return tuple(keys.values())


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    try:
        found = sorted(os.listdir(path))
    except OSError as error:
        raise SecretError(f"the key directory {path} {why_unread(error)}") from None
    names = [os.path.join(path, name) for name in found if name.endswith((".pem", ".crt", ".json", ".jwks"))]
    if not names:
        raise SecretError(f"the key directory {path} has no file that ends in .pem, .crt, .json or .jwks")
    if len(names) > FILES_MAX:
        raise SecretError(f"the key directory {path} has {len(names)} files, and at most {FILES_MAX} are read")
    return names


def _refuse_twins(keys: list[VerificationKey], path: str) -> None:
    """Two keys of one name and algorithm: which of them a token means could not be told."""
    seen: dict[tuple[str, str], VerificationKey] = {}
    for key in keys:
        if key.kid and (key.kid, key.algorithm) in seen:
            raise SecretError(f"{path} holds two different keys named {key.kid!r}; give each key a kid of its own")
        seen[key.kid, key.algorithm] = key


def parse_key_file(content: bytes, path: str) -> list[VerificationKey]:
    """The keys in the content of the file at `path`; raises `SecretError`."""
    if b"PRIVATE KEY-----" in content:
        raise SecretError(
            f"{path} holds a private key, and the server needs the public half alone; write that with: "
            f"openssl pkey -in PRIVATE.pem -pubout -out {path}"
        )
    found = list(_of_pem(content, path) if b"-----BEGIN " in content else _of_key_set(content, path))
    if not found:
        raise SecretError(
            f"{path} holds no key that tokens can be verified with; RSA, EC (P-256) and Ed25519 keys are taken"
        )
    return found


# --- PEM ----------------------------------------------------------------------------------------------------------


def _of_pem(content: bytes, path: str) -> Iterator[VerificationKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    for block in _blocks(content, path):
        try:
            if b"-----BEGIN CERTIFICATE-----" in block:
                key: Any = x509.load_pem_x509_certificate(block).public_key()
            else:
                key = load_pem_public_key(block)
        except Exception as error:
            # Besides ValueError the library has classes of its own for keys that it does not know.
            raise SecretError(f"{path} cannot be read as a public key in PEM: {error}") from None
        yield _checked("", key, path)


def _blocks(content: bytes, path: str) -> Iterator[bytes]:
    """Each block from its BEGIN to its END line."""
    for piece in content.split(b"-----BEGIN ")[1:]:
        block, end, _ = piece.partition(b"-----END ")
        label = block.partition(b"-----")[0]
        if not end:
            raise SecretError(f"{path} ends within a block of PEM; copy the file again")
        yield b"-----BEGIN " + block + b"-----END " + label + b"-----\n"


def _checked(kid: str, key: Any, path: str) -> VerificationKey:
    """The key with its algorithm, if it is of a type and size that is taken."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise SecretError(f"the RSA key in {path} has {key.key_size} bits and needs at least {RSA_BITS_MIN}")
        algorithm = "RS256"
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = "ES256"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "EdDSA"
    else:
        raise SecretError(f"the key in {path} is of a type that is not taken; RSA, EC (P-256) and Ed25519 keys are")
    return VerificationKey(kid, algorithm, key, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


# --- key sets -----------------------------------------------------------------------------------------------------


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _of_key_set(content: bytes, path: str) -> Iterator[VerificationKey]:
    """The keys of the set. What is for another use or of another type is passed over, as RFC 7517, section 5, asks."""
    try:
        entries = msgspec.json.decode(content, type=_KeySet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SecretError(f"{path} is neither PEM nor a JSON Web Key Set: {error}") from None
    for entry in entries:
        if "d" in entry:
            raise SecretError(f"{path} holds a private key (a member d); give the set of public keys")
        if _is_for_this(entry):
            yield _of_entry(entry, path)


def _is_for_this(entry: dict[str, Any]) -> bool:
    kind = entry.get("kty")
    if not isinstance(kind, str) or kind not in ALGORITHMS or entry.get("use", "sig") != "sig":
        return False
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return False
    return entry.get("alg", ALGORITHMS[kind]) == ALGORITHMS[kind] and entry.get("crv") == CURVES.get(kind)


def _of_entry(entry: dict[str, Any], path: str) -> VerificationKey:
    import jwt

    kid = entry.get("kid", "")
    if not isinstance(kid, str):
        raise SecretError(f"{path} has a key whose kid is no string")
    named = f"the key {kid!r} of {path}" if kid else f"a key of {path}"
    algorithm = ALGORITHMS[entry["kty"]]
    try:
        key = jwt.get_algorithm_by_name(algorithm).from_jwk(entry)
    except Exception as error:
        # As with PEM: the library's own classes, and those of base64 and of what it is built on.
        raise SecretError(f"{named} cannot be read: {error}") from None
    if not isinstance(key, bytes):
        return _checked(kid, key, path)
    if len(key) < KEY_BYTES_MIN:
        raise SecretError(f"{named} has {len(key)} bytes and needs at least {KEY_BYTES_MIN}")
    return VerificationKey(kid, algorithm, key, key)
