"""Files: where each key stands, where the syntax breaks, and files that are none."""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from presenced.config.toml_text import FILE_BYTES_MAX, FileFault, key_lines, read_document
from tests.config.making import spelled

TRICKY = '''# a comment with [brackets] and "quotes
[listen]
address = "a # [b] = 'c' \\" d"   # more
"rate" = 5

tls_cert = """
[http]
x = 1 \\"""
""""
'tls_key' = \'\'\'
[log]
y = "\'\'\'
max_links = [ # it's a comment
  1, "]",
  [2], {a = "}"},
]
[presence . "idle"]
"a.b" = "1m,0"
mobile = {x = 1}
[log]
level.deep = 1
[[many]]
a = 1
[[many]]
a = 2
'''


def test_the_line_of_each_key() -> None:
    tomllib.loads(TRICKY)
    assert key_lines(TRICKY) == {
        ("listen",): 2,
        ("listen", "address"): 3,
        ("listen", "rate"): 4,
        ("listen", "tls_cert"): 6,
        ("listen", "tls_key"): 10,
        ("listen", "max_links"): 13,
        ("presence",): 17,
        ("presence", "idle"): 17,
        ("presence", "idle", "a.b"): 18,
        ("presence", "idle", "mobile"): 19,
        ("log",): 20,
        ("log", "level"): 21,
        ("log", "level", "deep"): 21,
        ("many",): 22,
        ("many", "a"): 23,
    }


def test_what_has_no_line_of_its_own_has_that_of_what_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbf[a]\r\n\r\nb = {c = 1}\r\n")
    document = read_document(str(path))
    assert document.values == {"a": {"b": {"c": 1}}}
    assert [document.line("a", "b", "c"), document.line("a", "b"), document.line("a", "x"), document.line("z")] == [
        3,
        3,
        1,
        1,
    ]


WORDS = st.sampled_from(["a", "b", "listen", "a.b", "a b", "#", "]", "'", '"', "\u00e9", ""])
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(alphabet="ab#[]{}='\"\\\n,", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(WORDS, st.dictionaries(WORDS, st.tuples(VALUES, st.integers(0, 2)), max_size=4), max_size=4))
def test_lines_of_any_file(tables: dict[str, dict[str, tuple[Any, int]]]) -> None:
    """The text is made line by line, so that the place of each key is known."""
    lines: list[str] = []
    where = {}
    for section, table in tables.items():
        lines.append(f"[{spelled(section)}] # [x] y = 1")
        where[section,] = len(lines)
        for key, (value, blank) in table.items():
            lines += [""] * blank
            # An array over several lines.
            value_lines = (
                ["[ # ]", *(f"{spelled(item)}, # [ '" for item in value), "]"]
                if isinstance(value, list)
                else [spelled(value)]
            )
            where[section, key] = len(lines) + 1
            lines += [f"  {spelled(key)}\t= {value_lines[0]}", *value_lines[1:]]
    text = "\n".join(lines)
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found.get(path) for path in where} == where


@given(st.text(alphabet="ab=[]{}'\"#\\\n ., ", max_size=60))
def test_the_walk_ends_whatever_it_is_given(text: str) -> None:
    """Of text that is not TOML it need not make sense."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        key_lines(text)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[listen]\naddress = \n", ":2:11: is not TOML: invalid value"),
        (b"[listen]\naddress 5\n", ":2:9: is not TOML: expected '=' after a key"),
        (b"[listen\n", ":1:8: is not TOML: expected ']'"),
        (b"a = 1\na = 2\n", ":2:6: is not TOML: cannot overwrite a value"),
        (b'\n\na = "x', ":3:7: is not TOML: "),
        (b"\na = 1\nb = [1,\n", ":4:1: is not TOML: "),
        (b"a = 1\n# \xe9\n", ":2: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("a = 1".encode("utf-16"), ":1: is UTF-16; save it as UTF-8"),
        (b"a = " + b"9" * 5000, ": holds a value that no setting can have"),
        (b"a = " + b"[" * 100_000, ": holds a value that no setting can have"),
        (b"#" * (FILE_BYTES_MAX + 1), ": has more than 1,048,576 bytes"),
    ],
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    with pytest.raises(FileFault) as caught:
        read_document(str(path))
    assert str(caught.value).startswith(f"{path}{fault}")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    for path, fault in {
        str(tmp_path): "is a directory; name the file in it",
        str(pipe): "is a pipe and not a regular file, so a reload could not read it a second time",
        "/dev/zero": "is a device and not a regular file",
        str(dangling): "does not exist; `presenced config default` prints one",
        str(tmp_path / "f" / "g"): "does not exist",
        str(dangling) + "/g": "does not exist",
        "/dev/null/x": "cannot be read: Not a directory",
        "x" * 5000: "cannot be read: File name too long",
        "a\0b": "cannot be read: no file can have that name",
    }.items():
        with pytest.raises(FileFault, match=fault):
            read_document(path)
    assert read_document(os.devnull).values == {}
