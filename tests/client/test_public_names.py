"""What `import presenced` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import presenced
from tests.conftest import REPOSITORY


def test_every_public_name_is_there() -> None:
    for name in presenced.__all__:
        assert getattr(presenced, name).__name__ == name
    assert presenced.__version__


def test_others_are_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        presenced.conect  # noqa: B018


def test_importing_it_loads_neither_asyncio_nor_the_codec() -> None:
    """They cost 60 ms, which `presencectl --help` would pay each time."""
    code = "import sys, presenced; print(sorted({'asyncio', 'msgspec', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "[]\n"


def test_all_errors_have_one_root() -> None:
    for name in presenced.__all__:
        value = getattr(presenced, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, presenced.PresenceError)
