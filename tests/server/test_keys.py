"""The lines of the secret file: which keys they are, and which files are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from presenced.server.key_ring import KeyRing
from presenced.server.keys import KEYS_MAX, SecretError, load_keys

ONE, TWO = b"1" * 40, b"2" * 40


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(SecretError) as raised:
        load_keys(str(path))
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (ONE, (ONE,)),
        (b"  " + ONE + b" \r\n", (ONE,)),
        (ONE + b"\n" + TWO + b"\n", (ONE, TWO)),
        (b"\n\n" + TWO + b"\r\n\r\n\t" + ONE, (TWO, ONE)),
        (ONE + b"\n" + ONE, (ONE,)),
        (b"pass phrase of several words, and long", (b"pass phrase of several words, and long",)),
        ("Schlüssel mit Umlauten, auch das ist Text".encode(), ("Schlüssel mit Umlauten, auch das ist Text".encode(),)),
    ],
    ids=["plain", "white space around", "two", "blank lines", "twice the same", "spaces inside", "letters of UTF-8"],
)
def test_each_line_is_a_key(tmp_path: Path, content: bytes, keys: tuple[bytes, ...]) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert load_keys(str(path)) == keys


def test_the_recipes_of_other_languages_take_the_first_line(tmp_path: Path) -> None:
    """As protocol.md gives them: text, without white space around it, up to the end of the line."""
    path = tmp_path / "secret"
    for content in (ONE, ONE + b"\n", b" " + ONE + b"\r\n" + TWO + b"\r\n", b"\n" + ONE + b"\t\n" + TWO):
        path.write_bytes(content)
        by_recipe = path.read_text("utf-8").strip().splitlines()[0].strip()
        assert by_recipe.encode() == load_keys(str(path))[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xef\xbb\xbf" + ONE, "begins with a byte-order mark"),
        (ONE.decode().encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (ONE + b"\x00", "holds the character U+0000"),
        (ONE + b"\x00\n", "holds the character U+0000"),
        (ONE + "\u0085".encode(), "holds the character U+0085"),
        (ONE + "\u00a0".encode(), "holds the character U+00A0"),
        (ONE + "\u2028".encode() + TWO, "holds the character U+2028"),
        (ONE + b"\t" + TWO, "holds the character U+0009"),
        (ONE + "\ufeff".encode() + b"\n", "holds the character U+FEFF"),
        (ONE + b"\x1c", "holds the character U+001C"),
        (b"\xb6J\xff" * 16, "is not text in UTF-8"),
        (b"", "is empty; make one with"),
        (b" \n", "is empty; make one with"),
        (b"short", "has 5 bytes and needs at least 32; make one with"),
        (ONE + b"\n\nshort", "line 3 of the secret file"),
        (b"\n".join(b"%040d" % number for number in range(KEYS_MAX + 1)), f"at most {KEYS_MAX} are taken"),
        (b"x" * 70_000, "has more than 65,536 bytes; is it the right file?"),
    ],
)
def test_what_programs_would_read_differently_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    said = refused(tmp_path / "secret", content)
    assert says in said
    assert "1111" not in said and "2222" not in said


def test_a_key_that_is_as_short_as_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x" * 32)
    assert load_keys(str(path)) == (b"x" * 32,)


def test_a_pipe_whose_writer_never_comes_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = "is a pipe and not a regular file, so a reload could not read it a second time; write its content"
    with pytest.raises(SecretError, match=words):
        load_keys(str(pipe))


def test_a_file_for_others_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    # Root, as whom the tests may run, can read everything.
    monkeypatch.setattr("presenced.config.files.os.open", forbid)
    words = r"cannot be read by the user \S+, who runs this process; let \S+ read the file"
    with pytest.raises(SecretError, match=words):
        load_keys("/etc/presenced/secret")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ((ONE,), (ONE,), ""),
        ((ONE,), (ONE, TWO), "1 key added; 2 keys in force"),
        ((ONE,), (TWO, ONE), "1 key added, another one signs; 2 keys in force"),
        ((ONE, TWO), (TWO, ONE), "another one signs; 2 keys in force"),
        ((ONE,), (TWO,), "1 key added, 1 key removed, another one signs; 1 key in force"),
        ((ONE, TWO, b"3"), (ONE, b"3", TWO), "the keys are in another order; 3 keys in force"),
    ],
)
def test_what_a_rotation_changes_in_words(old: tuple[bytes, ...], new: tuple[bytes, ...], words: str) -> None:
    found = KeyRing(old).difference(KeyRing(new))
    assert found == ([f"auth.secret_file: {words}"] if words else [])


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """Whoever reads it could sign with it."""
    path = tmp_path / "secret"
    path.write_text(f"-----BEGIN PUBLIC KEY-----\n{'A' * 60}\n-----END PUBLIC KEY-----\n")
    with pytest.raises(
        SecretError, match="holds a key in PEM, and a secret is plain text; give public keys by auth.keys"
    ):
        load_keys(str(path))
