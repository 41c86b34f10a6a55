"""Keys of several types and names, from PEM and key sets: what each verifies, and what is refused with which words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from presenced.errors import AuthError
from presenced.server.identity import VERIFIED_MAX, Identity, Verifier
from presenced.server.key_files import load_key_files
from presenced.server.key_ring import KeyRing
from presenced.server.keys import SecretError

SHARED = b"a shared secret that is long enough, named"
NOW_MS = int(time.time()) * 1000
SAID = {"sub": "alice", "exp": NOW_MS // 1000 + 3600}


def verify(ring: KeyRing, text: str) -> Identity:
    return Verifier(ring).verify(text, NOW_MS)


@cache
def private(algorithm: str, number: int = 0) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else SHARED


def pem(algorithm: str, number: int = 0) -> bytes:
    found: bytes = (
        private(algorithm, number)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return found


def entry(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    key = private(algorithm, number)
    found: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(
        key if isinstance(key, bytes) else key.public_key(), as_dict=True
    )
    return found | more


def ring_of(tmp_path: Path, content: bytes | dict[str, Any], **more: Any) -> KeyRing:
    path = tmp_path / "keys"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return KeyRing(more.pop("secrets", ()), load_key_files(str(path)), **more)


def token(algorithm: str, number: int = 0, kid: str = "", **said: Any) -> str:
    return jwt.encode(SAID | said, private(algorithm, number), algorithm, {"kid": kid} if kid else None)


def refused(ring: KeyRing, text: str) -> str:
    with pytest.raises(AuthError) as raised:
        verify(ring, text)
    assert raised.value.code == "bad_token"
    return raised.value.message


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_key_in_pem_verifies_its_algorithm_alone(tmp_path: Path, algorithm: str) -> None:
    ring = ring_of(tmp_path, pem(algorithm))
    assert verify(ring, token(algorithm)).user == "alice"
    assert verify(ring, token(algorithm, kid="any")).user == "alice", "a key without a name fits any"
    assert "no key of this server verifies" in refused(ring, token(algorithm, number=1))
    for other in {"RS256", "ES256", "EdDSA", "HS256"} - {algorithm}:
        assert refused(ring, token(other)) == f"the token's alg is not {algorithm}, and no other is accepted"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "HS256"])
def test_a_key_set_verifies_by_name(tmp_path: Path, algorithm: str) -> None:
    ring = ring_of(tmp_path, {"keys": [entry(algorithm, kid="old"), *other_entries(algorithm)]})
    assert verify(ring, token(algorithm, kid="old")).user == "alice"
    assert verify(ring, token(algorithm)).user == "alice", "a token that names no key may be of any"
    assert "kid names none of this server's keys" in refused(ring, token(algorithm, kid="new"))


def other_entries(algorithm: str) -> list[dict[str, Any]]:
    return [entry(other, kid="old") for other in ("RS256", "ES256", "EdDSA") if other != algorithm]


def test_a_name_picks_the_key(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, {"keys": [entry("EdDSA", 0, kid="a"), entry("EdDSA", 1, kid="b")]})
    assert verify(ring, token("EdDSA", 1, kid="b")).user == "alice"
    assert "no key of this server verifies" in refused(ring, token("EdDSA", 1, kid="a"))


def test_the_public_key_is_no_shared_secret(tmp_path: Path) -> None:
    """Algorithm confusion (RFC 8725, 2.1): an HMAC by what everybody knows."""
    content = pem("RS256")
    head, payload = (
        jwt.utils.base64url_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, SAID)
    )
    for key in (
        content,
        content.strip(),
        private("RS256")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        import hashlib
        import hmac

        signature = jwt.utils.base64url_encode(hmac.digest(key, head + b"." + payload, hashlib.sha256))
        forged = b".".join((head, payload, signature)).decode()
        assert "alg is not RS256" in refused(ring_of(tmp_path, content), forged)
        assert "no key of this server verifies" in refused(ring_of(tmp_path, content, secrets=(SHARED,)), forged)


def test_no_algorithm_is_none(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, pem("ES256"), secrets=(SHARED,))
    assert refused(ring, jwt.encode(SAID, None, "none")) == (
        "the token's alg is none of HS256, ES256, and no other is accepted"
    )


def test_issuer_and_audience_are_looked_at_where_they_are_configured(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, pem("EdDSA"), secrets=(SHARED,), issuer="https://id.example", audience="presence")
    good = {"iss": "https://id.example", "aud": "presence"}
    for algorithm in ("EdDSA", "HS256"):
        assert verify(ring, token(algorithm, **good)).user == "alice"
        assert verify(ring, token(algorithm, **good | {"aud": ["chat", "presence"]})).user == "alice"
        for wrong in ({"iss": "https://id.example.evil"}, {"iss": "HTTPS://id.example"}):
            assert "claim iss is not the issuer" in refused(ring, token(algorithm, **good | wrong))
        for bad in ({"aud": "presenc"}, {"aud": ["chat"]}, {"aud": []}, {"aud": None}, {"aud": {"presence": 1}}):
            assert "claim aud does not name this server" in refused(ring, token(algorithm, **good | bad))
        assert "claim iss" in refused(ring, token(algorithm))


def test_a_token_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(ring_of(tmp_path, pem("ES256")))
    one = token("ES256")
    first = verifier.verify(one, NOW_MS)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("verified anew"))
    assert verifier.verify(one, NOW_MS) == first
    with pytest.raises(pytest.fail.Exception):
        verifier.verify(token("ES256", sub="bob"), NOW_MS)


def test_what_is_remembered_ends_with_the_token(tmp_path: Path) -> None:
    verifier = Verifier(ring_of(tmp_path, pem("EdDSA")))
    one = token("EdDSA")
    verifier.verify(one, NOW_MS)
    assert verifier.verify(one, NOW_MS + 3_599_999).user == "alice"
    with pytest.raises(AuthError) as raised:
        verifier.verify(one, NOW_MS + 3_600_000)
    assert raised.value.code == "token_expired"


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.server.identity.VERIFIED_MAX", 3)
    assert VERIFIED_MAX > 3
    verifier = Verifier(ring_of(tmp_path, pem("EdDSA")))
    for number in range(5):
        verifier.verify(token("EdDSA", sub=f"user{number}"), NOW_MS)
    assert len(verifier._verified) == 3


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_directory_holds_the_keys_of_a_rotation(tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.pem").write_bytes(pem("ES256", number))
    (tmp_path / "README").write_text("not a key")
    verifier = Verifier(KeyRing((), load_key_files(str(tmp_path))))
    assert [verifier.verify(token("ES256", number), NOW_MS).user for number in (0, 1)] == ["alice", "alice"]
    before = verifier.ring
    (tmp_path / "0.pem").unlink()
    after = KeyRing((), load_key_files(str(tmp_path)))
    assert before.difference(after) == ["auth.keys: 1 key removed; 1 key in force"]
    assert "no key of this server verifies" in refused(after, token("ES256", 0))


def test_several_keys_in_one_file_of_pem(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, pem("ES256") + b"\n# the new one\n" + pem("EdDSA"))
    assert [verify(ring, token(algorithm)).user for algorithm in ("ES256", "EdDSA")] == ["alice", "alice"]


def test_keys_of_a_set_that_are_for_something_else_are_passed_over(tmp_path: Path) -> None:
    others = [
        {"kty": "unheard of"},
        {"kty": 7},
        entry("RS256", 1, use="enc"),
        entry("RS256", 1, alg="RS512"),
        entry("RS256", 1, key_ops=["encrypt"]),
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
    ]
    ring = ring_of(
        tmp_path, {"keys": [*others, entry("RS256", kid="mine", use="sig", alg="RS256", key_ops=["verify"])]}
    )
    assert [key.kid for key in ring.keys] == ["mine"]


def weak() -> bytes:
    key = rsa.generate_private_key(65537, 1024).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def other_curve() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem() -> bytes:
    found: bytes = private("ES256").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "is neither PEM nor a JSON Web Key Set"),
        (lambda: b"[]", "is neither PEM nor a JSON Web Key Set"),
        (lambda: b'{"keys": 3}', "is neither PEM nor a JSON Web Key Set"),
        (lambda: b"\xff\xfe", "is neither PEM nor a JSON Web Key Set"),
        (lambda: b"[" * 100_000, "is neither PEM nor a JSON Web Key Set"),
        (lambda: {"keys": []}, "holds no key that tokens can be verified with"),
        (lambda: {"keys": [{"kty": "RSA", "kid": "half"}]}, "the key 'half' of .* cannot be read"),
        (lambda: {"keys": [entry("EdDSA", kid=7)]}, "has a key whose kid is no string"),
        (lambda: {"keys": [entry("EdDSA", d="AA")]}, "holds a private key"),
        (lambda: {"keys": [entry("EdDSA", 0, kid="a"), entry("EdDSA", 1, kid="a")]}, "two different keys named 'a'"),
        (lambda: {"keys": [{"kty": "oct", "kid": "s", "k": "c2hvcnQ"}]}, "has 5 bytes and needs at least 32"),
        (private_pem, "holds a private key, and the server needs the public half alone"),
        (weak, "the RSA key in .* has 1024 bits and needs at least 2048"),
        (other_curve, "of a type that is not taken"),
        (lambda: pem("ES256")[:80], "ends within a block of PEM"),
        (lambda: pem("ES256").replace(b"M", b"N", 1), "cannot be read as a public key in PEM"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: Callable[[], Any], words: str) -> None:
    with pytest.raises(SecretError, match=words):
        ring_of(tmp_path, content())


def test_a_directory_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="has no file that ends in .pem"):
        load_key_files(str(tmp_path))
    with pytest.raises(SecretError, match="does not exist; give a PEM or JWKS file"):
        load_key_files(str(tmp_path / "none.pem"))
